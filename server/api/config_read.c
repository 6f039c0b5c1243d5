/* SPDX-License-Identifier: Apache-2.0
 * Routes of the config center with long polls: a configuration's content, the list of configurations, a gray
 * rule. They are sources over the view of heads (read.h). A content is read from the store at the answer, by
 * the seq from the view, so that the answer is one state. */
#include <stdio.h>

#include "base/buf_release.h"
#include "base/text.h"
#include "server/api/config_call.h"
#include "server/api/config_show.h"
#include "server/api/read.h"
#include "server/api/slice.h"

/* --- a source over the heads ------------------------------------------------------------------------ */

struct view {
    struct api_read read;
    struct config_request request;
    struct config_watch watch;
    struct config_subscriber subscriber; /* the client; its labels and id choose the gray release */
    bool is_gray;
    int64_t revision; /* of the answer */
    uint64_t seq;     /* of the release to answer with, or whose tag is loaded */
    uint8_t tag[API_DIGEST_SIZE];
    uint64_t tag_seq; /* the release of the tag; 0 = none */
};

static struct view *view_of(const struct api_read *r)
{
    return (struct view *)((uintptr_t)r - offsetof(struct view, read));
}

static const struct config_item *item_of(const struct api_read *r)
{
    const struct config_id key = api_config_id(r->call);
    return config_find(api_config(r->call), &key);
}

static void api_config_read_on_barrier(struct config_request *q, int err, const struct config_result *result)
{
    (void)result;
    api_read_continue(&container_of(q, struct view, request)->read, err);
}

static void view_barrier(struct api_read *r)
{
    struct view *v = view_of(r);
    v->request.done = api_config_read_on_barrier;
    config_barrier(api_config(r->call), &v->request);
}

static void view_cancel(struct api_read *r)
{
    config_cancel(api_config(r->call), &view_of(r)->request);
}

static int64_t view_revision(const struct api_read *r)
{
    return config_revision(api_config(r->call));
}

static void api_config_read_on_change(struct config_watch *w, const struct config_item *item,
                                      const struct config_id *key)
{
    (void)item, (void)key;
    api_read_changed(&container_of(w, struct view, watch)->read);
}

static void view_unwatch(struct api_read *r)
{
    config_unwatch(&view_of(r)->watch);
}

static int64_t item_changed(const struct api_read *r, int64_t after)
{
    const struct config_item *item = item_of(r);
    (void)after;
    return item ? item->revision : config_absent_revision(api_config(r->call));
}

/* The release for this client; 0 = none. */
static uint64_t seq_of(const struct view *v)
{
    const struct config_item *item = item_of(&v->read);
    const struct config_subscriber *s = &v->subscriber;
    if (!item)
        return 0;
    if (v->is_gray)
        return config_choose(item, &s->labels, gray_address(v->read.call->q->peer), s->client_id);
    return item->head->is_deleted ? 0 : item->head->seq;
}

static void item_watch(struct api_read *r)
{
    struct view *v = view_of(r);
    const struct config_id key = api_config_id(r->call);
    uint64_t seq = seq_of(v);
    v->watch.changed = api_config_read_on_change;
    v->watch.subscriber = &v->subscriber;
    config_watch(api_config(r->call), &v->watch, &key, false);
    if (seq)
        config_sent(&v->watch, &key, seq);
}

/* --- one configuration ------------------------------------------------------------------------------ */

static bool wants_meta(const struct api_call *c)
{
    return api_has_param(c, PARAM_META) && api_flag(api_param(c, PARAM_META));
}

static void item_add_key(const struct api_read *r, struct buf *key)
{
    const struct view *v = view_of(r);
    if (!v->is_gray)
        return;
    buf_add_byte(key, 0);
    buf_add_slice(key, gray_address(r->call->q->peer));
}

