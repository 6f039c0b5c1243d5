/* SPDX-License-Identifier: Apache-2.0
 * The config center's turn: it applies changes of heads to the view (feed -> heads), notifies watchers and
 * ends requests. This file also has the requests that only wait: barriers and revisions. Writes are in
 * config_write.c, reads in config_read.c, watches in config_watch.c.
 *
 * Invariant: between turns the view shows whole revisions, up to config_revision. Nothing here depends on
 * leadership; only the janitor does. */
#include "config/config.h"

#include "base/mutant.h"
#include "base/turn.h"
#include "config/config_private.h"
#include "consensus/feature.h"

#define INLINE_BYTES                                                                                         \
    (16u << 10)           /* of small contents that are checked on the loop in one turn: 1 ms at most */
#define SLICE_NS 2000000u /* of a turn, for long requests */

enum { RECENT_CHECKS = 2 }; /* cached releases that a turn compares with their heads */

/* --- the view ------------------------------------------------------------------------------------------ */

static void config_on_begin(void *arg, int64_t revision, bool is_whole)
{
    struct config *c = arg;
    policies_begin(&c->policies, is_whole);
    schemas_begin(&c->schemas, is_whole);
    runner_begin(c->runner, is_whole);
    heads_begin(c->heads, revision, is_whole);
}

/* Ignores keys that are not the config center's (config_name_parse). */
static void config_on_put(void *arg, const Mvccpb__KeyValue *pair)
{
    struct config *c = arg;
    struct config_name name;
    if (config_name_parse(slice_of(pair->key.data, pair->key.len), &c->names, &name) != OK)
        return;
    if (name.kind == CONFIG_HEAD)
        heads_put(c->heads, &name, pair_value(pair), pair->create_revision, pair->mod_revision);
    else if (name.kind == CONFIG_POLICY)
        policies_put(&c->policies, name.ns, pair_value(pair), pair->mod_revision);
    else if (name.kind == CONFIG_SCHEMA)
        schemas_put(&c->schemas, &name, pair_value(pair), pair->mod_revision);
    else
        runner_put(c->runner, &name, pair_value(pair), pair->mod_revision);
}

static void on_remove(void *arg, struct slice key, int64_t revision)
{
    struct config *c = arg;
    struct config_name name;
    if (config_name_parse(key, &c->names, &name) != OK)
        return;
    if (name.kind == CONFIG_HEAD)
        heads_remove(c->heads, &name, revision);
    else if (name.kind == CONFIG_POLICY)
        policies_remove(&c->policies, name.ns);
    else if (name.kind == CONFIG_SCHEMA)
        schemas_remove(&c->schemas, &name);
    else
        runner_remove(c->runner, &name);
}

static bool config_on_end(void *arg, uint64_t until_ns)
{
    struct config *c = arg;
    (void)until_ns;
    policies_end(&c->policies);
    schemas_end(&c->schemas);
    runner_end(c->runner);
    heads_end(c->heads);
    return true;
}

static const struct feed_events feed_events = {config_on_begin, config_on_put, on_remove, config_on_end,
                                               false};
static const char *const prefixes[] = {CONFIG_PREFIX "heads/", CONFIG_PREFIX "policies/",
                                       CONFIG_PREFIX "schemas/", CONFIG_PREFIX "schedules/",
                                       CONFIG_PREFIX "rollouts/"};

static void on_changed(void *arg, struct heads_item *i)
{
    struct config *c = arg;
    config_janitor_changed(c->janitor, i);
    config_notify(c, i);
}

bool config_is_ready(const struct config *c)
{
    return feed_is_following(c->feed);
}

int64_t config_revision(const struct config *c)
{
    int64_t feed_at = feed_revision(c->feed), heads_at = heads_revision(c->heads);
    return feed_at > heads_at || !feed_is_following(c->feed)
               ? feed_at
               : heads_at; /* heads are ahead during notifications */
}

uint64_t config_cluster_id(const struct config *c)
{
    return kv_cluster_id(c->kv);
}

uint64_t config_content_bytes_max(const struct config *c)
{
    return c->options.content_bytes_max;
}

const struct config_item *config_find(const struct config *c, const struct config_id *key)
{
    const struct heads_item *i = heads_find(c->heads, key);
    return i && i->item.head ? &i->item : NULL;
}

int64_t config_absent_revision(const struct config *c)
{
    return heads_absent_revision(c->heads);
}

void config_each(const struct config *c, struct slice ns, struct slice group, struct slice prefix,
                 struct slice after, bool (*fn)(void *arg, const struct config_item *item), void *arg)
{
    heads_each(c->heads, ns, group, prefix, after, fn, arg);
}

