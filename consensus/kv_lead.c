/* SPDX-License-Identifier: Apache-2.0
 * Leadership and the clock: what happens when leaders come and go, and what the leader does by itself as time
 * passes (leases that end, checkpoints, compaction, learners that have caught up). What a leader decides by
 * its clock is proposed as leader of its term or not at all. */
#include <string.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/mutant.h"
#include "consensus/kv_impl.h"
#include "consensus/node/snapshot_send.h"

#define TICK_MS          100
#define LEASE_RETRY_MS   3000
#define LEASES_PER_TICK  1000
#define CHECKPOINTS_MAX  1000
#define PUBLISH_RETRY_MS 2000

/* --- the clock --------------------------------------------------------------------------------------- */

/* How etcd tells one timeout from another: did the request fall into a change of leaders, is the leader (or,
 * on a leader, a quorum) out of reach since it came? */
int kv_timeout_err(const struct kv *kv, const struct kv_request *r)
{
    uint64_t lost_ms = kv->elected_ms > 2 * kv->election_ms ? kv->elected_ms - 2 * kv->election_ms : 0;
    if (kv->elected_ms && r->started_ms > lost_ms && r->started_ms < kv->elected_ms)
        return ERR_TIMEOUT_LEADER_FAIL;
    if (!kv->peers || !kv->state.leader)
        return ERR_TIMEOUT;
    if (!kv->state.is_leader)
        return kv_peer_is_active(kv, kv->state.leader, r->started_ms) ? ERR_TIMEOUT
                                                                      : ERR_TIMEOUT_CONNECTION_LOST;
    size_t active = 0;
    for (size_t i = 0; i < kv->members.count; i++)
        active += kv_peer_is_active(kv, kv->members.list[i].id, r->started_ms);
    return active >= kv->members.count / 2 + 1 ? ERR_TIMEOUT : ERR_TIMEOUT_CONNECTION_LOST;
}

static int expiry_err(const struct kv *kv, const struct kv_request *r)
{
    if (r->state == KV_PROPOSED)
        return kv_timeout_err(kv, r);
    if (r->state == KV_CALLING && !kv->state.leader)
        return ERR_NO_LEADER;
    return ERR_TIMEOUT;
}

static void expire_requests(struct kv *kv)
{
    struct link *lists[] = {&kv->proposed, &kv->reading, &kv->round, &kv->ready, &kv->calling, &kv->called};
    uint64_t now = kv_now_ms(kv);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        while (!list_is_empty(lists[i])) {
            struct kv_request *r = container_of(lists[i]->next, struct kv_request, link);
            if (now - r->started_ms < kv->limit_ms)
                break;
            if (r->state == KV_PROPOSED)
                metric_add(METRIC_PROPOSALS_FAILED, 1);
            int err = expiry_err(kv, r);
            kv_cancel(kv, r);
            kv_fail(kv, r, err);
        }
    }
}

/* Expiry is a proposal like any other; the lease ends when the log says so. No cap a second as in etcd: what
 * is due goes out in batches, a tick after the other. */
static void expire_leases(struct kv *kv)
{
    if (!lease_is_primary(kv->leases))
        return;
    int64_t ids[LEASES_PER_TICK];
    size_t count = lease_expired(kv->leases, kv_now_ms(kv), LEASE_RETRY_MS, ids, LEASES_PER_TICK);
    for (size_t i = 0; i < count; i++) {
        Etcdserverpb__LeaseRevokeRequest m = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
        m.id = ids[i];
        int err = MUTANT(REVOKE_BY_OLD_LEADER) ? kv_propose(kv, ENTRY_LEASE_REVOKE, &m.base)
                                               : kv_propose_as_leader(kv, ENTRY_LEASE_REVOKE, &m.base);
        if (err)
            break;
        metric_add(METRIC_LEASE_EXPIRED, 1);
    }
}

/* What is left of long leases goes to the log every few minutes, so that a change of leaders or a restart
 * does not give them their whole time again (etcd #9888). */