/* Renders a stand-in for the content: it changes whenever the content or its attributes change. */
static enum api_error item_render(const struct api_read *r, struct json_writer *w)
{
    const struct config_item *item = item_of(r);
    uint64_t seq = seq_of(view_of(r));
    if (!item || !seq)
        return API_NOT_FOUND;
    jw_key(w, "seq");
    jw_uint(w, seq);
    if (wants_meta(r->call)) {
        jw_key(w, "head");
        jw_open(w, '{');
        config_head_write_members(item->head, w);
        jw_close(w, '}');
    }
    return API_ERRORS;
}

/* The ETag: the content's md5. The head has it only for the live release. */
static bool item_tag(const struct api_read *r, uint8_t tag[API_DIGEST_SIZE])
{
    const struct view *v = view_of(r);
    const struct config_item *item = item_of(r);
    uint64_t seq = seq_of(v);
    if (!seq || wants_meta(r->call))
        return true; /* the rendering's */
    if (seq == item->head->seq)
        return api_config_tag(item->head->digest.md5, tag);
    if (seq == v->tag_seq)
        memcpy(tag, v->tag, sizeof v->tag);
    return seq == v->tag_seq;
}

static void read_release(struct view *v,
                         void (*done)(struct config_request *q, int err, const struct config_result *result))
{
    const struct config_id key = api_config_id(v->read.call);
    v->request.done = done;
    config_read(api_config(v->read.call), &v->request, &key, v->seq, true);
}

static void on_tag_loaded(struct config_request *q, int err, const struct config_result *result)
{
    struct view *v = container_of(q, struct view, request);
    if (!err && result->release->operation != CONFIG_DELETE &&
        api_config_tag(result->release->digest.md5, v->tag))
        v->tag_seq = v->seq;
    api_read_tag_loaded(&v->read);
}

static void item_load_tag(struct api_read *r)
{
    struct view *v = view_of(r);
    v->seq = seq_of(v);
    read_release(v, on_tag_loaded);
}

static void api_config_read_on_read(struct config_request *q, int err, const struct config_result *result)
{
    struct view *v = container_of(q, struct view, request);
    bool is_json = wants_meta(v->read.call);
    if (!err && is_json)
        api_add_etag(v->read.call, v->tag);
    if (err)
        api_config_fail(v->read.call, err, result);
    else
        api_show_release(v->read.call, v->revision, result, is_json);
}

static void item_answer(struct api_read *r, const struct api_shared *result)
{
    struct view *v = view_of(r);
    v->seq = seq_of(v);
    v->revision = result->revision;
    memcpy(v->tag, result->digest, sizeof v->tag);
    v->tag_seq = 0;
    /* Many polls wait for the same release: the first one reads it, the others find it in the cache. */
    const struct config_id key = api_config_id(r->call);
    struct config_result recent = {.revision = v->revision, .seq = v->seq};
    recent.release = config_read_recent(api_config(r->call), &key, v->seq);
    recent.head = item_of(r)->head;
    if (recent.release)
        api_config_read_on_read(&v->request, OK, &recent);
    else
        read_release(v, api_config_read_on_read);
}

static const struct api_source item_source = {
    .barrier = view_barrier,
    .cancel_barrier = view_cancel,
    .revision = view_revision,
    .changed = item_changed,
    .watch = item_watch,
    .unwatch = view_unwatch,
    .render = item_render,
    .missing = "there is no such configuration",
    .add_key = item_add_key,
    .tag = item_tag,
    .load_tag = item_load_tag,
    .answer = item_answer,
};

static void answer_named_release(struct api_call *c, const struct config_result *result)
{
    api_show_release(c, result->revision, result, wants_meta(c));
}

/* A named release is immutable: no poll is needed. */
static void get_named_release(struct api_call *c, uint64_t seq)
{
    const struct config_id key = api_config_id(c);
    if (api_has_param(c, PARAM_WAIT_REVISION) || api_has_param(c, PARAM_LABELS))
        api_fail(c, API_BAD_REQUEST, "seq cannot be combined with wait_revision or labels");
    else
        config_read(api_config(c), api_config_request(c, answer_named_release), &key, seq, api_is_local(c));
}

