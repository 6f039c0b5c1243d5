/* SPDX-License-Identifier: Apache-2.0
 * Leadership and the clock: changes of leaders, and the work that a leader does by its clock. That is leases
 * that end, checkpoints of leases, and automatic compaction. Such a decision is proposed as leader of the
 * current term or not at all. */
#include <string.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/mutant.h"
#include "consensus/kv/kv_impl.h"

#define LEASE_RETRY_MS   3000
#define LEASES_PER_TICK  1000
#define CHECKPOINTS_MAX  1000
#define PUBLISH_RETRY_MS 2000

/* --- the clock --------------------------------------------------------------------------------------- */

/* As etcd distinguishes its timeouts. LEADER_FAIL: the leader changed while the request waited.
 * CONNECTION_LOST: the leader (on the leader: a quorum) is out of reach since the request came. */
static int timeout_err(const struct kv *kv, const struct kv_request *r)
{
    uint64_t lost_ms = kv->leadership.elected_ms > 2 * kv->settings.election_ms
                           ? kv->leadership.elected_ms - 2 * kv->settings.election_ms
                           : 0;
    if (kv->leadership.elected_ms && r->started_ms > lost_ms && r->started_ms < kv->leadership.elected_ms)
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

int kv_expiry_err(const struct kv *kv, const struct kv_request *r)
{
    if (r->state == KV_PROPOSED)
        return timeout_err(kv, r);
    if (r->state == KV_CALL_QUEUED && !kv->state.leader)
        return ERR_NO_LEADER;
    return ERR_TIMEOUT;
}

/* Expiry is a proposal like any other; the lease ends when the log says so. etcd has a limit a second; here
 * the leases that are due are proposed in batches, one a tick. */
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

/* The rest of long leases goes to the log every few minutes. Otherwise a change of leaders or a restart would
 * give them their whole time again (etcd #9888). */
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
    int64_t revision = compactor_tick(&kv->leadership.compactor, kv_now_ms(kv), store_revision(kv->store));
    if (revision <= 0 || revision <= store_compact_revision(kv->store))
        return;
    log_info("starting auto compaction", F_INT("revision", revision));
    Etcdserverpb__CompactionRequest m = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    m.revision = revision;
    (void)kv_propose_as_leader(kv, ENTRY_COMPACTION, &m.base);
}

static bool has_attributes(const struct member *m, const struct kv_settings *s)
{
    bool is_same = strcmp(m->name, s->name) == 0 && m->client_url_count == s->client_url_count;
    for (size_t i = 0; is_same && i < s->client_url_count; i++)
        is_same = strcmp(m->client_urls[i], s->client_urls[i]) == 0;
    return is_same;
}

/* Every member proposes its name and client URLs, until the log has them. */
static void publish_attributes(struct kv *kv)
{
    const struct member *self = member_find(&kv->members, kv->member_id);
    uint64_t now = kv_now_ms(kv);
    bool is_under_way = kv->leadership.attributes_proposed_ms &&
                        now - kv->leadership.attributes_proposed_ms < PUBLISH_RETRY_MS;
    if (!self || !kv->state.leader || is_under_way || has_attributes(self, &kv->settings))
        return;
    Etcdserverpb__Attributes attributes = ETCDSERVERPB__ATTRIBUTES__INIT;
    attributes.name = kv->settings.name;
    attributes.client_urls = kv->settings.client_urls;
    attributes.n_client_urls = kv->settings.client_url_count;
    Etcdserverpb__ClusterMemberAttrSetRequest m = ETCDSERVERPB__CLUSTER_MEMBER_ATTR_SET_REQUEST__INIT;
    m.member_id = kv->member_id;
    m.member_attributes = &attributes;
    FAILPOINT(BEFORE_PUBLISHING);
    if (kv_propose(kv, ENTRY_MEMBER_ATTRIBUTES, &m.base) == OK)
        kv->leadership.attributes_proposed_ms = now;
}

void kv_leadership_tick(struct kv *kv)
{
    kv_expire_proposals(kv);
    kv_expire_reads(kv);
    kv_lease_rights_expire(kv);
    kv_expire_calls(kv);
    kv_auth_tick(kv);
    expire_leases(kv);
    checkpoint_leases(kv);
    compact_by_itself(kv);
    publish_attributes(kv);
}

/* --- leadership -------------------------------------------------------------------------------------- */

static bool reaches_majority(const struct kv *kv, const struct raft_ids *voters)
{
    uint32_t active = 0;
    for (uint32_t i = 0; i < voters->count; i++)
        active += kv_peer_is_active(kv, voters->id[i], UINT64_MAX);
    return active > voters->count / 2 || voters->count == 0;
}

