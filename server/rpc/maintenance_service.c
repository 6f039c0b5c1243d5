/* SPDX-License-Identifier: Apache-2.0
 * etcdserverpb.Maintenance without Snapshot: status, alarms, hashes, defragmentation, leadership and
 * downgrade. */
#include <stdio.h>

#include "base/log.h"
#include "server/rpc/service.h"
#include "server/version.h"

#define RESOURCE_EXHAUSTED 8

/* Every authenticated user may list alarms; only root may raise and clear them. */
void rpc_alarm(struct rpc_call *c, const ProtobufCMessage *m)
{
    bool asks =
        ((const Etcdserverpb__AlarmRequest *)m)->action == ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__GET;
    int err = asks ? OK : kv_auth_check_admin(c->server->kv, &c->who);
    if (err) {
        rpc_finish(c, err);
        return;
    }
    kv_alarm(c->server->kv, rpc_store_request(c), (const Etcdserverpb__AlarmRequest *)m);
}

/* Answered from local state, at once, also without a leader. */
void rpc_status(struct rpc_call *c, const ProtobufCMessage *m)
{
    (void)m;
    Etcdserverpb__StatusResponse response;
    etcdserverpb__status_response__init(&response);
    kv_status(c->server->kv, &c->arena, &response);
    rpc_reply(c, 0, &response.base);
}

void rpc_hash(struct rpc_call *c, const ProtobufCMessage *m)
{
    kv_hash(c->server->kv, rpc_store_request(c), (const Etcdserverpb__HashRequest *)m);
}

void rpc_hash_kv(struct rpc_call *c, const ProtobufCMessage *m)
{
    kv_hash_kv(c->server->kv, rpc_store_request(c), (const Etcdserverpb__HashKVRequest *)m);
}

/* etcd never sets the header of this answer, and its tests expect the body {}. */
static void defragment_done(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    (void)m;
    struct rpc_call *c = container_of(r, struct rpc_call, request);
    c->is_waiting = false;
    Etcdserverpb__DefragmentResponse response = ETCDSERVERPB__DEFRAGMENT_RESPONSE__INIT;
    char text[200];
    if (err)
        log_warn("failed to defragment", F_ERR(err));
    else
        log_info("finished defragment");
    if (err == ERR_NO_DISK_SPACE) {
        kv_defrag_refusal(c->server->kv, text, sizeof text);
        rpc_finish_text(c, RESOURCE_EXHAUSTED, text);
        return;
    }
    rpc_reply(c, err, &response.base);
}

void rpc_defragment(struct rpc_call *c, const ProtobufCMessage *m)
{
    log_info("starting defragment");
    struct kv_request *r = rpc_store_request(c);
    r->done = defragment_done;
    kv_defragment(c->server->kv, r, (const Etcdserverpb__DefragmentRequest *)m);
}

/* Nor of this one. */
static void move_leader_done(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    (void)m;
    struct rpc_call *c = container_of(r, struct rpc_call, request);
    c->is_waiting = false;
    Etcdserverpb__MoveLeaderResponse response = ETCDSERVERPB__MOVE_LEADER_RESPONSE__INIT;
    rpc_reply(c, err, &response.base);
}

void rpc_move_leader(struct rpc_call *c, const ProtobufCMessage *m)
{
    struct kv_request *r = rpc_store_request(c);
    r->done = move_leader_done;
    kv_move_leader(c->server->kv, r, (const Etcdserverpb__MoveLeaderRequest *)m);
}

/* --- downgrade ---------------------------------------------------------------------------------------- */

#define IDENTIFIER ".-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* The forms of a version that etcd accepts: "3.6", "3.6.1", "3.6.1-rc.1+build". */
static bool is_version(const char *text)
{
    unsigned numbers = 0;
    for (;; text++) {
        size_t digits = strspn(text, "0123456789");
        if (!digits || digits > 18)
            return false;
        text += digits;
        if (++numbers == 3 || *text != '.')
            break;
    }
    if (numbers < 3)
        return numbers == 2 && !*text;
    if (*text == '-')
        text += 1 + strspn(text + 1, IDENTIFIER);
    if (*text == '+')
        text += 1 + strspn(text + 1, IDENTIFIER);
    return !*text;
}