void api_config_get(struct api_call *c)
{
    uint64_t seq = api_number(api_param(c, PARAM_SEQ));
    if (seq) {
        get_named_release(c, seq);
        return;
    }
    struct view *v = arena_new(&c->q->arena, sizeof *v);
    v->subscriber.client_id = api_param(c, PARAM_CLIENT_ID);
    v->subscriber.peer = c->q->peer;
    v->subscriber.transport = "http";
    api_config_labels(c, &v->subscriber.labels);
    v->is_gray = api_has_param(c, PARAM_LABELS) || api_has_param(c, PARAM_CLIENT_ID);
    api_read_start(c, &v->read, &item_source);
}

/* --- a gray rule ------------------------------------------------------------------------------------ */

static enum api_error rule_render(const struct api_read *r, struct json_writer *w)
{
    const struct config_item *item = item_of(r);
    const struct gray_rules *rules = item ? &item->head->gray : &(struct gray_rules){0};
    for (size_t i = 0; i < rules->count; i++) {
        if (!slice_equal(rules->list[i].name, r->call->rule))
            continue;
        jw_key(w, "rule");
        gray_rule_write(&rules->list[i], w);
        return API_ERRORS;
    }
    return API_NOT_FOUND;
}

static const struct api_source rule_source = {
    .barrier = view_barrier,
    .cancel_barrier = view_cancel,
    .revision = view_revision,
    .changed = item_changed,
    .watch = item_watch,
    .unwatch = view_unwatch,
    .render = rule_render,
    .missing = "there is no such gray rule",
};

void api_gray_get(struct api_call *c)
{
    struct view *v = arena_new(&c->q->arena, sizeof *v);
    api_read_start(c, &v->read, &rule_source);
}

/* --- the list --------------------------------------------------------------------------------------- */

static int64_t list_changed(const struct api_read *r, int64_t after)
{
    (void)after;
    return config_namespace_revision(api_config(r->call), r->call->ns);
}

static void list_watch(struct api_read *r)
{
    struct view *v = view_of(r);
    const struct config_id key = {r->call->ns, api_group_filter(r->call), api_param(r->call, PARAM_PREFIX)};
    v->watch.changed = api_config_read_on_change;
    config_watch(api_config(r->call), &v->watch, &key, true);
}

enum {
    PLACES_PER_CLOCK = 4, /* items between two reads of the clock: a head may have 64 KiB */
    RESTARTS_MAX = 3,     /* then each item is written as it is now, at the answer's revision or later */
    COPIED_PER_SLICE = 256 * 1024, /* bytes: they are digested in the slice, too */
};

/* A page under rendering: all of it as of one revision, which is fixed after its last item. */
struct listing {
    struct api_page page;
    bool with_deleted;
    struct buf list; /* the objects; copied to the answer in pieces */
    struct json_writer writer;
    size_t copied;
    struct buf after; /* "group/name" of the last item that was visited */
    struct buf last;  /* group and name of the last item that was written */
    int64_t revision; /* of the namespace, when this attempt began */
    int64_t latest;   /* revision of the newest change among the visited items */
    unsigned begun;   /* number of attempts */
    bool is_taken, is_fixed;
};

static bool api_config_read_add_item(void *arg, const struct config_item *item)
{
    struct listing *l = arg;
    struct json_writer *w = l->page.w;
    l->latest = item->revision > l->latest ? item->revision : l->latest;
    if (item->head->is_deleted && !l->with_deleted)
        return true;
    if (!api_page_take(&l->page, item->group, item->name))
        return false;
    config_head_write_members(item->head, w);
    document_add_number(w, "create_revision", item->create_revision);
    document_add_number(w, "mod_revision", item->revision);
    jw_close(w, '}');
    return true;
}

static struct listing *list_begin(const struct api_read *r)
{
    const struct api_call *c = r->call;
    struct listing *l = mem_new(sizeof *l);
    l->with_deleted = api_has_param(c, PARAM_DELETED) && api_flag(api_param(c, PARAM_DELETED));
    return l;
}

/* Begins the page again. A namespace that changes faster than the page is taken is written item by item
 * instead: then the answer's revision is fixed first. */
