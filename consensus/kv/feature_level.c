/* SPDX-License-Identifier: Apache-2.0
 * The cluster's feature level and version (feature.h), and downgrade jobs, in etcd's way:
 *
 *   leader, now and then   queries every member for its level. It proposes an entry (cluster_version_set) with
 *                          the lowest level and the ids of the members that answered
 *   every member           an entry of a higher level than the cluster's is void, on all alike; one that is
 *                          not void and not understood stops the member, before anything of it is applied
 *   downgrade enable       an entry (downgrade_info_set); then the leader lowers the version by one, and the level below
 *                          those of this version
 *   downgrade cancel, or every member runs the older version: the job ends
 *
 * Members of the first level announce nothing and refuse the question: as long as one is there the level
 * stays. They pass over cluster_version_set, which they know without our fields, and never meet another new
 * kind: the transport refuses members that are too old for the cluster (peer_ops.set_level). */
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/metric.h"
#include "base/mutant.h"
#include "consensus/kv/kv_impl.h"

#define CHECK_MS     4000 /* as etcd's monitorVersionInterval */
#define RETRY_MS     1000 /* while a member has not answered */
#define ASK_MS       1000
#define ANSWER_SIZE  5 /* format 1, level 4 */
#define ANSWER_FIRST 1

/* --- the state ---------------------------------------------------------------------------------------- */

static void announce(struct kv *kv)
{
    metric_set(METRIC_FEATURE_LEVEL, kv->feature_level.state.level);
    if (kv->peers && kv->peers->ops->set_level)
        kv->peers->ops->set_level(kv->peers, kv->feature_level.max, kv->feature_level.state.level);
}

static void kv_feature_save(struct kv *kv)
{
    struct buf b = {0};
    feature_state_write(&b, &kv->feature_level.state);
    store_set(kv->store, BACKEND_META, slice_text(FEATURE_STORE_KEY), buf_slice(&b));
    buf_done(&b);
    announce(kv);
}

/* Writes why this member does not go on, for people. */
static void explain(struct kv *kv, const char *what, unsigned level, struct slice version)
{
    char needs[80] = "a newer version of cairnd";
    if (version.size && version.size <= FEATURE_VERSION_MAX)
        snprintf(needs, sizeof needs, "cairnd %.*s or later", (int)version.size, (const char *)version.data);
    snprintf(
        kv->feature_level.text, sizeof kv->feature_level.text,
        "%s needs feature level %u, this build has %u: start %s with the same data folder, it goes on from "
        "here; nothing was applied beyond it and nothing is lost",
        what, level, kv->feature_level.max, needs);
}

int kv_feature_load(struct kv *kv)
{
    struct slice value;
    struct arena arena = {0};
    struct feature_state s = feature_state_first();
    int err = store_get(kv->store, BACKEND_META, slice_text(FEATURE_STORE_KEY), &arena, &value);
    if (!err)
        err = feature_state_read(value, &s);
    if (err == ERR_NOT_FOUND)
        err = OK;
    if (err == ERR_LEVEL)
        explain(kv, "the form of the cluster's feature level in this data folder", kv->feature_level.max + 1,
                (struct slice){0});
    kv->feature_level.state = s;
    if (!err && s.level > kv->feature_level.max) {
        explain(kv, "the cluster of this data folder", s.level, slice_text(s.version));
        err = ERR_LEVEL;
    }
    arena_done(&arena);
    if (!err)
        announce(kv);
    return err;
}

/* --- entries ------------------------------------------------------------------------------------------ */

bool kv_feature_is_void(const struct kv *kv, const struct entry *e)
{
    if (MUTANT(UNKNOWN_ENTRY_SKIPPED) && feature_level_of(e->op) > kv->feature_level.max)
        return true;
    return e->level > kv->feature_level.state.level;
}

static void stop(struct kv *kv, const char *what, uint64_t index, unsigned level, struct slice version)
{
    explain(kv, what, level, version);
    log_error("a log entry is not understood: this member stops before it",
              F_STR("reason", kv->feature_level.text), F_UINT("index", index));
    kv_set_failed(kv, ERR_LEVEL);
    node_stop(kv->node);
}

