/* SPDX-License-Identifier: Apache-2.0
 * The cluster's feature level and version (feature.h), and downgrade jobs, in etcd's way:
 *
 *   leader, now and then   asks every member what it has; the least of all becomes the cluster's level by an
 *                          entry (cluster_version_set) that names who was asked
 *   every member           an entry of a higher level than the cluster's is void, on all alike; one that is
 *                          not void and not understood stops the member, before anything of it is applied
 *   downgrade enable       an entry (downgrade_info_set); then the leader lowers level and version by one
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
#include "consensus/kv_impl.h"

#define STATE_KEY    "feature" /* in META */
#define CHECK_MS     4000      /* as etcd's monitorVersionInterval */
#define RETRY_MS     1000      /* while a member has not answered */
#define ASK_MS       1000
#define ANSWER_SIZE  5 /* format 1, level 4 */
#define ANSWER_FIRST 1

/* --- the state ---------------------------------------------------------------------------------------- */

static void announce(struct kv *kv)
{
    metric_set(METRIC_FEATURE_LEVEL, kv->feature.level);
    if (kv->peers && kv->peers->ops->set_level)
        kv->peers->ops->set_level(kv->peers, kv->feature_max, kv->feature.level);
}

static void kv_level_save(struct kv *kv)
{
    struct buf b = {0};
    feature_state_write(&b, &kv->feature);
    store_set(kv->store, BACKEND_META, slice_text(STATE_KEY), buf_slice(&b));
    buf_done(&b);
    announce(kv);
}

/* Why this member goes no further, for people. */
static void explain(struct kv *kv, const char *what, unsigned level, struct slice version)
{
    char needs[80] = "a newer version of cairnd";
    if (version.size && version.size <= FEATURE_VERSION_MAX)
        snprintf(needs, sizeof needs, "cairnd %.*s or later", (int)version.size, (const char *)version.data);
    snprintf(
        kv->level_text, sizeof kv->level_text,
        "%s needs feature level %u, this build has %u: start %s with the same data folder, it goes on from "
        "here; nothing was applied beyond it and nothing is lost",
        what, level, kv->feature_max, needs);
}

int kv_level_load(struct kv *kv)
{
    struct slice value;
    struct arena arena = {0};
    struct feature_state s = feature_state_first();
    int err = store_get(kv->store, BACKEND_META, slice_text(STATE_KEY), &arena, &value);
    if (!err)
        err = feature_state_read(value, &s);
    if (err == ERR_NOT_FOUND)
        err = OK;
    if (err == ERR_LEVEL)
        explain(kv, "the form of the cluster's feature level in this data folder", kv->feature_max + 1,
                (struct slice){0});
    kv->feature = s;
    if (!err && s.level > kv->feature_max) {
        explain(kv, "the cluster of this data folder", s.level, slice_text(s.version));
        err = ERR_LEVEL;
    }
    arena_done(&arena);
    if (!err)
        announce(kv);
    return err;
}

/* --- entries ------------------------------------------------------------------------------------------ */

bool kv_level_is_void(const struct kv *kv, const struct entry *e)
{
    if (MUTANT(UNKNOWN_ENTRY_SKIPPED) && feature_level_of(e->op) > kv->feature_max)
        return true;
    return e->level > kv->feature.level;
}

static void stop(struct kv *kv, const char *what, uint64_t index, unsigned level, struct slice version)
{
    explain(kv, what, level, version);
    log_error("a log entry is not understood: this member stops before it", F_STR("reason", kv->level_text),
              F_UINT("index", index));
    kv->failed_err = ERR_LEVEL;
    node_stop(kv->node);
}

bool kv_level_stops(struct kv *kv, uint64_t index, const struct entry *e, const ProtobufCMessage *m)
{
    char what[64];
    unsigned needed = e->level;
    bool is_known = !e->unknown && (!e->op || feature_level_of(e->op) <= kv->feature_max);
    if (kv_level_is_void(kv, e))
        return false;
    if (!is_known && MUTANT(UNKNOWN_ENTRY_SKIPPED))
        return false;
    if (!is_known || needed > kv->feature_max) {
        snprintf(what, sizeof what, "the log entry %" PRIu64 " (kind %" PRIu64 ")", index,
                 e->unknown ? e->unknown : (uint64_t)e->op);
        stop(kv, what, index, needed > kv->feature_max ? needed : kv->feature_max + 1, e->version);
        return true;
    }
    const Etcdserverpb__ClusterVersionSetRequest *set =
        e->op == ENTRY_CLUSTER_VERSION ? (const Etcdserverpb__ClusterVersionSetRequest *)m : NULL;
    if (!set || set->level <= kv->feature_max || MUTANT(UNKNOWN_ENTRY_SKIPPED))
        return false;
    stop(kv, "the cluster", index, set->level, slice_text(set->version));
    return true;
}

static bool was_asked(const Etcdserverpb__ClusterVersionSetRequest *m, uint64_t member)
{
    for (size_t i = 0; i < m->n_members; i++)
        if (m->members[i] == member)
            return true;
    return false;
}

