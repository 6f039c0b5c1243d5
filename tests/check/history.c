/* SPDX-License-Identifier: Apache-2.0
 * Recording of a history, and the names of operations in findings. */
#include "tests/check/history.h"

#include <ctype.h>
#include <inttypes.h>

static struct slice copy_slice(struct arena *a, struct slice s)
{
    return s.size ? slice_of(arena_copy(a, s.data, s.size), s.size) : (struct slice){0};
}

static struct history_kv copy_kv(struct arena *a, const struct history_kv *kv)
{
    struct history_kv copy = *kv;
    copy.key = copy_slice(a, kv->key);
    copy.value = copy_slice(a, kv->value);
    return copy;
}

static const struct history_kv *copy_kvs(struct arena *a, const struct history_kv *kvs, size_t count)
{
    struct history_kv *copy = arena_alloc(a, count * sizeof *copy);
    for (size_t i = 0; i < count; i++)
        copy[i] = copy_kv(a, &kvs[i]);
    return copy;
}

static struct history_steps copy_steps(struct arena *a, struct history_steps s)
{
    struct history_step *copy = arena_alloc(a, s.count * sizeof *copy);
    for (size_t i = 0; i < s.count; i++) {
        copy[i] = s.items[i];
        copy[i].key = copy_slice(a, copy[i].key);
        copy[i].range_end = copy_slice(a, copy[i].range_end);
        copy[i].value = copy_slice(a, copy[i].value);
    }
    return (struct history_steps){copy, s.count};
}

static const struct history_change *copy_changes(struct arena *a, const struct history_change *c,
                                                 size_t count)
{
    struct history_change *copy = arena_alloc(a, count * sizeof *copy);
    for (size_t i = 0; i < count; i++)
        copy[i] = (struct history_change){c[i].is_delete, copy_kv(a, &c[i].kv)};
    return copy;
}

static int64_t tick(struct history *h, int64_t now_ns)
{
    h->now_ns = now_ns > h->now_ns ? now_ns : h->now_ns + 1;
    return h->now_ns;
}

/* An array of pointers, or of structs, with room for one more. */
static void *room(void *items, size_t count, size_t *capacity, size_t item_size)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity ? *capacity * 2 : 64;
    return mem_resize(items, *capacity * item_size);
}

void history_done(struct history *h)
{
    for (size_t i = 0; i < h->watch_count; i++)
        mem_free(h->watches[i]->responses);
    mem_free(h->ops);
    mem_free(h->watches);
    mem_free(h->commits);
    arena_done(&h->arena);
    *h = (struct history){0};
}

struct history_op *history_call(struct history *h, uint32_t client, int64_t now_ns,
                                const struct history_request *request)
{
    struct history_op *op = arena_new(&h->arena, sizeof *op);
    *op = (struct history_op){.number = h->op_count,
                              .client = client,
                              .call_ns = tick(h, now_ns),
                              .return_ns = HISTORY_NEVER,
                              .request = *request};
    struct history_request *r = &op->request;
    struct history_compare *compares = arena_alloc(&h->arena, r->compare_count * sizeof *compares);
    for (size_t i = 0; i < r->compare_count; i++) {
        compares[i] = r->compares[i];
        compares[i].key = copy_slice(&h->arena, compares[i].key);
        compares[i].value = copy_slice(&h->arena, compares[i].value);
    }
    r->compares = compares;
    r->then = copy_steps(&h->arena, r->then);
    r->otherwise = copy_steps(&h->arena, r->otherwise);
    h->ops = room(h->ops, h->op_count, &h->op_capacity, sizeof *h->ops);
    h->ops[h->op_count++] = op;
    return op;
}

void history_return(struct history *h, struct history_op *op, int64_t now_ns, enum history_outcome outcome,
                    const struct history_reply *reply)
{
    op->return_ns = tick(h, now_ns);
    op->outcome = outcome;
    if (!reply)
        return;
    op->reply.error = copy_slice(&h->arena, reply->error);
    if (outcome != HISTORY_OK)
        return;
    struct slice error = op->reply.error;
    op->reply = *reply;
    op->reply.error = error;
    struct history_result *results = arena_alloc(&h->arena, reply->result_count * sizeof *results);
    for (size_t i = 0; i < reply->result_count; i++) {
        results[i] = reply->results[i];
        results[i].kvs = copy_kvs(&h->arena, results[i].kvs, results[i].kv_count);
    }
    op->reply.results = results;
}

struct history_watch *history_watch_open(struct history *h, uint32_t client, int64_t now_ns,
                                         const struct history_watch *w)
{
    struct history_watch *copy = arena_new(&h->arena, sizeof *copy);
    *copy = *w;
    copy->number = h->watch_count;
    copy->client = client;
    copy->call_ns = tick(h, now_ns);
    copy->key = copy_slice(&h->arena, w->key);
    copy->range_end = copy_slice(&h->arena, w->range_end);
    copy->responses = NULL;
    copy->count = copy->capacity = 0;
    h->watches = room(h->watches, h->watch_count, &h->watch_capacity, sizeof *h->watches);
    h->watches[h->watch_count++] = copy;
    return copy;
}

