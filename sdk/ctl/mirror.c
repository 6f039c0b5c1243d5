/* SPDX-License-Identifier: Apache-2.0
 * The command `make-mirror`, as of etcdctl: copies the keys with a prefix to another cluster, then follows the
 * watch and repeats every change there. It ends with an error, or by a signal; every 30 s it prints how many
 * changes it has made.
 *
 * Changes of one revision go into one transaction of at most --max-txn-ops operations. Keys keep no lease. */
#include "sdk/ctl/rpc.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/net/tls.h"

enum { PAGE = 1000, REPORT_S = 30, RETRY_MS = 500 };

struct mirror {
    struct ctl *c, *to; /* the cluster that is read, and the one that is written */
    const char *prefix, *to_prefix;
    size_t max_ops;
    int64_t revision; /* everything up to it is copied */
    int64_t total;    /* changes made */
    int timer_fd;
    Etcdserverpb__RequestOp **ops; /* collected for one transaction */
    size_t op_count;
};

/* --- writing ----------------------------------------------------------------------------------------- */

/* The key with --dest-prefix in place of --prefix. */
static ProtobufCBinaryData key_there(const struct mirror *m, ProtobufCBinaryData key, struct arena *a)
{
    size_t from = strlen(m->prefix), to = strlen(m->to_prefix);
    ProtobufCBinaryData there = {to + key.len - from, arena_alloc(a, to + key.len - from + 1)};
    memcpy(there.data, m->to_prefix, to);
    memcpy(there.data + to, key.data + from, key.len - from);
    return there;
}

static enum ctl_exit flush_ops(struct mirror *m)
{
    Etcdserverpb__TxnRequest request = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__TxnResponse *r;
    struct ctl_rpc rpc = {
        .path = "/v3/kv/txn", .request = &request.base, .answer = &etcdserverpb__txn_response__descriptor};
    if (m->op_count == 0)
        return CTL_DONE;
    request.success = m->ops;
    request.n_success = m->op_count;
    enum ctl_exit how = ctl_rpc(m->to, &rpc, &r);
    m->op_count = 0;
    return how;
}

/* Collects one change; the arena keeps it until the next flush_ops. */
static enum ctl_exit add_op(struct mirror *m, const Mvccpb__Event *e, struct arena *a)
{
    enum ctl_exit how = m->op_count == m->max_ops ? flush_ops(m) : CTL_DONE;
    Etcdserverpb__RequestOp *op = arena_alloc(a, sizeof *op);
    etcdserverpb__request_op__init(op);
    if (e->type == MVCCPB__EVENT__EVENT_TYPE__DELETE) {
        op->request_delete_range = arena_alloc(a, sizeof *op->request_delete_range);
        etcdserverpb__delete_range_request__init(op->request_delete_range);
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
        op->request_delete_range->key = key_there(m, e->kv->key, a);
    } else {
        op->request_put = arena_alloc(a, sizeof *op->request_put);
        etcdserverpb__put_request__init(op->request_put);
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        op->request_put->key = key_there(m, e->kv->key, a);
        op->request_put->value = e->kv->value;
    }
    m->ops[m->op_count++] = op;
    m->total++;
    return how;
}

static enum ctl_exit put_there(struct mirror *m, const Mvccpb__KeyValue *kv)
{
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__PutResponse *r;
    struct ctl_rpc rpc = {
        .path = "/v3/kv/put", .request = &request.base, .answer = &etcdserverpb__put_response__descriptor};
    request.key = key_there(m, kv->key, &m->to->arena);
    request.value = kv->value;
    m->total++;
    return ctl_rpc(m->to, &rpc, &r);
}

/* Prints the number of changes when 30 s are over. */
static enum ctl_exit report(struct mirror *m)
{
    uint64_t due;
    if (read(m->timer_fd, &due, sizeof due) != (ssize_t)sizeof due)
        return CTL_DONE;
    buf_addf(&m->c->out, "%" PRId64 "\n", m->total);
    return ctl_flush(m->c) ? CTL_DONE : CTL_IO;
}

/* --- the copy ---------------------------------------------------------------------------------------- */

