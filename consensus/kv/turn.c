/* SPDX-License-Identifier: Apache-2.0
 * The turn: everything that a member does in one turn of the loop, in this order:
 *
 *   1. requests that failed at once are answered
 *   2. member RPCs: questions of this member to itself, and those that have ended
 *   3. reads: a ReadIndex round starts, reads whose index is applied run
 *   4. the node: proposals and messages go to raft, batches to the log, committed entries are applied
 *   5. reads again: entries of step 4 may be what they wait for
 *   6. calls to the leader and replies leave, the transport is flushed
 *   7. rights are merged, watchers get their events, clocks of leases start, the store commits
 *
 * If something is left, a timer of zero delay makes the next turn. */
#include "consensus/kv/kv_impl.h"

#include "base/metric.h"
#include "base/mutant.h"
#include "base/turn.h"

#define TICK_MS         100
#define CLOCKS_PER_TURN 1000 /* of leases, after a promotion: about a millisecond */

uint64_t kv_now_ms(const struct kv *kv)
{
    return kv->io->ops->mono_ns(kv->io) / 1000000;
}

uint64_t kv_turn_ms(const struct kv *kv)
{
    return kv->turn.now_ms;
}

uint64_t kv_lease_start_ms(const struct kv *kv)
{
    return kv_now_ms(kv) + 1;
}

static void set_gauges(struct kv *kv)
{
    metric_set(METRIC_PROPOSALS_COMMITTED, (double)kv->state.commit);
    metric_set(METRIC_PROPOSALS_APPLIED, (double)store_applied_index(kv->store));
    metric_set(METRIC_PENDING_BYTES, (double)node_pending_bytes(kv->node));
    metric_set(METRIC_STORE_PENDING_BYTES, (double)store_pending_bytes(kv->store));
    metric_set(METRIC_PROPOSALS_PENDING, (double)kv_pending_proposals(kv));
}

/* A process that stood still, with its machine or alone, heard of no renewal meanwhile, and its clock went
 * on. After an election timeout it is to its leases what a new leader is: each gets its time again. */
static void note_time(struct kv *kv)
{
    uint64_t now = kv_now_ms(kv);
    bool stood_still = now - kv->turn.now_ms > kv->settings.election_ms &&
                       !MUTANT(LEASE_CLOCK_RUNS_IN_PAUSE) &&
                       !MUTANT(REVOKE_BY_OLD_LEADER); /* it would find nothing to revoke */
    if (stood_still && lease_is_primary(kv->leases))
        lease_promote(kv->leases, kv_lease_start_ms(kv), kv->settings.election_ms);
    kv->turn.now_ms = now;
}

static void on_tick(struct io_timer *timer)
{
    struct kv *kv = container_of(timer, struct kv, turn.tick);
    if (kv_is_closing(kv))
        return;
    note_time(kv);
    kv_leadership_tick(kv);
    kv_state_check_tick(kv);
    kv_feature_tick(kv);
    kv_exports_tick(kv);
    if (kv->peers) {
        kv_check_dropped(kv);
        kv_retry_calls(kv);
        kv_promote_learners(kv);
        kv_check_hand_over(kv);
        kv_disconnect_removed(kv);
    }
    kv->io->ops->timer_start(kv->io, &kv->turn.tick, TICK_MS);
}

static void on_again(struct io_timer *timer)
{
    container_of(timer, struct kv, turn.again)->turn.is_scheduled = false;
}

void kv_schedule_turn(struct kv *kv)
{
    if (kv->turn.is_scheduled)
        return;
    kv->turn.is_scheduled = true;
    kv->io->ops->timer_start(kv->io, &kv->turn.again, 0);
}

void kv_turn(struct kv *kv)
{
    turn_enter(TURN_KV_OTHER);
    note_time(kv);
    kv_answer_failed(kv);
    if (kv_is_closing(kv))
        return;
    kv_member_rpc_turn(kv);
    turn_enter(TURN_KV_RANGE);
    kv_run_reads(kv);
    turn_enter(TURN_KV_PROPOSE);
    node_turn(kv->node);
    turn_enter(TURN_KV_RANGE);
    kv_run_reads(kv);
    turn_enter(TURN_KV_PEERS);
    if (kv->peers)
        kv_peer_turn(kv);
    kv_note_handed_to_raft(kv);
    kv_feature_tick(kv);
    kv_check_ready(kv);
    kv_answer_failed(kv);
    turn_enter(TURN_KV_OTHER);
    bool has_more = kv_auth_turn(kv);
    turn_enter(TURN_WATCH_DELIVER);
    has_more |= watch_turn(kv->hub, kv->turn.now_ms);
    has_more |= kv_has_failed(kv) || node_is_applying(kv->node);
    turn_enter(TURN_KV_LEASES);
    has_more |= lease_start_clocks(kv->leases, CLOCKS_PER_TURN);
    turn_enter(TURN_KV_STORE);
    store_turn(kv->store); /* last: it closes the read view of this turn */
    set_gauges(kv);
    if (has_more)
        kv_schedule_turn(kv);
}

void kv_turn_init(struct kv_turn_state *t, uint64_t now_ms)
{
    t->now_ms = now_ms;
    t->tick.fire = on_tick;
    t->again.fire = on_again;
}

void kv_turn_open(struct kv *kv)
{
    kv->io->ops->timer_start(kv->io, &kv->turn.tick, TICK_MS);
}

void kv_turn_close(struct kv *kv)
{
    kv->io->ops->timer_stop(kv->io, &kv->turn.tick);
    kv->io->ops->timer_stop(kv->io, &kv->turn.again);
}