void history_watch_add(struct history *h, struct history_watch *w, int64_t now_ns,
                       const struct history_response *response)
{
    struct history_response copy = *response;
    struct history_event *events = arena_alloc(&h->arena, copy.event_count * sizeof *events);
    for (size_t i = 0; i < copy.event_count; i++) {
        const struct history_event *e = &copy.events[i];
        events[i] = (struct history_event){{e->change.is_delete, copy_kv(&h->arena, &e->change.kv)},
                                           e->has_prev,
                                           copy_kv(&h->arena, &e->prev)};
    }
    copy.events = events;
    copy.time_ns = tick(h, now_ns);
    w->responses = room(w->responses, w->count, &w->capacity, sizeof *w->responses);
    w->responses[w->count++] = copy;
}

void history_commit_add(struct history *h, const struct history_commit *commit)
{
    h->commits = room(h->commits, h->commit_count, &h->commit_capacity, sizeof *h->commits);
    h->commits[h->commit_count++] =
        (struct history_commit){commit->revision, copy_changes(&h->arena, commit->changes, commit->count),
                                commit->count, commit->ended_lease};
}

void history_commits_from_watch(struct history *h, const struct history_watch *w)
{
    struct history_change *changes = NULL;
    size_t count = 0, capacity = 0;
    for (size_t i = 0; i < w->count; i++)
        for (size_t j = 0; j < w->responses[i].event_count; j++) {
            const struct history_change *c = &w->responses[i].events[j].change;
            if (count && changes[0].kv.mod != c->kv.mod) {
                history_commit_add(h, &(struct history_commit){changes[0].kv.mod, changes, count, 0});
                count = 0;
            }
            changes = room(changes, count, &capacity, sizeof *changes);
            changes[count++] = *c;
        }
    if (count)
        history_commit_add(h, &(struct history_commit){changes[0].kv.mod, changes, count, 0});
    mem_free(changes);
}

struct history_request history_one_step(const struct history_step *step)
{
    return (struct history_request){.kind = step->kind, .then = {step, 1}};
}

bool history_in_range(struct slice key, struct slice from, struct slice range_end)
{
    if (range_end.size == 0)
        return slice_equal(key, from);
    bool is_open = range_end.size == 1 && range_end.data[0] == 0;
    return slice_compare(key, from) >= 0 && (is_open || slice_compare(key, range_end) < 0);
}

const char *history_kind_name(enum history_kind kind)
{
    static const char *const names[HISTORY_KINDS] = {"put",   "range",     "delete", "txn",
                                                     "grant", "keepalive", "revoke", "compact"};
    return names[kind];
}

void history_add_quoted(struct buf *b, struct slice bytes)
{
    size_t shown = bytes.size > 40 ? 40 : bytes.size;
    buf_add_byte(b, '"');
    for (size_t i = 0; i < shown; i++)
        if (isprint(bytes.data[i]) && bytes.data[i] != '"' && bytes.data[i] != '\\')
            buf_add_byte(b, bytes.data[i]);
        else
            buf_addf(b, "\\x%02x", bytes.data[i]);
    buf_add_text(b, shown < bytes.size ? "\"..." : "\"");
}

static void describe_step(struct buf *b, const struct history_step *s)
{
    buf_addf(b, "%s ", history_kind_name(s->kind));
    history_add_quoted(b, s->key);
    if (s->range_end.size) {
        buf_add_text(b, "..");
        history_add_quoted(b, s->range_end);
    }
    if (s->kind == HISTORY_PUT) {
        buf_add_text(b, "=");
        history_add_quoted(b, s->value);
    }
    if (s->lease)
        buf_addf(b, " lease %" PRId64, s->lease);
    if (s->at_revision)
        buf_addf(b, " at revision %" PRId64, s->at_revision);
}

static void describe_steps(struct buf *b, const char *word, struct history_steps steps)
{
    for (size_t i = 0; i < steps.count; i++) {
        buf_add_text(b, i ? ", " : word);
        describe_step(b, &steps.items[i]);
    }
}

static void describe_compare(struct buf *b, const struct history_compare *c)
{
    static const char *const targets[] = {"value", "mod", "create", "version"};
    buf_addf(b, "%s ", targets[c->target]);
    history_add_quoted(b, c->key);
    static const char *const relations[] = {"=", "!=", ">", "<"};
    buf_addf(b, " %s ", relations[c->relation]);
    if (c->target == HISTORY_VALUE)
        history_add_quoted(b, c->value);
    else
        buf_addf(b, "%" PRId64, c->number);
}

void history_describe(struct buf *b, const struct history_op *op)
{
    const struct history_request *r = &op->request;
    buf_addf(b, "#%zu ", op->number);
    switch (r->kind) {
    case HISTORY_PUT:
    case HISTORY_RANGE:
    case HISTORY_DELETE:
        if (r->is_serializable)
            buf_add_text(b, "serializable ");
        describe_steps(b, "", r->then);
        break;
    case HISTORY_TXN:
        buf_add_text(b, "txn");
        for (size_t i = 0; i < r->compare_count; i++) {
            buf_add_text(b, i ? " and " : " if ");
            describe_compare(b, &r->compares[i]);
        }
        describe_steps(b, " then ", r->then);
        describe_steps(b, " else ", r->otherwise);
        break;
    case HISTORY_COMPACT:
        buf_addf(b, "compact %" PRId64, r->compact_revision);
        break;
    case HISTORY_GRANT:
    case HISTORY_KEEPALIVE:
    case HISTORY_REVOKE:
    case HISTORY_KINDS:
        buf_addf(b, "%s of lease %" PRId64, history_kind_name(r->kind), r->lease);
        break;
    }
    buf_addf(b, " by client %" PRIu32, op->client);
}
