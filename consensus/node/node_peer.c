/* SPDX-License-Identifier: Apache-2.0
 * Raft messages to and from other members. Nothing here acknowledges or repeats a message: raft does that. A
 * message that a stream did not accept is reported to raft. The proposals of such a message go back into the
 * queue, because no other member can have seen them. */
#include "base/failpoint.h"
#include "base/metric.h"
#include "base/mutant.h"
#include "consensus/node/node_impl.h"
#include "consensus/peer/codec.h"

static void queue_again(struct node *n, const struct raft_message *m)
{
    for (size_t i = 0; i < m->entry_count; i++) {
        struct raft_entry e = m->entries[i];
        if (!e.data)
            continue;
        blob_ref(e.data);
        node_queue(n, &e);
    }
    n->is_stream_closed = true;
}

/* Another member's proposals wait in the queue with our own, within the same limits. */
static void queue_forwarded(struct node *n, const struct raft_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct raft_entry e = entries[i];
        if (!e.data)
            continue;
        bool is_internal = n->options.is_internal && !node_has_room(n, &e, false) &&
                           n->options.is_internal(n->options.arg, &e);
        if (!node_has_room(n, &e, is_internal)) {
            metric_add(METRIC_PROPOSALS_REFUSED, 1);
            n->options.refused(n->options.arg, &e, ERR_TOO_MANY_REQUESTS);
            continue;
        }
        blob_ref(e.data);
        e.index = n->ticks;
        e.term = 0;
        node_queue(n, &e);
    }
}

/* Counts the entries before the first configuration change, since changes travel alone. ERR_MALFORMED, or an
 * error of the change's decoder: no entry of the message is used. */
static int count_writes(const struct node *n, const struct raft_message *m, size_t *ret_count)
{
    struct raft_conf_change change;
    size_t count = 0;
    while (count < m->entry_count && m->entries[count].type == RAFT_ENTRY_NORMAL)
        count++;
    *ret_count = count;
    if (m->to != n->options.member_id)
        return ERR_INVALID;
    for (size_t i = count; i < m->entry_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        if (e->type > RAFT_ENTRY_CONF_CHANGE_V2)
            return ERR_MALFORMED;
        if (e->type == RAFT_ENTRY_NORMAL)
            continue;
        int err = raft_conf_change_decode(blob_slice(e->data), e->type == RAFT_ENTRY_CONF_CHANGE, &change);
        if (err)
            return err;
    }
    return OK;
}

/* A configuration change waits in the queue with our own. Proposals that raft refuses, because this member no
 * longer leads or is about to transfer leadership, go to the next leader. */
static void receive_proposals(struct node *n, const struct raft_message *m)
{
    size_t count;
    if (count_writes(n, m, &count) != OK)
        return;
    if (node_is_leader(n)) { /* all that comes in a turn makes one batch */
        queue_forwarded(n, m->entries, m->entry_count);
        return;
    }
    struct raft_message writes = *m;
    writes.entry_count = count;
    if (count && raft_step(n->raft, &writes) == ERR_PROPOSAL_DROPPED)
        queue_forwarded(n, m->entries, count);
    queue_forwarded(n, m->entries + count, m->entry_count - count);
}

static void send_snapshot(struct node *n, const struct raft_message *m)
{
    if (n->options.send_snapshot)
        n->options.send_snapshot(n->options.arg, m);
    else
        raft_report_snapshot(n->raft, m->to, false);
}

void node_send(struct node *n, const struct raft_message *m)
{
    struct peers *peers = n->options.peers;
    if (!peers)
        return;
    if (node_is_leader(n))
        FAILPOINT(RAFT_BEFORE_LEADER_SEND);
    else
        FAILPOINT(RAFT_BEFORE_FOLLOWER_SEND);
    if (m->type == RAFT_MSG_HEARTBEAT && FAILPOINT(RAFT_DROP_HEARTBEAT))
        return;
    if (m->type == RAFT_MSG_SNAP) {
        send_snapshot(n, m);
        return;
    }
    buf_clear(&n->out);
    codec_add_raft(&n->out, m);
    if (MUTANT(FORWARDED_TWICE) && m->type == RAFT_MSG_PROP)
        (void)peers->ops->send(peers, m->to, PEER_STREAM_LOG, buf_slice(&n->out), (struct slice){0});
    if (peers->ops->send(peers, m->to, PEER_STREAM_LOG, buf_slice(&n->out), (struct slice){0}))
        return;
    if (m->type == RAFT_MSG_HEARTBEAT)
        metric_add(METRIC_HEARTBEAT_FAILURES, 1);
    if (m->type == RAFT_MSG_PROP && m->from == n->options.member_id)
        queue_again(n, m);
    if (node_is_leader(n))
        raft_report_unreachable(n->raft, m->to);
}

/* Only a forwarded message may name another sender than the member that brought it. */
static bool is_from(const struct raft_message *m, uint64_t from)
{
    return m->from == from || m->type == RAFT_MSG_PROP || m->type == RAFT_MSG_READ_INDEX ||
           m->type == RAFT_MSG_TRANSFER_LEADER;
}

/* True when the append must be dropped as if the network had lost it. Then the leader repeats it later, and
 * slower.
 *
 * This member's disk or store is slower than its leader, and it holds entries that it cannot drop. It counts
 * as slow only with committed entries that are not applied. Without these it holds uncommitted entries, which
 * the leader's own limits bound. Only more entries of the log can let those commit. */
static bool exceeds_memory(const struct node *n, const struct raft_message *m)
{
    return m->type == RAFT_MSG_APP && m->entry_count &&
           raft_committed_index(n->raft) > raft_applied_index(n->raft) &&
           raft_held_bytes(n->raft) > n->options.log_bytes_max + n->options.pending_bytes_max;
}

void node_receive(struct node *n, uint64_t from, struct slice bytes)
{
    struct raft_message m;
    if (n->is_failed || codec_read_raft(bytes, &n->arena, &m) != OK)
        return;
    if (is_from(&m, from) && m.type == RAFT_MSG_PROP)
        receive_proposals(n, &m);
    else if (is_from(&m, from) && m.type != RAFT_MSG_SNAP && !exceeds_memory(n, &m))
        (void)raft_step(n->raft, &m);
    codec_done_raft(&m);
    arena_reset(&n->arena);
}

/* Within one step only an accepted snapshot moves the log's beginning: committed entries below it do not. */
bool node_receive_snapshot(struct node *n, const struct raft_message *m)
{
    uint64_t first = raft_first_index(n->raft);
    if (n->is_failed || m->type != RAFT_MSG_SNAP || !m->snapshot)
        return false;
    (void)raft_step(n->raft, m);
    return raft_first_index(n->raft) != first;
}

void node_report_unreachable(struct node *n, uint64_t id)
{
    raft_report_unreachable(n->raft, id);
}

void node_report_snapshot(struct node *n, uint64_t id, bool delivered)
{
    raft_report_snapshot(n->raft, id, delivered);
}

void node_transfer(struct node *n, uint64_t to)
{
    if (node_is_leader(n))
        raft_transfer_leader(n->raft, to);
}

bool node_has_change_waiting(const struct node *n)
{
    return raft_has_change_waiting(n->raft);
}
