/* SPDX-License-Identifier: Apache-2.0
 * Configurations: a subscription as a view of the stream with one item; get and publish over HTTP. A
 * content that is too large for the stream is fetched by its seq; the fetch is skipped if the release
 * changed meanwhile. */
#include <stdio.h>

#include "base/text.h"
#include "sdk/item.h"
#include "sdk/native_call.h"
#include "sdk/stream.h"

struct cairn_config_watch {
    struct object object;
    struct post post;
    struct subscription subscription;
    char *ns, *group, *name;
    struct native_call *fetch; /* fetches a large content */
    struct buf fetch_path;
    uint64_t told_seq;
    bool has_told, was_deleted;
    bool is_notifying, is_stopped;
    void (*callback)(struct cairn_config_watch *w, const struct cairn_config *config, void *arg);
    void *arg;
};

/* --- an item as a struct -------------------------------------------------------------------------------- */
static const char *cairn_config_text_of(const json_t *item, const char *key)
{
    const char *text = json_string_value(json_object_get(item, key));
    return text ? text : "";
}

static struct cairn_config config_of(const json_t *item)
{
    return (struct cairn_config){
        .name = cairn_config_text_of(item, "name"),
        .group = cairn_config_text_of(item, "group"),
        .content = {"", 0},
        .format = cairn_config_text_of(item, "format"),
        .md5 = cairn_config_text_of(item, "md5"),
        .seq = (uint64_t)json_integer_value(json_object_get(item, "seq")),
        .revision = json_integer_value(json_object_get(item, "revision")),
    };
}

/* --- a subscription ------------------------------------------------------------------------------------- */
static void watch_free(struct cairn_config_watch *w)
{
    mem_free(w->ns);
    mem_free(w->group);
    mem_free(w->name);
    buf_done(&w->fetch_path);
    mem_free(w);
}

static void cairn_config_notify(struct cairn_config_watch *w, const struct cairn_config *config)
{
    w->has_told = true;
    w->told_seq = config->seq;
    w->was_deleted = config->is_deleted;
    w->is_notifying = true;
    w->callback(w, config, w->arg);
    w->is_notifying = false;
    if (w->is_stopped)
        watch_free(w);
}

static void write_path(struct buf *out, const struct cairn_client *c, const char *ns, const char *group,
                       const char *name, uint64_t seq)
{
    char number[24];
    snprintf(number, sizeof number, "%llu", (unsigned long long)seq);
    buf_add_text(out, "/api/v1/configs/");
    path_add_escaped(out, name);
    path_add_parameter(out, "namespace", ns);
    path_add_parameter(out, "group", group);
    path_add_parameter(out, "seq", seq ? number : NULL);
    path_add_parameter(out, "labels", seq ? NULL : c->labels);
    path_add_parameter(out, "client_id", seq ? NULL : c->client_id);
}

static void cairn_config_check(struct cairn_config_watch *w);

static void on_fetched(struct native_call *q, const struct cairn_error *error)
{
    struct cairn_config_watch *w = q->owner;
    const json_t *item = json_object_iter_value(json_object_iter(w->subscription.items));
    struct slice text = buf_slice(&q->body);
    w->fetch = NULL;
    if (error->code || !item)
        return; /* the next change or the next connection fetches it again */
    struct slice seq;
    char number[24];
    int n =
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(json_object_get(item, "seq")));
    bool is_it =
        http_answer_field(&q->answer, "x-cairn-seq", &seq) && slice_equal(seq, slice_of(number, (size_t)n));
    if (is_it) {
        struct buf encoded = {0};
        base64_encode(&encoded, text);
        json_t *own = json_object_get(w->subscription.items, cairn_config_text_of(item, "id"));
        json_object_set_new(own, "content", json_stringn((const char *)encoded.data, encoded.size));
        json_object_set_new(own, "base64", json_true());
        buf_done(&encoded);
    }
    cairn_config_check(w);
}

static void fetch(struct cairn_config_watch *w, uint64_t seq)
{
    struct cairn_client *c = w->subscription.client;
    if (w->fetch)
        return; /* the end of the fetch calls this again */
    buf_clear(&w->fetch_path);
    write_path(&w->fetch_path, c, w->ns, w->group, w->name, seq);
    w->fetch = native_call_new(c, "GET", buf_text(&w->fetch_path));
    w->fetch->owner = w;
    w->fetch->on_end = on_fetched;
    native_call_start(w->fetch, c->command_timeout_ms);
}