static void checkpoint_leases(struct kv *kv)
{
    int64_t ids[CHECKPOINTS_MAX], remaining_s[CHECKPOINTS_MAX];
    size_t count = lease_checkpoints(kv->leases, kv_now_ms(kv), ids, remaining_s, CHECKPOINTS_MAX);
    if (!count)
        return;
    Etcdserverpb__LeaseCheckpoint rows[CHECKPOINTS_MAX], *list[CHECKPOINTS_MAX];
    for (size_t i = 0; i < count; i++) {
        etcdserverpb__lease_checkpoint__init(&rows[i]);
        rows[i].id = ids[i];
        rows[i].remaining_ttl = remaining_s[i];
        list[i] = &rows[i];
    }
    Etcdserverpb__LeaseCheckpointRequest m = ETCDSERVERPB__LEASE_CHECKPOINT_REQUEST__INIT;
    m.n_checkpoints = count;
    m.checkpoints = list;
    (void)kv_propose_as_leader(kv, ENTRY_LEASE_CHECKPOINT, &m.base); /* comes again if it is lost */
}

static void compact_by_itself(struct kv *kv)
{
    if (!kv->state.is_leader)
        return;
    int64_t revision = compactor_tick(&kv->compactor, kv_now_ms(kv), store_revision(kv->store));
    if (revision <= 0 || revision <= store_compact_revision(kv->store))
        return;
    log_info("starting auto compaction", F_INT("revision", revision));
    Etcdserverpb__CompactionRequest m = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    m.revision = revision;
    (void)kv_propose_as_leader(kv, ENTRY_COMPACTION, &m.base);
}

/* Every member tells the others its name and client URLs, until the log has them. */
static void publish_attributes(struct kv *kv)
{
    const struct member *self = member_find(&kv->members, kv->member_id);
    uint64_t now = kv_now_ms(kv);
    bool is_under_way = kv->attributes_proposed_ms && now - kv->attributes_proposed_ms < PUBLISH_RETRY_MS;
    if (!self || !kv->state.leader || is_under_way)
        return;
    bool is_same = strcmp(self->name, kv->name) == 0 && self->client_url_count == kv->client_url_count;
    for (size_t i = 0; is_same && i < kv->client_url_count; i++)
        is_same = strcmp(self->client_urls[i], kv->client_urls[i]) == 0;
    if (is_same)
        return;
    Etcdserverpb__Attributes attributes = ETCDSERVERPB__ATTRIBUTES__INIT;
    attributes.name = kv->name;
    attributes.client_urls = kv->client_urls;
    attributes.n_client_urls = kv->client_url_count;
    Etcdserverpb__ClusterMemberAttrSetRequest m = ETCDSERVERPB__CLUSTER_MEMBER_ATTR_SET_REQUEST__INIT;
    m.member_id = kv->member_id;
    m.member_attributes = &attributes;
    FAILPOINT(BEFORE_PUBLISHING);
    if (kv_propose(kv, ENTRY_MEMBER_ATTRIBUTES, &m.base) == OK)
        kv->attributes_proposed_ms = now;
}

/* A process that stood still, with its machine or alone, heard of no renewal meanwhile, and its clock went
 * on. After an election timeout it is to its leases what a new leader is: each gets its time again. */
void kv_note_time(struct kv *kv)
{
    uint64_t now = kv_now_ms(kv);
    bool stood_still = now - kv->turn_ms > kv->election_ms && !MUTANT(LEASE_CLOCK_RUNS_IN_PAUSE) &&
                       !MUTANT(REVOKE_BY_OLD_LEADER); /* it would find nothing to revoke */
    if (stood_still && lease_is_primary(kv->leases))
        lease_promote(kv->leases, kv_lease_start_ms(kv), kv->election_ms);
    kv->turn_ms = now;
}

void kv_on_tick(struct io_timer *timer)
{
    struct kv *kv = container_of(timer, struct kv, tick);
    if (kv->is_closing)
        return;
    kv_note_time(kv);
    expire_requests(kv);
    auth_tokens_expire(&kv->tokens, kv_now_ms(kv));
    expire_leases(kv);
    checkpoint_leases(kv);
    compact_by_itself(kv);
    publish_attributes(kv);
    kv_check_tick(kv);
    kv_level_tick(kv);
    kv_exports_tick(kv);
    if (kv->peers) {
        kv_check_lost(kv);
        kv_retry_calls(kv);
        kv_promote_learners(kv);
        kv_check_moving(kv);
        kv_disconnect_removed(kv);
    }
    kv->io->ops->timer_start(kv->io, &kv->tick, TICK_MS);
}

