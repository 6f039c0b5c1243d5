/* SPDX-License-Identifier: Apache-2.0
 * Private header of the store: its state, and the functions that the files of this folder share.
 *
 *     store.c        open, close, entries, commits        write.c    put and delete: one change at a time
 *     range.c        reads                                txn.c      compare, check, execute
 *     range_slice.c  long reads in parts                  work.c     long transactions and deletions in parts
 *     compact.c      the sweep                            changes.c  the changes that watchers get
 *     hash.c         HashKV and the hash of all data      check.c    request checks without state
 *     export.c       the state as one file, in blocks     defrag.c   packs the backend's file */
#ifndef CONSENSUS_STORE_STATE_H
#define CONSENSUS_STORE_STATE_H

#include "base/metric.h"
#include "consensus/store/cache.h"
#include "consensus/store/index.h"
#include "consensus/store/meta_row.h"
#include "consensus/store/pending.h"
#include "consensus/store/record.h"
#include "consensus/store/store.h"

enum sweep_phase {
    SWEEP_IDLE,
    SWEEP_INDEX,  /* walks the index and collects revisions to delete */
    SWEEP_SORT,   /* the worker sorts them */
    SWEEP_DELETE, /* deletes records, batch by batch */
    SWEEP_FINISH, /* the finished mark waits for its commit */
};

struct sweep {
    enum sweep_phase phase;
    int64_t target;           /* the compact revision of this pass */
    struct buf position;      /* the next key of the index pass */
    struct revision *dropped; /* revisions to delete; sorted after SWEEP_SORT */
    size_t count, capacity, done;
    uint64_t next_ns;            /* the next step starts not before this time */
    uint64_t begun_ns, index_ns; /* when this pass began; time in the index so far */
    size_t deleted;              /* records, of this pass */
    struct worker_job sort_job;
    int64_t finished; /* the finished mark in the backend */
    struct link waiters;
};

/* Exports under way; the sweep waits for them within limits (export.c). */
struct exports {
    struct link list;
    uint64_t held_since_ns; /* 0 = the sweep does not wait */
    uint64_t held_live;     /* live bytes at that time */
    bool is_sweep_first;    /* the sweep has waited long enough: nothing holds it until its end */
};

enum defrag_phase { DEFRAG_IDLE, DEFRAG_BEGIN, DEFRAG_COPY, DEFRAG_RENAME, DEFRAG_END };

/* A defrag that packs the file (defrag.c). */
struct defrag {
    enum defrag_phase phase;
    struct io_timer timer;
    bool is_out, is_canceled;
    struct backend_pack reported; /* the progress before the job that is out */
    int result;
    void (*done)(void *arg, int err);
    void *done_arg;

    /* The worker's while is_out. */
    struct worker_job job;
    struct backend_pack pack;
    uint64_t live, took_ns;
    int err;
};

/* Operations of one transaction, as etcd counts them: a request is one operation, however many keys it has. A
 * transaction of more than one operation counts as one of etcd_mvcc_txn_total. */
struct op_counts {
    uint32_t ranges, puts, deletes;
    uint64_t put_bytes;
};

struct lease_item {
    struct index_entry *entry;
    int64_t lease;
};

struct store {
    struct store_options options;
    struct io *io;
    struct backend *backend;
    struct lease_table *leases;
    struct index index;
    struct pending pending;
    struct cache cache;
    struct backend_view *view; /* NULL = closed */
    struct io_timer timer;
    uint64_t timer_at_ns; /* 0 = not started */
    bool is_closing, is_dropped;
    struct worker_job drop_job;
    unsigned jobs; /* jobs at the worker */
    int failed;

    int64_t revision, compact_revision;
    int64_t committed_revision; /* records up to this revision are read from the backend */
    uint64_t applied_index, applied_term, durable_index;
    uint64_t live_bytes;
    uint32_t digest; /* of everything that was written since the first entry */

    bool in_entry;
    bool is_paused; /* an entry is open, and other work runs before it continues */
    struct {        /* while paused: the state that the entry sees; the store shows the state before it */
        uint64_t applied_index, applied_term;
        uint32_t sub;
    } aside;
    struct link deferred;     /* tasks that must not start inside an entry */
    int64_t entry_first_main; /* the revision before this entry */
    uint32_t sub;             /* changes of the transaction under way */
    struct op_counts ops;     /* of the entry under way */

    void (*on_durable)(void *arg, uint64_t applied_index);
    void *on_durable_arg;
    void (*on_commit)(void *arg, struct buf *out);
    void *on_commit_arg;
    struct buf note; /* of the last commit */
    bool has_note;   /* the backend has one */
    void (*on_change)(void *arg, const struct store_change *change);
    void *on_change_arg;
    bool needs_previous, needs_events;
    struct store_event *events; /* kept between changes */
    size_t event_capacity;
    size_t large; /* a revision with more changes is delivered in parts */

    struct sweep sweep;
    struct exports exports;
    struct defrag defrag;
    struct lease_item *unattached; /* between open and store_attach_leases */
    size_t unattached_count, unattached_capacity;
    uint64_t reads_since_trim, next_trim_ns;
};

/* The bytes of a message field. protobuf-c's pointers are not const, but nobody writes through these. */
static inline ProtobufCBinaryData store_bytes(struct slice s)
{
    return (ProtobufCBinaryData){.len = s.size, .data = (uint8_t *)(uintptr_t)s.data};
}

static inline struct slice store_slice(ProtobufCBinaryData b)
{
    return (struct slice){b.data, b.len};
}

/* The revision that a reader inside the present transaction sees as current. */
static inline int64_t store_view_revision(const struct store *s)
{
    return s->revision + (s->sub > 0);
}

