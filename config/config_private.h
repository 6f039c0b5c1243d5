/* SPDX-License-Identifier: Apache-2.0
 * Shared by the files of config/; private to the folder. Requests are pending operations
 * (consensus/pending_op.h). A write whose caller has canceled it after it was sent goes on. */
#ifndef CONFIG_CONFIG_PRIVATE_H
#define CONFIG_CONFIG_PRIVATE_H

#include "base/metric.h"
#include "base/text.h"
#include "config/config.h"
#include "config/heads.h"
#include "config/janitor.h"
#include "config/policies.h"
#include "config/recent.h"
#include "config/runner.h"
#include "config/schemas.h"
#include "config/task.h"
#include "consensus/pending_op.h"
#include "namespace/view.h"
#include "proto/txn.h"

#define CONFIG_ERROR_MAX 1024 /* bytes of a client's reason for a rejection; the rest is cut off */

struct config {
    struct pending_ops pending_ops;
    struct kv *kv;
    struct config_options options; /* filled in; member is a copy */
    struct feed *feed;
    struct heads *heads;
    struct config_janitor *janitor;
    struct policies policies;
    struct schemas schemas;
    struct runner *runner;
    struct buf names; /* of the key being parsed */
    struct recent recent;
    struct task_queue *tasks;
    uint64_t slice_end_ns; /* of the long requests of this turn; 0 = none of them has begun */
    size_t inline_left;    /* bytes of small contents that may be checked on the loop in this turn */
    struct strmap lines;   /* a head's key -> struct line: the queue of its writes (config_line.c) */
    struct link ready;     /* writes that have reached the front of their queues */
    size_t blocked_bytes;  /* held by writes that had to wait in a queue, until they end */

    /* config_watch.c */
    struct strmap watched_items;      /* "ns/group/name" -> struct watched */
    struct strmap watched_namespaces; /* ns -> struct watched, of watches of many */
    struct link *notify_next;         /* the next link of the walk under way */
    struct watched *notified;         /* the watches of that walk */
    size_t listener_count;
};

/* First in a request's struct. */
struct config_op {
    struct pending_op pending_ops; /* first */
    struct config *config;
    struct config_request *request;
    struct config_result result;
};

/* size: of the struct that begins with the op, zeroed. */
void *config_op_new(struct config *c, struct config_request *q, size_t size);
/* Makes a barrier, then calls done; the view may still lag (pending_op_view waits for it). */
void config_op_barrier(struct config_op *op,
                       void (*done)(struct kv_request *kv, int err, const ProtobufCMessage *response));

struct slice config_copy(struct arena *a, struct slice s);
/* The client of a request for the content worker's turns: the address, and the user if there are users. */
struct slice config_client(struct arena *a, const struct config_request *q);
struct config_id config_copy_id(struct arena *a, const struct config_id *key);
struct slice config_key(struct arena *a, enum config_key kind, const struct config_id *key, uint64_t seq);
struct slice config_prefix(struct arena *a, enum config_key kind, const struct config_id *key);
/* Checks names from clients; false: the op has ended with a sentence. */
bool config_check_id(struct config_op *op, const struct config_id *key);
/* "ns/group/name" */
void config_add_id(struct buf *out, const struct config_id *key);
/* Reads the pair stored under one key; NULL = there is none. It lies in the arena. Errors are those of kv_range_now. */
MUST_CHECK int config_lookup(struct config *c, struct slice key, struct arena *a,
                             const Mvccpb__KeyValue **ret);
/* The mod revision of a key; 0 = there is none. */
MUST_CHECK int config_lookup_revision(struct config *c, struct slice key, struct arena *a, int64_t *ret);
int64_t config_wall_ms(const struct config *c);

static inline struct slice pair_value(const Mvccpb__KeyValue *pair)
{
    return slice_of(pair->value.data, pair->value.len);
}

/* Long requests share one slice of time in each turn. True: it is used up, and the request continues in the
 * next turn. */
bool config_slice_is_over(struct config *c);

/* config_line.c: continues writes that have reached the front of their queues. */
void config_line_turn(struct config *c);

/* config_watch.c */
void config_notify(struct config *c, const struct heads_item *i);
void config_watch_done(struct config *c);
struct config_state { /* of an item on a watch: what its client was sent and reported */
    uint64_t sent, applied, rejected;
    char *error; /* owned */
};
/* Calls fn for each watch of an item, existing or not, with its state (NULL = unknown). */
void config_each_listener(const struct config *c, const struct config_id *key,
                          void (*fn)(void *arg, const struct config_watch *w, const struct config_state *s),
                          void *arg);

/* config_listen.c */
void config_listen_open(struct config *c);
void config_listen_close(struct config *c);

/* config.c: the limits of a namespace, by its quotas or the options. */
struct heads_limits config_limits(const struct config *c, struct slice ns);
/* ERR_UNIMPLEMENTED with a sentence while a member of the cluster may be of a version that passes over `what`. */
MUST_CHECK int config_check_level(const struct config *c, const char *what, char *error, size_t error_size);

/* config_metric.c */
void config_metric_collect(void *arg, struct buf *out);

#endif
