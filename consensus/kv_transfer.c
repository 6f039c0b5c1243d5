/* SPDX-License-Identifier: Apache-2.0
 * Leadership on purpose to another member: asked for, before a shutdown, or because the leader was removed.
 */
#include "base/log.h"
#include "consensus/kv_impl.h"

static bool is_voter(const struct kv *kv, uint64_t id)
{
    return raft_ids_has(&node_conf_state(kv->node)->voters, id);
}

void kv_move_leader(struct kv *kv, struct kv_request *r, const Etcdserverpb__MoveLeaderRequest *m)
{
    r->kind = KV_MOVE_LEADER;
    r->message = &m->base;
    r->slices = NULL;
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
    list_add_last(&kv->moving, &r->link);
    kv_schedule_turn(kv);
}

/* etcd answers MoveLeader without a header. */
static void check_one(struct kv *kv, struct kv_request *r, uint64_t now)
{
    Etcdserverpb__MoveLeaderResponse response = ETCDSERVERPB__MOVE_LEADER_RESPONSE__INIT;
    const Etcdserverpb__MoveLeaderRequest *m = (const Etcdserverpb__MoveLeaderRequest *)r->message;
    if (kv->state.leader == m->targetid) {
        kv_finish(kv, r, OK, &response.base);
    } else if (now - r->started_ms > kv->limit_ms) {
        kv_cancel(kv, r);
        kv_fail(kv, r, ERR_TIMEOUT_LEADER_TRANSFER);
    }
}

void kv_check_moving(struct kv *kv)
{
    uint64_t now = kv_now_ms(kv);
    LIST_FOR_EACH_SAFE (l, &kv->moving)
        check_one(kv, container_of(l, struct kv_request, link), now);
    /* A leader that was removed hands over a moment later: who has not applied that yet may not campaign. */
    if (kv->removed_ms && kv->state.is_leader && now > kv->removed_ms)
        (void)kv_lead_elsewhere(kv);
    bool is_elsewhere = kv->state.leader && !kv->state.is_leader;
    if (kv->on_handed_over && (is_elsewhere || now >= kv->handing_over_until_ms)) {
        void (*done)(void *) = kv->on_handed_over;
        kv->on_handed_over = NULL;
        done(kv->on_handed_over_arg);
    }
}

/* Raft forgets of whom it has heard once per election timeout, to ask again: in that moment the lanes tell.
 */
static bool is_heard(const struct kv *kv, const struct raft_progress_status *p)
{
    return p->recent_active || kv_peer_is_active(kv, p->id, UINT64_MAX);
}

/* The voter whose log reaches furthest, of those that were heard of lately; 0 = nobody. */
static uint64_t best_successor(const struct kv *kv)
{
    struct raft_status *status = mem_new(sizeof *status);
    uint64_t best = 0, match = 0;
    node_get_status(kv->node, status);
    for (uint32_t i = 0; i < status->progress_count; i++) {
        const struct raft_progress_status *p = &status->progress[i];
        if (p->id != kv->member_id && !p->learner && is_heard(kv, p) && is_voter(kv, p->id) &&
            p->match >= match) {
            best = p->id;
            match = p->match;
        }
    }
    mem_free(status);
    return best;
}

bool kv_lead_elsewhere(struct kv *kv)
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
    return kv_lead_elsewhere(arg);
}

void kv_hand_over(struct kv *kv, void (*done)(void *arg), void *arg)
{
    if (!kv->peers || !kv_lead_elsewhere(kv)) {
        done(arg);
        return;
    }
    kv->on_handed_over = done;
    kv->on_handed_over_arg = arg;
    kv->handing_over_until_ms = kv_now_ms(kv) + kv->election_ms;
    kv_schedule_turn(kv);
}
