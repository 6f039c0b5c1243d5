/* SPDX-License-Identifier: Apache-2.0
 * /sd/prometheus: instances as targets for Prometheus' http_sd_config, one group with one target for each
 * port. It lists instances in all states, so that failed ones are visible. A relabeling that keeps
 * __meta_cairn_serving="true" selects those that receive traffic. Prometheus keeps its last targets if the
 * answer is not 200; so a member that has not caught up answers 503.
 *
 * The answer may have hundreds of megabytes. It is made in slices of a turn (slice.h), as fast as the client
 * takes it, in the order of namespace, group, service and instance. One group is in memory at a time.
 *
 * Consistency:
 *   - X-Cairn-Revision is the revision at which the answer began. Each instance is as of that revision or a
 *     later one.
 *   - An instance that exists all the time is listed exactly once, with all of its ports as of one revision.
 *   - An instance that is added or removed meanwhile may be listed or not. */
#include <ctype.h>
#include <stdio.h>

#include "base/map.h"
#include "base/turn.h"
#include "registry/view.h"
#include "server/api/read.h"
#include "server/api/slice.h"

enum { PIECE = 32 * 1024 }; /* bytes sent at once; one group may be larger */

/* A port of the current instance. Its name is in targets.names. */
struct target_port {
    uint16_t port;
    size_t name_at, name_size;
};

struct targets {
    struct registry_request barrier;
    struct api_call *call;
    bool is_at_barrier, is_first;
    struct slice *namespaces; /* of the query, in order; none: all */
    size_t count, at;
    struct buf ns, group, service, id; /* the last instance that was visited */
    /* The current instance: the text that its groups share, and its ports. */
    struct buf host, before, after, names; /* the text before and after the label with the port's name */
    struct target_port ports[INSTANCE_PORTS_MAX + 1];
    size_t port_count, port_at;
    struct buf text;           /* to be sent */
    struct select_query query; /* tags */
};

/* --- one instance ----------------------------------------------------------------------------------- */

static void add_label(struct json_writer *w, const char *name, struct slice value)
{
    if (!value.size)
        return;
    jw_key(w, name);
    jw_string(w, value);
}

/* Prometheus' label names have letters, digits and '_'. */
static bool is_name(uint8_t c)
{
    return (c < 0x80 && isalnum(c)) || c == '_';
}

static bool are_names(const struct document_map *m)
{
    for (size_t i = 0; i < m->count; i++)
        for (size_t k = 0; k < m->list[i].key.size; k++)
            if (!is_name(m->list[i].key.data[k]))
                return false;
    return true;
}

/* "a.b" and "a_b" map to the same label: the first of them in order gets it. */
static void add_metadata(struct json_writer *w, const struct document_map *m)
{
    struct strmap taken = {0};
    struct buf name = {0};
    bool are_unique = are_names(m);
    for (size_t i = 0; i < m->count; i++) {
        struct slice key = m->list[i].key;
        buf_clear(&name);
        buf_add_text(&name, "__meta_cairn_metadata_");
        for (size_t k = 0; k < key.size; k++)
            buf_add_byte(&name, is_name(key.data[k]) ? key.data[k] : '_');
        if (are_unique || !strmap_put(&taken, buf_slice(&name), w))
            add_label(w, buf_text(&name), m->list[i].value);
    }
    strmap_done(&taken);
    buf_done(&name);
}

/* ",a,b,": so a regular expression for ",a," matches at any position. */
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

/* Writes the labels that all groups of an instance share. */
static void take_labels(struct targets *t, const struct catalog_instance *i)
{
    const struct instance *doc = i->doc;
    struct catalog_effect effect = catalog_effect(i);
    struct json_writer w = {.out = &t->before};
    buf_clear(&t->before);
    add_label(&w, "__meta_cairn_namespace", i->service->ns);
    add_label(&w, "__meta_cairn_group", i->service->group);
    add_label(&w, "__meta_cairn_service", i->service->name);
    add_label(&w, "__meta_cairn_instance", i->id);
    w = (struct json_writer){.out = &t->after};
    buf_clear(&t->after);
    add_label(&w, "__meta_cairn_state", slice_text(instance_state_name(effect.state)));
    add_label(&w, "__meta_cairn_serving", slice_text(effect.serves ? "true" : "false"));
    add_label(&w, "__meta_cairn_guarded", slice_text(doc->is_guarded ? "true" : "false"));
    add_label(&w, "__meta_cairn_protocol", doc->protocol);
    add_label(&w, "__meta_cairn_zone", doc->zone);
    add_label(&w, "__meta_cairn_region", doc->region);
    add_label(&w, "__meta_cairn_cluster", doc->cluster);
    add_label(&w, "__meta_cairn_version", doc->version);
    add_label(&w, "__meta_cairn_source", doc->source);
    add_tags(&w, doc);
    const struct inheritance inherited = inheritance_of(i->service);
    struct arena scratch = {0};
    const struct document_map merged = inheritance_merge(&inherited, &doc->metadata, &scratch);
    add_metadata(&w, &merged);
    arena_done(&scratch);
}

