/* SPDX-License-Identifier: Apache-2.0
 * Projected prefixes, and the instance of a key; see projection.h. projection_read.c reads the values. */
#include "registry/projection.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/text.h"

#define PREFIX_SIZE_MAX 256
#define KEY_SIZE_MAX    8192 /* a longer key is no instance */
#define VALUE_SIZE_MAX  65536
#define OWN_PREFIX      "/cairn/"
#define DEFAULT_NAME    "default"

struct projection {
    enum projection_layout layout;
    char *prefix;
    size_t folder_size; /* the prefix up to its last '/', inclusive; the name of a service begins after it */
    char *ns, *group;
};

struct projections {
    struct projection list[PROJECTIONS_MAX];
    size_t count;
    struct arena arena; /* of the current key */
};

static const struct {
    const char *name, *prefix;
} layouts[LAYOUTS] = {
#define LAYOUT(name, text, prefix) {text, prefix},
#include "registry/projection.def"
#undef LAYOUT
};

const char *projection_layout_name(enum projection_layout layout)
{
    return layouts[layout].name;
}

bool projection_is_reserved(struct slice id)
{
    for (int i = 0; i < LAYOUTS; i++) {
        size_t n = strlen(layouts[i].name);
        if (id.size > n && id.data[n] == ':' && memcmp(id.data, layouts[i].name, n) == 0)
            return true;
    }
    return false;
}

/* --- the option ---------------------------------------------------------------------------------------- */

static bool begins_with(struct slice s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.size >= n && memcmp(s.data, prefix, n) == 0;
}

static char *projection_text_of(struct slice s)
{
    char *text = mem_alloc(s.size + 1);
    if (s.size)
        memcpy(text, s.data, s.size);
    text[s.size] = 0;
    return text;
}

/* True: the prefix may name a service or a folder of services. Other layouts have a folder only. */
static bool takes_any_prefix(enum projection_layout layout)
{
    return layout == LAYOUT_GO_ZERO || layout == LAYOUT_GRPC;
}

static int check_prefix(const struct projections *p, const char *prefix, char *error, size_t error_size)
{
    size_t size = strlen(prefix);
    const char *other = NULL;
    if (size == 0 || size > PREFIX_SIZE_MAX) {
        snprintf(error, error_size, "the prefix \"%.64s\" is empty or longer than %d bytes", prefix,
                 PREFIX_SIZE_MAX);
        return ERR_INVALID;
    }
    for (size_t i = 0; i <= p->count && !other; i++) {
        const char *one = i < p->count ? p->list[i].prefix : OWN_PREFIX;
        if (begins_with(slice_text(one), prefix) || begins_with(slice_text(prefix), one))
            other = one;
    }
    if (!other)
        return OK;
    snprintf(error, error_size, "the prefixes \"%.64s\" and \"%.64s\" overlap", prefix, other);
    return ERR_INVALID;
}

static int projection_add(struct projections *p, enum projection_layout layout, struct slice prefix,
                          struct slice ns, struct slice group, char *error, size_t error_size)
{
    struct buf text = {0};
    if (p->count == PROJECTIONS_MAX) {
        snprintf(error, error_size, "there are too many projections; at most %d are allowed",
                 PROJECTIONS_MAX);
        return ERR_INVALID;
    }
    buf_add_slice(&text, prefix);
    if (prefix.size && !takes_any_prefix(layout) && prefix.data[prefix.size - 1] != '/')
        buf_add_byte(&text, '/');
    int err = check_prefix(p, buf_text(&text), error, error_size);
    if (!err) {
        struct projection *one = &p->list[p->count++];
        one->layout = layout;
        one->prefix = projection_text_of(buf_slice(&text));
        const char *slash = strrchr(one->prefix, '/');
        one->folder_size = slash ? (size_t)(slash - one->prefix) + 1 : 0;
        one->ns = projection_text_of(ns);
        one->group = projection_text_of(group);
    }
    buf_done(&text);
    return err;
}

static int add_defaults(struct projections *p, char *error, size_t error_size)
{
    struct slice name = slice_text(DEFAULT_NAME);
    int err = OK;
    for (int i = 0; i < LAYOUTS && !err; i++)
        if (layouts[i].prefix)
            err = projection_add(p, (enum projection_layout)i, slice_text(layouts[i].prefix), name, name,
                                 error, error_size);
    return err;
}

static const uint8_t *find_last(struct slice s, uint8_t byte)
{
    for (size_t i = s.size; i-- > 0;)
        if (s.data[i] == byte)
            return s.data + i;
    return NULL;
}