/* --- leadership -------------------------------------------------------------------------------------- */

static bool reaches_majority(const struct kv *kv, const struct raft_ids *voters)
{
    uint32_t active = 0;
    for (uint32_t i = 0; i < voters->count; i++)
        active += kv_peer_is_active(kv, voters->id[i], UINT64_MAX);
    return active > voters->count / 2 || voters->count == 0;
}

/* As etcd's initial-election-tick-advance: the election timeout is there for a leader to be heard of. Who has
 * just started and reaches a majority would have been heard by a leader among them, so all but two ticks of
 * it are skipped, once. (etcd asks for two others whatever the size of the cluster.) Votes are not touched:
 * the first thing said is a pre-vote, which whoever hears a leader refuses. */
void kv_advance_ticks(struct kv *kv)
{
    const struct raft_conf_state *conf = node_conf_state(kv->node);
    if (!kv->advance_until_ms || !reaches_majority(kv, &conf->voters) ||
        !reaches_majority(kv, &conf->voters_outgoing))
        return;
    if (kv_now_ms(kv) < kv->advance_until_ms && !kv->state.leader)
        node_advance(kv->node);
    kv->advance_until_ms = 0;
}

/* A leader is known and the entry that its term began with is applied, so nothing older is served. */
void kv_check_ready(struct kv *kv)
{
    if (kv->is_ready || !kv->state.leader || store_applied_term(kv->store) != kv->state.term)
        return;
    kv->is_ready = true;
    if (kv->on_ready)
        kv->on_ready(kv->on_ready_arg);
}

static void on_new_leader(struct kv *kv)
{
    metric_add(METRIC_LEADER_CHANGES, 1);
    kv_fail_round(kv, ERR_LEADER_CHANGED);
    kv->is_space_alarm_proposed = false; /* may be lost with the leader that had it */
    kv->attributes_proposed_ms = 0;
    kv->level_due_ms = 0;
    if (kv->state.is_leader)
        kv->elected_ms = kv_now_ms(kv);
    if (kv->is_forcing && kv->state.is_leader)
        kv_settle_alone(kv);
    publish_attributes(kv);
}

static void on_leader_change(struct kv *kv, const struct node_state *before)
{
    log_info("raft leader changed", F_HEX("local-member-id", kv->member_id),
             F_HEX("leader-id", kv->state.leader), F_UINT("term", kv->state.term),
             F_BOOL("is-leader", kv->state.is_leader));
    kv_call_again(kv);
    kv_note_loss(kv, ERR_TIMEOUT_LEADER_FAIL, kv->election_ms);
    if (kv->state.leader && kv->state.leader != before->leader)
        on_new_leader(kv);
    else
        kv->read_id = 0; /* who waits is asked for again when there is a leader */
    if ((before->leader != 0) != (kv->state.leader != 0) && kv->on_leader)
        kv->on_leader(kv->on_leader_arg, kv->state.leader != 0);
    kv_check_moving(kv);
}

void kv_on_state(void *arg, const struct node_state *state)
{
    struct kv *kv = arg;
    struct node_state before = kv->state;
    kv->state = *state;
    metric_set(METRIC_HAS_LEADER, state->leader != 0);
    metric_set(METRIC_IS_LEADER, state->is_leader);
    metric_set(METRIC_IS_LEARNER, state->is_learner);
    /* The clocks of leases stop in the turn in which leadership ends, and start with the whole time of each
     * plus an election timeout, so that no lease ends early because leaders changed. */
    if (state->is_leader && !before.is_leader)
        lease_promote(kv->leases, kv_lease_start_ms(kv), kv->election_ms);
    else if (!state->is_leader && before.is_leader)
        lease_demote(kv->leases);
    else if (state->is_leader && before.is_leader && state->term != before.term)
        lease_promote(kv->leases, kv_lease_start_ms(kv),
                      kv->election_ms); /* lost and won again between two looks */
    if (!state->is_leader && before.is_leader && kv->sending)
        snapshot_send_stop(kv->sending);
    if (before.leader != state->leader || before.is_leader != state->is_leader)
        on_leader_change(kv, &before);
    kv_check_ready(kv);
}
