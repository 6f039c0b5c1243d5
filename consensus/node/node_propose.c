/* SPDX-License-Identifier: Apache-2.0
 * Proposals on their way into raft. Two queues: writes, which raft takes in batches, and changes of the
 * configuration, of which it takes one at a time and makes an empty entry of any other. So a change waits
 * here, on the leader, until the one before it is applied (which can be later than on other members: they may
 * have committed it without this disk), and the writes behind it do not wait with it.
 *
 * What has left a queue is in this leader's log, or on its way to the leader: it is never proposed again.
 * What is not taken for lack of room is told to whoever asked for it (options.refused). */
#include "base/metric.h"
#include "base/mutant.h"
#include "consensus/node/node_impl.h"

#define FORWARD_BYTES     (1u << 20) /* of proposals in one message to the leader, or a single one */
#define CHANGES_MAX       64         /* each is a person's doing */
#define RESERVE_BYTES_MAX (8u << 20)

static void node_propose_add(struct node *n, struct proposals *q, const struct raft_entry *entry)
{
    if (q->count == q->capacity) {
        q->capacity = q->capacity ? q->capacity * 2 : 256;
        q->list = mem_resize(q->list, q->capacity * sizeof *q->list);
    }
    q->list[q->count++] = *entry;
    n->queued_bytes += entry->data->size;
}

static void node_propose_drop(struct node *n, struct raft_entry *e)
{
    n->queued_bytes -= e->data->size;
    blob_unref(e->data);
}

/* The first count leave the queue. */
static void dequeue(struct node *n, struct proposals *q, size_t count)
{
    if (count == 0)
        return;
    for (size_t i = 0; i < count; i++)
        node_propose_drop(n, &q->list[i]);
    q->count -= count;
    memmove(q->list, q->list + count, q->count * sizeof *q->list);
}

void node_queue(struct node *n, const struct raft_entry *entry)
{
    node_propose_add(n, entry->type == RAFT_ENTRY_NORMAL ? &n->proposals : &n->changes, entry);
}

/* What is on its way to a leader elsewhere does not count: it is in the lane's queue, which has its own
 * limit, and then with the leader. */
bool node_has_room(const struct node *n, const struct raft_entry *entry, bool is_internal)
{
    uint64_t pending = node_pending_bytes(n), limit = n->options.pending_bytes_max;
    if (is_internal || entry->type != RAFT_ENTRY_NORMAL || MUTANT(RESERVE_FOR_ALL))
        limit += node_reserve(n);
    /* One that is larger than the limit goes alone. */
    return (pending == 0 || pending + entry->data->size <= limit) &&
           (entry->type == RAFT_ENTRY_NORMAL || n->changes.count < CHANGES_MAX);
}

uint64_t node_reserve(const struct node *n)
{
    uint64_t quarter = n->options.pending_bytes_max / 4;
    return quarter < RESERVE_BYTES_MAX ? quarter : RESERVE_BYTES_MAX;
}

uint64_t node_pending_bytes(const struct node *n)
{
    return n->queued_bytes + raft_uncommitted_size(n->raft);
}

static int node_propose_run(struct node *n, struct blob *data, enum raft_entry_type type, uint64_t term,
                            bool is_internal)
{
    struct raft_entry entry = {.type = type, .data = data, .index = n->ticks, .term = term};
    if (!node_has_room(n, &entry, is_internal)) {
        metric_add(METRIC_PROPOSALS_REFUSED, 1);
        blob_unref(data);
        return ERR_TOO_MANY_REQUESTS;
    }
    node_queue(n, &entry);
    return OK;
}

int node_propose(struct node *n, struct blob *data)
{
    return node_propose_run(n, data, RAFT_ENTRY_NORMAL, 0, false);
}

int node_propose_internal(struct node *n, struct blob *data)
{
    return node_propose_run(n, data, RAFT_ENTRY_NORMAL, 0, true);
}

int node_propose_as_leader(struct node *n, struct blob *data)
{
    if (!node_is_leader(n)) {
        blob_unref(data);
        return ERR_NOT_LEADER;
    }
    return node_propose_run(n, data, RAFT_ENTRY_NORMAL, raft_term(n->raft), true);
}

int node_propose_conf_change(struct node *n, const struct raft_conf_change *change)
{
    return node_propose_run(n, raft_conf_change_encode(change, false), RAFT_ENTRY_CONF_CHANGE_V2, 0, true);
}

bool node_has_queued(const struct node *n)
{
    return n->proposals.count || n->changes.count;
}

bool node_has_queued_change(const struct node *n)
{
    return n->changes.count != 0;
}