bool config_each_some(const struct config *c, struct slice ns, struct slice group, struct slice prefix,
                      struct slice after, size_t places,
                      bool (*fn)(void *arg, const struct config_item *item), void *arg,
                      const struct config_item **ret_last)
{
    return heads_each_some(c->heads, ns, group, prefix, after, places, fn, arg, ret_last);
}

int64_t config_namespace_revision(const struct config *c, struct slice ns)
{
    return heads_namespace_revision(c->heads, ns);
}

/* --- shared by the requests ---------------------------------------------------------------------------- */

static void config_on_answer(struct pending_op *pending_ops)
{
    struct config_op *op = container_of(pending_ops, struct config_op, pending_ops);
    op->result.error = pending_ops->error;
    op->request->done(op->request, pending_ops->err, &op->result);
}

void *config_op_new(struct config *c, struct config_request *q, size_t size)
{
    struct config_op *op = pending_op_new(&c->pending_ops, &q->impl, size);
    op->config = c;
    op->request = q;
    op->pending_ops.on_answer = config_on_answer;
    pending_op_set_author(&op->pending_ops, q->who);
    return op;
}

void config_cancel(struct config *c, struct config_request *q)
{
    (void)c;
    if (q->impl)
        pending_op_cancel(q->impl);
}

int config_task_add(struct config *c, struct task *t, const struct config_request *q)
{
    struct arena a = {0};
    int err = task_add(c->tasks, t, config_client(&a, q));
    arena_done(&a);
    return err;
}

struct free_job {
    struct worker_job job;
    void (*free_thing)(void *thing);
    void *thing;
};

static void run_free_job(struct worker_job *job)
{
    struct free_job *f = container_of(job, struct free_job, job);
    f->free_thing(f->thing);
}

static void on_free_job_done(struct worker_job *job)
{
    mem_free(container_of(job, struct free_job, job));
}

void config_free_later(struct config *c, void (*free_thing)(void *thing), void *thing)
{
    struct free_job *f = mem_new(sizeof *f);
    *f = (struct free_job){.job = {.run = run_free_job, .done = on_free_job_done}, free_thing, thing};
    c->pending_ops.io->ops->submit(c->pending_ops.io, IO_WORKER_CONTENT, &f->job);
}

struct slice config_copy(struct arena *a, struct slice s)
{
    return slice_of(s.size ? arena_copy(a, s.data, s.size) : NULL, s.size);
}

struct slice config_client(struct arena *a, const struct config_request *q)
{
    struct slice user = q->who ? q->who->user : (struct slice){0};
    const char *text =
        arena_printf(a, "%.*s %.*s", (int)q->author.address.size, (const char *)q->author.address.data,
                     (int)user.size, (const char *)user.data);
    return slice_text(text);
}

struct config_id config_copy_id(struct arena *a, const struct config_id *key)
{
    return (struct config_id){config_copy(a, key->ns), config_copy(a, key->group), config_copy(a, key->name)};
}

static struct slice config_take_text(struct arena *a, struct buf *text)
{
    struct slice copy = config_copy(a, buf_slice(text));
    buf_done(text);
    return copy;
}

struct slice config_key(struct arena *a, enum config_key kind, const struct config_id *key, uint64_t seq)
{
    struct buf text = {0};
    config_name_add_key(&text, &(struct config_name){kind, key->ns, key->group, key->name, seq});
    return config_take_text(a, &text);
}

struct slice config_prefix(struct arena *a, enum config_key kind, const struct config_id *key)
{
    struct buf text = {0};
    config_name_add_prefix(&text, kind, key->ns, key->group, key->name);
    return config_take_text(a, &text);
}

bool config_check_id(struct config_op *op, const struct config_id *key)
{
    char error[256];
    int err = name_check(key->ns, NAMESPACE_SIZE_MAX, "the namespace", error, sizeof error);
    if (!err)
        err = name_check(key->group, NAME_SIZE_MAX, "the group", error, sizeof error);
    if (!err)
        err = name_check(key->name, NAME_SIZE_MAX, "the configuration's name", error, sizeof error);
    if (err)
        pending_op_refuse(&op->pending_ops, err, "%s", error);
    else if (!config_is_ready(op->config))
        pending_op_end(&op->pending_ops, err = ERR_NOT_READY);
    return err == OK;
}

void config_add_id(struct buf *out, const struct config_id *key)
{
    buf_add_slice(out, key->ns);
    buf_add_byte(out, '/');
    buf_add_slice(out, key->group);
    buf_add_byte(out, '/');
    buf_add_slice(out, key->name);
}