/* Reports the view's current release, unless it has been reported already. */
static void cairn_config_check(struct cairn_config_watch *w)
{
    struct subscription *s = &w->subscription;
    const json_t *item = json_object_iter_value(json_object_iter(s->items));
    struct cairn_config config = {
        .name = w->name, .group = w->group, .content = {"", 0}, .format = "", .md5 = ""};
    struct arena a = {0};
    if (item)
        config = config_of(item);
    config.is_deleted = !item;
    if (!item)
        config.revision = s->revision; /* absent as of then */
    config.is_cached = s->is_from_cache;
    config.cache_age_ms = s->is_from_cache ? s->cache_age_ms : 0;
    if (w->has_told && w->was_deleted == config.is_deleted && w->told_seq == config.seq)
        return;
    if (item && !item_content(item, &a, &config.content)) {
        arena_done(&a);
        if (!s->is_from_cache)
            fetch(w, config.seq);
        return;
    }
    cache_write(s);
    cairn_config_notify(w, &config);
    arena_done(&a);
}

static void cairn_config_on_change(struct subscription *s)
{
    cairn_config_check(container_of(s, struct cairn_config_watch, subscription));
}

static void on_refused(struct subscription *s, const struct cairn_error *error)
{
    stream_report(s->client, "subscription of a configuration", error); /* as in discover.c */
}

static void cairn_config_stop_here(struct object *o)
{
    struct cairn_config_watch *w = container_of(o, struct cairn_config_watch, object);
    list_remove(&o->link);
    native_call_cancel(w->fetch);
    subscription_done(&w->subscription);
    w->is_stopped = true;
    if (!w->is_notifying)
        watch_free(w);
}

static void cairn_config_start_here(struct post *p)
{
    struct cairn_config_watch *w = container_of(p, struct cairn_config_watch, post);
    object_add(w->subscription.client, &w->object);
    subscription_start(&w->subscription, w->subscription.client, "config", w->ns, w->group, w->name);
}

static char *cairn_config_copy(const char *text)
{
    return mem_string(text ? text : "");
}

int cairn_config_subscribe(struct cairn_client *c, const char *ns, const char *group, const char *name,
                           void (*callback)(struct cairn_config_watch *w, const struct cairn_config *config,
                                            void *arg),
                           void *arg, struct cairn_config_watch **ret_watch, struct cairn_error *error)
{
    if (!name || !*name)
        return set_error(error, CAIRN_INVALID, "a configuration needs a name");
    struct cairn_config_watch *w = mem_new(sizeof *w);
    w->ns = cairn_config_copy(ns);
    w->group = cairn_config_copy(group);
    w->name = cairn_config_copy(name);
    w->callback = callback;
    w->arg = arg;
    w->object.stop = cairn_config_stop_here;
    w->post.run = cairn_config_start_here;
    w->subscription.client = c;
    w->subscription.on_change = cairn_config_on_change;
    w->subscription.on_refused = on_refused;
    *ret_watch = w; /* set before the callback can run */
    int err = client_start(c, &w->post);
    if (err) {
        *ret_watch = NULL;
        watch_free(w);
        return set_error(error, err, "%s", cairn_error_text(err));
    }
    return CAIRN_OK;
}

void cairn_config_unsubscribe(struct cairn_config_watch *w)
{
    if (w)
        object_stop(w->subscription.client, &w->object);
}

struct applied {
    struct cairn_config_watch *watch;
    uint64_t seq;
    const char *problem;
};

static void apply_here(void *arg)
{
    const struct applied *a = arg;
    subscription_send_applied(&a->watch->subscription, a->watch->name, a->seq, a->problem);
}

void cairn_config_applied(struct cairn_config_watch *w, uint64_t seq, const char *problem)
{
    struct applied a = {w, seq, problem};
    (void)client_run(w->subscription.client, apply_here, &a);
}

/* --- get and publish ------------------------------------------------------------------------------------ */
/* Makes a result from a stream's item or from the JSON form of a release, where `type` is the format. */
static struct cairn_config *result_of(const json_t *item, const struct cairn_config_get_request *q)
{
    struct arena *a;
    struct cairn_config *r = result_new(sizeof *r, &a), config = config_of(item);
    *r = config;
    r->name = q->name;
    r->group = q->group && *q->group ? q->group : "default";
    if (!r->format[0])
        r->format = cairn_config_text_of(item, "type");
    const char **texts[] = {&r->name, &r->group, &r->format, &r->md5};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        *texts[i] = arena_string(a, *texts[i], strlen(*texts[i]));
    (void)item_content(item, a, &r->content);
    return r;
}

struct cached {
    struct cairn_client *client;
    const struct cairn_config_get_request *request;
    struct cairn_config *found;
};

