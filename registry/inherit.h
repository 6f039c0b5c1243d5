/* SPDX-License-Identifier: Apache-2.0
 * Inherited metadata: what the instances of a service have from the service's settings.
 *
 * Readers and selectors see both maps as one; the instance's own value wins. The stored instance has its own pairs
 * alone, so a change of the settings writes no instance. Only settings that were stored with `inherit` are
 * inherited (feature level 4): older members would show each instance without them. Pure. */
#ifndef REGISTRY_INHERIT_H
#define REGISTRY_INHERIT_H

#include "registry/catalog.h"

struct inheritance {
    struct document_map metadata; /* borrowed from the settings; empty = nothing is inherited */
    int64_t revision;             /* mod revision of these settings; 0 = nothing is inherited */
};

/* s may be NULL: no service. Valid until its settings change. */
struct inheritance inheritance_of(const struct catalog_service *s);
/* settings may be NULL: there are none. */
struct inheritance inheritance_of_settings(const struct settings *settings, int64_t revision);
bool inheritance_is_same(const struct inheritance *a, const struct inheritance *b);
/* The value of this key for an instance with these pairs of its own. False: there is none. */
bool inheritance_find(const struct inheritance *h, const struct document_map *own, struct slice key,
                      struct slice *ret_value);
/* Both maps as one, sorted: at most INSTANCE_METADATA_MAX and SETTINGS_METADATA_MAX bytes together. Its list is in
 * the arena, or `own`'s if nothing is inherited; its texts are borrowed. */
struct document_map inheritance_merge(const struct inheritance *h, const struct document_map *own,
                                      struct arena *a);

#endif
