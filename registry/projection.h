/* SPDX-License-Identifier: Apache-2.0
 * Registrations that frameworks write through the etcd API, under prefixes of their own, as read-only
 * instances of the catalog: which keys are looked at (by layout and prefix), and what a key and its value
 * stand for. Pure: bytes in, a name and a document out; the keys themselves are never touched.
 *
 * The name comes from the key alone, so that a deletion finds what the put has made. What is not of its
 * layout's form is not an instance, and no error: others may use the prefix too. */
#ifndef REGISTRY_PROJECTION_H
#define REGISTRY_PROJECTION_H

#include "proto/kv.pb-c.h"
#include "registry/catalog.h"

#define PROJECTIONS_MAX     32
#define PROJECTIONS_DEFAULT "defaults"

/* LAYOUT(NAME, "name", "prefix that is on by default" or NULL): projection.def. */
enum projection_layout {
#define LAYOUT(name, text, prefix) LAYOUT_##name,
#include "registry/projection.def"
#undef LAYOUT
    LAYOUTS
};
const char *projection_layout_name(enum projection_layout layout);
/* An id that only a projection may have: it begins with a layout's name and ':'. Instances of our own with
 * such ids are refused, and left alone where they stand in the store. */
bool projection_is_reserved(struct slice id);

struct projections;

/* What an operator writes: "layout=prefix[@namespace/group]", comma-separated; "defaults" stands for the
 * layouts that cannot be mistaken, "none" for nothing. Namespace and group are `default` unless given.
 * ERR_INVALID with one sentence: an unknown layout, a prefix that is empty, too long, or under another one,
 * /cairn/ among them. */
MUST_CHECK int projections_parse(struct slice text, char *error, size_t error_size,
                                 struct projections **ret_projections);
void projections_free(struct projections *p);

/* What the feed follows for them, beside the registry's own prefix. */
size_t projections_count(const struct projections *p);
const char *projections_prefix(const struct projections *p, size_t at);

/* All take NULL for none. The catalog's instance for a key; in an open batch. False: the key is under none of
 * the prefixes. */
bool projections_put(struct projections *p, struct catalog *c, const Mvccpb__KeyValue *pair);
bool projections_remove(struct projections *p, struct catalog *c, struct slice key);

/* The two halves. Slices lie in the arena, or are the key's. ERR_NOT_FOUND: the key is under none of the
 * prefixes; ERR_MALFORMED: it is, and not of the layout's form. */
MUST_CHECK int projection_name(const struct projections *p, struct slice key, struct arena *a,
                               struct name *ret_name, enum projection_layout *ret_layout);
/* ERR_MALFORMED: the value is not of the layout's form. */
MUST_CHECK int projection_read(enum projection_layout layout, struct slice key, struct slice value,
                               struct arena *a, struct instance *ret_doc);

/* For projection.c and projection_read.c: what a key of dubbo's interface level says behind its last '/'. */
struct projection_url {
    struct slice protocol, host, path, query;
    uint16_t port;
};
/* "protocol://host:port[/path][?query]". */
MUST_CHECK int projection_url(struct slice text, struct projection_url *ret_url);
MUST_CHECK int projection_decode(struct slice text, struct arena *a, struct slice *ret_text);

#endif
