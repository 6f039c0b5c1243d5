/* SPDX-License-Identifier: Apache-2.0
 * Answers with rendered contents; see config_render.h. The content worker renders with the contents that are there
 * until it needs one more; the loop reads that one, and the worker begins again:
 *
 *     rendering (worker) ── needs a configuration ──► authorized, read ──► rendering ── … ──► answered */
#include "server/api/config_render.h"

#include <stdio.h>

#include "config/render/render.h"
#include "config/task.h"
#include "server/api/read.h"

struct rendering;

struct render_task {
    struct task task; /* first */
    struct rendering *rendering;
    struct render_document list[RENDER_DOCUMENTS_MAX];
    size_t count;
    struct arena arena; /* of the contents; moves from task to task */
    struct render_result result;
    struct digest digest; /* of the rendered content */
    int err;
};

struct rendering {
    struct config_request request;
    struct api_call *call;
    int64_t revision;
    struct render_task *task; /* under way; NULL: a configuration is being read */
    struct render_document list[RENDER_DOCUMENTS_MAX];
    size_t count;
    struct arena arena;
    struct buf used; /* the seqs of the referenced releases: "3,1" */
    size_t bytes;    /* of all contents */
};

static void rendering_start(struct rendering *g);

static struct slice keep(struct arena *a, struct slice s)
{
    return slice_of(s.size ? arena_copy(a, s.data, s.size) : (const void *)"", s.size);
}

static void rendering_done(struct rendering *g)
{
    arena_done(&g->arena);
    buf_done(&g->used);
    mem_free(g);
}

static void rendering_cancel(struct api_call *c)
{
    struct rendering *g = c->state;
    if (g->task)
        task_cancel(&g->task->task);
    else
        config_cancel(api_config(c), &g->request);
    rendering_done(g);
}

/* Adds what the client needs to tell which releases it got. */
static void add_document(struct rendering *g, const struct render_name *name, uint64_t seq,
                         enum format format, struct slice content)
{
    struct render_document *d = &g->list[g->count++];
    g->bytes += content.size;
    *d = (struct render_document){
        .name = {keep(&g->arena, name->ns), keep(&g->arena, name->group), keep(&g->arena, name->name)},
        .format = format,
        .content = keep(&g->arena, content)};
    if (seq)
        buf_addf(&g->used, "%s%llu", g->used.size ? "," : "", (unsigned long long)seq);
}

static void answer_rendered(struct rendering *g, const struct render_task *k)
{
    struct api_call *c = g->call;
    uint8_t tag[API_DIGEST_SIZE];
    bool has_tag = api_config_tag(k->digest.md5, tag);
    if (has_tag)
        api_add_etag(c, tag);
    if (g->used.size)
        http_add_header(c->q, "X-Cairn-Rendered", buf_text(&g->used));
    if (has_tag && api_has_tag(c, tag))
        api_respond(c, 304, g->revision, NULL, (struct slice){0});
    else
        api_respond(c, 200, g->revision, format_content_type(k->list[0].format), buf_slice(&k->result.out));
}

static void fail_rendering(struct rendering *g, int err, const struct format_error *where)
{
    const struct api_detail detail = {.line = where->line, .column = where->column};
    api_fail_with(g->call, err == ERR_REQUEST_TOO_LARGE ? API_TOO_LARGE : API_MALFORMED, where->text,
                  &detail);
}

/* --- a referenced configuration ------------------------------------------------------------------------- */

static void on_reference(struct config_request *q, int err, const struct config_result *result)
{
    struct rendering *g = container_of(q, struct rendering, request);
    const struct render_name *name = &g->list[g->count].name; /* kept by read_reference */
    if (!err && result->release->operation != CONFIG_DELETE) {
        add_document(g, name, result->seq, result->release->format, result->release->content);
        if (g->bytes <= RENDER_CONTENTS_MAX) {
            rendering_start(g);
            return;
        }
        api_fail(g->call, API_TOO_LARGE, "the configurations that are needed have more than 2 MiB together");
        rendering_done(g);
        return;
    }
    char why[400];
    snprintf(why, sizeof why, "there is no configuration %.*s/%.*s/%.*s, to which a reference leads",
             (int)(name->ns.size < 64 ? name->ns.size : 64), (const char *)name->ns.data,
             (int)(name->group.size < 100 ? name->group.size : 100), (const char *)name->group.data,
             (int)(name->name.size < 100 ? name->name.size : 100), (const char *)name->name.data);
    if (!err || err == ERR_NOT_FOUND)
        api_fail(g->call, API_NOT_FOUND, why);
    else
        api_config_fail(g->call, err, result);
    rendering_done(g);
}

