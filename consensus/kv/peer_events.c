/* SPDX-License-Identifier: Apache-2.0
 * Events of the transport to other members. Messages go to the part that reads them; connections that come
 * and go are reported to raft and to the parts that wait for an answer. */
#include "consensus/kv/kv_impl.h"

#include "base/log.h"
#include "consensus/peer/codec.h"

#define LEAVING_MS 500

/* True: this member is a sole voter and another one, which it does not know, speaks to it. A sole voter knows
 * every member that came or went. So the other one knew an earlier life of this member, whose disk was lost
 * and whose votes it would break. It began anew because its options name no other member to query
 * (node/boot_rules.c). No message is heard, and this life ends. */
static bool is_of_earlier_life(const struct kv *kv, uint64_t from)
{
    const struct raft_conf_state *conf = node_conf_state(kv->node);
    return conf->voters.count == 1 && conf->voters.id[0] == kv->member_id && !conf->voters_outgoing.count &&
           !member_find(&kv->members, from) && !member_is_removed(&kv->members, from) &&
           !node_has_change_waiting(kv->node);
}

static void end_this_life(struct kv *kv, uint64_t from)
{
    if (kv_removed_ms(kv))
        return;
    log_error(
        "this member began a cluster of its own, but another one knows it: its disk was lost. Remove its "
        "data folder and name the others in --initial-cluster",
        F_HEX("local-member-id", kv->member_id), F_HEX("other-member-id", from));
    (void)kv_note_removed(kv);
}

static void kv_peer_on_message(void *arg, uint64_t from, enum peer_stream stream, struct slice message)
{
    struct kv *kv = arg;
    if (kv_is_closing(kv) || message.size < 1)
        return;
    if (is_of_earlier_life(kv, from)) {
        end_this_life(kv, from);
        return;
    }
    (void)stream;
    struct slice body = slice_of(message.data + 1, message.size - 1);
    switch (message.data[0]) {
    case CODEC_RAFT:
        node_receive(kv->node, from, body);
        break;
    case CODEC_CALL:
    case CODEC_REPLY:
        kv_leader_calls_on_message(kv, from, message.data[0] == CODEC_REPLY, body);
        break;
    case CODEC_SNAPSHOT:
        kv_on_snapshot_message(kv, from, body);
        break;
    case CODEC_ASK:
    case CODEC_ANSWER:
        kv_member_rpc_on_message(kv, from, message.data[0] == CODEC_ANSWER, body);
        break;
    default:
        break; /* a kind that a later version has */
    }
}

static void on_unreachable(void *arg, uint64_t id, enum peer_stream stream)
{
    struct kv *kv = arg;
    if (!kv_is_closing(kv) && stream == PEER_STREAM_BULK)
        kv_member_rpc_unreachable(kv, id);
    if (kv_is_closing(kv) || stream != PEER_STREAM_LOG)
        return;
    node_report_unreachable(kv->node, id);
    if (id == kv->state.leader)
        kv_note_leader_loss(kv, ERR_TIMEOUT_CONNECTION_LOST, 0);
}

static void on_reachable(void *arg, uint64_t id, enum peer_stream stream)
{
    struct kv *kv = arg;
    struct member *member = member_find(&kv->members, id);
    if (!kv_is_closing(kv) && stream == PEER_STREAM_BULK)
        kv_snapshot_on_reachable(kv, id);
    if (kv_is_closing(kv) || stream != PEER_STREAM_LOG)
        return;
    if (is_of_earlier_life(kv, id))
        end_this_life(kv, id);
    if (member)
        member->was_heard = true;
    kv_advance_ticks(kv);
    if (id == kv->state.leader)
        kv_requeue_calls(kv); /* what was under way is lost */
}

static void on_query(void *arg, struct peer_served_query *question, const struct peer_query_sender *asker,
                     struct slice text)
{
    kv_dispatch_query(arg, question, asker, text);
}

static void on_unconfirmed(void *arg, uint64_t id)
{
    (void)id; /* the query is for all members: it does not depend on what a process claims */
    kv_peer_listing_start(arg);
}

static void on_removed(void *arg, uint64_t told_by)
{
    struct kv *kv = arg;
    if (kv_removed_ms(kv))
        return;
    log_warn("another member says that this one was removed from the cluster",
             F_HEX("local-member-id", kv->member_id), F_HEX("told-by", told_by));
    (void)kv_note_removed(kv);
}

static const struct peer_events peer_events = {
    .on_message = kv_peer_on_message,
    .on_unreachable = on_unreachable,
    .on_reachable = on_reachable,
    .on_query = on_query,
    .on_unconfirmed = on_unconfirmed,
    .on_removed = on_removed,
};

void kv_peers_set(struct kv *kv)
{
    const struct peer_ops *ops = kv->peers->ops;
    for (size_t i = 0; i < kv->members.count; i++) {
        const struct member *m = &kv->members.list[i];
        if (m->id != kv->member_id)
            ops->set_member(kv->peers, m->id, (const char *const *)m->peer_urls, m->peer_url_count);
    }
    for (size_t i = 0; i < kv->members.removed_count; i++)
        ops->remove_member(kv->peers, kv->members.removed[i]);
}

void kv_peers_announce(struct kv *kv)
{
    const struct peer_ops *ops = kv->peers->ops;
    ops->set_events(kv->peers, &peer_events, kv);
    kv_peers_set(kv);
    ops->set_identity(kv->peers, kv->cluster_id, kv->member_id);
}

bool kv_peer_is_active(const struct kv *kv, uint64_t id, uint64_t since_ms)
{
    struct peer_round_trip list[RAFT_MEMBERS_MAX];
    if (id == kv->member_id)
        return true;
    if (!kv->peers)
        return false;
    size_t count = kv->peers->ops->round_trips(kv->peers, list, RAFT_MEMBERS_MAX);
    for (size_t i = 0; i < count; i++)
        if (list[i].id == id)
            return list[i].active_since_ms && list[i].active_since_ms <= since_ms;
    return false;
}

void kv_disconnect_later(struct kv *kv, uint64_t id)
{
    kv->peer_events.leaving = mem_resize(kv->peer_events.leaving, (kv->peer_events.leaving_count + 1) *
                                                                      sizeof *kv->peer_events.leaving);
    kv->peer_events.leaving[kv->peer_events.leaving_count++] =
        (struct kv_leaving){id, kv_now_ms(kv) + LEAVING_MS};
}

void kv_disconnect_removed(struct kv *kv)
{
    size_t gone = 0;
    for (; gone < kv->peer_events.leaving_count && kv->peer_events.leaving[gone].until_ms <= kv_now_ms(kv);
         gone++) {
        kv->peers->ops->remove_member(kv->peers, kv->peer_events.leaving[gone].id);
        kv_snapshot_forget(kv, kv->peer_events.leaving[gone].id);
    }
    kv->peer_events.leaving_count -= gone;
    if (gone)
        memmove(kv->peer_events.leaving, kv->peer_events.leaving + gone,
                kv->peer_events.leaving_count * sizeof *kv->peer_events.leaving);
}

void kv_peer_turn(struct kv *kv)
{
    if (kv_send_calls(kv))
        kv_run_reads(kv); /* those that are ours to answer by now */
    /* Reads may have begun a round after the node's turn: their message must not wait for the next event. */
    if (node_has_work(kv->node)) {
        node_turn(kv->node);
        kv_run_reads(kv);
    }
    kv_send_replies(kv);
    kv->peers->ops->flush(kv->peers);
}

void kv_peer_events_done(struct kv_peer_events *e)
{
    mem_free(e->leaving);
}
