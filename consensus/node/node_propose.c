/* SPDX-License-Identifier: Apache-2.0
 * Proposal queues: entries on their way into raft, and ReadIndex requests.
 *
 *   proposals   writes; raft takes them in batches
 *   changes     changes of the configuration; raft takes one at a time and makes an empty entry of any other
 *
 * So a change waits here, on the leader, until the one before it is applied. That can be later than on other
 * members, which may have committed it without this disk. Writes that came after a change do not wait with
 * it.
 *
 * An entry that has left a queue is in this leader's log, or on its way to the leader. It is never proposed
 * again. An entry that is refused for lack of room is reported to its sender (options.refused). */
#include "base/metric.h"
#include "base/mutant.h"
#include "consensus/node/node_impl.h"

#define FORWARD_BYTES     (1u << 20) /* of proposals in one message to the leader; a larger one goes alone */
#define CHANGES_MAX       64         /* an operator causes each of them */
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

/* Removes the first count entries. */
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

/* Proposals on their way to another leader do not count. They are in the stream's queue, which has its own
 * limit, and then count at the leader. */
bool node_has_room(const struct node *n, const struct raft_entry *entry, bool is_internal)
{
    uint64_t pending = node_pending_bytes(n), limit = n->options.pending_bytes_max;
    if (is_internal || entry->type != RAFT_ENTRY_NORMAL || MUTANT(RESERVE_FOR_ALL))
        limit += node_reserve(n);
    /* An entry that is larger than the limit goes alone. */
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

static int propose_entry(struct node *n, struct blob *data, enum raft_entry_type type, uint64_t term,
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
    return propose_entry(n, data, RAFT_ENTRY_NORMAL, 0, false);
}

int node_propose_internal(struct node *n, struct blob *data)
{
    return propose_entry(n, data, RAFT_ENTRY_NORMAL, 0, true);
}

int node_propose_as_leader(struct node *n, struct blob *data)
{
    if (!node_is_leader(n)) {
        blob_unref(data);
        return ERR_NOT_LEADER;
    }
    return propose_entry(n, data, RAFT_ENTRY_NORMAL, raft_term(n->raft), true);
}

int node_propose_conf_change(struct node *n, const struct raft_conf_change *change)
{
    return propose_entry(n, raft_conf_change_encode(change, false), RAFT_ENTRY_CONF_CHANGE_V2, 0, true);
}

bool node_has_queued(const struct node *n)
{
    return n->proposals.count || n->changes.count;
}

bool node_has_queued_change(const struct node *n)
{
    return n->changes.count != 0;
}

/* Removes the entries that must not be proposed any more:
 *
 *   - the term of the leader that decided them is over
 *   - they have waited for a leader longer than any request waits for its answer */
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

/* Drops the entries whose requests are about to end by their timeout. */
static void drop_expired(struct node *n, struct proposals *q)
{
    uint64_t ticks = n->options.proposal_wait_ms / n->options.heartbeat_ms;
    if (q->count)
        drop_stale(n, q, ticks > 2 ? ticks - 2 : 0);
}

/* A leader takes all entries. A message to the leader has a limited size. */
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
    drop_expired(n, q);
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

/* True: the change waits until another member leads.
 *
 * A leader does not propose its own removal. It would be the first to know the commit. A last other voter
 * that has not heard of the commit by then needs its vote. So this leader transfers leadership first, and the
 * successor proposes the change. If the transfer does not succeed in time, this leader proposes it after
 * all. */
static bool waits_for_successor(struct node *n, const struct raft_entry *e)
{
    bool was_tried = n->transfer_term == raft_term(n->raft);
    if (MUTANT(LEADER_REMOVES_ITSELF) || was_tried || !removes_this_member(n, e))
        return false;
    n->transfer_term = raft_term(n->raft);
    return n->options.hand_over(n->options.arg);
}

static bool can_propose_change(struct node *n, const struct raft_entry *change)
{
    return !node_is_leader(n) ||
           ((raft_takes_change(n->raft) || MUTANT(CHANGE_LOST)) && !waits_for_successor(n, change));
}

static void propose_changes(struct node *n)
{
    struct proposals *q = &n->changes;
    size_t done = 0;
    while (done < q->count && can_propose_change(n, q->list + done)) {
        if (raft_propose(n->raft, q->list + done, 1) == ERR_PROPOSAL_DROPPED)
            break;
        done++;
    }
    dequeue(n, q, done);
    drop_expired(n, q);
}

/* True while a leader's log is being written: the entries that come meanwhile make one batch, also for the
 * followers' logs. A sync and a message cost as much for one entry as for sixty. When our own disk stalls,
 * the followers commit, and the next batch leaves after that. */
static bool is_collecting_batch(const struct node *n)
{
    return !n->is_alone && node_is_leader(n) && wal_is_busy(n->wal) &&
           raft_committed_index(n->raft) < raft_last_index(n->raft);
}

void node_propose_queued(struct node *n)
{
    if (n->proposals.count && !n->is_stream_closed && !is_collecting_batch(n))
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