bool kv_feature_stops(struct kv *kv, uint64_t index, const struct entry *e, const ProtobufCMessage *m)
{
    char what[64];
    unsigned needed = e->level;
    bool is_known = !e->unknown && (!e->op || feature_level_of(e->op) <= kv->feature_level.max);
    if (kv_feature_is_void(kv, e))
        return false;
    if (!is_known && MUTANT(UNKNOWN_ENTRY_SKIPPED))
        return false;
    if (!is_known || needed > kv->feature_level.max) {
        snprintf(what, sizeof what, "the log entry %" PRIu64 " (kind %" PRIu64 ")", index,
                 e->unknown ? e->unknown : (uint64_t)e->op);
        stop(kv, what, index, needed > kv->feature_level.max ? needed : kv->feature_level.max + 1,
             e->version);
        return true;
    }
    const Etcdserverpb__ClusterVersionSetRequest *set =
        e->op == ENTRY_CLUSTER_VERSION ? (const Etcdserverpb__ClusterVersionSetRequest *)m : NULL;
    if (!set || set->level <= kv->feature_level.max || MUTANT(UNKNOWN_ENTRY_SKIPPED))
        return false;
    stop(kv, "the cluster", index, set->level, slice_text(set->version));
    return true;
}

static bool was_queried(const Etcdserverpb__ClusterVersionSetRequest *m, uint64_t member)
{
    for (size_t i = 0; i < m->n_members; i++)
        if (m->members[i] == member)
            return true;
    return false;
}

/* A member that came after the query has not announced what it understands. */
static bool may_raise(const struct kv *kv, const Etcdserverpb__ClusterVersionSetRequest *m)
{
    for (size_t i = 0; i < kv->members.count; i++)
        if (!was_queried(m, kv->members.list[i].id) && !MUTANT(LEVEL_RAISED_EARLY))
            return false;
    return true;
}

/* "3.7.0", "3.7": the minor; 0 = it is none. */
static unsigned minor_of(const char *version)
{
    unsigned minor;
    return sscanf(version, "3.%3u", &minor) == 1 && minor <= UINT8_MAX ? minor : 0;
}

void kv_feature_apply_version(struct kv *kv, const Etcdserverpb__ClusterVersionSetRequest *m)
{
    struct feature_state *s = &kv->feature_level.state;
    unsigned minor = minor_of(m->ver);
    if (!m->level || !minor)
        return;
    bool is_lowered = m->level < s->level || minor < s->minor;
    if (is_lowered ? minor != s->target_minor : !may_raise(kv, m))
        return;
    log_info("updated the cluster version and feature level", F_UINT("from-feature-level", s->level),
             F_UINT("feature-level", m->level), F_UINT("from-minor", s->minor), F_UINT("minor", minor));
    s->level = m->level;
    s->minor = minor;
    if (!is_lowered)
        s->target_minor = 0; /* its leader knew of no job */
    snprintf(s->version, sizeof s->version, "%s", m->version);
    kv_feature_save(kv);
}

/* Only the version right below is ever a target, and one job at a time: as etcd, but decided in the log. */
struct kv_outcome kv_feature_apply_downgrade(struct kv *kv, const Etcdserverpb__DowngradeInfoSetRequest *m)
{
    unsigned target = m->enabled ? minor_of(m->ver) : 0;
    if (m->enabled && kv->feature_level.state.target_minor)
        return (struct kv_outcome){.err = ERR_DOWNGRADE_IN_PROCESS};
    if (m->enabled && (!target || target + 1 != kv->feature_level.state.minor ||
                       kv->feature_level.state.level == FEATURE_LEVEL_FIRST))
        return (struct kv_outcome){.err = ERR_DOWNGRADE_TARGET};
    if (!m->enabled && !kv->feature_level.state.target_minor)
        return (struct kv_outcome){.err = ERR_NO_INFLIGHT_DOWNGRADE};
    kv->feature_level.state.target_minor = target;
    kv->feature_level.due_ms = 0; /* the leader acts on it now */
    log_info(target ? "the cluster may be downgraded" : "the downgrade job has ended",
             F_UINT("target-minor", target));
    kv_feature_save(kv);
    return (struct kv_outcome){0};
}

/* --- the leader decides ------------------------------------------------------------------------------- */