/* A member that came after the leader asked has not said what it understands. */
static bool may_raise(const struct kv *kv, const Etcdserverpb__ClusterVersionSetRequest *m)
{
    for (size_t i = 0; i < kv->members.count; i++)
        if (!was_asked(m, kv->members.list[i].id) && !MUTANT(LEVEL_RAISED_EARLY))
            return false;
    return true;
}

/* "3.7.0", "3.7": the minor; 0 = it is none. */
static unsigned minor_of(const char *version)
{
    unsigned minor;
    return sscanf(version, "3.%3u", &minor) == 1 && minor <= UINT8_MAX ? minor : 0;
}

void kv_level_apply_version(struct kv *kv, const Etcdserverpb__ClusterVersionSetRequest *m)
{
    struct feature_state *s = &kv->feature;
    unsigned minor = minor_of(m->ver);
    if (!m->level || !minor)
        return;
    bool is_lowered = m->level < s->level || minor < s->minor;
    if (is_lowered ? minor != s->target_minor : !may_raise(kv, m))
        return;
    log_info("updated the cluster version and feature level", F_UINT("from-level", s->level),
             F_UINT("level", m->level), F_UINT("from-minor", s->minor), F_UINT("minor", minor));
    s->level = m->level;
    s->minor = minor;
    if (!is_lowered)
        s->target_minor = 0; /* its leader knew of no job */
    snprintf(s->version, sizeof s->version, "%s", m->version);
    kv_level_save(kv);
}

/* Only the version right below is ever a target, and one job at a time: as etcd, but decided in the log. */
struct kv_outcome kv_level_apply_downgrade(struct kv *kv, const Etcdserverpb__DowngradeInfoSetRequest *m)
{
    unsigned target = m->enabled ? minor_of(m->ver) : 0;
    if (m->enabled && kv->feature.target_minor)
        return (struct kv_outcome){.err = ERR_DOWNGRADE_IN_PROCESS};
    if (m->enabled &&
        (!target || target + 1 != kv->feature.minor || kv->feature.level == FEATURE_LEVEL_FIRST))
        return (struct kv_outcome){.err = ERR_DOWNGRADE_TARGET};
    if (!m->enabled && !kv->feature.target_minor)
        return (struct kv_outcome){.err = ERR_NO_INFLIGHT_DOWNGRADE};
    kv->feature.target_minor = target;
    kv->level_due_ms = 0; /* the leader acts on it now */
    log_info(target ? "the cluster may be downgraded" : "the downgrade job has ended",
             F_UINT("target-minor", target));
    kv_level_save(kv);
    return (struct kv_outcome){0};
}

/* --- the leader decides ------------------------------------------------------------------------------- */

static void kv_level_propose(struct kv *kv, unsigned level, unsigned minor)
{
    Etcdserverpb__ClusterVersionSetRequest m = ETCDSERVERPB__CLUSTER_VERSION_SET_REQUEST__INIT;
    uint64_t ids[RAFT_MEMBERS_MAX];
    char ver[16];
    snprintf(ver, sizeof ver, "3.%u.0", minor);
    m.ver = ver;
    m.level = level;
    m.version = (char *)(uintptr_t)feature_version(level);
    for (size_t i = 0; i < kv->level_round.count; i++)
        ids[m.n_members++] = kv->level_round.list[i].id;
    m.members = ids;
    (void)kv_propose_as_leader(kv, ENTRY_CLUSTER_VERSION, &m.base); /* comes again if it is lost */
}

static void propose_end_of_job(struct kv *kv)
{
    Etcdserverpb__DowngradeInfoSetRequest m = ETCDSERVERPB__DOWNGRADE_INFO_SET_REQUEST__INIT;
    log_info("the cluster has been downgraded", F_UINT("minor", kv->feature.minor));
    (void)kv_propose_as_leader(kv, ENTRY_DOWNGRADE_INFO, &m.base);
}

/* What every member has; false: one has not said. */
static bool get_range(const struct kv *kv, unsigned *ret_least, unsigned *ret_most)
{
    *ret_least = UINT32_MAX;
    *ret_most = 0;
    for (size_t i = 0; i < kv->members.count; i++) {
        unsigned level = 0;
        for (size_t j = 0; j < kv->level_round.count; j++)
            if (kv->level_round.list[j].id == kv->members.list[i].id)
                level = kv->level_round.list[j].level;
        if (MUTANT(LEVEL_RAISED_EARLY))
            level = kv->feature_max;
        if (!level)
            return false;
        if (level < *ret_least)
            *ret_least = level;
        if (level > *ret_most)
            *ret_most = level;
    }
    return kv->members.count > 0;
}

static void kv_level_decide(struct kv *kv)
{
    const struct feature_state *s = &kv->feature;
    unsigned least, most, lowered = s->level > FEATURE_LEVEL_FIRST ? s->level - 1 : s->level;
    kv->level_due_ms = kv_now_ms(kv) + CHECK_MS;
    if (!get_range(kv, &least, &most)) {
        kv->level_due_ms = kv_now_ms(kv) + RETRY_MS;
        return;
    }
    if (s->target_minor && s->minor != s->target_minor)
        kv_level_propose(kv, lowered, s->target_minor);
    else if (s->target_minor && s->level > FEATURE_LEVEL_FIRST && most == s->level && least == s->level)
        propose_end_of_job(kv);
    else if (!s->target_minor && (least > s->level || (s->minor != FEATURE_ETCD_MINOR && least == s->level &&
                                                       least == kv->feature_max)))
        kv_level_propose(kv, least, FEATURE_ETCD_MINOR);
}

