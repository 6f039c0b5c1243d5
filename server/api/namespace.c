/* SPDX-License-Identifier: Apache-2.0
 * Routes of namespaces: the list, one namespace, its deletion (with long polls), put and delete. The
 * usage is read from the views of the registry and the config center when the answer is made; its change alone
 * wakes no poll. */
#include <stdio.h>

#include "base/text.h"
#include "server/api/config_call.h"
#include "server/api/read.h"
#include "server/api/slice.h"

struct namespaces *api_namespaces(const struct api_call *c)
{
    return c->api->options.namespaces;
}

struct namespace_view *api_namespace_view(const struct api_call *c)
{
    return api_namespaces(c) ? namespaces_view(api_namespaces(c)) : NULL;
}

/* --- a source over the view ----------------------------------------------------------------------------- */

struct namespace_read {
    struct api_read read;
    struct namespaces_request barrier;
    struct namespaces_watch watch;
};

static struct namespace_read *read_of(const struct api_read *r)
{
    return (struct namespace_read *)((uintptr_t)r - offsetof(struct namespace_read, read));
}

static void namespace_on_barrier(struct namespaces_request *q, int err,
                                 const struct namespaces_result *result)
{
    (void)result;
    api_read_continue(&container_of(q, struct namespace_read, barrier)->read, err);
}

static void namespace_barrier(struct api_read *r)
{
    struct namespace_read *x = read_of(r);
    x->barrier.done = namespace_on_barrier;
    namespaces_barrier(api_namespaces(r->call), &x->barrier);
}

static void namespace_cancel_barrier(struct api_read *r)
{
    namespaces_cancel(api_namespaces(r->call), &read_of(r)->barrier);
}

static int64_t namespace_revision(const struct api_read *r)
{
    return namespaces_revision(api_namespaces(r->call));
}

static int64_t namespace_changed(const struct api_read *r, int64_t after)
{
    const struct namespace_view *v = api_namespace_view(r->call);
    const struct namespace_entry *e = namespace_view_find(v, r->call->ns);
    if (after < namespace_view_whole_since(v))
        return INT64_MAX;
    return e ? e->revision : namespace_view_absent_revision(v);
}

static void namespace_on_changed(struct namespaces_watch *w)
{
    api_read_changed(&container_of(w, struct namespace_read, watch)->read);
}

static void namespace_watch(struct api_read *r)
{
    struct namespace_read *x = read_of(r);
    x->watch = (struct namespaces_watch){.changed = namespace_on_changed, .ns = r->call->ns};
    namespaces_watch(api_namespaces(r->call), &x->watch);
}

static void namespace_unwatch(struct api_read *r)
{
    namespaces_unwatch(&read_of(r)->watch);
}

/* --- one namespace -------------------------------------------------------------------------------------- */

/* Numbers of the quotas' fields, in the order of quota.def. */
static void namespace_write_numbers(struct json_writer *w, const char *key,
                                    const uint64_t numbers[NAMESPACE_QUOTAS])
{
    jw_key(w, key);
    jw_open(w, '{');
    for (int q = 0; q < NAMESPACE_QUOTAS; q++)
        document_add_number(w, namespace_quotas[q].field, (int64_t)numbers[q]);
    jw_close(w, '}');
}

static void namespace_write_usage(const struct api_call *c, struct slice ns, struct json_writer *w)
{
    const struct namespace_view *v = api_namespace_view(c);
    const struct catalog_namespace *n = catalog_namespace(registry_catalog(api_registry(c)), ns);
    const struct config_usage used = config_namespace_usage(api_config(c), ns);
    const struct registry_options *registry = registry_defaults(api_registry(c));
    const struct config_options *config = config_defaults(api_config(c));
    const uint64_t standards[NAMESPACE_QUOTAS] = {
        [NAMESPACE_SERVICES] = registry->services_max,
        [NAMESPACE_INSTANCES] = registry->instances_max,
        [NAMESPACE_CONFIGURATIONS] = config->items_max,
        [NAMESPACE_BYTES] = config->bytes_max,
    };
    const uint64_t usage[NAMESPACE_QUOTAS] = {
        [NAMESPACE_SERVICES] = n ? n->services : 0,
        [NAMESPACE_INSTANCES] = n ? n->instances : 0,
        [NAMESPACE_CONFIGURATIONS] = used.items,
        [NAMESPACE_BYTES] = used.bytes,
        [NAMESPACE_SUBSCRIBERS] = namespace_view_subscribers(v, ns),
    };
    uint64_t limits[NAMESPACE_QUOTAS];
    for (int q = 0; q < NAMESPACE_QUOTAS; q++)
        limits[q] = namespace_view_limit(v, ns, (enum namespace_quota)q, standards[q], NULL);
    namespace_write_numbers(w, "limits", limits);
    namespace_write_numbers(w, "usage", usage);
}

