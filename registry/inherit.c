/* SPDX-License-Identifier: Apache-2.0
 * Inherited metadata; see inherit.h. Both maps are sorted by key: one walk merges them. */
#include "registry/inherit.h"

#include "base/mutant.h"

struct inheritance inheritance_of_settings(const struct settings *settings, int64_t revision)
{
    if (!settings || !settings->is_inherited || !settings->metadata.count)
        return (struct inheritance){0};
    return (struct inheritance){settings->metadata, revision};
}

struct inheritance inheritance_of(const struct catalog_service *s)
{
    return inheritance_of_settings(s && s->has_settings ? &s->settings : NULL, s ? s->settings_revision : 0);
}

bool inheritance_is_same(const struct inheritance *a, const struct inheritance *b)
{
    const struct document_map *x = &a->metadata, *y = &b->metadata;
    bool is_same = x->count == y->count;
    for (size_t i = 0; is_same && i < x->count; i++)
        is_same =
            slice_equal(x->list[i].key, y->list[i].key) && slice_equal(x->list[i].value, y->list[i].value);
    return is_same;
}

bool inheritance_find(const struct inheritance *h, const struct document_map *own, struct slice key,
                      struct slice *ret_value)
{
    const struct document_pair *pair = document_map_find(own, key);
    if (!pair)
        pair = document_map_find(&h->metadata, key);
    if (pair)
        *ret_value = pair->value;
    return pair != NULL;
}

struct document_map inheritance_merge(const struct inheritance *h, const struct document_map *own,
                                      struct arena *a)
{
    const struct document_map *from = &h->metadata;
    size_t i = 0, k = 0;
    if (!from->count)
        return *own;
    struct document_map merged = {arena_alloc(a, (own->count + from->count) * sizeof *merged.list), 0};
    while (i < own->count || k < from->count) {
        int order = i == own->count    ? 1
                    : k == from->count ? -1
                                       : slice_compare(own->list[i].key, from->list[k].key);
        bool is_own = order < 0 || (order == 0 && !MUTANT(INHERITED_WINS));
        merged.list[merged.count++] = is_own ? own->list[i] : from->list[k];
        i += order <= 0;
        k += order >= 0;
    }
    return merged;
}
