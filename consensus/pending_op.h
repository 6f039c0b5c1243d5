/* SPDX-License-Identifier: Apache-2.0
 * Pending operations of registry and config center: requests that wait for the kv, for a view (feed.h) or
 * for a time.
 *
 * Invariant: an op is in exactly one list (under way, or ended), and only pending_ops_turn answers it. So no
 * callback runs inside the call that started the op, or while a list is being walked. Loop thread only.
 *
 *     pending_op_new ──► under way ──── pending_op_end ───► ended ──── pending_ops_turn ───► answered, freed
 *                           │
 *                           └── pending_op_cancel: freed, or (goes_on) continues without a caller */
#ifndef CONSENSUS_PENDING_OP_H
#define CONSENSUS_PENDING_OP_H

#include "base/heap.h"
#include "consensus/feed.h"

struct pending_ops {
    struct kv *kv;
    struct io *io;
    struct feed *feed;
    /* Private. */
    bool is_turn_scheduled;
    struct io_timer again; /* zero-delay: there is more to do */
    struct link ops, ended;
    size_t op_count;       /* in both lists */
    struct heap deadlines; /* of the ops */
    struct io_timer timer; /* for the first deadline */
};

/* The first member of the caller's struct. */
struct pending_op {
    struct pending_ops *pending_ops;
    struct link link;
    void **handle; /* the caller's pointer to this op; NULL: no caller waits */
    bool goes_on;  /* a canceled op continues until its end */
    int err;       /* valid when it has ended */
    const char *error;
    struct kv_request kv;
    bool has_author; /* false: the process itself writes */
    struct auth_who author;
    struct auth_needs needs; /* permissions that the write under way needs */
    uint64_t epoch;          /* kv_auth_epoch when the request began */
    struct feed_waiter waiter;
    struct heap_node deadline;
    void (*on_deadline)(struct pending_op *op);
    /* Called right before on_answer if the op succeeded. The caller may still cancel from inside. May be
     * NULL. */
    void (*before_answer)(struct pending_op *op);
    void (*on_answer)(struct pending_op *op); /* called if a caller waits; *handle is NULL by then */
    void (*on_free)(struct pending_op *op);   /* may be NULL */
    struct arena arena;
};

void pending_ops_init(struct pending_ops *d, struct kv *kv); /* feed is set by the caller */
/* Ends all pending ops with ERR_STOPPED and answers them. Call it before the feed is freed and the kv is
 * closed. */
void pending_ops_done(struct pending_ops *d);
/* Answers the ops that have ended. An op that ends in the meantime is answered in the next turn. */
void pending_ops_turn(struct pending_ops *d);

/* size: of the struct that begins with the op, zeroed. handle may be NULL; else *handle is the op until it is
 * answered or canceled. */
void *pending_op_new(struct pending_ops *d, void **handle, size_t size);
/* who: the client that sent the request, copied; NULL: the process itself. */
void pending_op_set_author(struct pending_op *op, const struct auth_who *who);
/* Call it before op->kv is sent as a write. When a member applies the write, it checks that the author has
 * these permissions, instead of those for the keys of the write (server/auth/README.md). The list is
 * copied; its slices are borrowed. The process's own writes are not checked. */
void pending_op_sign(struct pending_op *op, const struct auth_need *needs, size_t count);
void pending_op_sign_key(struct pending_op *op, struct slice key); /* one key to write */
/* For a request that takes effect without a log entry (a keep-alive of a lease): OK, or the error because
 * the author may not write the key any more. It costs one comparison if no permission has changed since the
 * request began. */
MUST_CHECK int pending_op_check_key(const struct pending_op *op, struct slice key);
/* Ends the op: pending_ops_turn answers and frees it. No part of it may still be waiting. */
void pending_op_end(struct pending_op *op, int err);
/* pending_op_end with an error and a sentence for the client. */
void pending_op_refuse(struct pending_op *op, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The write was applied. The op succeeds when the view shows it, so that the client can read the write from
 * this member without a barrier. */
void pending_op_written(struct pending_op *op, int64_t revision);
/* Calls on_deadline after `ms`, unless the op has ended before. */
void pending_op_limit(struct pending_op *op, uint64_t ms, void (*on_deadline)(struct pending_op *op));
/* Calls fn when the view shows everything up to revision. */
void pending_op_view(struct pending_op *op, int64_t revision, void (*fn)(struct feed_waiter *w));
/* The caller waits no more: frees the op, unless goes_on is set. */
void pending_op_cancel(struct pending_op *op);

uint64_t pending_ops_now_ms(const struct pending_ops *d);
/* Schedules another turn without waiting for an event. Needed after a kv request that was started in a
 * turn. */
void pending_ops_schedule_turn(struct pending_ops *d);

#endif