static void list_restart(struct listing *l, struct api_read *r, struct api_shared *s)
{
    l->revision = list_changed(r, INT64_MAX);
    l->latest = config_absent_revision(api_config(r->call));
    buf_done(&l->page.after);
    api_page_begin(&l->page, r->call);
    buf_clear(&l->after);
    buf_add_slice(&l->after, buf_slice(&l->page.after));
    buf_clear(&l->list);
    if (++l->begun > RESTARTS_MAX) {
        api_result_fix(r, s);
        l->is_fixed = true;
        api_page_array(&l->page, &s->writer, "configs");
        return;
    }
    l->writer = (struct json_writer){.out = &l->list};
    l->page.w = &l->writer;
    jw_open(&l->writer, '[');
}

/* Copies the last names: the configuration may be removed before the next slice. */
static void keep_last(struct listing *l)
{
    struct slice group = l->page.group, name = l->page.name;
    if (group.data == l->last.data)
        return; /* it is a copy already */
    buf_clear(&l->last);
    buf_add_slice(&l->last, group);
    buf_add_slice(&l->last, name);
    l->page.group = slice_of(l->last.data, group.size);
    l->page.name = slice_of(l->last.data + group.size, name.size);
}

static bool list_take(struct listing *l, struct api_read *r, struct api_shared *s)
{
    const struct api_call *c = r->call;
    const struct config_item *last;
    if (!l->begun || (!l->is_fixed && l->revision != list_changed(r, INT64_MAX)))
        list_restart(l, r, s);
    while (config_each_some(api_config(c), c->ns, api_group_filter(c), api_param(c, PARAM_PREFIX),
                            buf_slice(&l->after), PLACES_PER_CLOCK, api_config_read_add_item, l, &last)) {
        buf_clear(&l->after);
        buf_add_slice(&l->after, last->group);
        buf_add_byte(&l->after, '/');
        buf_add_slice(&l->after, last->name);
        if (api_slice_is_over(c)) {
            keep_last(l);
            return false;
        }
    }
    keep_last(l);
    return true;
}

/* Copies a piece to the answer; false: there is more. */
static bool list_copy(struct listing *l, struct api_shared *s)
{
    size_t left = l->list.size - l->copied, n = left < COPIED_PER_SLICE ? left : COPIED_PER_SLICE;
    if (n)
        buf_add(&s->body, l->list.data + l->copied, n);
    l->copied += n;
    return l->copied == l->list.size;
}

static bool list_render(struct api_read *r, struct api_shared *s)
{
    if (!s->state)
        s->state = list_begin(r);
    struct listing *l = s->state;
    if (!l->is_taken) {
        if (!list_take(l, r, s))
            return false;
        l->is_taken = true;
    }
    if (!l->is_fixed) {
        api_result_fix(r, s);
        s->last_change = l->latest; /* of the page only */
        l->is_fixed = true;
        jw_key(&s->writer, "configs");
        jw_raw(&s->writer, (struct slice){0});
    }
    if (!list_copy(l, s))
        return false;
    l->page.w = &s->writer;
    api_page_close(&l->page);
    return true;
}

static void list_render_end(struct api_shared *s)
{
    struct listing *l = s->state;
    if (!l)
        return;
    buf_done(&l->page.after);
    buf_done(&l->after);
    buf_done(&l->last);
    buf_release(&l->list);
    mem_free(l);
}

static size_t list_render_bytes(const struct api_shared *s)
{
    const struct listing *l = s->state;
    return l ? l->list.capacity : 0;
}

static const struct api_source list_source = {
    .barrier = view_barrier,
    .cancel_barrier = view_cancel,
    .revision = view_revision,
    .changed = list_changed,
    .watch = list_watch,
    .unwatch = view_unwatch,
    .render_on = list_render,
    .render_end = list_render_end,
    .render_bytes = list_render_bytes,
};

void api_config_list(struct api_call *c)
{
    struct view *v = arena_new(&c->q->arena, sizeof *v);
    if (api_page_check(c))
        api_read_start(c, &v->read, &list_source);
}
