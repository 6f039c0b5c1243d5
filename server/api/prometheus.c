/* SPDX-License-Identifier: Apache-2.0
 * /sd/prometheus: instances as targets for Prometheus' http_sd_config, one group of one target for each port.
 * All states are told, so that what is down is seen to be down; a relabeling that keeps
 * __meta_cairn_serving="true" leaves what has traffic. Prometheus keeps its last targets when the answer is
 * no 200, which is why a member that has not caught up says 503.
 *
 * The answer may be tens of megabytes: it is streamed service by service, as the client takes it. Each
 * service is whole; what changes meanwhile in one that is not sent yet is sent as it is by then. */
#include <ctype.h>
#include <stdio.h>

#include "registry/view.h"
#include "server/api/read.h"

struct targets {
    struct registry_request barrier;
    struct api_call *call;
    bool is_at_barrier, is_first;
    struct slice *namespaces;
    size_t count, at;
    struct buf after; /* "group/name" of the last service of the namespace that was sent */
    struct buf text;
    struct select_query query; /* tags */
};

/* --- one instance -----------------------------------------------------------------------------------------
 */

static void add_label(struct json_writer *w, const char *name, struct slice value)
{
    if (!value.size)
        return;
    jw_key(w, name);
    jw_string(w, value);
}

/* Names of labels are letters, digits and '_'. */
static void add_metadata(struct json_writer *w, const struct document_map *m)
{
    for (size_t i = 0; i < m->count; i++) {
        struct buf name = {0};
        bool is_twice = false;
        buf_add_text(&name, "__meta_cairn_metadata_");
        for (size_t k = 0; k < m->list[i].key.size; k++) {
            uint8_t c = m->list[i].key.data[k];
            buf_add_byte(&name, c < 0x80 && isalnum(c) ? c : '_');
        }
        /* "a.b" and "a_b": the first of them in order has the label. */
        for (size_t k = 0; k < i && !is_twice; k++) {
            const struct slice other = m->list[k].key;
            size_t skip = name.size - m->list[i].key.size;
            is_twice = other.size == m->list[i].key.size;
            for (size_t n = 0; is_twice && n < other.size; n++) {
                uint8_t c = other.data[n];
                is_twice = (c < 0x80 && isalnum(c) ? c : '_') == name.data[skip + n];
            }
        }
        if (!is_twice)
            add_label(w, buf_text(&name), m->list[i].value);
        buf_done(&name);
    }
}

/* ",a,b,": a regular expression finds ",a," whatever stands around it. */
static void add_tags(struct json_writer *w, const struct instance *doc)
{
    struct buf tags = {0};
    for (size_t i = 0; i < doc->tag_count; i++) {
        buf_add_byte(&tags, ',');
        buf_add_slice(&tags, doc->tags[i]);
    }
    if (tags.size)
        buf_add_byte(&tags, ',');
    add_label(w, "__meta_cairn_tags", buf_slice(&tags));
    buf_done(&tags);
}

static void add_target(struct json_writer *w, struct slice host, uint16_t port)
{
    struct buf address = {0};
    bool is_ipv6 = memchr(host.data, ':', host.size) && host.data[0] != '[';
    if (is_ipv6)
        buf_add_byte(&address, '[');
    buf_add_slice(&address, host);
    if (is_ipv6)
        buf_add_byte(&address, ']');
    if (port)
        buf_addf(&address, ":%u", port);
    jw_key(w, "targets");
    jw_open(w, '[');
    jw_string(w, buf_slice(&address));
    jw_close(w, ']');
    buf_done(&address);
}

static void add_group(struct json_writer *w, const struct catalog_instance *i, uint16_t port,
                      struct slice port_name)
{
    const struct instance *doc = i->doc;
    struct catalog_effect effect = catalog_effect(i);
    jw_open(w, '{');
    add_target(w, doc->host, port);
    jw_key(w, "labels");
    jw_open(w, '{');
    add_label(w, "__meta_cairn_namespace", i->service->ns);
    add_label(w, "__meta_cairn_group", i->service->group);
    add_label(w, "__meta_cairn_service", i->service->name);
    add_label(w, "__meta_cairn_instance", i->id);
    add_label(w, "__meta_cairn_port_name", port_name);
    add_label(w, "__meta_cairn_state", slice_text(instance_state_name(effect.state)));
    add_label(w, "__meta_cairn_serving", slice_text(effect.serves ? "true" : "false"));
    add_label(w, "__meta_cairn_guarded", slice_text(doc->is_guarded ? "true" : "false"));
    add_label(w, "__meta_cairn_protocol", doc->protocol);
    add_label(w, "__meta_cairn_zone", doc->zone);
    add_label(w, "__meta_cairn_region", doc->region);
    add_label(w, "__meta_cairn_cluster", doc->cluster);
    add_label(w, "__meta_cairn_version", doc->version);
    add_label(w, "__meta_cairn_source", doc->source);
    add_tags(w, doc);
    add_metadata(w, &doc->metadata);
    jw_close(w, '}');
    jw_close(w, '}');
}

/* Each named port, and the plain one if it is none of them. */
static void add_instance(struct json_writer *w, const struct catalog_instance *i)
{
    bool is_named = false;
    for (size_t k = 0; k < i->doc->port_count; k++) {
        const struct instance_port *p = &i->doc->ports[k];
        is_named = is_named || p->port == i->doc->port;
        add_group(w, i, p->port, p->name);
    }
    if (!is_named)
        add_group(w, i, i->doc->port, (struct slice){0});
}

/* --- service by service -----------------------------------------------------------------------------------
 */

