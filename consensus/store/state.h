/* SPDX-License-Identifier: Apache-2.0
 * The inside of the store, for the files of this folder only: its state and the few functions that they
 * share.
 *
 *   store.c    open, close, entries, commits        write.c   put, delete: one change at a time
 *   range.c    reading                              txn.c     compare, check, execute
 *   compact.c  the sweep                            changes.c what watchers are told
 *   hash.c     HashKV and the hash of everything    check.c   request checks without state
 *   range_slice.c  long ranges, a part at a time
 *   work.c     long transactions and deletions, a part at a time
 *   export.c   the state as one file, in blocks
 *   defrag.c   the backend's file, packed */
#ifndef CONSENSUS_STORE_STATE_H
#define CONSENSUS_STORE_STATE_H

#include "consensus/store/cache.h"
#include "consensus/store/index.h"
#include "consensus/store/pending.h"
#include "consensus/store/record.h"
#include "consensus/store/store.h"

/* The store's own keys in BACKEND_META: 8 bytes each, the applied mark 24. */
#define META_FORMAT    "store.format"
#define META_APPLIED   "store.applied" /* index, term, revision, digest */
#define META_SCHEDULED "store.compact.scheduled"
#define META_FINISHED  "store.compact.finished"

enum sweep_phase {
    SWEEP_IDLE,
    SWEEP_INDEX,  /* the index is walked; what goes is collected */
    SWEEP_SORT,   /* the worker sorts it */
    SWEEP_DELETE, /* records are deleted, batch by batch */
    SWEEP_FINISH, /* the mark that all is done waits for its commit */
};

struct sweep {
    enum sweep_phase phase;
    int64_t target;           /* the compact revision this pass works for */
    struct buf position;      /* the next key of the index pass */
    struct revision *dropped; /* what goes, in revision order once sorted */
    size_t count, capacity, done;
    uint64_t next_ns; /* not before: the pause between steps */
    struct worker_job sort_job;
    int64_t finished; /* as the backend knows it */
    struct link waiters;
};

/* Exports under way; the sweep waits for them, up to a point (export.c). */
struct exports {
    struct link list;
    uint64_t held_since_ns; /* 0 = the sweep does not wait */
    uint64_t held_live;     /* live bytes at that time */
    bool is_sweep_first;    /* the sweep has waited enough: till its end nothing holds it */
};

enum defrag_phase { DEFRAG_IDLE, DEFRAG_BEGIN, DEFRAG_COPY, DEFRAG_RENAME, DEFRAG_END };

/* The file is being packed (defrag.c). */
struct defrag {
    enum defrag_phase phase;
    struct io_timer timer;
    bool is_out, is_canceled;
    struct backend_pack told; /* pack, as of before the job that is out */
    int result;
    void (*done)(void *arg, int err);
    void *done_arg;

    /* The worker's while is_out. */
    struct worker_job job;
    struct backend_pack pack;
    uint64_t live, took_ns;
    int err;
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
    unsigned jobs; /* out with the worker */
    int failed;

    int64_t revision, compact_revision;
    int64_t committed_revision; /* records up to here are read from the backend */
    uint64_t applied_index, applied_term, durable_index;
    uint64_t live_bytes;
    uint32_t digest; /* of all that was written since the first entry */

    bool in_entry;
    bool is_paused; /* an entry is open, and others have their turn before it goes on */
    struct {        /* while it is paused: what the entry sees; the store shows what was before it */
        uint64_t applied_index, applied_term;
        uint32_t sub;
    } aside;
    struct link deferred;     /* tasks that must not begin in the middle of an entry */
    int64_t entry_first_main; /* the revision before this entry */
    uint32_t sub;             /* changes of the transaction under way */

    void (*on_durable)(void *arg, uint64_t applied_index);
    void *on_durable_arg;
    void (*on_change)(void *arg, const struct store_change *change);
    void *on_change_arg;
    bool needs_previous, needs_events;
    struct store_event *events; /* kept between changes */
    size_t event_capacity;
    size_t large; /* a revision of more changes is told in parts */

    struct sweep sweep;
    struct exports exports;
    struct defrag defrag;
    struct lease_item *unattached; /* between open and store_attach_leases */
    size_t unattached_count, unattached_capacity;
    uint64_t reads_since_trim, next_trim_ns;
};

