/* SPDX-License-Identifier: Apache-2.0
 * Pending operations of registry and config center: requests that wait for the kv, for a view (feed.h) or
 * for time.
 *
 * An op is made when its request comes in. It is in exactly one list (under way, or ended), and
 * pending_ops_turn alone answers it. So no callback runs inside the call that started the op, or while a
 * list is being walked. Loop thread only. */
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
    size_t op_count;       /* in both */
    struct heap deadlines; /* of ops */
    struct io_timer timer; /* the first of them */
};

/* First in the struct of the caller's own. */
struct pending_op {
    struct pending_ops *pending_ops;
    struct link link;
    void **handle; /* the caller's pointer to this op; NULL: nobody waits any more */
    bool goes_on;  /* when it is canceled: what was begun is brought to its end */
    int err;       /* once it has ended */
    const char *error;
    struct kv_request kv;
    bool has_author; /* else it is the process itself that writes */
    struct auth_who author;
    struct auth_needs needs; /* of the write under way */
    uint64_t epoch;          /* kv_auth_epoch when it began */
    struct feed_waiter waiter;
    struct heap_node deadline;
    void (*on_deadline)(struct pending_op *op);
    /* Right before on_answer, of one that ended well: from inside, who waits may still cancel. May be NULL.
     */
    void (*before_answer)(struct pending_op *op);
    void (*on_answer)(struct pending_op *op); /* only if somebody waits; *handle is NULL by then */
    void (*on_free)(struct pending_op *op);   /* may be NULL */
    struct arena arena;
};

void pending_ops_init(struct pending_ops *d, struct kv *kv); /* feed is set by the caller */
/* Ends what is pending with ERR_STOPPED and answers it, before the feed is freed and the kv is closed. */
void pending_ops_done(struct pending_ops *d);
/* Answers what has ended; what ends meanwhile is answered in the next turn. */
void pending_ops_turn(struct pending_ops *d);

/* size: of the struct that begins with the op, zeroed. handle may be NULL; else *handle is the op until it is
 * answered or canceled. */
void *pending_op_new(struct pending_ops *d, void **handle, size_t size);
/* The client behind the request, or NULL: the process itself. Copied. */
void pending_op_set_author(struct pending_op *op, const struct auth_who *who);
/* Before op->kv goes out as a write: every member checks, when it applies it, that the author may write all
 * of these (copied; their slices are not). They stand for the keys of the write (server/auth/README.md). The
 * process's own writes are not checked. */
void pending_op_sign(struct pending_op *op, const struct auth_need *needs, size_t count);
void pending_op_sign_key(struct pending_op *op, struct slice key); /* one key to write */
/* Where a request takes effect without an entry (a lease is kept alive): OK, or why the author may not write
 * the key any more. One comparison while rights have not changed since the request began. */
MUST_CHECK int pending_op_check_key(const struct pending_op *op, struct slice key);
/* The answer is due in pending_ops_turn; then the op is freed. Nothing of it may be waiting any more. */
void pending_op_end(struct pending_op *op, int err);
/* The same with a sentence for the client. */
void pending_op_refuse(struct pending_op *op, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A write is there: it ends well when the view shows it too, so that its writer reads it here without a
 * barrier. */
void pending_op_written(struct pending_op *op, int64_t revision);
/* on_deadline in so many ms, unless the op ended before. */
void pending_op_limit(struct pending_op *op, uint64_t ms, void (*on_deadline)(struct pending_op *op));
/* fn when the view shows everything up to revision. */
void pending_op_view(struct pending_op *op, int64_t revision, void (*fn)(struct feed_waiter *w));
/* Nobody waits any more: freed, unless it goes on. */
void pending_op_cancel(struct pending_op *op);

uint64_t pending_ops_now_ms(const struct pending_ops *d);
/* One more turn without waiting for an event: after kv requests that are started from inside a turn. */
void pending_ops_schedule_turn(struct pending_ops *d);

#endif
