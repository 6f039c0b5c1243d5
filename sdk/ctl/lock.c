/* SPDX-License-Identifier: Apache-2.0
 * The commands `lock` and `elect`, as of etcdctl: recipes of etcd's concurrency package, with its keys, so that
 * they exclude those of other clients.
 *
 *   1. A lease is granted, and refreshed three times within its TTL whatever the command waits for.
 *   2. The key NAME/LEASE is put. The key under NAME/ with the least create revision holds the lock or leads.
 *   3. The command waits until no older key is left. At its end the lease is revoked, which deletes the key. */
#include "sdk/ctl/rpc.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"

enum { ELECT_TTL_S = 60, RETRY_MS = 200 };

struct lease_session {
    struct ctl *c;
    const char *name; /* of the lock or election, with the / after it */
    const char *key;
    int64_t lease, ttl_s, revision; /* of the lease; of the key's creation */
    uint64_t ends_ms;               /* the server may have ended the lease by then */
    int timer_fd;                   /* readable when the lease is due for a refresh; -1 = no lease */
    bool has_ended;
};

/* --- the lease --------------------------------------------------------------------------------------- */

static enum ctl_exit session_open(struct ctl *c, const char *name, int64_t ttl_s, struct lease_session *ret)
{
    Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    Etcdserverpb__LeaseGrantResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/lease/grant",
                          .request = &request.base,
                          .answer = &etcdserverpb__lease_grant_response__descriptor};
    *ret = (struct lease_session){.c = c, .timer_fd = -1};
    request.ttl = ttl_s;
    enum ctl_exit how = ctl_rpc(c, &rpc, &r);
    if (how)
        return how;
    ret->lease = r->id;
    ret->ttl_s = r->ttl > 0 ? r->ttl : 1;
    ret->ends_ms = clock_mono_ms() + (uint64_t)ret->ttl_s * 1000;
    ret->name = arena_printf(&c->arena, "%s/", name);
    ret->key = arena_printf(&c->arena, "%s%" PRIx64, ret->name, (uint64_t)r->id);
    int64_t every_ms = ret->ttl_s * 1000 / 3;
    struct timespec every = {every_ms / 1000, every_ms % 1000 * 1000000};
    struct itimerspec timer = {every, every};
    ret->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (ret->timer_fd < 0 || timerfd_settime(ret->timer_fd, 0, &timer, NULL) != 0)
        return ctl_fail(c, CTL_ERROR, "cannot make a timer");
    return CTL_DONE;
}

/* Refreshes the lease. A server that cannot be reached has until the end of the lease. */
static void refresh(struct lease_session *s)
{
    struct ctl *c = s->c;
    uint64_t due;
    char error[100];
    json_t *doc = NULL;
    struct buf body = {0};
    (void)!read(s->timer_fd, &due, sizeof due);
    buf_addf(&body, "{\"ID\":\"%" PRId64 "\"}", s->lease);
    struct ctl_call call = {.method = "POST", .body = buf_slice(&body), .has_body = true, .is_read = true};
    ctl_path(&call, "/v3/lease/keepalive");
    int err = ctl_send(c, &call);
    if (!err && call.status == 200 && json_parse(buf_slice(&call.answer), &doc, error, sizeof error) == OK) {
        const char *ttl = ctl_json_text(doc, "result.TTL");
        if (*ttl && strcmp(ttl, "0") != 0)
            s->ends_ms = clock_mono_ms() + (uint64_t)s->ttl_s * 1000;
        else
            s->has_ended = true;
    }
    if (clock_mono_ms() > s->ends_ms)
        s->has_ended = true;
    json_decref(doc);
    ctl_call_done(&call);
    buf_done(&body);
}

/* Revokes the lease, which deletes the key. It ignores the stop signal that has arrived already. */
static enum ctl_exit session_close(struct lease_session *s)
{
    struct ctl *c = s->c;
    Etcdserverpb__LeaseRevokeRequest request = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    Etcdserverpb__LeaseRevokeResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/lease/revoke",
                          .request = &request.base,
                          .answer = &etcdserverpb__lease_revoke_response__descriptor,
                          .is_quiet = s->has_ended};
    if (s->timer_fd < 0)
        return CTL_DONE;
    close(s->timer_fd);
    s->timer_fd = -1;
    int stop_fd = c->stop_fd;
    c->stop_fd = -1;
    request.id = s->lease;
    enum ctl_exit how = ctl_use_endpoints(c);
    if (!how)
        how = ctl_rpc(c, &rpc, &r);
    c->stop_fd = stop_fd;
    return how;
}