static bool namespace_is_used(const struct api_call *c, struct slice ns)
{
    return catalog_namespace(registry_catalog(api_registry(c)), ns) ||
           config_has_namespace(api_config(c), ns);
}

static bool namespace_is_defined(const struct namespace_entry *e)
{
    return e && (e->revisions[KEY_DOCUMENT] || e->revisions[KEY_QUOTAS]);
}

static void namespace_write_members(const struct api_call *c, struct slice ns, struct json_writer *w)
{
    const struct namespace_entry *e = namespace_view_find(api_namespace_view(c), ns);
    int64_t document = e ? e->revisions[KEY_DOCUMENT] : 0, quotas = e ? e->revisions[KEY_QUOTAS] : 0;
    document_add_text(w, "name", ns);
    jw_key(w, "defined");
    jw_bool(w, namespace_is_defined(e));
    if (e && e->document)
        namespace_document_write_members(e->document, w);
    if (e && e->limits) {
        jw_key(w, "quotas");
        namespace_limits_write_object(e->limits, w);
    }
    namespace_write_usage(c, ns, w);
    if (e && e->deletion && !e->deletion->is_done) {
        jw_key(w, "deleting");
        jw_bool(w, true);
    }
    document_add_number(w, "mod_revision", document > quotas ? document : quotas);
}

static enum api_error namespace_render(const struct api_read *r, struct json_writer *w)
{
    const struct api_call *c = r->call;
    const struct namespace_entry *e = namespace_view_find(api_namespace_view(c), c->ns);
    bool is_running = e && e->deletion && !e->deletion->is_done;
    if (!namespace_is_defined(e) && !is_running && !namespace_is_used(c, c->ns))
        return API_NOT_FOUND;
    namespace_write_members(c, c->ns, w);
    return API_ERRORS;
}

static const struct api_source namespace_source = {
    .barrier = namespace_barrier,
    .cancel_barrier = namespace_cancel_barrier,
    .revision = namespace_revision,
    .changed = namespace_changed,
    .watch = namespace_watch,
    .unwatch = namespace_unwatch,
    .render = namespace_render,
    .missing = "there is no such namespace: it has no document, no service and no configuration",
};

void api_namespace_get(struct api_call *c)
{
    struct namespace_read *x = arena_new(&c->q->arena, sizeof *x);
    api_read_start(c, &x->read, &namespace_source);
}

static enum api_error deletion_render(const struct api_read *r, struct json_writer *w)
{
    const struct namespace_entry *e = namespace_view_find(api_namespace_view(r->call), r->call->ns);
    if (!e || !e->deletion)
        return API_NOT_FOUND;
    namespace_deletion_write_members(e->deletion, w);
    return API_ERRORS;
}

static const struct api_source deletion_source = {
    .barrier = namespace_barrier,
    .cancel_barrier = namespace_cancel_barrier,
    .revision = namespace_revision,
    .changed = namespace_changed,
    .watch = namespace_watch,
    .unwatch = namespace_unwatch,
    .render = deletion_render,
    .missing = "there is no deletion of this namespace",
};

void api_namespace_deletion(struct api_call *c)
{
    struct namespace_read *x = arena_new(&c->q->arena, sizeof *x);
    api_read_start(c, &x->read, &deletion_source);
}

/* --- the list ------------------------------------------------------------------------------------------- */

struct namespace_list {
    struct api_page page;
    struct buf at;   /* the last name that was visited */
    struct buf name; /* of the last entry: the page's */
    bool is_fixed;
};

/* The first name after this one in the three views; empty = none. */
static struct slice next_name(const struct api_call *c, struct slice after)
{
    struct buf place = {0};
    const struct namespace_entry *e = namespace_view_next(api_namespace_view(c), after);
    buf_add_slice(&place, after);
    if (after.size)
        buf_add_byte(&place, 0); /* no name has it: behind all services of `after` */
    const struct catalog_service *s = catalog_next(registry_catalog(api_registry(c)), buf_slice(&place),
                                                   (struct slice){0}, (struct slice){0});
    const struct slice names[] = {e ? e->name : (struct slice){0}, s ? s->ns : (struct slice){0},
                                  config_next_namespace(api_config(c), after)};
    struct slice first = {0};
    buf_done(&place);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].size && (!first.size || slice_compare(names[i], first) < 0))
            first = names[i];
    return first;
}

/* The entry of a deletion that is done is no namespace. */
static bool is_listed(const struct api_call *c, struct slice ns)
{
    const struct namespace_entry *e = namespace_view_find(api_namespace_view(c), ns);
    const struct guard_need need = {.kind = GUARD_NAMESPACE, .ns = ns};
    char error[500];
    bool is_running = e && e->deletion && !e->deletion->is_done;
    return (namespace_is_defined(e) || is_running || namespace_is_used(c, ns)) &&
           guard_check(c->api->options.identity, &c->guard.who, &need, error, sizeof error) == OK;
}

