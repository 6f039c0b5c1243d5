/* SPDX-License-Identifier: Apache-2.0
 * Durations of requests, applied entries and ranges, under etcd's names: etcd_server_request_duration_seconds,
 * etcd_server_apply_duration_seconds, etcd_server_range_duration_seconds. The kinds of operations have etcd's names;
 * an entry that only Cairn has is not counted. */
#include "consensus/kv/kv_impl.h"

#include <stdio.h>

#include "base/log.h"
#include "base/metric_family.h"
#include "base/text.h"

static struct kind {
    enum entry_op op;
    const char *name;
    struct metric_series *apply[2], *request[2];
} kinds[] = {
    {.op = ENTRY_PUT, .name = "Put"},
    {.op = ENTRY_TXN, .name = "Txn"},
    {.op = ENTRY_DELETE_RANGE, .name = "DeleteRange"},
    {.op = ENTRY_COMPACTION, .name = "Compaction"},
    {.op = ENTRY_LEASE_GRANT, .name = "LeaseGrant"},
    {.op = ENTRY_LEASE_REVOKE, .name = "LeaseRevoke"},
    {.op = ENTRY_ALARM, .name = "Alarm"},
    {.op = ENTRY_LEASE_CHECKPOINT, .name = "LeaseCheckpoint"},
    {.op = ENTRY_AUTH_ENABLE, .name = "AuthEnable"},
    {.op = ENTRY_AUTH_DISABLE, .name = "AuthDisable"},
    {.op = ENTRY_AUTHENTICATE, .name = "Authenticate"},
    {.op = ENTRY_AUTH_STATUS, .name = "AuthStatus"},
    {.op = ENTRY_AUTH_USER_ADD, .name = "AuthUserAdd"},
    {.op = ENTRY_AUTH_USER_DELETE, .name = "AuthUserDelete"},
    {.op = ENTRY_AUTH_USER_GET, .name = "AuthUserGet"},
    {.op = ENTRY_AUTH_USER_CHANGE_PASSWORD, .name = "AuthUserChangePassword"},
    {.op = ENTRY_AUTH_USER_GRANT_ROLE, .name = "AuthUserGrantRole"},
    {.op = ENTRY_AUTH_USER_REVOKE_ROLE, .name = "AuthUserRevokeRole"},
    {.op = ENTRY_AUTH_USER_LIST, .name = "AuthUserList"},
    {.op = ENTRY_AUTH_ROLE_LIST, .name = "AuthRoleList"},
    {.op = ENTRY_AUTH_ROLE_ADD, .name = "AuthRoleAdd"},
    {.op = ENTRY_AUTH_ROLE_DELETE, .name = "AuthRoleDelete"},
    {.op = ENTRY_AUTH_ROLE_GET, .name = "AuthRoleGet"},
    {.op = ENTRY_AUTH_ROLE_GRANT_PERMISSION, .name = "AuthRoleGrantPermission"},
    {.op = ENTRY_AUTH_ROLE_REVOKE_PERMISSION, .name = "AuthRoleRevokePermission"},
    {.op = ENTRY_CLUSTER_VERSION, .name = "ClusterVersionSet"},
    {.op = ENTRY_MEMBER_ATTRIBUTES, .name = "ClusterMemberAttrSet"},
    {.op = ENTRY_DOWNGRADE_INFO, .name = "DowngradeInfoSet"},
};

static struct kind read_kinds[] = {{.name = "Range"}, {.name = "ReadonlyTxn"}};
static struct metric_series *ranges[2];

static struct kind *kind_of(enum entry_op op)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].op == op)
            return &kinds[i];
    return NULL;
}

