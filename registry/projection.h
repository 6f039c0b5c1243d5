/* SPDX-License-Identifier: Apache-2.0
 * Projections: registrations that frameworks write through the etcd API, as read-only instances of the
 * catalog.
 *
 * Each layout has prefixes of its own. A key gives a name, a value gives a document; Cairn never writes
 * these keys. The instance has `source`, an id `<layout>:<their id>`, and no session, TTL or grace: it ends
 * with its key. It can be overridden, but not registered or deregistered.
 *   - The name comes from the key alone, so that a deletion finds the instance that the put made. The name of
 *     the service is the part of the key after the prefix's last '/'; a '/' in it becomes a dot.
 *   - A key that does not have its layout's form is no instance, and no error: others may use the prefix too.
 * Pure. projection_read.c has the table of layouts; server/auth/README.md says which users see an instance. */
#ifndef REGISTRY_PROJECTION_H
#define REGISTRY_PROJECTION_H

#include "proto/kv.pb-c.h"
#include "registry/catalog.h"

#define PROJECTIONS_MAX     32
#define PROJECTIONS_DEFAULT "defaults"

/* projection.def has the layouts. */
enum projection_layout {
#define LAYOUT(name, text, prefix) LAYOUT_##name,
#include "registry/projection.def"
#undef LAYOUT
    LAYOUTS
};
const char *projection_layout_name(enum projection_layout layout);
/* An id that only a projection may have: it begins with a layout's name and ':'. Registrations with such
 * ids are refused; such keys in the store are ignored. */
bool projection_is_reserved(struct slice id);

struct projections;

/* Parses the option: "layout=prefix[@namespace/group]", comma-separated. "defaults" stands for the layouts
 * with a default prefix, "none" for nothing. Namespace and group are `default` unless given. ERR_INVALID
 * with one sentence: an unknown layout, or a prefix that is empty, too long, or below another one (or below
 * /cairn/). */
MUST_CHECK int projections_parse(struct slice text, char *error, size_t error_size,
                                 struct projections **ret_projections);
void projections_free(struct projections *p);

/* The prefixes for the feed to follow, beside the registry's own. */
size_t projections_count(const struct projections *p);
const char *projections_prefix(const struct projections *p, size_t at);

/* Puts or removes the catalog's instance for a key, in an open batch. False: the key has none of the
 * prefixes. p may be NULL: no projections. */
bool projections_put(struct projections *p, struct catalog *c, const Mvccpb__KeyValue *pair);
bool projections_remove(struct projections *p, struct catalog *c, struct slice key);

/* Parses the name out of a key. Slices point into the arena or the key. ERR_NOT_FOUND: the key has none of
 * the prefixes. ERR_MALFORMED: it has one, but not the layout's form. */
MUST_CHECK int projection_name(const struct projections *p, struct slice key, struct arena *a,
                               struct name *ret_name, enum projection_layout *ret_layout);
/* Parses the document out of a value. ERR_MALFORMED: it does not have the layout's form. */
MUST_CHECK int projection_read(enum projection_layout layout, struct slice key, struct slice value,
                               struct arena *a, struct instance *ret_doc);

/* For projection.c and projection_read.c: the URL after the last '/' in a key of dubbo's interface level. */
struct projection_url {
    struct slice protocol, host, path, query;
    uint16_t port;
};
/* "protocol://host:port[/path][?query]". ERR_MALFORMED. */
MUST_CHECK int projection_url(struct slice text, struct projection_url *ret_url);
MUST_CHECK int projection_decode(struct slice text, struct arena *a, struct slice *ret_text);

#endif