static int config_range_one(struct config *c, struct slice key, bool keys_only, struct arena *a,
                            const Mvccpb__KeyValue **ret)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    m.keys_only = keys_only;
    m.key.len = key.size;
    memcpy(&m.key.data, &key.data,
           sizeof key.data); /* protobuf-c's type is not const; nothing writes to it */
    int err = kv_range_now(c->kv, &m, a, &response);
    *ret = !err && response->n_kvs ? response->kvs[0] : NULL;
    return err;
}

int config_lookup(struct config *c, struct slice key, struct arena *a, const Mvccpb__KeyValue **ret)
{
    return config_range_one(c, key, false, a, ret);
}

int config_lookup_revision(struct config *c, struct slice key, struct arena *a, int64_t *ret)
{
    const Mvccpb__KeyValue *pair;
    int err = config_range_one(c, key, true, a, &pair);
    *ret = pair ? pair->mod_revision : 0;
    return err;
}

int64_t config_wall_ms(const struct config *c)
{
    return (int64_t)(c->pending_ops.io->ops->wall_ns(c->pending_ops.io) / 1000000);
}

uint64_t config_choose(const struct config_item *item, const struct document_map *labels, struct slice ip,
                       struct slice client_id)
{
    const struct config_head *head = item->head;
    const struct gray_rule *rule = NULL;
    if (head->gray.count) {
        struct buf text = {0};
        config_add_id(&text, &(struct config_id){item->ns, item->group, item->name});
        rule = gray_choose(&head->gray, labels, ip, client_id, buf_slice(&text));
        buf_done(&text);
    }
    if (rule)
        return rule->seq;
    return head->is_deleted ? 0 : head->seq;
}

bool config_slice_is_over(struct config *c)
{
    uint64_t now_ns = c->pending_ops.io->ops->mono_ns(c->pending_ops.io);
    if (!c->slice_end_ns)
        c->slice_end_ns = now_ns + SLICE_NS;
    return now_ns >= c->slice_end_ns;
}

struct heads_limits config_limits(const struct config *c, struct slice ns)
{
    const struct config_options *o = &c->options;
    struct heads_limits l = {.namespaces = o->namespaces_max};
    l.items =
        namespace_view_limit(o->namespaces, ns, NAMESPACE_CONFIGURATIONS, o->items_max, &l.items_setting);
    l.bytes = namespace_view_limit(o->namespaces, ns, NAMESPACE_BYTES, o->bytes_max, &l.bytes_setting);
    return l;
}

const struct config_options *config_defaults(const struct config *c)
{
    return &c->options;
}

bool config_has_namespace(const struct config *c, struct slice ns)
{
    return heads_has_namespace(c->heads, ns);
}

struct config_usage config_namespace_usage(const struct config *c, struct slice ns)
{
    const struct heads_namespace *n = heads_namespace(c->heads, ns);
    return n ? (struct config_usage){n->live, n->bytes} : (struct config_usage){0};
}

struct slice config_next_namespace(const struct config *c, struct slice after)
{
    return heads_next_namespace(c->heads, after);
}

/* --- waiting for the view ------------------------------------------------------------------------------ */

static void config_on_view(struct feed_waiter *w)
{
    struct config_op *op = container_of(w, struct config_op, pending_ops.waiter);
    op->result.revision = w->revision;
    pending_op_end(&op->pending_ops, OK);
}

static void config_on_barrier(struct kv_request *kv, int err, const ProtobufCMessage *response)
{
    struct config_op *op = container_of(kv, struct config_op, pending_ops.kv);
    (void)response;
    if (err)
        pending_op_end(&op->pending_ops, err);
    else
        pending_op_view(&op->pending_ops, kv_revision(op->config->kv), config_on_view);
}

void config_op_barrier(struct config_op *op,
                       void (*done)(struct kv_request *kv, int err, const ProtobufCMessage *response))
{
    op->pending_ops.kv.done = done;
    kv_barrier(op->config->kv, &op->pending_ops.kv);
    pending_ops_schedule_turn(&op->config->pending_ops);
}

void config_barrier(struct config *c, struct config_request *q)
{
    config_op_barrier(config_op_new(c, q, sizeof(struct config_op)), config_on_barrier);
}

static void on_wait_timeout(struct pending_op *op)
{
    feed_forget(&op->waiter);
    pending_op_end(op, ERR_TIMEOUT);
}

void config_wait_revision(struct config *c, struct config_request *q, int64_t revision, uint64_t timeout_ms)
{
    struct config_op *op = config_op_new(c, q, sizeof *op);
    pending_op_limit(&op->pending_ops, timeout_ms, on_wait_timeout);
    pending_op_view(&op->pending_ops, revision, config_on_view);
}