/* Finds the revision of the copy. */
static enum ctl_exit choose_revision(struct mirror *m)
{
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/kv/range",
                          .request = &request.base,
                          .answer = &etcdserverpb__range_response__descriptor,
                          .is_read = true};
    request.key = ctl_bytes(*m->prefix ? m->prefix : "foo");
    request.count_only = true;
    enum ctl_exit how = ctl_rpc(m->c, &rpc, &r);
    if (!how)
        m->revision = r->header->revision;
    return how;
}

static enum ctl_exit copy_page(struct mirror *m, Etcdserverpb__RangeRequest *request, struct buf *next,
                               bool *ret_has_more)
{
    Etcdserverpb__RangeResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/kv/range",
                          .request = &request->base,
                          .answer = &etcdserverpb__range_response__descriptor,
                          .is_read = true};
    enum ctl_exit how = ctl_rpc(m->c, &rpc, &r);
    *ret_has_more = !how && r->more && r->n_kvs;
    for (size_t i = 0; !how && i < r->n_kvs; i++) {
        how = put_there(m, r->kvs[i]);
        if (!how)
            how = report(m);
        arena_reset(&m->to->arena);
    }
    if (*ret_has_more) {
        const ProtobufCBinaryData *last = &r->kvs[r->n_kvs - 1]->key;
        buf_clear(next);
        buf_add(next, last->data, last->len);
        buf_add_byte(next, 0);
        request->key = (ProtobufCBinaryData){next->size, next->data};
    }
    return how;
}

/* Each page has an arena of its own: a store may be larger than the memory. */
static enum ctl_exit copy_all(struct mirror *m)
{
    struct ctl *c = m->c;
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    struct buf next = {0};
    bool has_more = true;
    request.key = ctl_bytes(m->prefix);
    ctl_prefix_range(c, &request.key, &request.range_end);
    request.limit = PAGE;
    request.revision = m->revision;
    request.sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND;
    enum ctl_exit how = CTL_DONE;
    while (!how && has_more) {
        struct arena outer = c->arena;
        c->arena = (struct arena){0};
        how = copy_page(m, &request, &next, &has_more);
        arena_done(&c->arena);
        c->arena = outer;
    }
    buf_done(&next);
    return how;
}

/* --- the changes ------------------------------------------------------------------------------------- */

static enum ctl_exit repeat_events(struct mirror *m, const Etcdserverpb__WatchResponse *r)
{
    int64_t last = 0;
    enum ctl_exit how = CTL_DONE;
    if (r->compact_revision)
        return ctl_fail(m->c, CTL_ERROR, "etcdserver: mvcc: required revision has been compacted");
    if (r->canceled)
        return ctl_fail(m->c, CTL_ERROR, "%s", r->cancel_reason);
    for (size_t i = 0; !how && i < r->n_events; i++) {
        const Mvccpb__Event *e = r->events[i];
        if (!e->kv || e->kv->key.len < strlen(m->prefix))
            continue;
        if (last && e->kv->mod_revision > last)
            how = flush_ops(m);
        if (how)
            return how;
        last = e->kv->mod_revision;
        how = add_op(m, e, &m->to->arena);
    }
    if (!how)
        how = flush_ops(m);
    if (!how && last)
        m->revision = last;
    arena_reset(&m->to->arena);
    return how;
}

/* Follows the watch. CTL_DONE: the connection is lost. */
static enum ctl_exit follow_once(struct mirror *m)
{
    struct ctl *c = m->c;
    Etcdserverpb__WatchCreateRequest create = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    struct ctl_rpc rpc = {
        .path = "/v3/watch", .request = &request.base, .answer = &etcdserverpb__watch_response__descriptor};
    struct ctl_stream stream = {.is_quiet = true};
    Etcdserverpb__WatchResponse *r = NULL;
    create.key = ctl_bytes(m->prefix);
    ctl_prefix_range(c, &create.key, &create.range_end);
    create.start_revision = m->revision + 1;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    request.create_request = &create;
    enum ctl_exit how = ctl_stream_open(c, &rpc, &stream), one = CTL_DONE;
    while (!how && !one) {
        how = ctl_stream_poll(c, &stream, m->timer_fd, &r);
        if (!how && r)
            one = repeat_events(m, r);
        if (!how && !one)
            one = report(m);
    }
    ctl_stream_done(&stream);
    return one ? one : how == CTL_BAD_CONNECTION ? CTL_DONE : how;
}

