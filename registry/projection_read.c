/* SPDX-License-Identifier: Apache-2.0
 * Readers of other layouts' values; see projection.h. Other programs own these values: unknown and too long
 * fields are left out; without a host and a port there is no instance.
 *
 *     layout          | key, value                              | instance
 *     kratos          | <prefix><service>/<id>, JSON            | host of the first endpoint, ports by protocol
 *     kitex           | <prefix><service>/<host:port>, JSON     | weight 10 if none is given, as in its clients
 *     go-micro        | <prefix><service>/<node>, JSON          |
 *     dubbo           | <prefix><application>/<host:port>, JSON | Healthy false: down; Enable false: draining
 *     dubbo-interface | <prefix><interface>/providers/<url>,    | listed twice after a restart until its old
 *                     | no value                                | lease ends: the id has a checksum of the key
 *     go-zero         | <service>/<lease>, host:port            |
 *     grpc            | <target>/<any>, JSON                    |
 *
 * `zone`, `region`, `cluster`, `version` and `weight` in the metadata fill the instance's fields of that
 * name. */
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "registry/projection.h"

#define ENDPOINTS_MAX 16

/* --- pieces ----------------------------------------------------------------------------------------- */

static bool is_clean(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if (s.data[i] < 0x20 || s.data[i] == 0x7f)
            return false;
    return s.size > 0 && s.size <= TEXT_SIZE_MAX && utf8_is_valid(s);
}

static bool is_host(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if (s.data[i] <= ' ' || memchr("/?#@[]%,\"", s.data[i], 9))
            return false;
    return is_clean(s);
}

static bool read_port(struct slice s, uint16_t *ret_port)
{
    uint64_t port;
    if (s.size > 5 || text_to_u64(s, &port) != OK || port < 1 || port > 65535)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

/* Parses "host:port" or "[::1]:port"; the host is returned without brackets. */
static int read_address(struct slice s, struct slice *ret_host, uint16_t *ret_port)
{
    size_t colon = s.size;
    while (colon > 0 && s.data[colon - 1] != ':')
        colon--;
    if (colon < 2 || !read_port(slice_of(s.data + colon, s.size - colon), ret_port))
        return ERR_MALFORMED;
    struct slice host = slice_of(s.data, colon - 1);
    bool has_brackets = host.size > 2 && host.data[0] == '[' && host.data[host.size - 1] == ']';
    if (has_brackets)
        host = slice_of(host.data + 1, host.size - 2);
    else if (memchr(host.data, ':', host.size))
        return ERR_MALFORMED;
    if (!is_host(host))
        return ERR_MALFORMED;
    *ret_host = host;
    return OK;
}

static size_t until_any(struct slice s, size_t from, const char *ends)
{
    while (from < s.size && !strchr(ends, s.data[from] ? s.data[from] : 'x'))
        from++;
    return from;
}

int projection_url(struct slice text, struct projection_url *ret_url)
{
    struct projection_url u = {0};
    size_t at = until_any(text, 0, ":/?#");
    if (at == 0 || text.size - at < 3 || memcmp(text.data + at, "://", 3) != 0)
        return ERR_MALFORMED;
    u.protocol = slice_of(text.data, at);
    size_t begin = at + 3, end = until_any(text, begin, "/?#");
    int err = read_address(slice_of(text.data + begin, end - begin), &u.host, &u.port);
    if (err || !is_clean(u.protocol))
        return ERR_MALFORMED;
    begin = end;
    end = until_any(text, begin, "?#");
    u.path = slice_of(text.data + begin, end - begin);
    if (end < text.size && text.data[end] == '?') {
        begin = end + 1;
        end = until_any(text, begin, "#");
        u.query = slice_of(text.data + begin, end - begin);
    }
    *ret_url = u;
    return OK;
}

int projection_decode(struct slice text, struct arena *a, struct slice *ret_text)
{
    struct buf b = {0};
    int err = percent_decode(text, true, &b);
    if (!err)
        *ret_text = slice_of(arena_copy(a, b.data, b.size), b.size);
    buf_done(&b);
    return err;
}

/* --- JSON ------------------------------------------------------------------------------------------- */

static struct slice text_in(const json_t *value, struct arena *a)
{
    if (!json_is_string(value))
        return (struct slice){0};
    struct slice s = slice_of(json_string_value(value), json_string_length(value));
    return is_clean(s) ? slice_of(arena_copy(a, s.data, s.size), s.size) : (struct slice){0};
}

/* The field under Go's name, or under Java's, which begins with a small letter. */
static json_t *either(const json_t *object, const char *go, const char *java)
{
    json_t *value = json_object_get(object, go);
    return value ? value : json_object_get(object, java);
}

static int compare_pairs(const void *a, const void *b)
{
    return slice_compare(((const struct document_pair *)a)->key, ((const struct document_pair *)b)->key);
}

/* A map that is filled from several places; the first value of a key counts. */
struct pair_list {
    struct document_map map;
    size_t capacity, bytes;
    struct arena *arena;
};

static void projection_read_gather(struct pair_list *g, struct slice key, struct slice value)
{
    if (!is_clean(key) || g->map.count == g->capacity || !utf8_is_valid(value) ||
        g->bytes + key.size + value.size > INSTANCE_METADATA_MAX)
        return;
    for (size_t i = 0; i < g->map.count; i++)
        if (slice_equal(g->map.list[i].key, key))
            return;
    g->bytes += key.size + value.size;
    g->map.list[g->map.count++] =
        (struct document_pair){slice_of(arena_copy(g->arena, key.data, key.size), key.size),
                               slice_of(arena_copy(g->arena, value.data, value.size), value.size)};
}

static struct pair_list pair_list_new(struct arena *a)
{
    enum { PAIRS_MAX = 128 };
    struct pair_list g = {.capacity = PAIRS_MAX, .arena = a};
    g.map.list = arena_alloc(a, PAIRS_MAX * sizeof *g.map.list);
    return g;
}

static void gather_object(struct pair_list *g, json_t *object)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (json_is_string(value))
            projection_read_gather(g, slice_text(key),
                                   slice_of(json_string_value(value), json_string_length(value)));
    }
}