static bool has_prefix(struct slice name, struct slice prefix)
{
    return name.size >= prefix.size && (!prefix.size || memcmp(name.data, prefix.data, prefix.size) == 0);
}

/* The names of a list lie in one order: it begins at its prefix, or after the page before. */
static struct namespace_list *list_begin(const struct api_read *r)
{
    struct namespace_list *x = mem_new(sizeof *x);
    api_page_begin(&x->page, r->call);
    if (x->page.after.size)
        buf_add(&x->at, x->page.after.data + 1, x->page.after.size - 1); /* behind its '/' */
    return x;
}

static struct slice list_next(const struct namespace_list *x, const struct api_call *c)
{
    struct slice prefix = api_param(c, PARAM_PREFIX), at = buf_slice(&x->at);
    struct slice name = next_name(c, at);
    /* Before the prefix: to the last place in front of it. */
    if (name.size && prefix.size && slice_compare(name, prefix) < 0) {
        struct buf place = {0};
        buf_add(&place, prefix.data, prefix.size - 1);
        if (prefix.data[prefix.size - 1])
            buf_add_byte(&place, (uint8_t)(prefix.data[prefix.size - 1] - 1));
        buf_add_byte(&place, 0xff);
        name = next_name(c, buf_slice(&place));
        buf_done(&place);
    }
    return has_prefix(name, prefix) ? name : (struct slice){0};
}

static bool list_render(struct api_read *r, struct api_shared *s)
{
    const struct api_call *c = r->call;
    struct slice name;
    if (!s->state)
        s->state = list_begin(r);
    struct namespace_list *x = s->state;
    if (!x->is_fixed) {
        api_result_fix(r, s);
        api_page_array(&x->page, &s->writer, "namespaces");
        x->is_fixed = true;
    }
    while ((name = list_next(x, c)).size) {
        buf_clear(&x->at);
        buf_add_slice(&x->at, name);
        if (is_listed(c, name)) {
            x->page.has_more = x->page.left == 0;
            if (x->page.has_more)
                break;
            x->page.left--;
            buf_clear(&x->name);
            buf_add_slice(&x->name, name);
            x->page.name = buf_slice(&x->name);
            jw_open(&s->writer, '{');
            namespace_write_members(c, name, &s->writer);
            jw_close(&s->writer, '}');
        }
        if (api_slice_is_over(c))
            return false;
    }
    api_page_close(&x->page);
    return true;
}

static void list_end(struct api_shared *s)
{
    struct namespace_list *x = s->state;
    if (!x)
        return;
    buf_done(&x->page.after);
    buf_done(&x->at);
    buf_done(&x->name);
    mem_free(x);
}

/* Each client gets what it may read. */
static void list_add_key(const struct api_read *r, struct buf *key)
{
    const struct api_call *c = r->call;
    buf_add_byte(key, 0);
    if (guard_is_on(c->api->options.identity))
        buf_addf(key, "%llu ", (unsigned long long)guard_epoch(c->api->options.identity));
    buf_add_slice(key, c->guard.who.user);
}

static int64_t list_changed(const struct api_read *r, int64_t after)
{
    const struct namespace_view *v = api_namespace_view(r->call);
    return after < namespace_view_whole_since(v) ? INT64_MAX : namespace_view_revision(v);
}

/* A change of any namespace. */
static void list_watch(struct api_read *r)
{
    struct namespace_read *x = read_of(r);
    x->watch = (struct namespaces_watch){.changed = namespace_on_changed};
    namespaces_watch(api_namespaces(r->call), &x->watch);
}

static const struct api_source list_source = {
    .barrier = namespace_barrier,
    .cancel_barrier = namespace_cancel_barrier,
    .revision = namespace_revision,
    .changed = list_changed,
    .watch = list_watch,
    .unwatch = namespace_unwatch,
    .render_on = list_render,
    .render_end = list_end,
    .add_key = list_add_key,
};

/* A client that may read no document at all is refused. */
static bool may_list(struct api_call *c)
{
    const struct auth_ranges *readable = NULL;
    const char *const prefix = "/cairn/namespaces/documents/", *const end = "/cairn/namespaces/documents0";
    if (!guard_is_on(c->api->options.identity))
        return true;
    int err = kv_auth_readable(api_kv(c), &c->guard.who, &readable);
    if (!err && (!readable || auth_ranges_overlap(readable, slice_text(prefix), slice_text(end))))
        return true;
    return api_authorize(c, GUARD_NAMESPACE, false, (struct slice){0}, (struct slice){0}, (struct slice){0});
}

