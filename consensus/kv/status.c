/* SPDX-License-Identifier: Apache-2.0
 * Status of this member, answered without the log: ids, revision, leader, alarms, etcd's Status. */
#include "consensus/kv/kv_impl.h"

void kv_header(const struct kv *kv, int64_t revision, Etcdserverpb__ResponseHeader *ret_header)
{
    etcdserverpb__response_header__init(ret_header);
    ret_header->cluster_id = kv->cluster_id;
    ret_header->member_id = kv->member_id;
    ret_header->revision = revision;
    ret_header->raft_term = kv->state.term;
}

struct io *kv_io(const struct kv *kv)
{
    return kv->io;
}

int64_t kv_revision(const struct kv *kv)
{
    return store_revision(kv->store);
}

uint64_t kv_leader(const struct kv *kv)
{
    return kv->state.leader;
}

bool kv_is_learner(const struct kv *kv)
{
    return kv->state.is_learner;
}

uint64_t kv_member_id(const struct kv *kv)
{
    return kv->member_id;
}

uint64_t kv_cluster_id(const struct kv *kv)
{
    return kv->cluster_id;
}

struct kv_space kv_space(const struct kv *kv)
{
    return (struct kv_space){store_live_size(kv->store), (uint64_t)kv->settings.quota_bytes};
}

unsigned kv_alarms(const struct kv *kv)
{
    return (alarms_has(&kv->alarms, ETCDSERVERPB__ALARM_TYPE__NOSPACE) ? 1u : 0u) |
           (kv_is_diverged(kv) ||
                    (alarms_has(&kv->alarms, ETCDSERVERPB__ALARM_TYPE__CORRUPT) && kv_is_stopped(kv))
                ? 2u
                : 0u);
}

int kv_failed(const struct kv *kv)
{
    return kv_failure(kv) ? kv_failure(kv) : store_failed(kv->store);
}

const char *kv_failed_at(const struct kv *kv)
{
    if (kv_is_diverged(kv))
        return "this member's state differs from that of the majority; at its next start it sets its folder "
               "aside "
               "and joins anew";
    if (kv_failure(kv) == ERR_LEVEL)
        return kv_feature_text(kv);
    return kv_failure(kv) ? "the log cannot be written" : "the store's file cannot be read or written";
}

struct watch_stream *kv_watch_open(struct kv *kv, void (*on_ready)(void *arg), void *arg)
{
    return watch_stream_open(kv->hub, on_ready, arg);
}

/* etcd's Status: the errors are the leader's absence and each alarm in protobuf's text form. */
void kv_status(struct kv *kv, struct arena *a, Etcdserverpb__StatusResponse *r)
{
    struct store_sizes sizes = store_sizes(kv->store);
    etcdserverpb__status_response__init(r);
    r->header = arena_alloc(a, sizeof *r->header);
    kv_header(kv, store_revision(kv->store), r->header);
    r->version = arena_string(a, "3.7.1", 5);
    r->storageversion = (char *)(uintptr_t)kv_cluster_version(kv, a); /* follows it, as etcd's does */
    r->dbsize = (int64_t)sizes.file;
    r->dbsizeinuse = (int64_t)sizes.in_use;
    r->dbsizequota = kv->settings.quota_bytes;
    r->leader = kv->state.leader;
    r->raftindex = kv->state.commit;
    r->raftterm = kv->state.term;
    r->raftappliedindex = store_applied_index(kv->store);
    r->islearner = kv->state.is_learner;
    r->downgradeinfo = arena_alloc(a, sizeof *r->downgradeinfo);
    etcdserverpb__downgrade_info__init(r->downgradeinfo);
    r->downgradeinfo->enabled = kv_feature_target_minor(kv) != 0;
    if (kv_feature_target_minor(kv))
        r->downgradeinfo->targetversion = arena_printf(a, "3.%u.0", kv_feature_target_minor(kv));
    r->errors = arena_alloc(a, (kv->alarms.count + 2) * sizeof(char *));
    if (!kv->state.leader)
        r->errors[r->n_errors++] = arena_printf(a, "%s", err_text(ERR_NO_LEADER));
    for (size_t i = 0; i < kv->alarms.count; i++) {
        const Etcdserverpb__AlarmMember *alarm = &kv->alarms.list[i];
        r->errors[r->n_errors++] =
            arena_printf(a, "memberID:%llu alarm:%s", (unsigned long long)alarm->memberid,
                         alarm->alarm == ETCDSERVERPB__ALARM_TYPE__NOSPACE ? "NOSPACE" : "CORRUPT");
    }
    if (*kv_archive_notice(kv))
        r->errors[r->n_errors++] = arena_printf(a, "%s", kv_archive_notice(kv));
}
