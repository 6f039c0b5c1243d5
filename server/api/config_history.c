/* SPDX-License-Identifier: Apache-2.0
 * Routes on a configuration's metadata: its releases, the difference between two of them, its draft, its
 * listeners. None of them supports long polls. */
#include <stdio.h>

#include "base/text.h"
#include "config/diff.h"
#include "config/task.h"
#include "server/api/config_call.h"
#include "server/api/config_show.h"

enum {
    DIFF_BYTES_MAX = 8u << 20,
    HISTORY_MAX = 1000,            /* releases of a page */
    HISTORY_BYTES_MAX = 512 * 1024 /* ends a page: titles and notes may have 4 KiB a release */
};

static bool wants_meta(const struct api_call *c)
{
    return api_has_param(c, PARAM_META) && api_flag(api_param(c, PARAM_META));
}

/* --- history ---------------------------------------------------------------------------------------- */

struct history_page {
    struct config_history history;
    struct api_call *call;
    struct buf list;
    struct json_writer writer;
};

static void on_release(struct config_history *h, uint64_t seq, const struct config_release *release)
{
    struct history_page *p = container_of(h, struct history_page, history);
    struct json_writer *w = &p->writer;
    jw_open(w, '{');
    jw_key(w, "seq");
    jw_uint(w, seq);
    config_release_write_members(release, false, w);
    jw_close(w, '}');
    h->is_full = p->list.size >= HISTORY_BYTES_MAX;
}

static void on_history(struct config_request *q, int err, const struct config_result *result)
{
    struct history_page *p =
        container_of(container_of(q, struct config_history, request), struct history_page, history);
    struct buf list = buf_move(&p->list);
    if (err) {
        api_config_fail(p->call, err, result);
    } else {
        char seq[24];
        struct json_writer *w = api_json(p->call, result->revision);
        buf_add_byte(&list, ']');
        jw_key(w, "releases");
        jw_raw(w, buf_slice(&list));
        snprintf(seq, sizeof seq, "%llu", (unsigned long long)result->seq);
        if (result->has_more)
            document_add_text(w, "continue", slice_text(seq));
        api_answer(p->call, result->revision);
    }
    buf_done(&list);
}

static void cancel_history(struct api_call *c)
{
    struct history_page *p = c->state;
    config_cancel(api_config(c), &p->history.request);
    buf_done(&p->list);
}

void api_config_history(struct api_call *c)
{
    struct history_page *p = arena_new(&c->q->arena, sizeof *p);
    uint64_t limit = api_number(api_param(c, PARAM_LIMIT));
    struct slice before = api_param(c, PARAM_CONTINUE);
    if (before.size && !api_number(before)) {
        api_fail(c, API_BAD_REQUEST, "continue is not from an earlier answer");
        return;
    }
    p->call = c;
    p->writer = (struct json_writer){.out = &p->list};
    jw_open(&p->writer, '[');
    p->history.request.done = on_history;
    p->history.release = on_release;
    p->history.key = api_config_id(c);
    p->history.before = api_number(before);
    p->history.limit = limit < HISTORY_MAX ? limit : HISTORY_MAX;
    c->state = p;
    c->cancel = cancel_history;
    config_history(api_config(c), &p->history);
}

/* --- diffs ------------------------------------------------------------------------------------------ */

/* A diff under way. It reads the newer release first, which names the one before it. The content worker
 * compares the two. */
struct comparison {
    struct config_request request;
    struct api_call *call;
    uint64_t to, from;
    int64_t revision;
    bool is_binary;
    struct slice text;      /* of the newer release, in the arena */
    struct diff_task *task; /* under way; NULL = none */
};

/* The worker's data: copies of both texts, and the result. */
struct diff_task {
    struct task task; /* first */
    struct comparison *comparison;
    struct arena arena;
    struct slice old, new;
    const char *from_label, *to_label; /* NULL: JSON */
    struct buf out;
    int err;
};

static void cancel_comparison(struct api_call *c)
{
    struct comparison *d = c->state;
    config_cancel(api_config(c), &d->request);
    if (d->task)
        task_cancel(&d->task->task);
}

static void run_diff(struct task *t)
{
    struct diff_task *k = container_of(t, struct diff_task, task);
    struct diff diff;
    diff_init(&diff, k->old, k->new);
    if (k->from_label)
        k->err = diff_write(&diff, k->from_label, k->to_label, DIFF_BYTES_MAX, &k->out);
    else
        diff_write_json(&diff, DIFF_BYTES_MAX, &(struct json_writer){.out = &k->out});
    diff_done(&diff);
}