void api_namespace_list(struct api_call *c)
{
    struct namespace_read *x = arena_new(&c->q->arena, sizeof *x);
    if (may_list(c) && (!api_has_param(c, PARAM_CONTINUE) || api_page_check(c)))
        api_read_start(c, &x->read, &list_source);
}

/* --- writes --------------------------------------------------------------------------------------------- */

struct namespace_write {
    struct namespaces_request request;
    struct api_call *call;
    bool is_dry;
};

static void namespace_fail(struct api_call *c, int err, const struct namespaces_result *result)
{
    struct api_detail detail = {0};
    struct buf current = {0};
    struct json_writer w = {.out = &current};
    if (err == ERR_PRECONDITION || result->is_left) {
        jw_open(&w, '{');
        if (result->is_left) {
            jw_key(&w, "found");
            namespace_counts_write(result->counts, &w);
        } else {
            namespace_write_members(c, c->ns, &w);
        }
        jw_close(&w, '}');
    }
    detail.current = buf_slice(&current);
    if (detail.current.size)
        api_fail_with(c, api_error_of(err), result->error, &detail);
    else
        api_fail_err(c, err, result->error);
    buf_done(&current);
}

static void namespace_on_put(struct namespaces_request *q, int err, const struct namespaces_result *result)
{
    struct api_call *c = container_of(q, struct namespace_write, request)->call;
    if (err) {
        namespace_fail(c, err, result);
        return;
    }
    struct json_writer *w = api_json(c, result->revision);
    if (result->is_unchanged) {
        jw_key(w, "unchanged");
        jw_bool(w, true);
    }
    api_answer(c, result->revision);
}

static void namespace_on_deleted(struct namespaces_request *q, int err,
                                 const struct namespaces_result *result)
{
    const struct namespace_write *x = container_of(q, struct namespace_write, request);
    struct api_call *c = x->call;
    const struct namespace_entry *e = result->entry;
    if (err) {
        namespace_fail(c, err, result);
        return;
    }
    struct json_writer *w = api_json(c, result->revision);
    if (result->is_running && e && e->deletion) {
        namespace_deletion_write_members(e->deletion, w);
    } else {
        document_add_text(w, "state", slice_text(x->is_dry ? "dry_run" : "done"));
        jw_key(w, "found");
        namespace_counts_write(result->counts, w);
    }
    api_answer(c, result->revision);
}

static void namespace_cancel(struct api_call *c)
{
    struct namespace_write *x = c->state;
    namespaces_cancel(api_namespaces(c), &x->request);
}

static struct namespace_write *write_new(struct api_call *c,
                                         void (*done)(struct namespaces_request *q, int err,
                                                      const struct namespaces_result *result))
{
    struct namespace_write *x = arena_new(&c->q->arena, sizeof *x);
    x->request = (struct namespaces_request){.done = done, .author = api_author(c), .who = api_who(c)};
    x->call = c;
    c->state = x;
    c->cancel = namespace_cancel;
    return x;
}

static struct namespaces_condition condition_of(const struct api_call *c)
{
    return (struct namespaces_condition){
        .has_revision = api_has_param(c, PARAM_IF_REVISION),
        .if_absent = slice_equal(c->q->if_none_match, slice_text("*")),
        .if_revision = (int64_t)api_number(api_param(c, PARAM_IF_REVISION)),
    };
}

/* Quotas have a key of their own. */
static bool may_put(struct api_call *c, const struct namespace_change *change)
{
    const struct namespace_entry *e = namespace_view_find(api_namespace_view(c), c->ns);
    const struct namespace_limits none = {0}, *now = e && e->limits ? e->limits : &none;
    return !change->has_limits || namespace_limits_equal(now, &change->limits) ||
           api_authorize(c, GUARD_QUOTAS, true, c->ns, (struct slice){0}, (struct slice){0});
}

void api_namespace_put(struct api_call *c)
{
    struct namespace_change change;
    char error[256];
    int err = namespace_change_read(buf_slice(&c->q->body), &c->q->arena, &change, error, sizeof error);
    if (err) {
        api_fail_err(c, err, error);
        return;
    }
    if (!may_put(c, &change))
        return;
    const struct namespaces_condition condition = condition_of(c);
    namespaces_put(api_namespaces(c), &write_new(c, namespace_on_put)->request, c->ns, &change, &condition);
}

void api_namespace_delete(struct api_call *c)
{
    struct namespace_write *x = write_new(c, namespace_on_deleted);
    x->is_dry = api_has_param(c, PARAM_DRY_RUN) && api_flag(api_param(c, PARAM_DRY_RUN));
    const struct namespaces_removal removal = {
        .is_cascade = api_has_param(c, PARAM_CASCADE) && api_flag(api_param(c, PARAM_CASCADE)),
        .is_dry = x->is_dry,
        .condition = condition_of(c),
    };
    namespaces_delete(api_namespaces(c), &x->request, c->ns, &removal);
}