/* As etcd's initial-election-tick-advance. The election timeout exists so that a leader is heard of first. A
 * member that has just started and reaches a majority would have heard of a leader among them, so all but two
 * ticks of the timeout are skipped, once. (etcd wants two others, whatever the size of the cluster.) Votes
 * are not touched: the first message is a pre-vote, which every member that hears a leader refuses. */
void kv_advance_ticks(struct kv *kv)
{
    const struct raft_conf_state *conf = node_conf_state(kv->node);
    if (!kv->leadership.advance_until_ms || !reaches_majority(kv, &conf->voters) ||
        !reaches_majority(kv, &conf->voters_outgoing))
        return;
    if (kv_now_ms(kv) < kv->leadership.advance_until_ms && !kv->state.leader)
        node_advance(kv->node);
    kv->leadership.advance_until_ms = 0;
}

/* A leader is known and the entry that its term began with is applied, so nothing older is served. */
void kv_check_ready(struct kv *kv)
{
    if (kv->leadership.is_ready || !kv->state.leader || store_applied_term(kv->store) != kv->state.term ||
        kv_feature_is_coming(kv))
        return;
    kv->leadership.is_ready = true;
    if (kv->leadership.on_ready)
        kv->leadership.on_ready(kv->leadership.on_ready_arg);
}

static void on_new_leader(struct kv *kv)
{
    metric_add(METRIC_LEADER_CHANGES, 1);
    kv_read_index_fail(kv, ERR_LEADER_CHANGED);
    kv_reset_space_alarm(kv); /* may be lost with the leader that had it */
    kv->leadership.attributes_proposed_ms = 0;
    kv_feature_check_soon(kv);
    if (kv->state.is_leader)
        kv->leadership.elected_ms = kv_now_ms(kv);
    if (kv->state.is_leader)
        kv_propose_alone(kv);
    publish_attributes(kv);
}

static void on_leader_change(struct kv *kv, const struct node_state *before)
{
    log_info("raft leader changed", F_HEX("local-member-id", kv->member_id),
             F_HEX("leader-id", kv->state.leader), F_UINT("term", kv->state.term),
             F_BOOL("is-leader", kv->state.is_leader));
    kv_requeue_calls(kv);
    kv_note_leader_loss(kv, ERR_TIMEOUT_LEADER_FAIL, kv->settings.election_ms);
    if (kv->state.leader && kv->state.leader != before->leader)
        on_new_leader(kv);
    else
        kv_read_index_forget(kv);
    if ((before->leader != 0) != (kv->state.leader != 0) && kv->leadership.on_leader)
        kv->leadership.on_leader(kv->leadership.on_leader_arg, kv->state.leader != 0);
    kv_check_hand_over(kv);
}

void kv_on_state(void *arg, const struct node_state *state)
{
    struct kv *kv = arg;
    struct node_state before = kv->state;
    kv->state = *state;
    metric_set(METRIC_HAS_LEADER, state->leader != 0);
    metric_set(METRIC_IS_LEADER, state->is_leader);
    metric_set(METRIC_IS_LEARNER, state->is_learner);
    /* The clocks of leases stop in the turn in which leadership ends. They start with the checkpointed rest of
     * each lease, or with its whole TTL if there is none, plus an election timeout: no lease ends early
     * because leaders changed. Another term: the lead was lost and won again between two reports. */
    if (state->is_leader && (!before.is_leader || state->term != before.term)) {
        lease_promote(kv->leases, kv_lease_start_ms(kv), kv->settings.election_ms);
    } else if (!state->is_leader && before.is_leader) {
        lease_demote(kv->leases);
        kv_snapshot_stop_sending(kv);
    }
    if (before.leader != state->leader || before.is_leader != state->is_leader)
        on_leader_change(kv, &before);
    kv_check_ready(kv);
}

void kv_on_ready(struct kv *kv, void (*fn)(void *arg), void *arg)
{
    kv->leadership.on_ready = fn;
    kv->leadership.on_ready_arg = arg;
}

void kv_on_leader(struct kv *kv, void (*fn)(void *arg, bool has_leader), void *arg)
{
    kv->leadership.on_leader = fn;
    kv->leadership.on_leader_arg = arg;
}

void kv_leadership_init(struct kv_leadership *l, uint64_t advance_until_ms)
{
    l->advance_until_ms = advance_until_ms;
}

void kv_leadership_open(struct kv *kv, const struct kv_options *o)
{
    bool is_periodic = strcmp(o->auto_compaction_mode, "revision") != 0;
    int64_t retention = o->auto_compaction_retention;
    compactor_init(&kv->leadership.compactor, is_periodic,
                   (uint64_t)(is_periodic ? retention / 1000000 : retention), kv_now_ms(kv));
}

void kv_leadership_done(struct kv_leadership *l)
{
    compactor_done(&l->compactor);
}