static const char *success_text(bool is_success)
{
    return is_success ? "true" : "false";
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

/* As etcd warns: --warning-apply-duration. The line names the operation, not keys and values. */
static void warn_of_slow(const struct kv *kv, const char *prefix, const char *request, uint64_t took_ns)
{
    struct buf took = {0}, expected = {0};
    text_add_duration(&took, (int64_t)took_ns);
    text_add_duration(&expected, (int64_t)kv->settings.slow_apply_ns);
    log_warn("apply request took too long", F_STR("took", buf_text(&took)),
             F_STR("expected-duration", buf_text(&expected)), F_STR("prefix", prefix),
             F_STR("request", request));
    buf_done(&took);
    buf_done(&expected);
}

uint64_t kv_clock_ns(struct kv *kv)
{
    kv->timings.now_ns = kv->io->ops->mono_ns(kv->io);
    return kv->timings.now_ns;
}

void kv_time_chain(struct kv *kv, size_t count)
{
    kv_clock_ns(kv);
    kv->timings.chained = count;
}

void kv_time_entry(struct kv *kv)
{
    struct kv_timings *t = &kv->timings;
    t->entry_ns = t->chained ? t->now_ns : kv_clock_ns(kv);
    t->chained -= t->chained > 0;
}

uint64_t kv_time_entry_begin(const struct kv *kv)
{
    return kv->timings.entry_ns;
}

void kv_time_entry_resume(struct kv *kv, uint64_t begin_ns)
{
    kv->timings.entry_ns = begin_ns;
}

void kv_time_apply(struct kv *kv, enum entry_op op, int err)
{
    struct kind *k = kind_of(op);
    uint64_t took = kv_clock_ns(kv) - kv->timings.entry_ns;
    if (took > kv->settings.slow_apply_ns) {
        metric_add(METRIC_SLOW_APPLY, 1);
        warn_of_slow(kv, "", k ? k->name : "an entry of Cairn's own", took);
    }
    if (!k)
        return;
    struct metric_series **series = &k->apply[!err];
    if (!*series) {
        char labels[96];
        snprintf(labels, sizeof labels, "op=\"%s\",success=\"%s\",version=\"v3\"", k->name,
                 success_text(!err));
        *series = metric_series_get(FAMILY_APPLY, labels);
    }
    metric_series_observe(*series, seconds(took), 1);
}

void kv_time_request(struct kv *kv, struct kv_request *r, bool is_success)
{
    struct kind *k = NULL;
    if (!r->begun_ns)
        return;
    if (r->kind == KV_RANGE)
        k = &read_kinds[0];
    else if (r->kind == KV_TXN_READ)
        k = &read_kinds[1];
    else if (r->op)
        k = kind_of((enum entry_op)r->op);
    uint64_t begun_ns = r->begun_ns, now_ns = kv->timings.now_ns;
    r->begun_ns = 0;
    if (!k)
        return;
    struct metric_series **series = &k->request[is_success];
    if (!*series) {
        char labels[96];
        snprintf(labels, sizeof labels, "success=\"%s\",type=\"%s\"", success_text(is_success), k->name);
        *series = metric_series_get(FAMILY_REQUEST, labels);
    }
    metric_series_observe(*series, now_ns > begun_ns ? seconds(now_ns - begun_ns) : 0, 1);
}

static void observe_ranges(const struct kv *kv, bool is_success, uint64_t took_ns, unsigned n)
{
    if (!ranges[is_success])
        ranges[is_success] =
            metric_series_get(FAMILY_RANGE, is_success ? "success=\"true\"" : "success=\"false\"");
    metric_series_observe(ranges[is_success], seconds(took_ns), n);
    if (took_ns > kv->settings.slow_apply_ns) {
        metric_add(METRIC_SLOW_APPLY, n);
        warn_of_slow(kv, "read-only range ", read_kinds[0].name, took_ns);
    }
}

void kv_time_reads_begin(struct kv *kv, uint64_t now_ns)
{
    struct kv_timings *t = &kv->timings;
    t->now_ns = t->reads_ns = now_ns;
    t->ranges[0] = t->ranges[1] = 0;
}

void kv_time_reads_note(struct kv *kv, uint64_t now_ns)
{
    struct kv_timings *t = &kv->timings;
    uint64_t count = t->ranges[0] + t->ranges[1], took = now_ns - t->reads_ns;
    for (unsigned i = 0; i < 2; i++)
        if (t->ranges[i])
            observe_ranges(kv, i, took / count, t->ranges[i]);
    kv_time_reads_begin(kv, now_ns);
}

void kv_time_reads_end(struct kv *kv)
{
    if (kv->timings.ranges[0] + kv->timings.ranges[1])
        kv_time_reads_note(kv, kv_clock_ns(kv));
}

void kv_time_range(struct kv *kv, bool is_success)
{
    kv->timings.ranges[is_success]++;
}

void kv_time_long_range(struct kv *kv, uint64_t begin_ns, bool is_success)
{
    observe_ranges(kv, is_success, kv_clock_ns(kv) - begin_ns, 1);
}