/* --- init, turn and free ------------------------------------------------------------------------------- */

/* Its item's head no longer names it. Such releases are rarely read: history, diffs. */
static bool is_superseded(struct config *c, const struct recent_release *e)
{
    struct config_name name;
    if (MUTANT(SUPERSEDED_KEPT) || config_name_parse(e->key, &c->names, &name) != OK)
        return false;
    const struct config_item *item = config_find(c, &(struct config_id){name.ns, name.group, name.name});
    const struct config_head *head = item ? item->head : NULL;
    if (!head)
        return true;
    bool is_named = head->seq == name.seq || name.seq > head->last_seq; /* the view may lag */
    for (size_t i = 0; i < head->gray.count; i++)
        is_named |= head->gray.list[i].seq == name.seq;
    return !is_named;
}

static void drop_superseded(struct config *c)
{
    for (int i = 0; i < RECENT_CHECKS; i++) {
        struct recent_release *e = recent_next(&c->recent);
        if (e && is_superseded(c, e))
            recent_drop(&c->recent, e);
    }
}

void config_turn(struct config *c)
{
    turn_enter(TURN_CONFIG_VIEW);
    if (feed_turn(c->feed))
        pending_ops_schedule_turn(&c->pending_ops);
    turn_enter(TURN_CONFIG_JANITOR);
    if (config_is_ready(c)) {
        config_janitor_turn(c->janitor);
        drop_superseded(c);
        runner_turn(c->runner);
    }
    turn_enter(TURN_CONFIG_REQUESTS);
    c->inline_left = INLINE_BYTES;
    config_line_turn(c);
    pending_ops_turn(&c->pending_ops);
    c->slice_end_ns = 0;
}

struct config *config_new(const struct config_options *options)
{
    struct config *c = mem_new(sizeof *c);
    struct config_options *o = &c->options;
    *o = *options;
    o->member = mem_string(options->member ? options->member : "");
    o->content_bytes_max = o->content_bytes_max ? o->content_bytes_max : 1 << 20;
    o->request_bytes_max = o->request_bytes_max ? o->request_bytes_max : 3 << 19;
    o->txn_ops_max = o->txn_ops_max ? o->txn_ops_max : 128;
    o->releases_kept = o->releases_kept ? o->releases_kept : 50;
    o->releases_kept_s = o->releases_kept_s ? o->releases_kept_s : 90 * 86400;
    if (o->content_bytes_max > CONFIG_CONTENT_MAX)
        o->content_bytes_max = CONFIG_CONTENT_MAX;
    c->kv = o->kv;
    pending_ops_init(&c->pending_ops, c->kv);
    recent_init(&c->recent, o->cache_budget);
    c->recent.keys = o->keys;
    c->tasks = task_queue_new(kv_io(c->kv));
    c->inline_left = INLINE_BYTES;
    list_init(&c->ready);
    c->heads = heads_new(on_changed, c);
    c->janitor = config_janitor_new(&(struct config_janitor_options){
        .kv = c->kv,
        .heads = c->heads,
        .kept = o->releases_kept,
        .kept_s = o->releases_kept_s,
        .releases_max = o->releases_max,
        .history_bytes_max = o->history_bytes_max,
        .limits = o->limits,
    });
    c->runner = runner_new(c);
    metric_collector_add(config_metric_collect, c);
    config_listen_open(c);
    c->feed = c->pending_ops.feed =
        feed_new(c->kv, prefixes, sizeof prefixes / sizeof *prefixes, &feed_events, c);
    return c;
}

void config_free(struct config *c)
{
    if (!c)
        return;
    metric_collector_remove(config_metric_collect, c);
    config_listen_close(c);
    runner_free(c->runner);
    pending_ops_done(&c->pending_ops);
    task_queue_free(c->tasks);
    strmap_done(&c->lines);
    feed_free(c->feed);
    config_janitor_free(c->janitor);
    policies_done(&c->policies);
    schemas_done(&c->schemas);
    config_watch_done(c);
    heads_free(c->heads);
    recent_done(&c->recent);
    buf_done(&c->names);
    mem_free(c->options.member);
    mem_free(c);
}

/* Members of older versions ignore the field of a policy and the key of a schema: they would store in clear, and
 * publish unchecked. At this level there are none, and none can join. */
int config_check_level(const struct config *c, const char *what, char *error, size_t error_size)
{
    return kv_check_feature_level(c->kv, FEATURE_LEVEL_CONTENTS, what, error, error_size);
}
