/* SPDX-License-Identifier: Apache-2.0
 * Opening of a node: replay of the WAL into raft's initial state, and its comparison with the store. */
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mutant.h"
#include "consensus/node/node_impl.h"

/* Place of the bootstrap configuration: the log of a new cluster begins after it. */
#define BOOTSTRAP_INDEX 1
#define BOOTSTRAP_TERM  1

#define SEGMENT_SIZE      (8u << 20)
#define INFLIGHT_MESSAGES 512
#define MESSAGE_BYTES_MAX (1u << 20)
/* In flight to one follower: what a link of 1 Gbit/s and 100 ms holds. A stopped follower costs as much
 * memory. */
#define INFLIGHT_BYTES_MAX (16u << 20)
#define APPLYING_BYTES_MAX (4u << 20) /* handed out and not yet applied */

int node_exists(struct io *io, const char *wal_dir, bool *ret_exists)
{
    return wal_exists(io, wal_dir, ret_exists);
}

static struct wal_options wal_options(const struct node_options *o, uint8_t metadata[16])
{
    put_be64(metadata, o->cluster_id);
    put_be64(metadata + 8, o->member_id);
    return (struct wal_options){
        .io = o->io,
        .dir = o->wal_dir,
        .segment_size = o->wal_segment_bytes ? o->wal_segment_bytes : SEGMENT_SIZE,
        .metadata = slice_of(metadata, 16),
    };
}

/* The log as replay has read it so far, at the end the whole log. When memory is full, the oldest entries
 * that the store has applied stay only on disk, and only their terms are kept. */
struct replayed {
    struct raft_term_run *runs; /* contiguous from the first entry on, up to entries[head] */
    size_t run_count, run_capacity;
    struct raft_entry *entries; /* from head on */
    size_t head, count, capacity;
    uint64_t next;  /* index after the last entry; 0 = there was none yet */
    uint64_t bytes; /* of entries in memory */
    uint64_t bytes_max, applied_index;
    uint64_t snapshot_index, snapshot_term;
    bool has_snapshot; /* the WAL has a snapshot mark; else it is the bootstrap's place */
    struct wal_hard_state state;
};

static uint64_t first_held(const struct replayed *r)
{
    return r->next - r->count;
}

/* The first entry, in memory or on disk. Only when there is one. */
static uint64_t first_index(const struct replayed *r)
{
    return r->run_count ? r->runs[0].index : first_held(r);
}

static bool is_empty(const struct replayed *r)
{
    return r->count == 0 && r->run_count == 0;
}

static uint64_t size_of(const struct raft_entry *e)
{
    return sizeof *e + raft_payload_bytes(e->data);
}

static void release_entry(struct replayed *r, const struct raft_entry *e)
{
    r->bytes -= size_of(e);
    blob_unref(e->data);
}

/* Drops the entries from index on. */
static void drop_tail(struct replayed *r, uint64_t index)
{
    while (r->count && r->next > index) {
        release_entry(r, &r->entries[r->head + --r->count]);
        r->next--;
    }
    while (r->run_count && r->runs[r->run_count - 1].index >= index)
        r->run_count--;
    if (r->next > index)
        r->next = index;
}

static void drop_all(struct replayed *r)
{
    drop_tail(r, 0);
    r->head = 0;
    r->next = 0;
}

/* Drops the first entry in memory. */
static void drop_first(struct replayed *r)
{
    release_entry(r, &r->entries[r->head++]);
    r->count--;
}

static void add_run(struct replayed *r, const struct raft_entry *e)
{
    if (r->run_count && r->runs[r->run_count - 1].term == e->term)
        return;
    if (r->run_count == r->run_capacity) {
        r->run_capacity = r->run_capacity ? r->run_capacity * 2 : 16;
        r->runs = mem_resize(r->runs, r->run_capacity * sizeof *r->runs);
    }
    r->runs[r->run_count++] = (struct raft_term_run){e->index, e->term};
}

static void limit_memory(struct replayed *r)
{
    while (r->bytes > r->bytes_max && r->count && first_held(r) <= r->applied_index) {
        add_run(r, &r->entries[r->head]);
        drop_first(r);
    }
}

static struct raft_entry *add_entry(struct replayed *r)
{
    if (r->head + r->count == r->capacity) {
        if (r->count)
            memmove(r->entries, r->entries + r->head, r->count * sizeof *r->entries);
        r->head = 0;
        if (r->count >= r->capacity / 2) {
            r->capacity = r->capacity ? r->capacity * 2 : 1024;
            r->entries = mem_resize(r->entries, r->capacity * sizeof *r->entries);
        }
    }
    return &r->entries[r->head + r->count++];
}