static int shown(struct slice text)
{
    return (int)(text.size < 64 ? text.size : 64);
}

/* Parses "namespace/group", the part after the '@'. */
static int parse_space(struct slice text, struct slice *ret_ns, struct slice *ret_group, char *error,
                       size_t error_size)
{
    const uint8_t *slash = text.size ? memchr(text.data, '/', text.size) : NULL;
    if (!slash) {
        snprintf(error, error_size, "\"@%.*s\" is not @namespace/group", shown(text),
                 text.size ? (const char *)text.data : "");
        return ERR_INVALID;
    }
    size_t n = (size_t)(slash - text.data);
    *ret_ns = slice_of(text.data, n);
    *ret_group = slice_of(slash + 1, text.size - n - 1);
    int err = name_check(*ret_ns, NAMESPACE_SIZE_MAX, "a namespace", error, error_size);
    return err ? err : name_check(*ret_group, NAME_SIZE_MAX, "a group", error, error_size);
}

static int parse_one(struct projections *p, struct slice text, char *error, size_t error_size)
{
    struct slice ns = slice_text(DEFAULT_NAME), group = ns;
    if (slice_equal(text, slice_text(PROJECTIONS_DEFAULT)))
        return add_defaults(p, error, error_size);
    const uint8_t *equals = text.size ? memchr(text.data, '=', text.size) : NULL;
    struct slice name = slice_of(text.data, equals ? (size_t)(equals - text.data) : text.size), prefix = {0};
    int layout = 0;
    while (layout < LAYOUTS && !slice_equal(name, slice_text(layouts[layout].name)))
        layout++;
    if (!equals || layout == LAYOUTS) {
        snprintf(error, error_size, "\"%.*s\" is not layout=prefix, with a layout of", shown(text),
                 text.size ? (const char *)text.data : "");
        for (int i = 0; i < LAYOUTS; i++)
            snprintf(error + strlen(error), error_size - strlen(error), "%s %s", i ? "," : "",
                     layouts[i].name);
        return ERR_INVALID;
    }
    prefix = slice_of(equals + 1, text.size - name.size - 1);
    const uint8_t *at = find_last(prefix, '@');
    if (at) {
        size_t n = (size_t)(at - prefix.data);
        int err = parse_space(slice_of(at + 1, prefix.size - n - 1), &ns, &group, error, error_size);
        if (err)
            return err;
        prefix.size = n;
    }
    return projection_add(p, (enum projection_layout)layout, prefix, ns, group, error, error_size);
}

int projections_parse(struct slice text, char *error, size_t error_size, struct projections **ret_projections)
{
    struct projections *p = mem_new(sizeof *p);
    int err = OK;
    if (slice_equal(text, slice_text("none")))
        text.size = 0;
    while (text.size && !err) {
        const uint8_t *comma = memchr(text.data, ',', text.size);
        size_t n = comma ? (size_t)(comma - text.data) : text.size;
        err = parse_one(p, slice_of(text.data, n), error, error_size);
        n += comma ? 1 : 0;
        text = slice_of(text.data + n, text.size - n);
    }
    if (err) {
        projections_free(p);
        return err;
    }
    *ret_projections = p;
    return OK;
}

void projections_free(struct projections *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->count; i++) {
        mem_free(p->list[i].prefix);
        mem_free(p->list[i].ns);
        mem_free(p->list[i].group);
    }
    arena_done(&p->arena);
    mem_free(p);
}

size_t projections_count(const struct projections *p)
{
    return p ? p->count : 0;
}

const char *projections_prefix(const struct projections *p, size_t at)
{
    return p->list[at].prefix;
}

/* --- names --------------------------------------------------------------------------------------------- */

/* Replaces '/' with '.': names in Cairn have no '/'. */
static struct slice with_dots(struct slice s, struct arena *a)
{
    uint8_t *copy = arena_copy(a, s.data, s.size);
    for (size_t i = 0; i < s.size; i++)
        copy[i] = copy[i] == '/' ? '.' : copy[i];
    return slice_of(copy, s.size);
}

static bool is_decimal(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if (s.data[i] < '0' || s.data[i] > '9')
            return false;
    return s.size > 0;
}

/* Parses "<interface>/providers/<url>". Consumers, configurators and routers of an interface are no
 * instances. The id is the address and a checksum of the URL: an instance that restarts has two keys with
 * the same address until the lease of the old one ends. */