static struct slice find_pair(const struct document_map *m, const char *key)
{
    for (size_t i = 0; i < m->count; i++)
        if (slice_equal(m->list[i].key, slice_text(key)))
            return m->list[i].value;
    return (struct slice){0};
}

static void projection_read_take_text(struct slice *field, const struct document_map *m, const char *key)
{
    struct slice value = find_pair(m, key);
    if (!field->size && is_clean(value))
        *field = value;
}

static uint16_t clip_weight(int64_t weight)
{
    return (uint16_t)(weight < 0 ? 0 : weight > INSTANCE_WEIGHT_MAX ? INSTANCE_WEIGHT_MAX : weight);
}

/* Sets the metadata, sorted, and the fields whose names are keys of it. */
static void take_metadata(struct instance *doc, struct pair_list *g)
{
    uint64_t weight;
    qsort(g->map.list, g->map.count, sizeof *g->map.list, compare_pairs);
    doc->metadata = g->map;
    projection_read_take_text(&doc->zone, &doc->metadata, "zone");
    projection_read_take_text(&doc->region, &doc->metadata, "region");
    projection_read_take_text(&doc->cluster, &doc->metadata, "cluster");
    projection_read_take_text(&doc->version, &doc->metadata, "version");
    if (text_to_u64(find_pair(&doc->metadata, "weight"), &weight) == OK && weight <= INSTANCE_WEIGHT_MAX)
        doc->weight = (uint16_t)weight;
}

/* --- ports ------------------------------------------------------------------------------------------ */

static int compare_ports(const void *a, const void *b)
{
    return slice_compare(((const struct instance_port *)a)->name, ((const struct instance_port *)b)->name);
}

/* The first port is `port` and sets the protocol. If there are more, all of them are named by their
 * protocol. */
static void add_port(struct instance *doc, struct slice protocol, uint16_t port, struct arena *a)
{
    if (!doc->port) {
        doc->port = port;
        doc->protocol = protocol;
        doc->ports = arena_alloc(a, ENDPOINTS_MAX * sizeof *doc->ports);
    }
    for (size_t i = 0; i < doc->port_count; i++)
        if (slice_equal(doc->ports[i].name, protocol))
            return;
    if (protocol.size && doc->port_count < ENDPOINTS_MAX)
        doc->ports[doc->port_count++] = (struct instance_port){protocol, port};
}

