/* SPDX-License-Identifier: Apache-2.0
 * Raft core driver: WAL batches, messages, application of committed entries. See node.h.
 *
 * Life of a proposal, happy path (the numbers stand in the drawing below):
 *   1. node_propose     puts the entry into the proposal queue, at any time in a turn.
 *   2. node_turn        hands the queue to raft as one batch. A follower's raft sends it to the leader.
 *   3. handle_ready     The leader's raft sends the entries to the followers and wants them stored:
 *                       node_collect adds them to the WAL batch that is being collected.
 *   4. node_submit      passes the batch to the WAL, when no other batch is under way.
 *   5. node_on_written  The batch is on disk: release_messages sends the after-append messages.
 *   6. node_turn        raft reports the entries as committed: options.apply is called for each entry.
 *
 * After-append messages (etcd-raft: msgsAfterAppend, the Responses of MsgStorageAppend) are votes and
 * acknowledgements. Each rests on a hard state or on entries, and must leave only after these are on disk.
 *
 * Where an entry waits:
 *
 *    node_propose
 *        | 1
 *    +---v------------------+
 *    | proposals, changes   |  no leader, no stream to it, leadership transfer, a batch being written
 *    +---+------------------+
 *        | 2 raft_propose
 *    +---v------------------+
 *    | raft log, unstable   | ---> the followers get it at the same time
 *    +---+------------------+
 *        | 3 RAFT_APPEND_THREAD
 *    +---v------------------+
 *    | collecting           |  another batch is under way, or a snapshot is being installed
 *    +---+------------------+
 *        | 4 wal_submit
 *    +---v------------------+
 *    | under_way            |  write and sync; the after-append messages wait with it
 *    +---+------------------+
 *        | 5 node_on_written
 *    +---v------------------+
 *    | raft log, stable     |  a majority has not stored it yet
 *    +---+------------------+
 *        | 6 RAFT_APPLY_THREAD
 *    +---v------------------+
 *    | applying             |  the turn's time is over, the store has no room, or an entry takes long
 *    +---+------------------+
 *        v options.apply
 *
 * Failures:
 *   - A write or a sync: options.failed, final.
 *   - There is no leader, or no stream to it: the proposal queue waits, at most proposal_wait_ms.
 *   - An entry that was sent to a leader can be lost with that leader. Its outcome is unknown, so it is never
 *     sent again. The client's request ends as soon as the loss is certain (kv_check_dropped), or by its own
 *     timeout. */
#include "base/failpoint.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/mutant.h"
#include "base/turn.h"
#include "consensus/node/node_impl.h"

#define HERE_ENTRIES_MAX 64
#define HERE_BYTES_MAX   (256u << 10) /* writing them to the page cache takes about 0.1 ms */
#define HERE_SYNC_NS_MAX 500000
#define APPLY_NS         2000000 /* of one turn; the remaining entries are applied in the next one */
#define LARGE_ENTRY      16384
#define COMPACT_STEP     1000 /* entries at most: the log is cut in steps, not at every commit */

static void node_on_written(void *arg, const struct wal_result *result);
static void release_messages(struct node *n, int err);

/* --- work from raft: storing, applying, sending ------------------------------------------------------ */

static void hold_messages(struct node *n, const struct raft_message *m)
{
    struct held_messages *p = &n->collecting;
    if (p->count + m->response_count > p->capacity) {
        p->capacity = (p->count + m->response_count) * 2;
        p->list = mem_resize(p->list, p->capacity * sizeof *p->list);
    }
    for (size_t i = 0; i < m->response_count; i++) {
        if (MUTANT(NODE_PROMISES_BEFORE_DISK) && m->responses[i].to != n->options.member_id)
            node_send(n, &m->responses[i]);
        p->list[p->count++] = raft_message_keep(&m->responses[i]);
    }
}

static void free_snapshot(struct held_messages *p)
{
    if (p->snapshot)
        blob_unref(p->snapshot->data);
    mem_free(p->snapshot);
    p->snapshot = NULL;
}