static int on_entry(void *arg, const struct wal_entry *entry)
{
    struct replayed *r = arg;
    if (entry->index <= r->snapshot_index)
        return OK;
    if (is_empty(r))
        r->next = entry->index;
    if (MUTANT(NODE_OVERWRITE_IGNORED) && entry->index < r->next)
        return OK;
    if (entry->index > r->next)
        return ERR_CORRUPT; /* a gap */
    drop_tail(r, entry->index);
    /* The first segment that is left may begin above an overwrite that begins at a lower index. */
    r->next = entry->index + 1;
    struct raft_entry *e = add_entry(r);
    *e = (struct raft_entry){
        .index = entry->index,
        .term = entry->term,
        .type = (enum raft_entry_type)entry->type,
        .data = entry->data.size ? blob_copy(entry->data) : NULL,
    };
    r->bytes += size_of(e);
    limit_memory(r);
    return OK;
}

static int on_hard_state(void *arg, const struct wal_hard_state *state)
{
    ((struct replayed *)arg)->state = *state;
    return OK;
}

static uint64_t term_at(const struct replayed *r, uint64_t index)
{
    if (index >= first_held(r))
        return r->entries[r->head + (index - first_held(r))].term;
    size_t i = r->run_count;
    while (r->runs[i - 1].index > index)
        i--;
    return r->runs[i - 1].term;
}

static void drop_before(struct replayed *r, uint64_t index)
{
    while (r->count && first_held(r) < index)
        drop_first(r);
    size_t drop_count = 0; /* runs that end before index */
    while (drop_count < r->run_count &&
           (drop_count + 1 < r->run_count ? r->runs[drop_count + 1].index : first_held(r)) <= index)
        drop_count++;
    r->run_count -= drop_count;
    if (drop_count && r->run_count)
        memmove(r->runs, r->runs + drop_count, r->run_count * sizeof *r->runs);
    if (r->run_count && r->runs[0].index < index)
        r->runs[0].index = index;
}

static int node_open_on_snapshot(void *arg, uint64_t index, uint64_t term)
{
    struct replayed *r = arg;
    r->has_snapshot = true;
    if (index <= r->snapshot_index)
        return OK;
    r->snapshot_index = index;
    r->snapshot_term = term;
    if (is_empty(r) || index < first_index(r)) /* a log that was cut begins with a snapshot: no list yet */
        return OK;
    /* There are two kinds of marks. After a mark of our own the log goes on. A mark of a leader's snapshot
     * replaces the whole log when the log holds its place with another term, or does not reach it. Raft keeps
     * a log that has the snapshot's place in it. */
    if (index >= r->next || term_at(r, index) != term)
        drop_all(r);
    else
        drop_before(r, index + 1);
    return OK;
}

static int check_replayed(const struct node_options *o, const struct replayed *r, const struct buf *metadata,
                          char *error, size_t error_size)
{
    uint64_t last = is_empty(r) ? r->snapshot_index : r->next - 1;
    if (metadata->size != 16 || get_be64(metadata->data) != o->cluster_id ||
        get_be64(metadata->data + 8) != o->member_id) {
        snprintf(error, error_size, "%s: the log belongs to another member than the store beside it",
                 o->wal_dir);
        return ERR_CORRUPT;
    }
    if (!is_empty(r) && first_index(r) > r->snapshot_index + 1) {
        snprintf(error, error_size,
                 "%s: the log begins at entry %" PRIu64 ", entries from %" PRIu64 " on are missing",
                 o->wal_dir, first_index(r), r->snapshot_index + 1);
        return ERR_CORRUPT;
    }
    if (o->applied_index > last || o->applied_index < r->snapshot_index) {
        snprintf(error, error_size,
                 "%s: the store holds entry %" PRIu64 " but the log holds entries %" PRIu64 " to %" PRIu64
                 "; one of the two was replaced",
                 o->wal_dir, o->applied_index, r->snapshot_index + 1, last);
        return ERR_CORRUPT;
    }
    return OK;
}

/* Keeps entries that are not known to be committed from raft. The first entry of the new term replaces them
 * in the log, too. */
static void drop_uncommitted(const struct node_options *o, struct raft_initial *initial)
{
    uint64_t committed = initial->hard_state.commit;
    if (committed < o->applied_index)
        committed = o->applied_index;
    if (committed < initial->snapshot_index)
        committed = initial->snapshot_index;
    uint64_t before = initial->run_count ? initial->first_entry - 1 : initial->snapshot_index;
    if (initial->entry_count > committed - before) {
        log_warn("dropping entries that are not known to be committed", F_UINT("behind-index", committed),
                 F_UINT("count", initial->entry_count - (committed - before)));
        initial->entry_count = committed - before;
    }
}