static void end_ports(struct instance *doc)
{
    if (doc->port_count < 2) {
        doc->port_count = 0;
        return;
    }
    qsort(doc->ports, doc->port_count, sizeof *doc->ports, compare_ports);
}

/* --- layouts ---------------------------------------------------------------------------------------- */

static int set_address(struct instance *doc, struct slice address, struct arena *a)
{
    struct slice host;
    int err = read_address(address, &host, &doc->port);
    if (!err)
        doc->host = slice_of(arena_copy(a, host.data, host.size), host.size);
    return err;
}

/* {"id","name","version","metadata":{},"endpoints":["grpc://10.0.0.5:9000?isSecure=false"]}: endpoints of one
 * host; those of another host are left out. */
static int read_kratos(json_t *root, struct arena *a, struct instance *doc)
{
    const json_t *endpoints = json_object_get(root, "endpoints");
    struct pair_list g = pair_list_new(a);
    for (size_t i = 0; i < json_array_size(endpoints) && i < ENDPOINTS_MAX; i++) {
        struct slice text = text_in(json_array_get(endpoints, i), a);
        struct projection_url url;
        if (projection_url(text, &url) != OK || (doc->host.size && !slice_equal(doc->host, url.host)))
            continue;
        doc->host = url.host;
        add_port(doc, url.protocol, url.port, a);
    }
    end_ports(doc);
    doc->version = text_in(json_object_get(root, "version"), a);
    gather_object(&g, json_object_get(root, "metadata"));
    take_metadata(doc, &g);
    return OK;
}

/* {"network":"tcp","address":"10.0.0.5:8888","weight":10,"tags":{}}; without a weight its clients take 10. */
static int read_kitex(json_t *root, struct arena *a, struct instance *doc)
{
    enum { KITEX_WEIGHT = 10 };
    const json_t *weight = json_object_get(root, "weight");
    struct pair_list g = pair_list_new(a);
    doc->protocol = text_in(json_object_get(root, "network"), a);
    gather_object(&g, json_object_get(root, "tags"));
    take_metadata(doc, &g);
    doc->weight = json_integer_value(weight) > 0 ? clip_weight(json_integer_value(weight)) : KITEX_WEIGHT;
    return set_address(doc, text_in(json_object_get(root, "address"), a), a);
}

/* {"name","version","metadata":{},"endpoints":[...],"nodes":[{"id","address":"10.0.0.5:4000","metadata":{}}]}:
 * one node a key. */
static int read_go_micro(json_t *root, struct arena *a, struct instance *doc)
{
    json_t *node = json_array_get(json_object_get(root, "nodes"), 0);
    struct pair_list g = pair_list_new(a);
    gather_object(&g, json_object_get(node, "metadata"));
    gather_object(&g, json_object_get(root, "metadata"));
    doc->version = text_in(json_object_get(root, "version"), a);
    take_metadata(doc, &g);
    projection_read_take_text(&doc->protocol, &doc->metadata, "protocol");
    return set_address(doc, text_in(json_object_get(node, "address"), a), a);
}

/* [{"port":20000,"protocol":"tri"}], as text in the metadata. */
static void read_dubbo_endpoints(struct instance *doc, struct arena *a)
{
    char error[160];
    json_t *list = NULL;
    struct slice text = find_pair(&doc->metadata, "dubbo.endpoints");
    uint16_t port = doc->port;
    if (!text.size || json_parse(text, &list, error, sizeof error) != OK)
        return;
    doc->port = 0;
    for (size_t i = 0; i < json_array_size(list) && i < ENDPOINTS_MAX; i++) {
        const json_t *one = json_array_get(list, i);
        json_int_t number = json_integer_value(json_object_get(one, "port"));
        if (number > 0 && number <= 65535)
            add_port(doc, text_in(json_object_get(one, "protocol"), a), (uint16_t)number, a);
    }
    if (!doc->port)
        doc->port = port;
    else
        end_ports(doc);
    json_decref(list);
}

