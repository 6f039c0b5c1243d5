/* SPDX-License-Identifier: Apache-2.0
 * What the files behind config.h share; nobody outside the folder includes it. Requests are ops of a desk
 * (consensus/pending_op.h). A write that its caller has canceled goes on without him. */
#ifndef CONFIG_CONFIG_PRIVATE_H
#define CONFIG_CONFIG_PRIVATE_H

#include "base/metric.h"
#include "base/text.h"
#include "config/config.h"
#include "config/heads.h"
#include "config/janitor.h"
#include "config/recent.h"
#include "config/task.h"
#include "consensus/pending_op.h"
#include "proto/txn.h"

#define CONFIG_ERROR_MAX 1024 /* of what a client rejected; more is cut off */

struct config {
    struct pending_ops pending_ops;
    struct kv *kv;
    struct config_options options; /* filled in; member is a copy */
    struct feed *feed;
    struct heads *heads;
    struct config_janitor *janitor;
    struct buf names; /* of the key being parsed */
    struct recent recent;
    struct task_queue *tasks;
    uint64_t slice_end_ns; /* of the long requests of this turn; 0 = none of them has begun */
    size_t inline_left;    /* bytes of small contents that may be checked at once in this turn */
    struct strmap lines;   /* a head's key -> struct line: its writes under way (config_line.c) */
    struct link ready;     /* writes whose turn has come */
    size_t blocked_bytes;  /* of writes that had to wait in a line, until they end */

    /* config_watch.c */
    struct strmap watched_items;      /* "ns/group/name" -> struct watched */
    struct strmap watched_namespaces; /* ns -> struct watched, of watches of many */
    struct link *telling;             /* the next link of the walk under way */
    struct watched *told;             /* whose watches those are */
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
/* done once the view shows everything up to what the store has now, behind a barrier. */
void config_op_barrier(struct config_op *op,
                       void (*done)(struct kv_request *kv, int err, const ProtobufCMessage *response));

struct slice config_copy(struct arena *a, struct slice s);
/* Whose turn at the content worker a request takes: an address, and a user where there are any. */
struct slice config_client(struct arena *a, const struct config_request *q);
struct config_id config_copy_id(struct arena *a, const struct config_id *key);
struct slice config_key(struct arena *a, enum config_key kind, const struct config_id *key, uint64_t seq);
struct slice config_prefix(struct arena *a, enum config_key kind, const struct config_id *key);
/* Names as clients may give them; else the op has ended with a sentence. */
bool config_check_id(struct config_op *op, const struct config_id *key);
/* "ns/group/name" */
void config_add_id(struct buf *out, const struct config_id *key);
/* What stands under one key now; NULL = nothing. In the arena. */
MUST_CHECK int config_lookup(struct config *c, struct slice key, struct arena *a,
                             const Mvccpb__KeyValue **ret);
/* The revision of what stands under it; 0 = nothing does. */
MUST_CHECK int config_lookup_revision(struct config *c, struct slice key, struct arena *a, int64_t *ret);
int64_t config_wall_ms(const struct config *c);

static inline struct slice pair_value(const Mvccpb__KeyValue *pair)
{
    return slice_of(pair->value.data, pair->value.len);
}

/* Requests that take longer than a turn of the loop should share one slice of time in each: true when it is
 * used up, and the request goes on in the next turn. */
bool config_slice_is_over(struct config *c);

/* config_line.c: writes whose turn has come go on. */
void config_line_turn(struct config *c);

/* config_watch.c */
void config_notify(struct config *c, const struct heads_item *i);
void config_watch_done(struct config *c);
struct config_state { /* of an item on a watch, by what its client was sent and said */
    uint64_t sent, applied, rejected;
    char *error; /* owned */
};
/* Those that look at an item, there or not, with what is known of it (NULL = nothing). */
void config_each_listener(const struct config *c, const struct config_id *key,
                          void (*fn)(void *arg, const struct config_watch *w, const struct config_state *s),
                          void *arg);

/* config_listen.c */
void config_listen_open(struct config *c);
void config_listen_close(struct config *c);

/* config_metric.c */
void config_metric_collect(void *arg, struct buf *out);

#endif
