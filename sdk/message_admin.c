/* SPDX-License-Identifier: Apache-2.0
 * Translation of the lease, membership and maintenance messages. See message.h. */
#include "sdk/message.h"

#define NOTHING_TO_FILL(name)                                                                                \
    int fill_##name(const struct cairn_##name##_request *in, struct arena *a, ProtobufCMessage *message,     \
                    struct cairn_error *error)                                                               \
    {                                                                                                        \
        (void)in;                                                                                            \
        (void)a;                                                                                             \
        (void)message;                                                                                       \
        (void)error;                                                                                         \
        return CAIRN_OK;                                                                                     \
    }
#define HEADER_ALONE(name, response)                                                                         \
    void read_##name(const ProtobufCMessage *message, struct arena *a, struct cairn_##name##_result *out)    \
    {                                                                                                        \
        (void)a;                                                                                             \
        read_header(((const Etcdserverpb__##response *)message)->header, &out->header);                      \
    }
/* Defines a function that copies one number of the request to the message. */
#define ONE_FIELD(name, request, field, member)                                                              \
    int fill_##name(const struct cairn_##name##_request *in, struct arena *a, ProtobufCMessage *message,     \
                    struct cairn_error *error)                                                               \
    {                                                                                                        \
        (void)a;                                                                                             \
        (void)error;                                                                                         \
        ((Etcdserverpb__##request *)message)->field = in->member;                                            \
        return CAIRN_OK;                                                                                     \
    }

/* --- leases --------------------------------------------------------------------------------------------- */
int fill_lease_grant(const struct cairn_lease_grant_request *in, struct arena *a, ProtobufCMessage *message,
                     struct cairn_error *error)
{
    (void)a;
    (void)error;
    Etcdserverpb__LeaseGrantRequest *m = (Etcdserverpb__LeaseGrantRequest *)message;
    m->ttl = in->ttl_seconds;
    m->id = in->id;
    return CAIRN_OK;
}

void read_lease_grant(const ProtobufCMessage *message, struct arena *a, struct cairn_lease_grant_result *out)
{
    (void)a;
    const Etcdserverpb__LeaseGrantResponse *m = (const Etcdserverpb__LeaseGrantResponse *)message;
    read_header(m->header, &out->header);
    out->id = m->id;
    out->ttl_seconds = m->ttl;
}

ONE_FIELD(lease_revoke, LeaseRevokeRequest, id, id)
HEADER_ALONE(lease_revoke, LeaseRevokeResponse)

int fill_lease_ttl(const struct cairn_lease_ttl_request *in, struct arena *a, ProtobufCMessage *message,
                   struct cairn_error *error)
{
    (void)a;
    (void)error;
    Etcdserverpb__LeaseTimeToLiveRequest *m = (Etcdserverpb__LeaseTimeToLiveRequest *)message;
    m->id = in->id;
    m->keys = in->keys;
    return CAIRN_OK;
}

void read_lease_ttl(const ProtobufCMessage *message, struct arena *a, struct cairn_lease_ttl_result *out)
{
    const Etcdserverpb__LeaseTimeToLiveResponse *m = (const Etcdserverpb__LeaseTimeToLiveResponse *)message;
    struct cairn_bytes *keys = arena_new(a, (m->n_keys + 1) * sizeof *keys);
    for (size_t i = 0; i < m->n_keys; i++)
        keys[i] = (struct cairn_bytes){m->keys[i].data, m->keys[i].len};
    read_header(m->header, &out->header);
    out->id = m->id;
    out->ttl_seconds = m->ttl;
    out->granted_seconds = m->grantedttl;
    out->keys = keys;
    out->key_count = m->n_keys;
}

NOTHING_TO_FILL(lease_list)

void read_lease_list(const ProtobufCMessage *message, struct arena *a, struct cairn_lease_list_result *out)
{
    const Etcdserverpb__LeaseLeasesResponse *m = (const Etcdserverpb__LeaseLeasesResponse *)message;
    int64_t *ids = arena_new(a, (m->n_leases + 1) * sizeof *ids);
    for (size_t i = 0; i < m->n_leases; i++)
        ids[i] = m->leases[i]->id;
    read_header(m->header, &out->header);
    out->ids = ids;
    out->id_count = m->n_leases;
}

/* --- members -------------------------------------------------------------------------------------------- */
/* Copies the list of pointers; the strings are borrowed. */
static const char *const *texts_in(char *const *list, size_t count, struct arena *a)
{
    const char **texts = arena_new(a, (count + 1) * sizeof *texts);
    for (size_t i = 0; i < count; i++)
        texts[i] = list[i];
    return texts;
}

static char **texts_out(const char *const *list, size_t count, struct arena *a)
{
    char **texts = arena_new(a, (count + 1) * sizeof *texts);
    for (size_t i = 0; i < count; i++)
        texts[i] = arena_string(a, list[i], strlen(list[i]));
    return texts;
}

static struct cairn_member member_in(const Etcdserverpb__Member *m, struct arena *a)
{
    return (struct cairn_member){.id = m->id,
                                 .name = m->name,
                                 .peer_urls = texts_in(m->peerurls, m->n_peerurls, a),
                                 .peer_url_count = m->n_peerurls,
                                 .client_urls = texts_in(m->clienturls, m->n_clienturls, a),
                                 .client_url_count = m->n_clienturls,
                                 .is_learner = m->islearner};
}

static struct cairn_members members_in(Etcdserverpb__Member *const *list, size_t count, struct arena *a)
{
    struct cairn_member *members = arena_new(a, (count + 1) * sizeof *members);
    for (size_t i = 0; i < count; i++)
        members[i] = member_in(list[i], a);
    return (struct cairn_members){members, count};
}

#define READ_MEMBERS(name, response)                                                                         \
    void read_##name(const ProtobufCMessage *message, struct arena *a, struct cairn_##name##_result *out)    \
    {                                                                                                        \
        const Etcdserverpb__##response *m = (const Etcdserverpb__##response *)message;                       \
        read_header(m->header, &out->header);                                                                \
        out->members = members_in(m->members, m->n_members, a);                                              \
    }

int fill_member_list(const struct cairn_member_list_request *in, struct arena *a, ProtobufCMessage *message,
                     struct cairn_error *error)
{
    (void)a;
    (void)error;
    ((Etcdserverpb__MemberListRequest *)message)->linearizable = !in->serializable;
    return CAIRN_OK;
}
READ_MEMBERS(member_list, MemberListResponse)

int fill_member_add(const struct cairn_member_add_request *in, struct arena *a, ProtobufCMessage *message,
                    struct cairn_error *error)
{
    (void)error;
    Etcdserverpb__MemberAddRequest *m = (Etcdserverpb__MemberAddRequest *)message;
    m->peerurls = texts_out(in->peer_urls, in->peer_url_count, a);
    m->n_peerurls = in->peer_url_count;
    m->islearner = in->is_learner;
    return CAIRN_OK;
}

void read_member_add(const ProtobufCMessage *message, struct arena *a, struct cairn_member_add_result *out)
{
    const Etcdserverpb__MemberAddResponse *m = (const Etcdserverpb__MemberAddResponse *)message;
    read_header(m->header, &out->header);
    out->members = members_in(m->members, m->n_members, a);
    out->member.name = "";
    if (m->member)
        out->member = member_in(m->member, a);
}

ONE_FIELD(member_remove, MemberRemoveRequest, id, id)
READ_MEMBERS(member_remove, MemberRemoveResponse)

int fill_member_update(const struct cairn_member_update_request *in, struct arena *a,
                       ProtobufCMessage *message, struct cairn_error *error)
{
    (void)error;
    Etcdserverpb__MemberUpdateRequest *m = (Etcdserverpb__MemberUpdateRequest *)message;
    m->id = in->id;
    m->peerurls = texts_out(in->peer_urls, in->peer_url_count, a);
    m->n_peerurls = in->peer_url_count;
    return CAIRN_OK;
}
READ_MEMBERS(member_update, MemberUpdateResponse)

ONE_FIELD(member_promote, MemberPromoteRequest, id, id)
READ_MEMBERS(member_promote, MemberPromoteResponse)

/* --- maintenance ---------------------------------------------------------------------------------------- */
NOTHING_TO_FILL(status)

void read_status(const ProtobufCMessage *message, struct arena *a, struct cairn_status_result *out)
{
    const Etcdserverpb__StatusResponse *m = (const Etcdserverpb__StatusResponse *)message;
    *out = (struct cairn_status_result){
        .version = m->version,
        .storage_version = m->storageversion,
        .db_size = m->dbsize,
        .db_size_in_use = m->dbsizeinuse,
        .db_size_quota = m->dbsizequota,
        .leader = m->leader,
        .raft_index = m->raftindex,
        .raft_term = m->raftterm,
        .raft_applied_index = m->raftappliedindex,
        .errors = texts_in(m->errors, m->n_errors, a),
        .error_count = m->n_errors,
        .is_learner = m->islearner,
    };
    read_header(m->header, &out->header);
}

int fill_alarm(const struct cairn_alarm_request *in, struct arena *a, ProtobufCMessage *message,
               struct cairn_error *error)
{
    (void)a;
    (void)error;
    Etcdserverpb__AlarmRequest *m = (Etcdserverpb__AlarmRequest *)message;
    m->action = (Etcdserverpb__AlarmRequest__AlarmAction)in->action;
    m->memberid = in->member_id;
    m->alarm = (Etcdserverpb__AlarmType)in->kind;
    return CAIRN_OK;
}

void read_alarm(const ProtobufCMessage *message, struct arena *a, struct cairn_alarm_result *out)
{
    const Etcdserverpb__AlarmResponse *m = (const Etcdserverpb__AlarmResponse *)message;
    struct cairn_alarm *alarms = arena_new(a, (m->n_alarms + 1) * sizeof *alarms);
    for (size_t i = 0; i < m->n_alarms; i++)
        alarms[i] = (struct cairn_alarm){m->alarms[i]->memberid, (enum cairn_alarm_kind)m->alarms[i]->alarm};
    read_header(m->header, &out->header);
    out->alarms = alarms;
    out->alarm_count = m->n_alarms;
}

NOTHING_TO_FILL(defragment)
HEADER_ALONE(defragment, DefragmentResponse)

ONE_FIELD(hash_kv, HashKVRequest, revision, revision)

void read_hash_kv(const ProtobufCMessage *message, struct arena *a, struct cairn_hash_kv_result *out)
{
    (void)a;
    const Etcdserverpb__HashKVResponse *m = (const Etcdserverpb__HashKVResponse *)message;
    read_header(m->header, &out->header);
    out->hash = m->hash;
    out->compact_revision = m->compact_revision;
    out->hash_revision = m->hash_revision;
}

ONE_FIELD(move_leader, MoveLeaderRequest, targetid, target)
HEADER_ALONE(move_leader, MoveLeaderResponse)