/* The bytes of a message field: protobuf-c's pointers are not const, ours are not written through. */
static inline ProtobufCBinaryData store_bytes(struct slice s)
{
    return (ProtobufCBinaryData){.len = s.size, .data = (uint8_t *)(uintptr_t)s.data};
}

static inline struct slice store_slice(ProtobufCBinaryData b)
{
    return (struct slice){b.data, b.len};
}

/* What a reader inside the transaction under way sees as current. */
static inline int64_t store_view_revision(const struct store *s)
{
    return s->revision + (s->sub > 0);
}

/* store.c */
MUST_CHECK int store_view(struct store *s, struct backend_view **ret_view);
/* The record of a revision that the index names. ERR_CORRUPT when it is not there: the store has failed then.
 */
MUST_CHECK int store_fetch(struct store *s, struct revision revision, struct record *ret_record);
/* The same for a key that was asked for by name, so may well be again: the record is kept in the cache. */
MUST_CHECK int store_fetch_one(struct store *s, struct revision revision, struct record *ret_record);
void store_view_close(struct store *s); /* what was read from it is gone */
void store_wake(struct store *s, uint64_t after_ms);
void store_commit(struct store *s);
void store_job_done(
    struct store *s); /* last thing in a job's done callback: the store may be gone after it */
int store_fail(struct store *s, int err);

/* write.c: one change of the transaction under way; store_change_end makes it a revision. */
void store_write_put(struct store *s, struct slice key, struct slice value, int64_t lease);
void store_write_delete(struct store *s, struct index_entry *e, bool detach);
void store_change_end(struct store *s);
/* The parts of a put and a delete that a txn shares with the plain requests. */
MUST_CHECK int store_put_check(struct store *s, const Etcdserverpb__PutRequest *request);
MUST_CHECK int store_put_run(struct store *s, const Etcdserverpb__PutRequest *request, struct arena *a,
                             Etcdserverpb__PutResponse **ret_response);
MUST_CHECK int store_delete_run(struct store *s, const Etcdserverpb__DeleteRangeRequest *request,
                                struct arena *a, Etcdserverpb__DeleteRangeResponse **ret_response);

/* What work costs, in keys of the index that are only visited: about 20 to 100 ns each. */
#define STORE_VISIT_COST     1
#define STORE_READ_COST      8
#define STORE_WRITE_COST     16
#define STORE_BYTES_PER_UNIT 128

/* txn.c */
/* A compare of a range, some keys at a time; position is the caller's to free. */
struct compare_walk {
    struct buf position;
    bool any, is_done, holds;
};
MUST_CHECK int store_compare_step(struct store *s, const Etcdserverpb__Compare *c, int64_t at,
                                  struct compare_walk *w, int64_t *units);
MUST_CHECK int store_txn_check_range(const struct store *s, const Etcdserverpb__RangeRequest *r);

/* range_slice.c */
struct store_walk *store_walk_new_at(struct store *s, const Etcdserverpb__RangeRequest *request,
                                     int64_t current);
/* Takes what it used from *units. */
MUST_CHECK int store_walk_step_units(struct store_walk *w, struct arena *a, int64_t *units,
                                     Etcdserverpb__RangeResponse **ret_part, bool *ret_is_last);
/* Where a walk goes on after this entry. */
void store_position_after(struct buf *position, const struct index_entry *e);

/* range.c */
MUST_CHECK int store_range_run(struct store *s, const Etcdserverpb__RangeRequest *request, struct arena *a,
                               Etcdserverpb__RangeResponse **ret_response);
/* Keys of a request's range: one, or [key, end), or all from key. */
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
void sweep_stop(struct store *s); /* whoever waits is told */
void sweep_close(struct store *s);
void sweep_turn(struct store *s, uint64_t now_ns);
void sweep_committed(struct store *s);
void sweep_check_waiters(struct store *s);
void sweep_settle(struct store *s); /* all who wait are told that it is done */

/* export.c */
bool export_holds_sweep(struct store *s, uint64_t now_ns); /* the next deletes have to wait */
void export_sweep_is_done(struct store *s);
void export_store_ends(struct store *s, int err); /* all exports end so */

/* defrag.c */
void defrag_store_ends(struct store *s, int err);

#endif
