/* SPDX-License-Identifier: Apache-2.0
 * What the files behind registry.h share; nobody outside the folder includes it.
 *
 * A request is an op: made when it comes in, in exactly one list (under way, or ended), answered in
 * registry_turn and nowhere else. So no done comes from inside the call that started it, or while a list is
 * being walked. A write that its caller has canceled goes on without him: what was begun (a lease that was
 * granted) is brought to its end. */
#ifndef REGISTRY_REGISTRY_PRIVATE_H
#define REGISTRY_REGISTRY_PRIVATE_H

#include "base/heap.h"
#include "consensus/feed.h"
#include "registry/janitor.h"
#include "registry/quota.h"
#include "registry/registry.h"
#include "proto/txn.h"

struct registry {
    struct kv *kv;
    struct io *io;
    struct feed *feed;
    struct catalog *catalog;
    struct janitor *janitor;
    struct projections *projections; /* NULL = none */
    struct registry_options options; /* member is a copy */
    bool is_again_set, is_freeing;
    struct io_timer again; /* zero-delay: there is more to do */

    struct link ops, ended;
    size_t op_count;       /* in both */
    struct heap deadlines; /* of ops */
    struct io_timer timer; /* the first of them */
    struct buf names;      /* of the key being parsed */
    struct quota quota;

    /* registry_watch.c */
    struct strmap watched; /* namespace -> struct watched, of watches of many services */
    struct link draining;  /* registry_drain.c: those that wait for acknowledgements */
    bool was_acknowledged; /* by a subscriber, or one has gone */
    struct link *telling;  /* the next link of the walk under way */
    struct watched *told;  /* whose watches those are */
    size_t subscriber_count;
};

struct registry_op {
    struct registry *registry;
    struct registry_request *request; /* NULL: nobody waits any more */
    struct link link;
    bool goes_on; /* when it is canceled */
    int err;      /* once it is in `ended` */
    struct registry_result result;
    struct kv_request kv;
    struct feed_waiter waiter;
    struct heap_node deadline;
    void (*on_deadline)(struct registry_op *op);
    void (*on_answer)(struct registry_op *op); /* right before done; may be NULL */
    void (*on_free)(struct registry_op *op);   /* may be NULL */
    struct quota_claim claim;
    struct arena arena;
};

/* size: of the struct that begins with the op, zeroed. q may be NULL. */
void *registry_op_new(struct registry *r, struct registry_request *q, size_t size);
/* The answer is due in registry_turn; then the op is freed. Nothing of it may be waiting any more. */
void registry_op_end(struct registry_op *op, int err);
/* The same with a sentence for the client. */
void registry_op_refuse(struct registry_op *op, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A write is there: the answer comes when the view shows it too, so that its writer reads it here without a
 * barrier. */
void registry_op_written(struct registry_op *op, int64_t revision);
/* on_deadline in so many ms, unless the op ended before. */
void registry_op_limit(struct registry_op *op, uint64_t ms, void (*on_deadline)(struct registry_op *op));
/* fn when the view shows everything up to revision. */
void registry_op_view(struct registry_op *op, int64_t revision, void (*fn)(struct feed_waiter *w));
uint64_t registry_now_ms(const struct registry *r);
/* One more turn without waiting for an event: after kv requests that are started from inside a turn. */
void registry_come_again(struct registry *r);

/* registry_watch.c */
void registry_tell(struct registry *r, const struct catalog_change *change);
void registry_watch_done(struct registry *r);

/* Those of a service, there or not, whatever their watches are of. */
void registry_each_subscriber(const struct registry *r, const struct registry_key *key,
                              void (*fn)(void *arg, const struct registry_watch *w), void *arg);

/* registry_metric.c: gauges, at each print. */
void registry_metric_collect(void *arg, struct buf *out);

/* registry_drain.c */
void registry_drain_again(struct registry *r);

/* registry_write.c: what all writes share. */
/* The names, checked and copied into the op's arena, and the store's key of that kind. False: the op has
 * ended with a sentence. */
bool registry_write_begin(struct registry_op *op, const struct registry_key *key, enum name_kind kind,
                          struct registry_key *ret_key, struct slice *ret_at);
struct slice registry_key_text(struct arena *a, enum name_kind kind, const struct registry_key *key);
struct slice registry_session_key(struct arena *a, int64_t session);
struct catalog_instance *registry_find(const struct registry *r, const struct registry_key *key);
struct quota_key registry_quota_key(const struct registry_key *key);
struct slice registry_copy(struct arena *a, struct slice s);
/* The instance is deregistered: a drain of it ends in the same transaction, what the operator said stays. The
 * override's mod revision is compared. False: there is none to end, nothing was added. */
bool registry_end_drain(struct txn *txn, const struct catalog_instance *i, struct slice override_key);
/* It may have happened all the same. */
bool registry_is_unknown(int err);
/* In the background; a lease that is not revoked ends by itself. */
void registry_revoke(struct registry *r, int64_t lease);

#define REGISTRY_ATTEMPTS_MAX 8 /* lost compares, then ERR_CONFLICT */

#endif