/* The release that this client gets: the live one, or by its labels a gray one. */
static uint64_t choose(struct api_call *c, const struct config_id *key)
{
    const struct config_item *item = config_find(api_config(c), key);
    struct document_map labels = {0};
    if (!item || (!api_has_param(c, PARAM_LABELS) && !api_has_param(c, PARAM_CLIENT_ID)))
        return 0;
    api_config_labels(c, &labels);
    return config_choose(item, &labels, gray_address(c->q->peer), api_param(c, PARAM_CLIENT_ID));
}

static void read_reference(struct rendering *g, const struct render_name *needed)
{
    struct api_call *c = g->call;
    struct render_name *name = &g->list[g->count].name;
    *name = (struct render_name){keep(&g->arena, needed->ns), keep(&g->arena, needed->group),
                                 keep(&g->arena, needed->name)};
    const struct config_id key = {name->ns, name->group, name->name};
    char error[256];
    int err = name_check(key.ns, NAMESPACE_SIZE_MAX, "the namespace of a reference", error, sizeof error);
    if (!err)
        err = name_check(key.group, NAME_SIZE_MAX, "the group of a reference", error, sizeof error);
    if (!err)
        err = name_check(key.name, NAME_SIZE_MAX, "the name of a reference", error, sizeof error);
    if (err)
        api_fail(c, API_MALFORMED, error);
    else if (api_authorize(c, GUARD_CONFIG, false, key.ns, key.group, key.name)) {
        g->request.done = on_reference;
        config_read(api_config(c), &g->request, &key, choose(c, &key), api_is_local(c));
        return;
    }
    rendering_done(g);
}

/* --- the worker ----------------------------------------------------------------------------------------- */

static void run_render(struct task *t)
{
    struct render_task *k = container_of(t, struct render_task, task);
    k->err = render_run(k->list, k->count, &k->result);
    if (!k->err)
        k->digest = digest_of(buf_slice(&k->result.out));
}

static void on_rendered(struct task *t)
{
    struct render_task *k = container_of(t, struct render_task, task);
    struct rendering *g = k->rendering;
    g->task = NULL;
    g->arena = k->arena;
    k->arena = (struct arena){0};
    if (k->err == ERR_NOT_READY) {
        read_reference(g, &k->result.needed);
        return;
    }
    if (k->err)
        fail_rendering(g, k->err, &k->result.where);
    else
        answer_rendered(g, k);
    rendering_done(g);
}

static void release_render(struct task *t)
{
    struct render_task *k = container_of(t, struct render_task, task);
    render_result_done(&k->result);
    arena_done(&k->arena);
    mem_free(k);
}

static void rendering_start(struct rendering *g)
{
    struct render_task *k = mem_new(sizeof *k);
    const struct config_request who = {.who = api_who(g->call), .author = api_author(g->call)};
    k->rendering = g;
    memcpy(k->list, g->list, sizeof k->list);
    k->count = g->count;
    k->arena = g->arena;
    g->arena = (struct arena){0};
    k->task = (struct task){.run = run_render, .done = on_rendered, .release = release_render};
    for (size_t i = 0; i < k->count; i++)
        k->task.bytes += k->list[i].content.size;
    int err = config_task_add(api_config(g->call), &k->task, &who);
    if (!err) {
        g->task = k;
        return;
    }
    release_render(&k->task);
    api_fail_err(g->call, err,
                 "too many contents wait to be rendered or checked on this member: try again later");
    rendering_done(g);
}

void api_show_rendered(struct api_call *c, int64_t revision, const struct config_release *release)
{
    if (api_has_param(c, PARAM_META) || api_has_param(c, PARAM_KEY) ||
        api_has_param(c, PARAM_WAIT_REVISION)) {
        api_fail(c, API_BAD_REQUEST, "render cannot be combined with meta, key or wait_revision");
        return;
    }
    struct rendering *g = mem_new(sizeof *g);
    g->call = c;
    g->revision = revision;
    add_document(g, &(struct render_name){c->ns, c->group, c->name}, 0, release->format, release->content);
    c->state = g;
    c->cancel = rendering_cancel;
    c->expired = NULL;
    c->drain = NULL;
    rendering_start(g);
}