static void note(struct kv *kv, uint64_t id, unsigned level)
{
    struct kv_level_round *r = &kv->level_round;
    if (r->count < RAFT_MEMBERS_MAX)
        r->list[r->count++] = (struct kv_member_level){id, level};
}

static void kv_level_on_answer(struct kv_member_rpc *a, uint64_t member_id, struct slice answer)
{
    struct kv_level_round *r = container_of(a, struct kv_level_round, ask);
    if (answer.size >= ANSWER_SIZE && answer.data[0] == ANSWER_FIRST)
        note(r->kv, member_id, get_le32(answer.data + 1));
}

static void kv_level_on_asked(struct kv_member_rpc *a, size_t asked, size_t answered)
{
    struct kv_level_round *r = container_of(a, struct kv_level_round, ask);
    (void)asked;
    (void)answered;
    r->is_asking = false;
    if (r->kv->state.is_leader)
        kv_level_decide(r->kv);
}

static void answer_level(void *arg, struct kv_member_request *q, struct slice question)
{
    struct kv *kv = arg;
    uint8_t answer[ANSWER_SIZE] = {ANSWER_FIRST};
    (void)question;
    put_le32(answer + 1, kv->feature_max);
    kv_member_request_answer(kv, q, slice_of(answer, sizeof answer));
}

/* Nothing is left to do in most clusters most of the time: then nobody is asked. */
static bool is_settled(const struct kv *kv)
{
    const struct feature_state *s = &kv->feature;
    return s->level == kv->feature_max && s->minor == FEATURE_ETCD_MINOR && !s->target_minor;
}

void kv_level_tick(struct kv *kv)
{
    struct kv_level_round *r = &kv->level_round;
    if (!kv->state.is_leader || r->is_asking || kv_now_ms(kv) < kv->level_due_ms || is_settled(kv) ||
        store_applied_term(kv->store) != kv->state.term)
        return;
    r->count = 0;
    note(kv, kv->member_id, kv->feature_max);
    if (!kv->peers || kv->members.count == 1) {
        kv_level_decide(kv);
        return;
    }
    r->is_asking = true;
    kv_member_rpc_to_all(kv, &r->ask, KV_TOPIC_LEVEL, (struct slice){0}, ASK_MS);
}

/* --- at the start, at the end, for clients ------------------------------------------------------------- */

void kv_level_open(struct kv *kv)
{
    kv->level_round.kv = kv;
    kv->level_round.ask.on_answer = kv_level_on_answer;
    kv->level_round.ask.done = kv_level_on_asked;
    kv_member_rpc_handle(kv, KV_TOPIC_LEVEL, answer_level, kv);
}

void kv_level_close(struct kv *kv)
{
    if (kv->level_round.is_asking)
        kv_member_rpc_cancel(kv, &kv->level_round.ask);
    kv->level_round.is_asking = false;
    kv_member_rpc_handle(kv, KV_TOPIC_LEVEL, NULL, NULL);
}

const char *kv_level_refusal(struct kv *kv, unsigned level)
{
    if (level < FEATURE_LEVEL_FIRST)
        level = FEATURE_LEVEL_FIRST;
    if (level >= kv->feature.level)
        return NULL;
    snprintf(
        kv->level_text, sizeof kv->level_text,
        "the cluster is at feature level %u (cairnd %s or later), this member has level %u: start a newer "
        "version, or lower the cluster first with `etcdctl downgrade enable`",
        kv->feature.level, kv->feature.version, level);
    return kv->level_text;
}

const char *kv_cluster_version(const struct kv *kv, struct arena *a)
{
    return arena_printf(a, "3.%u.0", kv->feature.minor);
}

unsigned kv_feature_level(const struct kv *kv)
{
    return kv->feature.level;
}

int kv_check_downgrade(const struct kv *kv, unsigned major, unsigned minor)
{
    const struct feature_state *s = &kv->feature;
    if (s->level == FEATURE_LEVEL_FIRST && !s->target_minor) /* nothing older reads what is on our disks */
        return ERR_DOWNGRADE_TARGET;
    if (major != 3 || minor + 1 != s->minor)
        return ERR_DOWNGRADE_TARGET;
    return s->target_minor ? ERR_DOWNGRADE_IN_PROCESS : OK;
}

void kv_downgrade(struct kv *kv, struct kv_request *r, const Etcdserverpb__DowngradeInfoSetRequest *m)
{
    int err = !m->enabled && !kv->feature.target_minor ? ERR_NO_INFLIGHT_DOWNGRADE : OK;
    kv_start_write(kv, r, KV_DOWNGRADE, ENTRY_DOWNGRADE_INFO, &m->base, err);
}