/* The transaction has ended: its operations go into the metrics, and are 0 again. */
static inline void op_counts_end(struct op_counts *ops)
{
    metric_add(METRIC_RANGES, ops->ranges);
    metric_add(METRIC_PUTS, ops->puts);
    metric_add(METRIC_DELETES, ops->deletes);
    metric_add(METRIC_PUT_BYTES, (double)ops->put_bytes);
    metric_add(METRIC_TXNS, ops->ranges + ops->puts + ops->deletes > 1);
    *ops = (struct op_counts){0};
}

/* store.c */
MUST_CHECK int store_view(struct store *s, struct backend_view **ret_view);
/* Reads the record of a revision that the index names. ERR_CORRUPT when it is missing: then the store has
 * failed. */
MUST_CHECK int store_fetch(struct store *s, struct revision revision, struct record *ret_record);
/* The same for a key that a request names, which is likely to be read again: the record is kept in the
 * cache. */
MUST_CHECK int store_fetch_one(struct store *s, struct revision revision, struct record *ret_record);
void store_view_close(struct store *s); /* invalidates what was read from it */
void store_wake(struct store *s, uint64_t after_ms);
void store_commit(struct store *s);
void store_job_done(struct store *s); /* the last call in a job's done callback: it may free the store */
int store_fail(struct store *s, int err);

/* write.c: one change of the present transaction; store_change_end makes it a revision. */
void store_write_put(struct store *s, struct slice key, struct slice value, int64_t lease);
void store_write_delete(struct store *s, struct index_entry *e, bool detach);
void store_change_end(struct store *s);
/* The parts of a put and a delete that a txn shares with plain requests. The check returns the errors of
 * store_put; the others fail only when the backend does: ERR_IO, ERR_CORRUPT. */
/* For the counts: the put reads the key's present value. */
bool store_put_reads(const Etcdserverpb__PutRequest *request);
MUST_CHECK int store_put_check(struct store *s, const Etcdserverpb__PutRequest *request);
MUST_CHECK int store_put_run(struct store *s, const Etcdserverpb__PutRequest *request, struct arena *a,
                             Etcdserverpb__PutResponse **ret_response);
MUST_CHECK int store_delete_run(struct store *s, const Etcdserverpb__DeleteRangeRequest *request,
                                struct arena *a, Etcdserverpb__DeleteRangeResponse **ret_response);

/* Costs of work, in units of one visited key of the index: about 20 to 100 ns each. */
#define STORE_VISIT_COST     1
#define STORE_READ_COST      8
#define STORE_WRITE_COST     16
#define STORE_BYTES_PER_UNIT 128

/* txn.c */
/* A compare of a range, in parts; the caller frees position. */
struct compare_walk {
    struct buf position;
    bool any, is_done, holds;
};
/* ERR_IO, ERR_CORRUPT: the backend. */
MUST_CHECK int store_compare_step(struct store *s, const Etcdserverpb__Compare *c, int64_t at,
                                  struct compare_walk *w, int64_t *units);
/* ERR_COMPACTED, ERR_FUTURE_REV. */
MUST_CHECK int store_txn_check_range(const struct store *s, const Etcdserverpb__RangeRequest *r);

/* range_slice.c */
struct store_walk *store_walk_new_at(struct store *s, const Etcdserverpb__RangeRequest *request,
                                     int64_t current);
/* Sets the position where a walk continues after this entry. */
void store_position_after(struct buf *position, const struct index_entry *e);

/* range.c: errors as for store_range. */
MUST_CHECK int store_range_run(struct store *s, const Etcdserverpb__RangeRequest *request, struct arena *a,
                               Etcdserverpb__RangeResponse **ret_response);
/* The keys of a request's range: one key, [key, end), or all from key. */
struct key_range {
    struct slice key, end;
    bool is_one, is_open; /* open: no end */
};
struct key_range key_range_of(ProtobufCBinaryData key, ProtobufCBinaryData range_end);
struct range_cursor {
    const struct key_range *range;
    struct tree_cursor tree;
    struct index_entry *one;
};
struct range_cursor range_open(const struct store *s, const struct key_range *range);
struct index_entry *range_next(struct range_cursor *c);
void store_fill_kv(Mvccpb__KeyValue *kv, int64_t main, const struct record *record);
Etcdserverpb__ResponseHeader *store_header(struct arena *a, int64_t revision);
bool store_range_is_filtered(const Etcdserverpb__RangeRequest *r);
bool store_range_is_default_order(const Etcdserverpb__RangeRequest *r);
bool store_range_is_sorted(const Etcdserverpb__RangeRequest *r);
bool store_range_is_from_index(const Etcdserverpb__RangeRequest *r);
bool store_range_filter_passes(const Etcdserverpb__RangeRequest *r, const Mvccpb__KeyValue *kv);

/* changes.c */
void store_notify_changes(struct store *s);

/* compact.c */
void sweep_open(struct store *s, int64_t finished);
void sweep_stop(struct store *s); /* notifies the callers that wait */
void sweep_close(struct store *s);
void sweep_turn(struct store *s, uint64_t now_ns);
void sweep_committed(struct store *s);
void sweep_check_waiters(struct store *s);
void sweep_finish_waiters(struct store *s); /* notifies all callers that wait that it is done */

/* export.c */
bool export_holds_sweep(struct store *s, uint64_t now_ns); /* the next deletes must wait */
void export_sweep_is_done(struct store *s);
void export_store_ends(struct store *s, int err); /* ends all exports with err */

/* defrag.c */
void defrag_store_ends(struct store *s, int err);

#endif