/* A running Downgrade request: a barrier, then, when it changes something, a log entry. Without a quorum
 * it fails, as in etcd. */
struct downgrade {
    Etcdserverpb__DowngradeRequest__DowngradeAction action;
    unsigned major, minor;
    Etcdserverpb__DowngradeInfoSetRequest set;
    char version[32];
};

static void downgrade_answer(struct rpc_call *c)
{
    Etcdserverpb__DowngradeResponse response = ETCDSERVERPB__DOWNGRADE_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header;
    rpc_header_now(c, &header);
    response.header = &header;
    char version[16];
    snprintf(version, sizeof version, "%s", kv_cluster_version(c->server->kv, &c->arena));
    *strrchr(version, '.') = 0; /* "3.7" */
    response.version = version;
    rpc_reply(c, OK, &response.base);
}

/* etcd reports a cancel that had nothing to end as a success, and logs it. */
static void downgrade_end(struct rpc_call *c, const struct downgrade *d, int err)
{
    bool is_cancel = d->action == ETCDSERVERPB__DOWNGRADE_REQUEST__DOWNGRADE_ACTION__CANCEL;
    if (err)
        log_warn(is_cancel ? "failed to cancel downgrade" : "reject downgrade request", F_ERR(err));
    if (err && !is_cancel)
        rpc_finish(c, err);
    else
        downgrade_answer(c);
}

static void downgrade_set_done(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    (void)m;
    struct rpc_call *c = container_of(r, struct rpc_call, request);
    c->is_waiting = false;
    downgrade_end(c, c->state, err);
}

static void downgrade_done(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    (void)m;
    struct rpc_call *c = container_of(r, struct rpc_call, request);
    struct downgrade *d = c->state;
    c->is_waiting = false;
    bool is_cancel = d->action == ETCDSERVERPB__DOWNGRADE_REQUEST__DOWNGRADE_ACTION__CANCEL;
    if (!err && !is_cancel)
        err = kv_check_downgrade(c->server->kv, d->major, d->minor);
    if (err || d->action == ETCDSERVERPB__DOWNGRADE_REQUEST__DOWNGRADE_ACTION__VALIDATE) {
        downgrade_end(c, d, err);
        return;
    }
    etcdserverpb__downgrade_info_set_request__init(&d->set);
    d->set.enabled = !is_cancel;
    d->version[0] = 0;
    if (!is_cancel)
        snprintf(d->version, sizeof d->version, "%u.%u.0", d->major, d->minor);
    d->set.ver = d->version;
    struct kv_request *set = rpc_store_request(c);
    set->done = downgrade_set_done;
    kv_downgrade(c->server->kv, set, &d->set);
}

void rpc_downgrade(struct rpc_call *c, const ProtobufCMessage *m)
{
    const Etcdserverpb__DowngradeRequest *request = (const Etcdserverpb__DowngradeRequest *)m;
    struct downgrade *d = arena_new(&c->arena, sizeof *d);
    d->action = request->action;
    switch (request->action) {
    case ETCDSERVERPB__DOWNGRADE_REQUEST__DOWNGRADE_ACTION__VALIDATE:
    case ETCDSERVERPB__DOWNGRADE_REQUEST__DOWNGRADE_ACTION__ENABLE:
        if (!is_version(request->version)) {
            rpc_finish(c, ERR_DOWNGRADE_FORMAT);
            return;
        }
        (void)sscanf(request->version, "%9u.%9u", &d->major, &d->minor);
        break;
    case ETCDSERVERPB__DOWNGRADE_REQUEST__DOWNGRADE_ACTION__CANCEL:
        break;
    case _ETCDSERVERPB__DOWNGRADE_REQUEST__DOWNGRADE_ACTION_IS_INT_SIZE:
    default:
        rpc_finish_text(c, 2, "etcdserver: unknown method");
        return;
    }
    c->state = d;
    struct kv_request *r = rpc_store_request(c);
    r->done = downgrade_done;
    kv_barrier(c->server->kv, r);
}