static void take_port(struct targets *t, uint16_t port, struct slice name)
{
    t->ports[t->port_count++] = (struct target_port){port, t->names.size, name.size};
    buf_add_slice(&t->names, name);
}

/* Takes each named port, and the plain one if none of them has its number. The instance may change before its
 * last group is sent: all ports are copied now. */
static void take_instance(struct targets *t, const struct catalog_instance *i)
{
    const struct instance *doc = i->doc;
    bool is_ipv6 = memchr(doc->host.data, ':', doc->host.size) && doc->host.data[0] != '[';
    bool is_named = false;
    take_labels(t, i);
    buf_clear(&t->host);
    buf_add_text(&t->host, is_ipv6 ? "[" : "");
    buf_add_slice(&t->host, doc->host);
    buf_add_text(&t->host, is_ipv6 ? "]" : "");
    buf_clear(&t->names);
    t->port_count = t->port_at = 0;
    for (size_t k = 0; k < doc->port_count; k++) {
        is_named = is_named || doc->ports[k].port == doc->port;
        take_port(t, doc->ports[k].port, doc->ports[k].name);
    }
    if (!is_named)
        take_port(t, doc->port, (struct slice){0});
}

static void add_group(struct targets *t, const struct target_port *port)
{
    struct buf address = {0};
    struct json_writer w = {.out = &t->text};
    buf_add_slice(&address, buf_slice(&t->host));
    if (port->port)
        buf_addf(&address, ":%u", port->port);
    if (!t->is_first)
        buf_add_byte(&t->text, ',');
    t->is_first = false;
    jw_open(&w, '{');
    jw_key(&w, "targets");
    jw_open(&w, '[');
    jw_string(&w, buf_slice(&address));
    jw_close(&w, ']');
    jw_key(&w, "labels");
    jw_open(&w, '{');
    jw_raw(&w, buf_slice(&t->before));
    if (port->name_size)
        add_label(&w, "__meta_cairn_port_name", slice_of(t->names.data + port->name_at, port->name_size));
    jw_raw(&w, buf_slice(&t->after));
    jw_close(&w, '}');
    jw_close(&w, '}');
    buf_done(&address);
}

/* --- iteration over instances ----------------------------------------------------------------------- */

static void set_place(struct buf *place, struct slice name)
{
    buf_clear(place);
    buf_add_slice(place, name);
}

/* The next service after the position, in the query's namespaces; NULL at the end. */
static struct catalog_service *next_service(struct targets *t)
{
    const struct catalog *catalog = registry_catalog(api_registry(t->call));
    struct catalog_service *s =
        catalog_next(catalog, buf_slice(&t->ns), buf_slice(&t->group), buf_slice(&t->service));
    while (t->count && s && !slice_equal(s->ns, t->namespaces[t->at])) {
        if (slice_compare(s->ns, t->namespaces[t->at]) < 0)
            s = catalog_next(catalog, t->namespaces[t->at], (struct slice){0}, (struct slice){0});
        else if (++t->at == t->count)
            return NULL;
    }
    return s;
}

/* The next instance after the position, in the service at the position. */
static const struct catalog_instance *next_instance(const struct targets *t)
{
    const struct catalog_service *s = catalog_find(registry_catalog(api_registry(t->call)), buf_slice(&t->ns),
                                                   buf_slice(&t->group), buf_slice(&t->service));
    size_t at = s ? catalog_place_behind(s, buf_slice(&t->id)) : 0;
    return s && at < s->count ? s->list[at] : NULL;
}

/* Moves one step on; false at the end. */
static bool next_target(struct targets *t)
{
    struct slice wanted = api_param(t->call, PARAM_SERVICE);
    const struct catalog_instance *i = t->service.size ? next_instance(t) : NULL;
    if (i) {
        set_place(&t->id, i->id);
        if (select_fits(&t->query, i))
            take_instance(t, i);
        return true;
    }
    const struct catalog_service *s = next_service(t);
    if (!s)
        return false;
    set_place(&t->ns, s->ns);
    set_place(&t->group, s->group);
    set_place(&t->service, s->name);
    buf_clear(&t->id);
    if (wanted.size && !slice_equal(wanted, s->name) && s->count)
        set_place(&t->id, s->list[s->count - 1]->id); /* skip all of its instances */
    return true;
}

static void targets_release(struct targets *t)
{
    struct buf *all[] = {&t->ns,     &t->group, &t->service, &t->id,  &t->host,
                         &t->before, &t->after, &t->names,   &t->text};
    api_slice_never(t->call);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_done(all[i]);
}