static int name_interface(struct slice rest, struct arena *a, struct slice *ret_service, struct slice *ret_id)
{
    static const char providers[] = "providers/";
    struct projection_url url;
    struct slice text;
    const uint8_t *slash = rest.size ? memchr(rest.data, '/', rest.size) : NULL;
    if (!slash)
        return ERR_MALFORMED;
    size_t n = (size_t)(slash - rest.data) + 1;
    struct slice behind = slice_of(rest.data + n, rest.size - n);
    if (!begins_with(behind, providers))
        return ERR_MALFORMED;
    behind = slice_of(behind.data + sizeof providers - 1, behind.size - (sizeof providers - 1));
    int err = projection_decode(slice_of(rest.data, n - 1), a, ret_service);
    if (!err)
        err = projection_decode(behind, a, &text);
    if (!err)
        err = projection_url(text, &url);
    if (err)
        return err;
    char *id = arena_printf(a, "%.*s:%u:%08x", (int)url.host.size, url.host.data, url.port,
                            crc32c(0, behind.data, behind.size));
    *ret_id = slice_text(id);
    return OK;
}

/* Parses "<service>/<id>", the form of all other layouts. */
static int name_plain(enum projection_layout layout, struct slice rest, struct arena *a,
                      struct slice *ret_service, struct slice *ret_id)
{
    const uint8_t *slash = find_last(rest, '/');
    if (!slash)
        return ERR_MALFORMED;
    size_t n = (size_t)(slash - rest.data);
    *ret_service = with_dots(slice_of(rest.data, n), a);
    *ret_id = slice_of(slash + 1, rest.size - n - 1);
    if (!ret_id->size || (layout == LAYOUT_GO_ZERO && !is_decimal(*ret_id)))
        return ERR_MALFORMED;
    return OK;
}

static const struct projection *projection_find(const struct projections *p, struct slice key)
{
    for (size_t i = 0; i < p->count; i++)
        if (begins_with(key, p->list[i].prefix))
            return &p->list[i];
    return NULL;
}

int projection_name(const struct projections *p, struct slice key, struct arena *a, struct name *ret_name,
                    enum projection_layout *ret_layout)
{
    const struct projection *one = projection_find(p, key);
    struct name name = {.kind = NAME_INSTANCE};
    char error[200];
    if (!one)
        return ERR_NOT_FOUND;
    if (key.size > KEY_SIZE_MAX)
        return ERR_MALFORMED;
    struct slice rest = slice_of(key.data + one->folder_size, key.size - one->folder_size), id;
    int err = one->layout == LAYOUT_DUBBO_INTERFACE ? name_interface(rest, a, &name.service, &id)
                                                    : name_plain(one->layout, rest, a, &name.service, &id);
    if (err)
        return err;
    char *full = arena_printf(a, "%s:%.*s", layouts[one->layout].name, (int)id.size, id.data);
    name.id = slice_of(full, strlen(layouts[one->layout].name) + 1 + id.size);
    name.ns = slice_text(one->ns);
    name.group = slice_text(one->group);
    if (memchr(id.data, 0, id.size) ||
        name_check(name.service, NAME_SIZE_MAX, "a service", error, sizeof error) != OK ||
        name_check(name.id, NAME_SIZE_MAX, "an id", error, sizeof error) != OK)
        return ERR_MALFORMED;
    *ret_name = name;
    *ret_layout = one->layout;
    return OK;
}

/* --- the catalog --------------------------------------------------------------------------------------- */

bool projections_put(struct projections *p, struct catalog *c, const Mvccpb__KeyValue *pair)
{
    struct slice key = slice_of(pair->key.data, pair->key.len);
    struct slice value = slice_of(pair->value.data, pair->value.len);
    enum projection_layout layout;
    struct instance doc;
    struct name name;
    if (!p)
        return false;
    arena_reset(&p->arena);
    int err = projection_name(p, key, &p->arena, &name, &layout);
    if (err)
        return err != ERR_NOT_FOUND;
    bool is_one = value.size <= VALUE_SIZE_MAX && projection_read(layout, key, value, &p->arena, &doc) == OK;
    if (is_one)
        doc.origin = key;
    catalog_project(c, &name, is_one ? &doc : NULL, pair->create_revision, pair->mod_revision);
    return true;
}

bool projections_remove(struct projections *p, struct catalog *c, struct slice key)
{
    enum projection_layout layout;
    struct name name;
    if (!p)
        return false;
    arena_reset(&p->arena);
    int err = projection_name(p, key, &p->arena, &name, &layout);
    if (!err)
        catalog_project(c, &name, NULL, 0, 0);
    return err != ERR_NOT_FOUND;
}