static enum ctl_exit follow(struct mirror *m)
{
    enum ctl_exit how = CTL_DONE;
    while (!how) {
        how = follow_once(m);
        if (!how && ctl_pause(m->c, RETRY_MS))
            how = CTL_INTERRUPTED;
        m->c->at = (m->c->at + 1) % m->c->endpoint_count;
    }
    return how;
}

/* --- the run ----------------------------------------------------------------------------------------- */

/* The other cluster gets a run of its own, with the same flags but for --dest-... */
static enum ctl_exit open_destination(struct ctl *c, struct ctl *to)
{
    const struct ctl_command_line *t = &c->line;
    const char *ca = ctl_flag_value(t, "dest-cacert"), *cert = ctl_flag_value(t, "dest-cert");
    const char *key = ctl_flag_value(t, "dest-key");
    *to = (struct ctl){.line = *t, .dial_ms = c->dial_ms, .command_ms = c->command_ms, .stop_fd = c->stop_fd};
    enum ctl_exit how = ctl_set_endpoints(to, t->args, 1);
    bool wants_tls = ca || cert || key || !ctl_bool(t, "dest-insecure-transport");
    for (size_t i = 0; !how && i < to->endpoint_count; i++)
        to->endpoints[i].is_tls = strncmp(to->endpoints[i].text, "https://", 8) == 0 ||
                                  (wants_tls && strncmp(to->endpoints[i].text, "http://", 7) != 0);
    if (!how)
        how = ctl_open_tls(to, ca, cert, key);
    if (!how)
        how = ctl_log_in(to, ctl_flag_value(t, "dest-user"), ctl_flag_value(t, "dest-password"));
    return how;
}

static enum ctl_exit run_mirror(struct mirror *m)
{
    struct itimerspec timer = {{.tv_sec = REPORT_S}, {.tv_sec = REPORT_S}};
    m->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (m->timer_fd < 0 || timerfd_settime(m->timer_fd, 0, &timer, NULL) != 0)
        return ctl_fail(m->c, CTL_ERROR, "cannot make a timer");
    enum ctl_exit how = CTL_DONE;
    int64_t revision = ctl_int(&m->c->line, "rev");
    m->revision = revision > 0 ? revision - 1 : 0;
    if (m->revision == 0) {
        how = choose_revision(m);
        if (!how)
            how = copy_all(m);
    }
    return how ? how : follow(m);
}

enum ctl_exit ctl_make_mirror(struct ctl *c)
{
    const struct ctl_command_line *t = &c->line;
    struct ctl to = {0};
    struct mirror m = {.c = c, .to = &to, .prefix = ctl_text(t, "prefix"), .timer_fd = -1};
    if (t->arg_count != 1)
        return ctl_fail(c, CTL_BAD_ARGS, "make-mirror takes one destination argument");
    m.to_prefix = ctl_text(t, "dest-prefix");
    if (ctl_bool(t, "no-dest-prefix") && *m.to_prefix)
        return ctl_fail(c, CTL_BAD_ARGS,
                        "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one");
    if (!ctl_bool(t, "no-dest-prefix") && !*m.to_prefix)
        m.to_prefix = m.prefix;
    uint64_t max = ctl_uint(t, "max-txn-ops");
    m.max_ops = max == 0 ? 1 : max > 1 << 20 ? 1 << 20 : (size_t)max;
    m.ops = mem_new(m.max_ops * sizeof(Etcdserverpb__RequestOp *));
    enum ctl_exit how = open_destination(c, &to);
    struct arena names = to.arena; /* of the endpoints; the other one is emptied after each change */
    to.arena = (struct arena){0};
    if (!how)
        how = run_mirror(&m);
    if (m.timer_fd >= 0)
        close(m.timer_fd);
    mem_free(m.ops);
    to.line = (struct ctl_command_line){0}; /* it is ours */
    ctl_done(&to);
    arena_done(&names);
    return how;
}