/* Takes out what must not be proposed any more: decided by a leader whose term is over or, without a leader,
 * waiting for longer than anybody waits for an answer. */
static void drop_stale(struct node *n, struct proposals *q, uint64_t wait_ticks)
{
    uint64_t term = node_is_leader(n) ? raft_term(n->raft) : 0;
    size_t kept = 0;
    for (size_t i = 0; i < q->count; i++) {
        struct raft_entry *e = &q->list[i];
        if ((e->term != 0 && e->term != term) || n->ticks - e->index > wait_ticks)
            node_propose_drop(n, e);
        else
            q->list[kept++] = *e;
    }
    q->count = kept;
}

/* What is left is gone before its askers are told that time is up. */
static void drop_old(struct node *n, struct proposals *q)
{
    uint64_t ticks = n->options.proposal_wait_ms / n->options.heartbeat_ms;
    if (q->count)
        drop_stale(n, q, ticks > 2 ? ticks - 2 : 0);
}

/* A leader takes all; a message to the leader has a size. */
static size_t batch_size(const struct node *n, size_t from)
{
    const struct proposals *q = &n->proposals;
    if (node_is_leader(n))
        return q->count - from;
    size_t at = from, bytes = 0;
    while (at < q->count && (at == from || bytes + q->list[at].data->size <= FORWARD_BYTES))
        bytes += q->list[at++].data->size;
    return at - from;
}

static void propose_writes(struct node *n)
{
    struct proposals *q = &n->proposals;
    drop_stale(n, q, UINT64_MAX);
    size_t done = 0;
    int err = OK;
    while (done < q->count && !err) {
        size_t count = batch_size(n, done);
        err = raft_propose(n->raft, q->list + done, count);
        if (err != ERR_PROPOSAL_DROPPED)
            done += count;
    }
    dequeue(n, q, done);
    drop_old(n, q);
}

static bool removes_this_member(const struct node *n, const struct raft_entry *e)
{
    struct raft_conf_change change;
    if (raft_conf_change_decode(blob_slice(e->data), e->type == RAFT_ENTRY_CONF_CHANGE, &change) != OK)
        return false;
    for (uint32_t i = 0; i < change.count; i++)
        if (change.changes[i].type == RAFT_REMOVE_NODE && change.changes[i].node_id == n->options.member_id)
            return true;
    return false;
}

/* A leader does not remove itself: it would be the first to know that it is gone, and a last other voter that
 * has not heard of the commit by then needs its vote. So another leads first, and that one proposes the
 * change. When nobody takes the lead in time it is proposed all the same. True: it waits. */
static bool is_for_successor(struct node *n, const struct raft_entry *e)
{
    bool has_tried = n->hand_over_term == raft_term(n->raft);
    if (MUTANT(LEADER_REMOVES_ITSELF) || has_tried || !removes_this_member(n, e))
        return false;
    n->hand_over_term = raft_term(n->raft);
    return n->options.hand_over(n->options.arg);
}

static bool may_propose(struct node *n, const struct raft_entry *change)
{
    return !node_is_leader(n) ||
           ((raft_takes_change(n->raft) || MUTANT(CHANGE_LOST)) && !is_for_successor(n, change));
}

static void propose_changes(struct node *n)
{
    struct proposals *q = &n->changes;
    size_t done = 0;
    while (done < q->count && may_propose(n, q->list + done)) {
        if (raft_propose(n->raft, q->list + done, 1) == ERR_PROPOSAL_DROPPED)
            break;
        done++;
    }
    dequeue(n, q, done);
    drop_old(n, q);
}

/* What comes to a leader while its own log is being written makes one batch, for the others' logs as well:
 * each sync and each message costs as much for one entry as for sixty. With a disk of ours that hangs the
 * others commit, and the next batch leaves when they have. */
static bool is_gathering(const struct node *n)
{
    return !n->is_alone && node_is_leader(n) && wal_is_busy(n->wal) &&
           raft_committed_index(n->raft) < raft_last_index(n->raft);
}

void node_propose_queued(struct node *n)
{
    if (n->proposals.count && !n->is_stream_closed && !is_gathering(n))
        propose_writes(n);
    if (n->changes.count && !n->is_stream_closed)
        propose_changes(n);
}

void node_drop_queued(struct node *n)
{
    struct proposals *both[] = {&n->proposals, &n->changes};
    for (size_t i = 0; i < 2; i++) {
        dequeue(n, both[i], both[i]->count);
        mem_free(both[i]->list);
    }
}

int node_read(struct node *n, uint64_t read_id)
{
    struct raft_context context = {.size = 8};
    put_be64(context.data, read_id);
    return raft_read_index(n->raft, context) == OK ? OK : ERR_NO_LEADER;
}