/* --- the key ----------------------------------------------------------------------------------------- */

/* Puts the key. */
static enum ctl_exit put_key(struct lease_session *s, const char *value)
{
    Etcdserverpb__Compare compare = ETCDSERVERPB__COMPARE__INIT, *compares[] = {&compare};
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT, *ops[] = {&op};
    Etcdserverpb__TxnRequest request = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__TxnResponse *r;
    struct ctl_rpc rpc = {
        .path = "/v3/kv/txn", .request = &request.base, .answer = &etcdserverpb__txn_response__descriptor};
    compare.key = put.key = ctl_bytes(s->key);
    compare.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE;
    compare.target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
    put.value = ctl_bytes(value);
    put.lease = s->lease;
    op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    op.request_put = &put;
    request.n_compare = request.n_success = 1;
    request.compare = compares;
    request.success = ops;
    enum ctl_exit how = ctl_rpc(s->c, &rpc, &r);
    if (!how && (!r->succeeded || !r->header))
        how = ctl_fail(s->c, CTL_ERROR, "the key %s exists already", s->key);
    if (!how)
        s->revision = r->header->revision;
    return how;
}

/* Gets the first (or last) created key under the name; max_create 0 = of all. */
static enum ctl_exit get_by_creation(struct lease_session *s, bool is_last, int64_t max_create,
                                     Etcdserverpb__RangeResponse **ret)
{
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    struct ctl_rpc rpc = {.path = "/v3/kv/range",
                          .request = &request.base,
                          .answer = &etcdserverpb__range_response__descriptor,
                          .is_read = true};
    request.key = ctl_bytes(s->name);
    ctl_prefix_range(s->c, &request.key, &request.range_end);
    request.sort_target = ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE;
    request.sort_order = is_last ? ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND
                                 : ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND;
    request.limit = 1;
    request.max_create_revision = max_create;
    return ctl_rpc(s->c, &rpc, ret);
}

static enum ctl_exit get_key(struct lease_session *s, Etcdserverpb__RangeResponse **ret)
{
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    struct ctl_rpc rpc = {.path = "/v3/kv/range",
                          .request = &request.base,
                          .answer = &etcdserverpb__range_response__descriptor,
                          .is_read = true};
    request.key = ctl_bytes(s->key);
    return ctl_rpc(s->c, &rpc, ret);
}

/* --- watches ----------------------------------------------------------------------------------------- */

struct key_watch {
    Etcdserverpb__WatchCreateRequest request; /* start_revision follows the events */
    bool (*on_event)(struct lease_session *s, const Etcdserverpb__WatchResponse *r, const Mvccpb__Event *e);
    bool is_over; /* on_event has returned true */
};

static enum ctl_exit take_response(struct lease_session *s, struct key_watch *w,
                                   const Etcdserverpb__WatchResponse *r)
{
    if (r->canceled)
        return ctl_fail(s->c, CTL_ERROR, "%s",
                        r->compact_revision ? "etcdserver: mvcc: required revision has been compacted"
                                            : r->cancel_reason);
    for (size_t i = 0; i < r->n_events && !w->is_over; i++) {
        if (!r->events[i]->kv)
            continue;
        w->request.start_revision = r->events[i]->kv->mod_revision + 1;
        w->is_over = w->on_event(s, r, r->events[i]);
    }
    return ctl_flush(s->c) ? CTL_DONE : CTL_IO;
}

/* Watches until on_event ends it, the lease has ended, the run is stopped, or the connection is lost: then
 * CTL_BAD_CONNECTION, which is not reported. */
static enum ctl_exit watch_once(struct lease_session *s, struct key_watch *w)
{
    struct ctl *c = s->c;
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    request.create_request = &w->request;
    struct ctl_rpc rpc = {
        .path = "/v3/watch", .request = &request.base, .answer = &etcdserverpb__watch_response__descriptor};
    struct ctl_stream stream = {.is_quiet = true};
    Etcdserverpb__WatchResponse *r = NULL;
    enum ctl_exit how = ctl_stream_open(c, &rpc, &stream);
    while (!how && !w->is_over && !s->has_ended) {
        /* Without a lease there is nothing to wake up for. */
        how = s->timer_fd < 0 ? ctl_stream_next(c, &stream, -1, &r)
                              : ctl_stream_poll(c, &stream, s->timer_fd, &r);
        if (!how && r)
            how = take_response(s, w, r);
        else if (!how && s->timer_fd < 0)
            how = CTL_BAD_CONNECTION; /* the stream has ended */
        uint64_t due;
        if (!how && s->timer_fd >= 0 && read(s->timer_fd, &due, sizeof due) == (ssize_t)sizeof due)
            refresh(s);
    }
    ctl_stream_done(&stream);
    return how;
}