static void read_cached(void *arg)
{
    struct cached *k = arg;
    const struct cairn_config_get_request *q = k->request;
    struct cache_state state;
    json_t *items =
        cache_read(k->client, "config", q->ns ? q->ns : "", q->group ? q->group : "", q->name, &state);
    const json_t *item = json_object_iter_value(json_object_iter(items));
    if (item) {
        k->found = result_of(item, q);
        k->found->is_cached = true;
        k->found->cache_age_ms = state.age_ms;
    }
    json_decref(items);
}

int cairn_config_get(struct cairn_client *c, const struct cairn_config_get_request *request,
                     struct cairn_config **ret, struct cairn_error *error)
{
    if (!request->name || !*request->name)
        return set_error(error, CAIRN_INVALID, "a configuration needs a name");
    struct buf path = {0};
    struct cairn_http_result *answer;
    struct cached k = {c, request, NULL};
    write_path(&path, c, request->ns, request->group, request->name, request->seq);
    path_add_parameter(&path, "meta", "true");
    struct cairn_http_request q = {.method = "GET", .path = buf_text(&path)};
    int err = cairn_http(c, &q, &answer, error);
    buf_done(&path);
    if ((err == CAIRN_UNAVAILABLE || err == CAIRN_TIMEOUT) && c->cache_dir && !request->seq) {
        (void)client_run(c, read_cached, &k);
        if (k.found)
            *ret = k.found;
        return k.found ? CAIRN_OK : err;
    }
    if (err)
        return err;
    char why[200];
    json_t *root = NULL;
    err = json_parse(slice_of(answer->body.data, answer->body.size), &root, why, sizeof why);
    if (!err)
        *ret = result_of(root, request);
    json_decref(root);
    cairn_result_free(answer);
    return err ? set_error(error, CAIRN_PROTOCOL, "the server's response is not JSON: %s", why) : CAIRN_OK;
}

static int read_published(const struct cairn_http_result *answer, struct cairn_config_publish_result **ret,
                          struct cairn_error *error)
{
    char why[200];
    json_t *root = NULL;
    struct arena *a;
    if (json_parse(slice_of(answer->body.data, answer->body.size), &root, why, sizeof why) != OK)
        return set_error(error, CAIRN_PROTOCOL, "the server's response is not JSON: %s", why);
    struct cairn_config_publish_result *r = result_new(sizeof *r, &a);
    r->revision = json_integer_value(json_object_get(root, "revision"));
    r->seq = (uint64_t)json_integer_value(json_object_get(root, "seq"));
    r->md5 = arena_string(a, cairn_config_text_of(root, "md5"), strlen(cairn_config_text_of(root, "md5")));
    r->is_unchanged = json_is_true(json_object_get(root, "unchanged"));
    json_decref(root);
    *ret = r;
    return CAIRN_OK;
}

int cairn_config_publish(struct cairn_client *c, const struct cairn_config_publish_request *request,
                         struct cairn_config_publish_result **ret, struct cairn_error *error)
{
    if (!request->name || !*request->name)
        return set_error(error, CAIRN_INVALID, "a configuration needs a name");
    if (request->if_md5 &&
        (strlen(request->if_md5) != 32 || strspn(request->if_md5, "0123456789abcdef") != 32))
        return set_error(error, CAIRN_INVALID, "if_md5 is 32 hexadecimal digits");
    struct buf path = {0}, fields = {0};
    struct cairn_http_result *answer;
    char number[24];
    snprintf(number, sizeof number, "%llu", (unsigned long long)request->if_seq);
    buf_add_text(&path, "/api/v1/configs/");
    path_add_escaped(&path, request->name);
    path_add_parameter(&path, "namespace", request->ns);
    path_add_parameter(&path, "group", request->group);
    path_add_parameter(&path, "type", request->format);
    path_add_parameter(&path, "title", request->title);
    path_add_parameter(&path, "note", request->note);
    path_add_parameter(&path, "if_seq", request->if_seq ? number : NULL);
    if (request->if_md5)
        buf_addf(&fields, "If-Match: \"%s\"\r\n", request->if_md5);
    if (request->if_absent)
        buf_add_text(&fields, "If-None-Match: *\r\n");
    struct cairn_http_request q = {
        .method = "PUT", .path = buf_text(&path), .fields = buf_text(&fields), .body = request->content};
    int err = cairn_http(c, &q, &answer, error);
    buf_done(&path);
    buf_done(&fields);
    if (err)
        return err;
    if (ret)
        err = read_published(answer, ret, error);
    cairn_result_free(answer);
    return err;
}