static void send_text(struct targets *t)
{
    if (t->text.size)
        http_stream_send(t->call->q, buf_slice(&t->text));
    buf_clear(&t->text);
}

static void api_prometheus_finish(struct targets *t)
{
    struct http_request *q = t->call->q;
    send_text(t);
    q->state = NULL;
    targets_release(t);
    http_stream_send(q, slice_text("]"));
    http_stream_close(q);
}

/* Checks the client's permissions again. An answer that has begun can only be cut off, without a reason. */
static bool end_if_unauthorized(struct targets *t)
{
    struct http_request *q = t->call->q;
    char error[500] = "";
    if (!api_recheck_rights(t->call, error, sizeof error))
        return false;
    q->state = NULL;
    targets_release(t);
    http_stream_break(q);
    return true;
}

static void api_prometheus_step(struct api_call *c)
{
    struct targets *t = c->state;
    turn_enter(TURN_PROMETHEUS_SD);
    if (end_if_unauthorized(t))
        return;
    t->query.audience = api_audience(c);
    for (;;) {
        if (t->port_at < t->port_count) {
            add_group(t, &t->ports[t->port_at++]);
        } else if (!next_target(t)) {
            api_prometheus_finish(t);
            return;
        }
        if (t->text.size >= PIECE) {
            send_text(t);
            if (http_is_congested(c->q))
                return;
        }
        if (api_slice_is_over(c)) {
            api_slice_later(c, api_prometheus_step);
            return;
        }
    }
}

static void api_prometheus_go_on(struct api_call *c)
{
    api_slice_later(c, api_prometheus_step);
}

/* --- the answer ------------------------------------------------------------------------------------- */

static int api_prometheus_compare_slices(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* Sorts the query's namespaces and removes duplicates. */
static void take_namespaces(struct targets *t)
{
    struct api_call *c = t->call;
    size_t kept = 0;
    struct slice name;
    t->namespaces = arena_new(&c->q->arena, API_REPEATS_MAX * sizeof *t->namespaces);
    for (size_t at = 0; t->count < API_REPEATS_MAX && api_next_param(c, PARAM_NAMESPACES, &at, &name);)
        t->namespaces[t->count++] = name;
    qsort(t->namespaces, t->count, sizeof *t->namespaces, api_prometheus_compare_slices);
    for (size_t i = 0; i < t->count; i++)
        if (i == 0 || !slice_equal(t->namespaces[i], t->namespaces[i - 1]))
            t->namespaces[kept++] = t->namespaces[i];
    t->count = kept;
}

static void api_prometheus_begin(struct targets *t)
{
    struct api_call *c = t->call;
    char revision[24];
    struct slice tag;
    for (size_t at = 0; t->query.tag_count < SELECT_TERMS_MAX && api_next_param(c, PARAM_TAG, &at, &tag);)
        t->query.tags[t->query.tag_count++] = tag;
    t->query.no_guarded = api_has_param(c, PARAM_GUARDED) && !api_flag(api_param(c, PARAM_GUARDED));
    take_namespaces(t);
    t->is_first = true;
    c->writable = api_prometheus_go_on;
    snprintf(revision, sizeof revision, "%lld", (long long)registry_revision(api_registry(c)));
    http_add_header(c->q, "X-Cairn-Revision", revision);
    http_stream_open(c->q, 200, "application/json");
    http_stream_send(c->q, slice_text("["));
    api_prometheus_go_on(c);
}

static void api_prometheus_on_barrier(struct registry_request *q, int err,
                                      const struct registry_result *result)
{
    struct targets *t = container_of(q, struct targets, barrier);
    t->is_at_barrier = false;
    if (err)
        api_fail_err(t->call, err, result ? result->error : NULL);
    else
        api_prometheus_begin(t);
}

static void api_prometheus_cancel(struct api_call *c)
{
    struct targets *t = c->state;
    if (t->is_at_barrier)
        registry_cancel(api_registry(c), &t->barrier);
    targets_release(t);
}

/* The deadline cannot be reported in a stream that has begun: it goes on. */
static void targets_on_expired(struct api_call *c)
{
    struct targets *t = c->state;
    if (!t->is_at_barrier)
        return;
    api_prometheus_cancel(c);
    api_fail(c, API_DEADLINE, NULL);
}

void api_prometheus_get(struct api_call *c)
{
    /* Each slice checks again which instances the client may see: api_prometheus_step. */
    if (!api_authorize_namespaces(c, GUARD_INSTANCES))
        return;
    struct targets *t = arena_new(&c->q->arena, sizeof *t);
    t->call = c;
    c->state = t;
    c->cancel = api_prometheus_cancel;
    c->expired = targets_on_expired;
    if (api_is_local(c)) {
        api_prometheus_begin(t);
        return;
    }
    t->is_at_barrier = true;
    t->barrier.done = api_prometheus_on_barrier;
    registry_barrier(api_registry(c), &t->barrier);
}