/* {"ID","ServiceName","Host","Port","Weight","Enable","Healthy","Metadata":{},...,"Tag"} */
static int read_dubbo(json_t *root, struct arena *a, struct instance *doc)
{
    struct pair_list g = pair_list_new(a);
    json_int_t port = json_integer_value(either(root, "Port", "port"));
    json_int_t weight = json_integer_value(either(root, "Weight", "weight"));
    struct slice tag = text_in(either(root, "Tag", "tag"), a);
    doc->host = text_in(either(root, "Host", "host"), a);
    doc->port = port > 0 && port <= 65535 ? (uint16_t)port : 0;
    gather_object(&g, either(root, "Metadata", "metadata"));
    take_metadata(doc, &g);
    if (weight > 0)
        doc->weight = clip_weight(weight);
    if (tag.size) {
        doc->tags = arena_copy(a, &tag, sizeof tag);
        doc->tag_count = 1;
    }
    if (json_is_false(either(root, "Healthy", "healthy")))
        doc->state = INSTANCE_DOWN;
    else if (json_is_false(either(root, "Enable", "enabled")))
        doc->state = INSTANCE_DRAINING;
    read_dubbo_endpoints(doc, a);
    return OK;
}

/* {"Op":0,"Addr":"10.0.0.5:8080","Metadata":any}; Op 1 is a deletion. */
static int read_grpc(json_t *root, struct arena *a, struct instance *doc)
{
    struct pair_list g = pair_list_new(a);
    if (json_integer_value(json_object_get(root, "Op")) != 0)
        return ERR_MALFORMED;
    gather_object(&g, json_object_get(root, "Metadata"));
    take_metadata(doc, &g);
    doc->protocol = slice_text("grpc");
    return set_address(doc, text_in(json_object_get(root, "Addr"), a), a);
}

/* Everything is in the key: "<interface>/providers/<protocol://host:port/interface?name=value&...>",
 * encoded. */
static int read_dubbo_interface(struct slice key, struct arena *a, struct instance *doc)
{
    struct projection_url url;
    struct slice text;
    struct pair_list g = pair_list_new(a);
    size_t begin = key.size;
    while (begin > 0 && key.data[begin - 1] != '/')
        begin--;
    int err = projection_decode(slice_of(key.data + begin, key.size - begin), a, &text);
    if (!err)
        err = projection_url(text, &url);
    if (err)
        return err;
    doc->host = url.host;
    doc->port = url.port;
    doc->protocol = url.protocol;
    for (size_t at = 0; at < url.query.size;) {
        size_t end = until_any(url.query, at, "&");
        size_t equals = until_any(url.query, at, "&=");
        if (equals < end)
            projection_read_gather(&g, slice_of(url.query.data + at, equals - at),
                                   slice_of(url.query.data + equals + 1, end - equals - 1));
        at = end + 1;
    }
    take_metadata(doc, &g);
    return OK;
}

static int read_json(enum projection_layout layout, struct slice value, struct arena *a, struct instance *doc)
{
    int (*const readers[LAYOUTS])(json_t * root, struct arena * a, struct instance * doc) = {
        [LAYOUT_KRATOS] = read_kratos, [LAYOUT_KITEX] = read_kitex, [LAYOUT_GO_MICRO] = read_go_micro,
        [LAYOUT_DUBBO] = read_dubbo,   [LAYOUT_GRPC] = read_grpc,
    };
    char error[160];
    json_t *root;
    int err = json_parse(value, &root, error, sizeof error);
    if (err)
        return err;
    err = json_is_object(root) ? readers[layout](root, a, doc) : ERR_MALFORMED;
    json_decref(root);
    return err;
}

int projection_read(enum projection_layout layout, struct slice key, struct slice value, struct arena *a,
                    struct instance *ret_doc)
{
    struct instance doc = {.weight = INSTANCE_WEIGHT,
                           .state = INSTANCE_UP,
                           .source = slice_text(projection_layout_name(layout))};
    int err;
    if (layout == LAYOUT_DUBBO_INTERFACE)
        err = read_dubbo_interface(key, a, &doc);
    else if (layout == LAYOUT_GO_ZERO)
        err = set_address(&doc, value, a);
    else
        err = read_json(layout, value, a, &doc);
    if (err || !is_host(doc.host) || !doc.port)
        return ERR_MALFORMED;
    *ret_doc = doc;
    return OK;
}