/* As watch_once, at the next endpoint when a connection is lost. */
static enum ctl_exit watch_key(struct lease_session *s, struct key_watch *w)
{
    enum ctl_exit how;
    while ((how = watch_once(s, w)) == CTL_BAD_CONNECTION) {
        s->c->at = (s->c->at + 1) % s->c->endpoint_count;
        if (ctl_pause(s->c, RETRY_MS))
            return CTL_INTERRUPTED;
        if (s->timer_fd >= 0)
            refresh(s);
        if (s->has_ended)
            return CTL_DONE;
    }
    return how;
}

static bool is_delete(struct lease_session *s, const Etcdserverpb__WatchResponse *r, const Mvccpb__Event *e)
{
    (void)s;
    (void)r;
    return e->type == MVCCPB__EVENT__EVENT_TYPE__DELETE;
}

/* Waits until no key under the name is older than ours. */
static enum ctl_exit wait_for_turn(struct lease_session *s)
{
    for (;;) {
        Etcdserverpb__RangeResponse *r;
        enum ctl_exit how = get_by_creation(s, true, s->revision - 1, &r);
        if (how || s->has_ended || r->n_kvs == 0)
            return how;
        struct key_watch w = {.on_event = is_delete};
        etcdserverpb__watch_create_request__init(&w.request);
        w.request.key = r->kvs[0]->key;
        w.request.start_revision = r->header->revision;
        how = watch_key(s, &w);
        if (how)
            return how;
    }
}

/* An interrupted wait, in the words of etcdctl. */
static enum ctl_exit end_wait(struct lease_session *s, enum ctl_exit how)
{
    (void)session_close(s);
    if (how == CTL_INTERRUPTED && s->c->line.is_etcdctl)
        return ctl_fail(s->c, CTL_ERROR, "context canceled");
    return how;
}

/* Shows the key and keeps the lease alive until the run is stopped. */
static enum ctl_exit hold(struct lease_session *s, const char *lost, const char *expired)
{
    struct ctl *c = s->c;
    Etcdserverpb__RangeResponse *r;
    enum ctl_exit how = get_key(s, &r);
    if (how)
        return how;
    if (r->n_kvs == 0 && lost)
        return ctl_fail(c, CTL_ERROR, "%s", lost);
    ctl_show_range(c, r, false);
    if (!ctl_flush(c))
        return CTL_IO;
    while (!ctl_pause(c, s->ttl_s * 1000 / 3)) {
        refresh(s);
        if (s->has_ended)
            return ctl_fail(c, CTL_ERROR, "%s", expired);
    }
    return CTL_DONE;
}

/* --- lock -------------------------------------------------------------------------------------------- */

/* Runs the command of a lock and keeps the lease alive. */
static enum ctl_exit run_locked(struct lease_session *s, int64_t revision)
{
    struct ctl *c = s->c;
    size_t count = c->line.arg_count - 1;
    const char **words = arena_new(&c->arena, (count + 1) * sizeof *words);
    memcpy(words, c->line.args + 1, count * sizeof *words);
    const char *const variables[] = {arena_printf(&c->arena, "ETCD_LOCK_KEY=%s", s->key),
                                     arena_printf(&c->arena, "ETCD_LOCK_REV=%" PRId64, revision), NULL};
    struct ctl_child child;
    const struct slice no_input = {0};
    enum ctl_exit how = ctl_child_start(c, words, &no_input, variables, &child);
    if (how)
        return how;
    while (!ctl_child_wait(c, &child, s->ttl_s * 1000 / 3))
        refresh(s);
    if (child.status && c->line.is_etcdctl)
        (void)ctl_fail(c, CTL_ERROR, "exit status %d", child.status);
    return (enum ctl_exit)child.status;
}