/* The mark says that the log begins after the snapshot. It stands before the entries that follow it. */
static void collect_snapshot(struct node *n, const struct raft_snapshot *snapshot)
{
    FAILPOINT(RAFT_BEFORE_SAVE_SNAP);
    wal_add_snapshot(n->wal, snapshot->index, snapshot->term);
    free_snapshot(&n->collecting);
    n->collecting.snapshot = mem_copy(snapshot, sizeof *snapshot);
    blob_ref(snapshot->data);
}

/* Decides whether the batch must be on disk before the messages that come with it or after it leave. A commit
 * index alone need not be. The answer to an append without entries rests on earlier batches and waits only
 * for those. */
static bool must_be_synced(const struct node *n, const struct raft_message *m)
{
    bool has_state = m->term || m->vote || m->commit;
    return m->snapshot || m->entry_count ||
           (has_state && (m->term != n->saved_term || m->vote != n->saved_vote));
}

static void node_collect(struct node *n, const struct raft_message *m)
{
    n->needs_sync |= must_be_synced(n, m);
    if (m->snapshot)
        collect_snapshot(n, m->snapshot);
    n->collected += m->entry_count;
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        struct wal_entry entry = {e->index, e->term, (uint8_t)e->type, blob_slice(e->data)};
        wal_add_entry(n->wal, &entry);
        n->collected_bytes += entry.data.size;
    }
    if ((m->term || m->vote || m->commit) && !MUTANT(NODE_HARD_STATE_LEFT_OUT)) {
        struct wal_hard_state state = {m->term, m->vote, m->commit};
        wal_add_hard_state(n->wal, &state);
    }
    if (m->term || m->vote || m->commit) {
        n->saved_term = m->term;
        n->saved_vote = m->vote;
    }
    if (m->response_count)
        hold_messages(n, m);
}

void node_set_conf(struct node *n, const struct raft_conf_state *conf)
{
    n->conf = *conf;
    n->is_alone = conf->voters.count == 1 && conf->voters.id[0] == n->options.member_id &&
                  conf->voters_outgoing.count == 0 && conf->learners.count == 0;
    n->is_learner = raft_ids_has(&conf->learners, n->options.member_id);
}

int node_apply_conf_change(struct node *n, const struct raft_conf_change *change,
                           struct raft_conf_state *ret_state)
{
    FAILPOINT(BEFORE_APPLY_ONE_CONF_CHANGE);
    int err = raft_apply_conf_change(n->raft, change, ret_state);
    if (!err)
        node_set_conf(n, ret_state);
    return err;
}

static bool is_turn_over(const struct node *n, size_t i, const struct raft_entry *e)
{
    bool is_large = e->data && e->data->size > LARGE_ENTRY;
    if (!is_large && i % NODE_WILL_APPLY_MAX != NODE_WILL_APPLY_MAX - 1)
        return false;
    return n->options.io->ops->mono_ns(n->options.io) - n->apply_began_ns >= APPLY_NS;
}

static bool has_store_room(const struct node *n)
{
    return n->is_entry_open || !n->options.may_apply || n->options.may_apply(n->options.arg);
}

/* Begins with the entry `from`. Returns how many entries are applied now. */
static size_t apply_entries(struct node *n, const struct raft_message *m, size_t from)
{
    for (size_t i = from; i < m->entry_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        size_t left = m->entry_count - i;
        if (!has_store_room(n))
            return i;
        if (i % NODE_WILL_APPLY_MAX == 0 && left > 1 && n->options.will_apply)
            n->options.will_apply(n->options.arg, e, left < NODE_WILL_APPLY_MAX ? left : NODE_WILL_APPLY_MAX);
        bool is_done = n->options.apply(n->options.arg, e);
        if (n->is_failed) /* application stops at this entry */
            return i;
        n->is_entry_open = !is_done;
        if (n->is_entry_open)
            return i;
        if (is_turn_over(n, i, e))
            return i + 1;
    }
    return m->entry_count;
}

static void report_applied(struct node *n, const struct raft_message *m)
{
    for (size_t i = 0; i < m->response_count; i++)
        (void)raft_step_local(n->raft, &m->responses[i]);
}