static void note_place(struct targets *t, const struct catalog_service *s)
{
    buf_clear(&t->after);
    buf_add_slice(&t->after, s->group);
    buf_add_byte(&t->after, '/');
    buf_add_slice(&t->after, s->name);
}

static bool send_service(void *arg, struct catalog_service *s)
{
    struct targets *t = arg;
    struct json_writer w = {.out = &t->text};
    struct slice wanted = api_param(t->call, PARAM_SERVICE);
    if (wanted.size && !slice_equal(wanted, s->name))
        return true;
    buf_clear(&t->text);
    t->query.audience = api_audience(t->call);
    if (!t->is_first)
        buf_add_byte(&t->text, ',');
    size_t empty = t->text.size;
    for (size_t i = 0; i < s->count; i++)
        if (select_fits(&t->query, s->list[i]))
            add_instance(&w, s->list[i]);
    if (t->text.size > empty) {
        t->is_first = false;
        http_stream_send(t->call->q, buf_slice(&t->text));
    }
    note_place(t, s);
    return !http_is_congested(t->call->q);
}

static void let_go(struct targets *t)
{
    buf_done(&t->after);
    buf_done(&t->text);
}

static void go_on(struct api_call *c)
{
    struct targets *t = c->state;
    struct http_request *q = c->q;
    for (; t->at < t->count; t->at++, buf_clear(&t->after)) {
        catalog_each(registry_catalog(api_registry(c)), t->namespaces[t->at], (struct slice){0},
                     (struct slice){0}, buf_slice(&t->after), send_service, t);
        if (http_is_congested(q))
            return;
    }
    q->state = NULL;
    let_go(t);
    http_stream_send(q, slice_text("]"));
    http_stream_close(q);
}

/* --- the answer -------------------------------------------------------------------------------------------
 */

static bool add_namespace(void *arg, const struct catalog_namespace *n)
{
    struct targets *t = arg;
    struct arena *a = &t->call->q->arena;
    t->namespaces[t->count++] = slice_of(arena_copy(a, n->name.data, n->name.size), n->name.size);
    return true;
}

static bool count_namespace(void *arg, const struct catalog_namespace *n)
{
    (void)n;
    ++*(size_t *)arg;
    return true;
}

static int compare_slices(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* Those that were asked for, or all; in order, none twice. */
static void take_namespaces(struct targets *t)
{
    struct api_call *c = t->call;
    const struct catalog *catalog = registry_catalog(api_registry(c));
    size_t count = API_REPEATS_MAX, kept = 0;
    struct slice name;
    bool has_asked = api_has_param(c, PARAM_NAMESPACES);
    if (!has_asked) {
        count = 0;
        catalog_each_namespace(catalog, count_namespace, &count);
    }
    t->namespaces = arena_new(&c->q->arena, (count + 1) * sizeof *t->namespaces);
    if (!has_asked)
        catalog_each_namespace(catalog, add_namespace, t);
    for (size_t at = 0; has_asked && t->count < count && api_next_param(c, PARAM_NAMESPACES, &at, &name);)
        t->namespaces[t->count++] = name;
    qsort(t->namespaces, t->count, sizeof *t->namespaces, compare_slices);
    for (size_t i = 0; i < t->count; i++)
        if (i == 0 || !slice_equal(t->namespaces[i], t->namespaces[i - 1]))
            t->namespaces[kept++] = t->namespaces[i];
    t->count = kept;
}

static void begin(struct targets *t)
{
    struct api_call *c = t->call;
    char revision[24];
    struct slice tag;
    for (size_t at = 0; t->query.tag_count < SELECT_TERMS_MAX && api_next_param(c, PARAM_TAG, &at, &tag);)
        t->query.tags[t->query.tag_count++] = tag;
    t->query.no_guarded = api_has_param(c, PARAM_GUARDED) && !api_flag(api_param(c, PARAM_GUARDED));
    take_namespaces(t);
    t->is_first = true;
    c->writable = go_on;
    snprintf(revision, sizeof revision, "%lld", (long long)registry_revision(api_registry(c)));
    http_add_header(c->q, "X-Cairn-Revision", revision);
    http_stream_open(c->q, 200, "application/json");
    http_stream_send(c->q, slice_text("["));
    go_on(c);
}

static void on_barrier(struct registry_request *q, int err, const struct registry_result *result)
{
    struct targets *t = container_of(q, struct targets, barrier);
    t->is_at_barrier = false;
    if (err)
        api_fail_err(t->call, err, result ? result->error : NULL);
    else
        begin(t);
}

static void cancel(struct api_call *c)
{
    struct targets *t = c->state;
    if (t->is_at_barrier)
        registry_cancel(api_registry(c), &t->barrier);
    let_go(t);
}

/* A stream that has begun cannot be told. */
static void expired(struct api_call *c)
{
    struct targets *t = c->state;
    if (!t->is_at_barrier)
        return;
    cancel(c);
    api_fail(c, API_DEADLINE, NULL);
}

void api_prometheus_get(struct api_call *c)
{
    /* Which of them the caller is shown is looked at service by service: send_service. */
    if (!api_may_namespaces(c, GUARD_INSTANCES))
        return;
    struct targets *t = arena_new(&c->q->arena, sizeof *t);
    t->call = c;
    c->state = t;
    c->cancel = cancel;
    c->expired = expired;
    if (api_is_local(c)) {
        begin(t);
        return;
    }
    t->is_at_barrier = true;
    t->barrier.done = on_barrier;
    registry_barrier(api_registry(c), &t->barrier);
}