enum ctl_exit ctl_lock(struct ctl *c)
{
    struct lease_session s;
    Etcdserverpb__RangeResponse *r;
    int64_t ttl_s = ctl_int(&c->line, "ttl");
    if (c->line.arg_count == 0)
        return ctl_fail(c, CTL_BAD_ARGS,
                        "lock takes a lock name argument and an optional command to execute");
    enum ctl_exit how = ctl_no_table_ever(c);
    if (!how)
        how = session_open(c, c->line.args[0], ttl_s > 0 ? ttl_s : ELECT_TTL_S, &s);
    if (how)
        return how;
    how = put_key(&s, "");
    if (!how)
        how = wait_for_turn(&s);
    if (!how)
        how = get_key(&s, &r);
    if (!how && r->n_kvs == 0)
        how = ctl_fail(c, CTL_ERROR, "mutex: session is expired");
    if (how)
        return end_wait(&s, how);
    how = c->line.arg_count > 1 ? run_locked(&s, r->header->revision)
                                : hold(&s, "lock lost on init", "session expired");
    enum ctl_exit closed = session_close(&s);
    return how ? how : closed;
}

/* --- elect ------------------------------------------------------------------------------------------- */

static enum ctl_exit campaign(struct ctl *c, const char *name, const char *proposal)
{
    struct lease_session s;
    enum ctl_exit how = session_open(c, name, ELECT_TTL_S, &s);
    if (how)
        return how;
    how = put_key(&s, proposal);
    if (!how)
        how = wait_for_turn(&s);
    if (how)
        return end_wait(&s, how);
    how = hold(&s, NULL, "elect: session expired");
    enum ctl_exit closed = session_close(&s);
    return how ? how : closed;
}

static void show_leader(struct ctl *c, Etcdserverpb__ResponseHeader *header, Mvccpb__KeyValue *kv)
{
    Etcdserverpb__RangeResponse shown = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    shown.header = header;
    shown.n_kvs = 1;
    shown.kvs = &kv;
    ctl_show_range(c, &shown, false);
}

static bool on_candidate(struct lease_session *s, const Etcdserverpb__WatchResponse *r,
                         const Mvccpb__Event *e)
{
    (void)s;
    (void)r;
    return e->type == MVCCPB__EVENT__EVENT_TYPE__PUT;
}

/* Shows each proposal of the leader; its key's deletion ends the watch. */
static bool on_leader(struct lease_session *s, const Etcdserverpb__WatchResponse *r, const Mvccpb__Event *e)
{
    if (e->type == MVCCPB__EVENT__EVENT_TYPE__DELETE)
        return true;
    show_leader(s->c, r->header, e->kv);
    return false;
}

/* Follows one leader after the other; CTL_INTERRUPTED when the run is stopped. */
static enum ctl_exit observe(struct ctl *c, const char *name)
{
    struct lease_session s = {.c = c, .timer_fd = -1};
    s.name = arena_printf(&c->arena, "%s/", name);
    for (;;) {
        Etcdserverpb__RangeResponse *r;
        enum ctl_exit how = get_by_creation(&s, false, 0, &r);
        if (how)
            return how;
        struct key_watch w = {0};
        etcdserverpb__watch_create_request__init(&w.request);
        w.request.start_revision = r->header->revision + 1;
        if (r->n_kvs == 0) { /* a candidate that comes is read again, for the first one leads */
            w.request.key = ctl_bytes(s.name);
            ctl_prefix_range(c, &w.request.key, &w.request.range_end);
            w.on_event = on_candidate;
        } else {
            show_leader(c, r->header, r->kvs[0]);
            w.request.key = r->kvs[0]->key;
            w.on_event = on_leader;
        }
        how = ctl_flush(c) ? watch_key(&s, &w) : CTL_IO;
        if (how)
            return how;
    }
}

enum ctl_exit ctl_elect(struct ctl *c)
{
    const struct ctl_command_line *t = &c->line;
    bool is_observer = ctl_bool(t, "listen");
    if (t->arg_count < 1 || t->arg_count > 2)
        return ctl_fail(c, CTL_BAD_ARGS,
                        "elect takes one election name argument and an optional proposal argument");
    if (t->arg_count == 1 && !is_observer)
        return ctl_fail(c, CTL_BAD_ARGS, "no proposal argument but -l not set");
    if (t->arg_count == 2 && is_observer)
        return ctl_fail(c, CTL_BAD_ARGS, "proposal given but -l is set");
    enum ctl_exit how = ctl_no_table_ever(c);
    if (how)
        return how;
    if (!is_observer)
        return campaign(c, t->args[0], t->args[1]);
    how = observe(c, t->args[0]);
    return how == CTL_INTERRUPTED ? CTL_DONE : how;
}