void node_stop(struct node *n)
{
    n->is_failed = true;
}

/* Entries for which there is no time, or no room in the store, are held: at most APPLYING_BYTES_MAX. Then
 * raft hands out no more. */
static void apply(struct node *n, const struct raft_message *m)
{
    struct held_messages *p = &n->applying;
    size_t count = p->count ? 0 : apply_entries(n, m, 0);
    if (!p->count && count == m->entry_count) {
        report_applied(n, m);
        return;
    }
    if (p->count == 0)
        n->applied_count = count;
    if (p->count == p->capacity) {
        p->capacity = p->capacity ? p->capacity * 2 : 4;
        p->list = mem_resize(p->list, p->capacity * sizeof *p->list);
    }
    p->list[p->count++] = raft_message_keep(m);
}

/* Applies the entries that an earlier turn has left. */
static void apply_held(struct node *n)
{
    struct held_messages *p = &n->applying;
    n->apply_began_ns = n->options.io->ops->mono_ns(n->options.io);
    while (p->count) {
        struct raft_message *m = &p->list[0];
        size_t before = n->applied_count;
        n->applied_count = apply_entries(n, m, before);
        if (n->applied_count < m->entry_count)
            return;
        report_applied(n, m);
        raft_message_done(m);
        n->applied_count = 0;
        memmove(p->list, p->list + 1, --p->count * sizeof *p->list);
    }
    if (n->is_install_waiting) {
        n->is_install_waiting = false;
        n->options.install(n->options.arg, n->under_way.snapshot);
    }
}

static void handle_ready(struct node *n, const struct raft_ready *ready)
{
    for (size_t i = 0; i < ready->message_count; i++) {
        const struct raft_message *m = &ready->messages[i];
        if (m->to == RAFT_APPEND_THREAD) {
            node_collect(n, m);
        } else if (m->to == RAFT_APPLY_THREAD) {
            enum turn_work before = turn_enter(TURN_KV_APPLY);
            apply(n, m);
            turn_enter(before);
        } else {
            node_send(n, m);
        }
    }
    for (size_t i = 0; i < ready->read_state_count; i++) {
        const struct raft_read_state *s = &ready->read_states[i];
        if (s->context.size == 8)
            n->options.read_done(n->options.arg, get_be64(s->context.data), s->index);
    }
}

static void notify_state(struct node *n)
{
    struct node_state now = {
        .term = raft_term(n->raft),
        .leader = raft_leader(n->raft),
        .commit = raft_committed_index(n->raft),
        .last_index = raft_last_index(n->raft),
        .is_leader = node_is_leader(n),
        .is_learner = n->is_learner,
    };
    bool is_same = now.term == n->state.term && now.leader == n->state.leader &&
                   now.commit == n->state.commit && now.last_index == n->state.last_index &&
                   now.is_leader == n->state.is_leader && now.is_learner == n->state.is_learner;
    if (is_same)
        return;
    n->state = now;
    n->options.state_changed(n->options.arg, &n->state);
}

/* Decides whether the batch is written on the loop thread:
 *
 *   - yes for a small batch on a fast disk (a sync takes 0.1 ms): changing threads costs as much
 *   - no for a larger batch or a slower disk: reads, watches and heartbeats go on meanwhile. A large entry is
 *     then proposed in one turn of the loop and applied in a later one
 *   - no for a leader that has followers: their disks can commit while its own disk stalls. A follower only
 *     has to acknowledge */
static bool can_write_here(const struct node *n)
{
    return (n->is_alone || !node_is_leader(n)) && n->collected <= HERE_ENTRIES_MAX &&
           n->collected_bytes <= HERE_BYTES_MAX && n->recent_sync_ns < HERE_SYNC_NS_MAX;
}

