/* SPDX-License-Identifier: Apache-2.0
 * Selection of instances; see select.h. One walk over the service's list finds the matches; three walks
 * over those order them by zone. */
#include "registry/select.h"

#include "base/mutant.h"
#include "registry/inherit.h"

static bool has_tag(const struct instance *doc, struct slice tag)
{
    for (size_t i = 0; i < doc->tag_count; i++)
        if (slice_equal(doc->tags[i], tag))
            return true;
    return false;
}

bool select_has_pair(const struct document_map *map, const struct document_pair *pair)
{
    const struct document_pair *present = document_map_find(map, pair->key);
    return present && slice_equal(present->value, pair->value);
}

/* Judged with what the instance inherits: a reader that sees a pair can select by it. */
static bool has_label(const struct catalog_instance *i, const struct document_pair *pair)
{
    const struct inheritance inherited = inheritance_of(i->service);
    struct slice value;
    if (MUTANT(INHERITED_NOT_SELECTED))
        return select_has_pair(&i->doc->metadata, pair);
    return inheritance_find(&inherited, &i->doc->metadata, pair->key, &value) &&
           slice_equal(value, pair->value);
}

static bool is_asked(struct slice asked, struct slice value)
{
    return !asked.size || slice_equal(asked, value);
}

bool select_fits(const struct select_query *q, const struct catalog_instance *i)
{
    const struct instance *doc = i->doc;
    if (q->no_guarded && doc && doc->is_guarded)
        return false;
    if (!audience_sees(q->audience, i) || !is_asked(q->cluster, doc->cluster) ||
        !is_asked(q->version, doc->version) || !is_asked(q->protocol, doc->protocol))
        return false;
    for (size_t n = 0; n < q->tag_count; n++)
        if (!has_tag(doc, q->tags[n]))
            return false;
    for (size_t n = 0; n < q->label_count; n++)
        if (!has_label(i, &q->labels[n]))
            return false;
    return true;
}

/* The operator or the instance itself took it out of traffic. That is no failure, so protection does not
 * bring it back. */
static bool is_taken_out(const struct catalog_instance *i)
{
    const struct override *o = i->override;
    struct catalog_effect e = catalog_effect(i);
    return !e.is_enabled || e.weight == 0 || (o && o->has_state && !instance_state_serves(o->state));
}

/* 0 is nearest. */
static unsigned distance(const struct select_query *q, const struct instance *doc)
{
    if (q->zone.size && slice_equal(q->zone, doc->zone))
        return 0;
    return q->region.size && slice_equal(q->region, doc->region) ? 1 : 2;
}

bool select_match(const struct select_query *q, const struct catalog_instance *i,
                  struct select_candidate *ret_candidate)
{
    if (!select_fits(q, i))
        return false;
    *ret_candidate = (struct select_candidate){
        .instance = i,
        .serves = catalog_effect(i).serves,
        .is_taken_out = is_taken_out(i),
        .distance = (uint8_t)(q->zone.size || q->region.size ? distance(q, i->doc) : 0),
    };
    return true;
}

void select_choose(const struct select_query *q, double protect_threshold,
                   const struct select_candidate *list, size_t count, struct arena *a,
                   struct select_result *ret_result)
{
    struct select_result result = {0};
    size_t candidates = 0;
    for (size_t i = 0; i < count; i++) {
        result.serving += list[i].serves;
        candidates += !list[i].is_taken_out;
    }
    if (q->only_serving)
        result.is_protected = protect_threshold > 0 && result.serving < candidates &&
                              (double)result.serving <= protect_threshold * (double)candidates;
    result.list = arena_alloc(a, (count + 1) * sizeof *result.list);
    unsigned farthest = q->zone.size || q->region.size ? 2 : 0;
    for (unsigned d = 0; d <= farthest; d++) {
        for (size_t i = 0; i < count; i++) {
            bool is_wanted =
                !q->only_serving || (result.is_protected ? !list[i].is_taken_out : list[i].serves);
            if (is_wanted && list[i].distance == d)
                result.list[result.count++] = list[i].instance;
        }
    }
    *ret_result = result;
}

void select_run(const struct select_query *q, const struct catalog_service *s, struct arena *a,
                struct select_result *ret_result)
{
    size_t count = 0, all = s ? s->count : 0;
    struct select_candidate *list = arena_alloc(a, (all + 1) * sizeof *list);
    for (size_t i = 0; i < all; i++)
        count += select_match(q, s->list[i], &list[count]);
    select_choose(q, s ? s->settings.protect_threshold : 0, list, count, a, ret_result);
}