static void kv_feature_propose(struct kv *kv, unsigned level, unsigned minor)
{
    Etcdserverpb__ClusterVersionSetRequest m = ETCDSERVERPB__CLUSTER_VERSION_SET_REQUEST__INIT;
    uint64_t ids[RAFT_MEMBERS_MAX];
    char ver[16];
    snprintf(ver, sizeof ver, "3.%u.0", minor);
    m.ver = ver;
    m.level = level;
    m.version = (char *)(uintptr_t)feature_version(level);
    for (size_t i = 0; i < kv->feature_level.round.count; i++)
        ids[m.n_members++] = kv->feature_level.round.list[i].id;
    m.members = ids;
    (void)kv_propose_as_leader(kv, ENTRY_CLUSTER_VERSION, &m.base); /* comes again if it is lost */
}

static void propose_end_of_job(struct kv *kv)
{
    Etcdserverpb__DowngradeInfoSetRequest m = ETCDSERVERPB__DOWNGRADE_INFO_SET_REQUEST__INIT;
    log_info("the cluster has been downgraded", F_UINT("minor", kv->feature_level.state.minor));
    (void)kv_propose_as_leader(kv, ENTRY_DOWNGRADE_INFO, &m.base);
}

/* The lowest and the highest level of all members. False: one has not answered. */
static bool get_range(const struct kv *kv, unsigned *ret_least, unsigned *ret_most)
{
    *ret_least = UINT32_MAX;
    *ret_most = 0;
    for (size_t i = 0; i < kv->members.count; i++) {
        unsigned level = 0;
        for (size_t j = 0; j < kv->feature_level.round.count; j++)
            if (kv->feature_level.round.list[j].id == kv->members.list[i].id)
                level = kv->feature_level.round.list[j].level;
        if (MUTANT(LEVEL_RAISED_EARLY))
            level = kv->feature_level.max;
        if (!level)
            return false;
        if (level < *ret_least)
            *ret_least = level;
        if (level > *ret_most)
            *ret_most = level;
    }
    return kv->members.count > 0;
}

static void kv_feature_decide(struct kv *kv)
{
    const struct feature_state *s = &kv->feature_level.state;
    unsigned least, most, lowered = feature_level_below(s->level);
    kv->feature_level.due_ms = kv_now_ms(kv) + CHECK_MS;
    if (!get_range(kv, &least, &most)) {
        kv->feature_level.due_ms = kv_now_ms(kv) + RETRY_MS;
        return;
    }
    if (s->target_minor && s->minor != s->target_minor)
        kv_feature_propose(kv, lowered, s->target_minor);
    else if (s->target_minor && s->level > FEATURE_LEVEL_FIRST && most == s->level && least == s->level)
        propose_end_of_job(kv);
    else if (!s->target_minor && (least > s->level || (s->minor != FEATURE_ETCD_MINOR && least == s->level &&
                                                       least == kv->feature_level.max)))
        kv_feature_propose(kv, least, FEATURE_ETCD_MINOR);
}

static void note_level(struct kv *kv, uint64_t id, unsigned level)
{
    struct kv_level_round *r = &kv->feature_level.round;
    if (r->count < RAFT_MEMBERS_MAX)
        r->list[r->count++] = (struct kv_member_level){id, level};
}

static void on_round_answer(struct kv_member_rpc *a, uint64_t member_id, struct slice answer)
{
    struct kv_level_round *r = container_of(a, struct kv_level_round, rpc);
    if (answer.size >= ANSWER_SIZE && answer.data[0] == ANSWER_FIRST)
        note_level(r->kv, member_id, get_le32(answer.data + 1));
}

static void on_round_done(struct kv_member_rpc *a, size_t asked, size_t answered)
{
    struct kv_level_round *r = container_of(a, struct kv_level_round, rpc);
    (void)asked;
    (void)answered;
    r->is_running = false;
    if (r->kv->state.is_leader)
        kv_feature_decide(r->kv);
}

static void answer_level(void *arg, struct kv_member_request *q, struct slice question)
{
    struct kv *kv = arg;
    uint8_t answer[ANSWER_SIZE] = {ANSWER_FIRST};
    (void)question;
    put_le32(answer + 1, kv->feature_level.max);
    kv_member_request_answer(kv, q, slice_of(answer, sizeof answer));
}

/* True in most clusters most of the time: then no member is queried. */
static bool is_settled(const struct kv *kv)
{
    const struct feature_state *s = &kv->feature_level.state;
    return s->level == kv->feature_level.max && s->minor == FEATURE_ETCD_MINOR && !s->target_minor;
}