/* True when the batch is on disk already, or holds nothing that must be synced. */
static bool node_submit(struct node *n)
{
    /* A batch on which no message and no snapshot waits is not written alone: it joins the next one. */
    bool has_waiters = n->collecting.count || n->collecting.snapshot;
    if (!has_waiters || wal_is_busy(n->wal) || n->is_failed || n->is_installing)
        return false;
    struct held_messages unused = n->under_way;
    n->under_way = n->collecting;
    n->collecting = unused;
    if (!n->needs_sync) {
        release_messages(n, OK);
        return true;
    }
    bool is_here = can_write_here(n);
    FAILPOINT(RAFT_BEFORE_SAVE);
    n->collected = n->collected_bytes = 0;
    n->needs_sync = false;
    enum turn_work before = turn_enter(TURN_WAL_WRITE);
    bool is_written = is_here && wal_submit_here(n->wal, true, node_on_written, n);
    if (!is_written)
        wal_submit(n->wal, true, node_on_written, n);
    turn_enter(before);
    return is_written;
}

/* Names the newest snapshot to raft, for followers whose entries are no longer in the log. The file is made
 * when it is sent. */
static void offer_snapshot(struct node *n)
{
    struct raft_snapshot s = {.index = raft_applied_index(n->raft), .conf_state = n->conf};
    if (n->applied_count) /* the configuration may be of an entry that raft does not know as applied */
        return;
    if (raft_term_at(n->raft, s.index, &s.term) == OK)
        raft_set_snapshot(n->raft, &s);
}

void node_turn(struct node *n)
{
    if (n->is_failed)
        return;
    n->is_stream_closed = false;
    apply_held(n);
    if (raft_wants_snapshot(n->raft))
        offer_snapshot(n);
    do {
        node_propose_queued(n);
        while (!n->is_failed && raft_has_ready(n->raft)) {
            struct raft_ready ready;
            raft_ready(n->raft, &ready);
            handle_ready(n, &ready);
            notify_state(n);
            node_propose_queued(n); /* proposals that applying has caused */
        }
    } while (node_submit(n));
    node_manage_memory(n);
}

bool node_is_applying(const struct node *n)
{
    return !n->is_failed && n->applying.count && has_store_room(n);
}

bool node_has_work(const struct node *n)
{
    return !n->is_failed && raft_has_ready(n->raft);
}

void node_on_tick(struct io_timer *timer)
{
    struct node *n = container_of(timer, struct node, tick);
    n->ticks++;
    raft_tick(n->raft);
    n->options.io->ops->timer_start(n->options.io, &n->tick, n->options.heartbeat_ms);
}

void node_advance(struct node *n)
{
    uint64_t ticks = n->options.election_ms / n->options.heartbeat_ms;
    if (raft_role(n->raft) != RAFT_FOLLOWER || raft_leader(n->raft))
        return;
    for (uint64_t i = 2; i < ticks; i++)
        raft_tick(n->raft);
}

/* --- a batch is on disk ------------------------------------------------------------------------------ */

static void release_messages(struct node *n, int err)
{
    struct held_messages *p = &n->under_way;
    for (size_t i = 0; i < p->count; i++) {
        struct raft_message *m = &p->list[i];
        if (!err && m->to == n->options.member_id)
            (void)raft_step_local(n->raft, m);
        else if (!err)
            node_send(n, m);
        raft_message_done(m);
    }
    p->count = 0;
    free_snapshot(p);
}

static void node_on_written(void *arg, const struct wal_result *result)
{
    struct node *n = arg;
    if (result->err) {
        n->is_failed = true;
        n->options.failed(n->options.arg, result->err);
    }
    FAILPOINT(RAFT_AFTER_SAVE);
    metric_add(METRIC_WAL_BYTES, (double)result->bytes);
    if (result->bytes)
        metric_observe(METRIC_WAL_WRITE, (double)(result->took_ns - result->sync_ns) / 1e9);
    if (result->sync_ns)
        metric_observe(METRIC_WAL_FSYNC, (double)result->sync_ns / 1e9);
    n->recent_sync_ns += result->sync_ns / 16 - n->recent_sync_ns / 16;
    if (n->on_closed) {
        node_close_finish(n);
    } else if (n->under_way.snapshot && !result->err && !MUTANT(SNAPSHOT_NOT_INSTALLED)) {
        FAILPOINT(RAFT_AFTER_SAVE_SNAP);
        n->is_installing = true;
        n->is_install_waiting = n->applying.count != 0;
        if (!n->is_install_waiting)
            n->options.install(n->options.arg, n->under_way.snapshot);
    } else {
        release_messages(n, result->err);
    }
}