static int start_raft(struct node *n, const struct replayed *r, char *error, size_t error_size)
{
    const struct node_options *o = &n->options;
    struct raft_config config = {
        .id = o->member_id,
        .election_tick = (uint32_t)(o->election_ms / o->heartbeat_ms),
        .heartbeat_tick = 1,
        .seed = o->io->ops->random(o->io),
        .applied = o->applied_index,
        .max_size_per_message = MESSAGE_BYTES_MAX,
        .max_committed_size_per_ready = APPLYING_BYTES_MAX,
        .max_inflight_messages = INFLIGHT_MESSAGES,
        .max_inflight_bytes = INFLIGHT_BYTES_MAX,
        .max_uncommitted_size = o->pending_bytes_max + node_reserve(n),
        .check_quorum = true,
        .pre_vote = o->pre_vote,
        .async_storage_writes = true,
        .durable_campaign = true,
    };
    struct raft_initial initial = {
        .hard_state = {r->state.term, r->state.vote, r->state.commit},
        .conf_state = *o->conf_state,
        .snapshot_index = r->snapshot_index,
        .snapshot_term = r->snapshot_term,
        .runs = r->runs,
        .run_count = r->run_count,
        .entries = r->count ? r->entries + r->head : NULL,
        .entry_count = r->count,
        .first_entry = first_held(r),
    };
    if (o->force_alone)
        drop_uncommitted(o, &initial);
    /* The commit index is written lazily. All that the store has applied was committed. */
    if (initial.hard_state.commit < o->applied_index)
        initial.hard_state.commit = o->applied_index;
    if (initial.hard_state.term < r->snapshot_term)
        initial.hard_state.term = r->snapshot_term;
    int err = raft_new(&config, &initial, &n->raft);
    if (err)
        snprintf(error, error_size, "%s: the log contradicts itself (term %" PRIu64 ", commit %" PRIu64 ")",
                 o->wal_dir, initial.hard_state.term, initial.hard_state.commit);
    return err;
}

int node_open(const struct node_options *o, char *error, size_t error_size, struct node **ret_node)
{
    struct node *n = mem_new(sizeof *n);
    n->options = *o;
    struct replayed r = {
        .snapshot_index = BOOTSTRAP_INDEX,
        .snapshot_term = BOOTSTRAP_TERM,
        .bytes_max = o->log_bytes_max,
        .applied_index = o->applied_index,
    };
    if (o->joins)
        r.snapshot_index = r.snapshot_term = 0;
    struct wal_replay replay = {on_entry, on_hard_state, node_open_on_snapshot, &r};
    uint8_t metadata[16];
    struct wal_options options = wal_options(o, metadata);
    struct buf stored_metadata = {0};
    int err;
    if (o->is_new) {
        err = wal_create(&options, &n->wal);
        if (err)
            snprintf(error, error_size, "cannot create a log in %s: %s", o->wal_dir, err_text(err));
        buf_add_slice(&stored_metadata, options.metadata);
    } else {
        err = wal_open(&options, &replay, &stored_metadata, error, error_size, &n->wal);
    }
    if (!err)
        err = check_replayed(o, &r, &stored_metadata, error, error_size);
    if (!err) {
        n->options.conf_state = o->conf_state;
        err = start_raft(n, &r, error, error_size);
        n->options.conf_state = NULL; /* the caller's */
    }
    if (err) {
        if (n->wal)
            wal_close(n->wal);
        mem_free(n);
        goto out;
    }
    log_info("replayed the log", F_UINT("first-index", r.snapshot_index + 1),
             F_UINT("entries", is_empty(&r) ? 0 : r.next - first_index(&r)),
             F_UINT("applied-index", o->applied_index), F_UINT("term", r.state.term));
    n->compacted_index = r.snapshot_index;
    if (!r.has_snapshot && r.snapshot_index)
        wal_add_snapshot(n->wal, r.snapshot_index, r.snapshot_term); /* goes with the first batch */
    n->tick.fire = node_on_tick;
    o->io->ops->timer_start(o->io, &n->tick, o->heartbeat_ms);
    node_set_conf(n, o->conf_state);
    /* A bootstrap query that comes before the first turn must not take this member for one without data
     * (kv/bootstrap.c). */
    n->state.term = raft_term(n->raft);
    n->state.commit = raft_committed_index(n->raft);
    n->state.last_index = raft_last_index(n->raft);
    /* A single voter needs no other vote. */
    if (n->conf.voters.count == 1 && n->conf.voters.id[0] == o->member_id && !n->conf.voters_outgoing.count)
        raft_campaign(n->raft);
    *ret_node = n;
out:
    drop_all(&r);
    mem_free(r.entries);
    mem_free(r.runs);
    buf_done(&stored_metadata);
    return err;
}
