/* SPDX-License-Identifier: Apache-2.0
 * Transfer of the lead to another member: MoveLeader, before a shutdown, or because the leader was removed.
 */
#include "base/log.h"
#include "consensus/kv/kv_impl.h"

static bool is_voter(const struct kv *kv, uint64_t id)
{
    return raft_ids_has(&node_conf_state(kv->node)->voters, id);
}

void kv_move_leader(struct kv *kv, struct kv_request *r, const Etcdserverpb__MoveLeaderRequest *m)
{
    r->kind = KV_MOVE_LEADER;
    r->message = &m->base;
    r->slices = NULL;
    r->begun_ns = 0; /* none of the requests that etcd times */
    r->started_ms = kv_now_ms(kv);
    int err = OK;
    if (!kv->state.is_leader)
        err = ERR_NOT_LEADER;
    else if (!is_voter(kv, m->targetid))
        err = ERR_BAD_LEADER_TRANSFEREE;
    if (err) {
        kv_fail(kv, r, err);
        return;
    }
    log_info("moving the lead", F_HEX("local-member-id", kv->member_id),
             F_HEX("transferee-member-id", m->targetid));
    node_transfer(kv->node, m->targetid);
    r->state = KV_MOVING;
    list_add_last(&kv->hand_over.moving, &r->link);
    kv_schedule_turn(kv);
}

/* etcd answers MoveLeader without a header. */
static void check_one(struct kv *kv, struct kv_request *r, uint64_t now)
{
    Etcdserverpb__MoveLeaderResponse response = ETCDSERVERPB__MOVE_LEADER_RESPONSE__INIT;
    const Etcdserverpb__MoveLeaderRequest *m = (const Etcdserverpb__MoveLeaderRequest *)r->message;
    if (kv->state.leader == m->targetid) {
        kv_finish(kv, r, OK, &response.base);
    } else if (now - r->started_ms > kv->settings.limit_ms) {
        kv_cancel(kv, r);
        kv_fail(kv, r, ERR_TIMEOUT_LEADER_TRANSFER);
    }
}

void kv_check_hand_over(struct kv *kv)
{
    uint64_t now = kv_now_ms(kv);
    LIST_FOR_EACH_SAFE (l, &kv->hand_over.moving)
        check_one(kv, container_of(l, struct kv_request, link), now);
    /* A leader that was removed hands over a moment later: a member that has not applied the removal yet cannot campaign. */
    if (kv_removed_ms(kv) && kv->state.is_leader && now > kv_removed_ms(kv))
        (void)kv_transfer_lead(kv);
    bool is_elsewhere = kv->state.leader && !kv->state.is_leader;
    if (kv->hand_over.done && (is_elsewhere || now >= kv->hand_over.until_ms)) {
        void (*done)(void *) = kv->hand_over.done;
        kv->hand_over.done = NULL;
        done(kv->hand_over.done_arg);
    }
}

/* Members with a connection come before those without one: raft forgets only once per election timeout which
 * members it has heard, and a member that has just stopped often has the longest log. 0 = out of reach. */
static int reach(const struct kv *kv, const struct raft_progress_status *p)
{
    return kv_peer_is_active(kv, p->id, UINT64_MAX) ? 2 : p->recent_active;
}

/* The voter within reach whose log reaches furthest; 0 = none. */
static uint64_t best_successor(const struct kv *kv)
{
    struct raft_status *status = mem_new(sizeof *status);
    uint64_t best = 0, match = 0;
    int best_reach = 1;
    node_get_status(kv->node, status);
    for (uint32_t i = 0; i < status->progress_count; i++) {
        const struct raft_progress_status *p = &status->progress[i];
        if (p->id == kv->member_id || p->learner || !is_voter(kv, p->id))
            continue;
        int within = reach(kv, p);
        if (within > best_reach || (within == best_reach && p->match >= match)) {
            best = p->id;
            match = p->match;
            best_reach = within;
        }
    }
    mem_free(status);
    return best;
}

bool kv_transfer_lead(struct kv *kv)
{
    uint64_t to = node_is_leader(kv->node) ? best_successor(kv) : 0;
    if (to) {
        log_info("handing the lead over", F_HEX("local-member-id", kv->member_id),
                 F_HEX("transferee-member-id", to));
        node_transfer(kv->node, to);
    }
    return to != 0;
}

bool kv_on_hand_over(void *arg)
{
    return kv_transfer_lead(arg);
}

void kv_hand_over(struct kv *kv, void (*done)(void *arg), void *arg)
{
    if (!kv->peers || !kv_transfer_lead(kv)) {
        done(arg);
        return;
    }
    kv->hand_over.done = done;
    kv->hand_over.done_arg = arg;
    kv->hand_over.until_ms = kv_now_ms(kv) + kv->settings.election_ms;
    kv_schedule_turn(kv);
}

void kv_hand_over_init(struct kv_hand_over_state *h)
{
    list_init(&h->moving);
}

void kv_hand_over_stop(struct kv *kv)
{
    kv_stop_list(kv, &kv->hand_over.moving);
}