void node_installed(struct node *n)
{
    n->is_installing = false;
    n->compacted_index = n->under_way.snapshot->index;
    node_set_conf(n, &n->under_way.snapshot->conf_state);
    FAILPOINT(RAFT_AFTER_WAL_RELEASE);
    release_messages(n, OK);
}

/* --- cutting the log --------------------------------------------------------------------------------- */

/* The index up to which the log is cut, 0 = none. The number of entries decides, or the bytes on disk when
 * that cuts more. With the bytes whole segments go. */
static uint64_t release_index(const struct node *n, uint64_t durable_index)
{
    uint64_t keep = n->options.catchup_entries, step = keep < COMPACT_STEP ? keep : COMPACT_STEP;
    uint64_t by_count = durable_index > keep ? durable_index - keep : 0, by_bytes = 0;
    if (n->options.disk_bytes_max)
        by_bytes = wal_index_beyond(n->wal, n->options.disk_bytes_max);
    if (by_bytes > durable_index)
        by_bytes = durable_index;
    uint64_t applied =
        raft_applied_index(n->raft); /* raft learns of applied entries one whole message at a time */
    uint64_t index = by_count > by_bytes ? by_count : by_bytes;
    if (index > applied)
        index = applied;
    uint64_t least = n->compacted_index + (by_bytes > n->compacted_index ? 1 : step);
    return index >= least ? index : 0;
}

void node_release(struct node *n, uint64_t durable_index)
{
    uint64_t term, index = release_index(n, durable_index);
    if (index == 0 || raft_term_at(n->raft, index, &term) != OK)
        return;
    if (!n->is_alone)
        offer_snapshot(n);
    raft_compact(n->raft, index);
    wal_add_snapshot(n->wal, index, term);
    wal_release(n->wal, index);
    n->compacted_index = index;
}

/* --- state ---------------------------------------------------------------------------------- */

const struct node_state *node_state(const struct node *n)
{
    return &n->state;
}

bool node_is_leader(const struct node *n)
{
    return raft_role(n->raft) == RAFT_LEADER;
}

uint64_t node_last_index(const struct node *n)
{
    return raft_last_index(n->raft);
}

uint64_t node_log_disk_bytes(const struct node *n)
{
    return wal_disk_size(n->wal);
}

uint64_t node_log_begin(const struct node *n)
{
    return raft_first_index(n->raft) - 1;
}

const struct raft_conf_state *node_conf_state(const struct node *n)
{
    return &n->conf;
}

void node_get_status(const struct node *n, struct raft_status *ret_status)
{
    raft_get_status(n->raft, ret_status);
}

uint64_t node_wal_size(const struct node *n)
{
    return wal_disk_size(n->wal);
}

/* --- closing ----------------------------------------------------------------------------------------- */

static void free_messages(struct held_messages *p)
{
    for (size_t i = 0; i < p->count; i++)
        raft_message_done(&p->list[i]);
    mem_free(p->list);
    free_snapshot(p);
}

void node_close_finish(struct node *n)
{
    if (wal_is_busy(n->wal) || wal_is_reading(n->wal))
        return;
    void (*done)(void *) = n->on_closed;
    void *arg = n->on_closed_arg;
    node_drop_queued(n);
    free_messages(&n->applying);
    free_messages(&n->collecting);
    free_messages(&n->under_way);
    wal_close(n->wal);
    raft_free(n->raft);
    buf_done(&n->out);
    arena_done(&n->arena);
    mem_free(n);
    done(arg);
}

void node_close(struct node *n, void (*done)(void *arg), void *arg)
{
    n->options.io->ops->timer_stop(n->options.io, &n->tick);
    n->on_closed = done;
    n->on_closed_arg = arg;
    node_close_finish(n);
}
