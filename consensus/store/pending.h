/* SPDX-License-Identifier: Apache-2.0
 * Pending batches: changes that are applied and not durable yet, as a queue of batches.
 *
 * The last batch is open and collects whole entries. The batches before it are at the store worker, in order;
 * their bytes do not move or change until their commit is done. A record is found by its revision in O(1),
 * because the revisions of a batch have no gaps. */
#ifndef CONSENSUS_STORE_PENDING_H
#define CONSENSUS_STORE_PENDING_H

#include "base/list.h"
#include "base/worker.h"
#include "consensus/store/backend.h"
#include "consensus/store/revision.h"

struct pending_block;

/* The records of one main revision: consecutive ops. */
struct pending_main {
    size_t first_op;
    uint32_t count;
};

struct pending_batch {
    struct worker_job job; /* at the worker */
    struct link link;      /* in pending.batches or pending.spare */
    void *owner;           /* for the job's callbacks */
    struct backend_op *ops;
    size_t count, capacity;
    size_t bytes;       /* of keys and values */
    size_t side_count;  /* ops that do not append records */
    int64_t first_main; /* of the records; 0 = none */
    size_t main_count;  /* mains first_main .. first_main + main_count - 1 */
    struct pending_main *mains;
    size_t main_capacity;
    struct pending_block *blocks; /* newest first */
    uint8_t *next, *end;
    bool is_dirty; /* an entry was applied, even if it changed nothing */
    uint64_t opened_ns;
    uint64_t applied_index; /* of the last whole entry in the batch */
    bool finishes_compact;  /* it holds the finished mark of the sweep */
    /* The result, written by the worker. */
    int err;
    uint64_t freed;
    uint64_t took_ns;
};

struct pending {
    struct link batches; /* submitted, oldest first */
    struct link spare;   /* empty, for reuse */
    struct pending_batch *open;
    struct pending_block *blocks; /* free ones of the usual size */
    size_t block_count;
};

void pending_init(struct pending *p);
void pending_done(struct pending *p);

/* Allocates bytes that live as long as the open batch; pending_give_back returns the unused rest. */
uint8_t *pending_alloc(struct pending *p, size_t size);
void pending_give_back(struct pending *p, size_t unused);
/* Appends a record whose key and value bytes already belong to the batch. */
void pending_append(struct pending *p, struct revision revision, struct slice key, struct slice value);
/* Copies key and value. */
void pending_add(struct pending *p, int kind, enum backend_table table, struct slice key, struct slice value);

/* The record of a revision that is pending; false when it is not. */
bool pending_find(const struct pending *p, struct revision revision, struct slice *ret_value);
/* Finds the newest pending value of a side table's key. False: not pending; a value of size 0 = deleted. */
bool pending_find_side(const struct pending *p, enum backend_table table, struct slice key,
                       struct slice *ret_value);
/* The number of records (subs) of a pending main; 0 = not pending. */
uint32_t pending_sub_count(const struct pending *p, int64_t main);

/* Moves the open batch to the end of the queue and opens a new one. */
struct pending_batch *pending_submit(struct pending *p);
/* As pending_release, but the batch keeps its memory, for pending_free on any thread. */
void pending_detach(struct pending *p, struct pending_batch *batch);
void pending_free(struct pending_batch *batch);
/* The oldest batch is durable. */
void pending_release(struct pending *p, struct pending_batch *batch);

#endif