static void on_diff(struct task *t)
{
    struct diff_task *k = container_of(t, struct diff_task, task);
    struct comparison *d = k->comparison;
    d->task = NULL;
    if (k->err) {
        api_fail(d->call, API_TOO_LARGE, "the difference is larger than 8 MiB");
        return;
    }
    if (k->from_label) {
        api_respond(d->call, 200, d->revision, "text/x-diff; charset=utf-8", buf_slice(&k->out));
        return;
    }
    struct json_writer *w = api_json(d->call, d->revision);
    document_add_text(w, "name", d->call->name);
    document_add_number(w, "from", (int64_t)d->from);
    document_add_number(w, "to", (int64_t)d->to);
    jw_key(w, "diff");
    jw_raw(w, buf_slice(&k->out));
    api_answer(d->call, d->revision);
}

static void release_diff(struct task *t)
{
    struct diff_task *k = container_of(t, struct diff_task, task);
    arena_done(&k->arena);
    buf_done(&k->out);
    mem_free(k);
}

static struct slice api_config_history_keep(struct arena *a, struct slice text)
{
    return slice_of(arena_copy(a, text.data, text.size), text.size);
}

static const char *label(const struct comparison *d, struct arena *a, uint64_t seq)
{
    const struct slice name = d->call->name;
    return arena_printf(a, "%.*s (release %llu)", (int)name.size, (const char *)name.data,
                        (unsigned long long)seq);
}

static void api_config_history_compare(struct comparison *d, struct slice old)
{
    if (d->is_binary) {
        api_fail(d->call, API_BAD_REQUEST, "a release is binary: it has no lines to compare");
        return;
    }
    struct diff_task *k = mem_new(sizeof *k);
    k->comparison = d;
    k->old = api_config_history_keep(&k->arena, old);
    k->new = api_config_history_keep(&k->arena, d->text);
    if (!wants_meta(d->call)) {
        k->from_label = label(d, &k->arena, d->from);
        k->to_label = label(d, &k->arena, d->to);
    }
    k->task = (struct task){
        .bytes = old.size + d->text.size, .run = run_diff, .done = on_diff, .release = release_diff};
    int err = config_task_add(api_config(d->call), &k->task, &d->request);
    if (!err) {
        d->task = k;
        return;
    }
    release_diff(&k->task);
    api_fail_err(d->call, err,
                 "too many contents wait to be compared or checked on this member: try again later");
}

static void on_from(struct config_request *q, int err, const struct config_result *result)
{
    struct comparison *d = container_of(q, struct comparison, request);
    if (err) {
        api_config_fail(d->call, err, result);
        return;
    }
    d->is_binary |= result->release->format == FORMAT_BIN && result->release->operation != CONFIG_DELETE;
    api_config_history_compare(d, result->release->content);
}

static void on_to(struct config_request *q, int err, const struct config_result *result)
{
    struct comparison *d = container_of(q, struct comparison, request);
    const struct config_release *r = result ? result->release : NULL;
    const struct config_id key = api_config_id(d->call);
    if (err) {
        api_config_fail(d->call, err, result);
        return;
    }
    d->to = result->seq;
    d->revision = result->revision;
    d->is_binary = r->format == FORMAT_BIN && r->operation != CONFIG_DELETE;
    d->text = slice_of(arena_copy(&d->call->q->arena, r->content.data, r->content.size), r->content.size);
    if (!api_has_param(d->call, PARAM_FROM))
        d->from = r->previous_seq;
    if (!d->from) {
        api_config_history_compare(d, (struct slice){0});
        return;
    }
    d->request.done = on_from;
    config_read(api_config(d->call), &d->request, &key, d->from, true);
}

void api_config_diff(struct api_call *c)
{
    struct comparison *d = arena_new(&c->q->arena, sizeof *d);
    const struct config_id key = api_config_id(c);
    d->call = c;
    d->from = api_number(api_param(c, PARAM_FROM));
    d->to = api_number(api_param(c, PARAM_TO));
    d->request.done = on_to;
    d->request.who = api_who(c);
    d->request.author = api_author(c);
    c->state = d;
    c->cancel = cancel_comparison;
    config_read(api_config(c), &d->request, &key, d->to, false);
}

/* --- the draft -------------------------------------------------------------------------------------- */