void kv_feature_tick(struct kv *kv)
{
    struct kv_level_round *r = &kv->feature_level.round;
    if (!kv->state.is_leader || r->is_running || kv_now_ms(kv) < kv->feature_level.due_ms || is_settled(kv) ||
        store_applied_term(kv->store) != kv->state.term)
        return;
    r->count = 0;
    note_level(kv, kv->member_id, kv->feature_level.max);
    if (!kv->peers || kv->members.count == 1) {
        kv_feature_decide(kv);
        return;
    }
    r->is_running = true;
    kv_member_rpc_to_all(kv, &r->rpc, KV_TOPIC_LEVEL, (struct slice){0}, ASK_MS);
}

bool kv_feature_is_coming(const struct kv *kv)
{
    return kv->state.is_leader && kv->members.count == 1 && !kv->feature_level.state.target_minor &&
           kv->feature_level.state.level < kv->feature_level.max;
}

/* --- at the start, at the end, for clients ------------------------------------------------------------- */

void kv_feature_open(struct kv *kv, unsigned max)
{
    kv->feature_level.max = max;
    kv->feature_level.round.kv = kv;
    kv->feature_level.round.rpc.on_answer = on_round_answer;
    kv->feature_level.round.rpc.done = on_round_done;
    kv_member_rpc_handle(kv, KV_TOPIC_LEVEL, answer_level, kv);
}

void kv_feature_close(struct kv *kv)
{
    if (kv->feature_level.round.is_running)
        kv_member_rpc_cancel(kv, &kv->feature_level.round.rpc);
    kv->feature_level.round.is_running = false;
    kv_member_rpc_handle(kv, KV_TOPIC_LEVEL, NULL, NULL);
}

const char *kv_feature_refusal(struct kv *kv, unsigned level)
{
    if (level < FEATURE_LEVEL_FIRST)
        level = FEATURE_LEVEL_FIRST;
    if (level >= kv->feature_level.state.level)
        return NULL;
    snprintf(
        kv->feature_level.text, sizeof kv->feature_level.text,
        "the cluster is at feature level %u (cairnd %s or later), this member has level %u: start a newer "
        "version, or lower the cluster first with `etcdctl downgrade enable`",
        kv->feature_level.state.level, kv->feature_level.state.version, level);
    return kv->feature_level.text;
}

const char *kv_cluster_version(const struct kv *kv, struct arena *a)
{
    return arena_printf(a, "3.%u.0", kv->feature_level.state.minor);
}

unsigned kv_feature_level(const struct kv *kv)
{
    return kv->feature_level.state.level;
}

int kv_check_feature_level(const struct kv *kv, unsigned level, const char *what, char *error,
                           size_t error_size)
{
    unsigned here = kv_feature_level(kv);
    if (here >= level)
        return OK;
    snprintf(
        error, error_size,
        "%s need all members to be of this version: the feature level of the cluster is %u, and must be %u",
        what, here, level);
    return ERR_UNIMPLEMENTED;
}

int kv_check_downgrade(const struct kv *kv, unsigned major, unsigned minor)
{
    const struct feature_state *s = &kv->feature_level.state;
    if (s->level == FEATURE_LEVEL_FIRST && !s->target_minor) /* nothing older reads what is on our disks */
        return ERR_DOWNGRADE_TARGET;
    if (major != 3 || minor + 1 != s->minor)
        return ERR_DOWNGRADE_TARGET;
    return s->target_minor ? ERR_DOWNGRADE_IN_PROCESS : OK;
}

void kv_downgrade(struct kv *kv, struct kv_request *r, const Etcdserverpb__DowngradeInfoSetRequest *m)
{
    int err = !m->enabled && !kv->feature_level.state.target_minor ? ERR_NO_INFLIGHT_DOWNGRADE : OK;
    kv_start_write(kv, r, KV_DOWNGRADE, ENTRY_DOWNGRADE_INFO, &m->base, err);
}

const char *kv_feature_text(const struct kv *kv)
{
    return kv->feature_level.text;
}

unsigned kv_feature_target_minor(const struct kv *kv)
{
    return kv->feature_level.state.target_minor;
}

void kv_feature_check_soon(struct kv *kv)
{
    kv->feature_level.due_ms = 0;
}

void kv_feature_raise_to_own(struct kv *kv)
{
    kv->feature_level.state.level = kv->feature_level.max;
}