static void answer_draft(struct api_call *c, const struct config_result *result)
{
    api_show_draft(c, result, wants_meta(c));
}

void api_draft_get(struct api_call *c)
{
    const struct config_id key = api_config_id(c);
    config_read_draft(api_config(c), api_config_request(c, answer_draft), &key);
}

/* --- listeners -------------------------------------------------------------------------------------- */

struct listeners_query {
    struct config_listeners listeners;
    struct api_call *call;
    uint64_t seq; /* 0 = all listeners; else those that this release is for */
    size_t chosen, applied, rejected, pending;
    struct buf list;
    struct json_writer writer;
};

static void add_seq(struct json_writer *w, const char *name, uint64_t seq)
{
    if (seq)
        document_add_number(w, name, (int64_t)seq);
}

/* Counts a listener for the release; false: the release is not for it. */
static bool api_config_history_count(struct listeners_query *l, const struct config_listener *listener)
{
    bool is_applied = listener->applied == l->seq, is_rejected = listener->rejected == l->seq;
    bool is_chosen = listener->chosen == l->seq;
    l->applied += is_applied;
    l->rejected += is_rejected;
    l->chosen += is_chosen;
    l->pending += is_chosen && !is_applied && !is_rejected;
    return is_chosen || is_applied || is_rejected;
}

static void on_listener(struct config_listeners *s, const struct config_listener *listener)
{
    struct listeners_query *l = container_of(s, struct listeners_query, listeners);
    struct json_writer *w = &l->writer;
    if (l->seq && !api_config_history_count(l, listener))
        return;
    jw_open(w, '{');
    jw_key(w, "client_id");
    jw_string(w, listener->client_id);
    jw_key(w, "peer");
    jw_string(w, listener->peer);
    jw_key(w, "member");
    jw_string(w, listener->member);
    jw_key(w, "transport");
    jw_string(w, listener->transport);
    jw_key(w, "labels");
    document_write_map(&listener->labels, w);
    add_seq(w, "chosen", listener->chosen);
    add_seq(w, "sent", listener->sent);
    add_seq(w, "applied", listener->applied);
    add_seq(w, "rejected", listener->rejected);
    document_add_text(w, "error", listener->error);
    jw_close(w, '}');
}

static void on_listeners_done(struct config_request *q, int err, const struct config_result *result)
{
    struct config_listeners *s = container_of(q, struct config_listeners, request);
    struct listeners_query *l = container_of(s, struct listeners_query, listeners);
    struct buf list = buf_move(&l->list);
    if (err) {
        api_config_fail(l->call, err, result);
    } else {
        struct json_writer *w = api_json(l->call, result->revision);
        if (l->seq) {
            document_add_number(w, "seq", (int64_t)l->seq);
            document_add_number(w, "chosen", (int64_t)l->chosen);
            document_add_number(w, "applied", (int64_t)l->applied);
            document_add_number(w, "rejected", (int64_t)l->rejected);
            document_add_number(w, "pending", (int64_t)l->pending);
        }
        buf_add_byte(&list, ']');
        jw_key(w, "listeners");
        jw_raw(w, buf_slice(&list));
        document_add_number(w, "members_silent", (int64_t)s->members_silent);
        document_add_number(w, "left_out", (int64_t)s->left_out);
        api_answer(l->call, result->revision);
    }
    buf_done(&list);
}

static void cancel_listeners(struct api_call *c)
{
    struct listeners_query *l = c->state;
    config_cancel(api_config(c), &l->listeners.request);
    buf_done(&l->list);
}

static void start_listeners_query(struct api_call *c, uint64_t seq)
{
    struct listeners_query *l = arena_new(&c->q->arena, sizeof *l);
    const struct config_id key = api_config_id(c);
    l->call = c;
    l->seq = seq;
    l->writer = (struct json_writer){.out = &l->list};
    jw_open(&l->writer, '[');
    l->listeners.request.done = on_listeners_done;
    l->listeners.on_listener = on_listener;
    c->state = l;
    c->cancel = cancel_listeners;
    config_listeners(api_config(c), &l->listeners, &key);
}

void api_listeners_get(struct api_call *c)
{
    start_listeners_query(c, 0);
}

void api_delivery_get(struct api_call *c)
{
    if (c->release)
        start_listeners_query(c, c->release);
    else
        api_fail(c, API_BAD_REQUEST, "releases count from 1");
}
