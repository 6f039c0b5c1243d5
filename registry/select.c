/* SPDX-License-Identifier: Apache-2.0
 * Which instances of a service a reader gets, and in which order; see select.h. One walk over the service's
 * list; order by zone is three walks over what fits. */
#include "registry/select.h"

static bool has_tag(const struct instance *doc, struct slice tag)
{
    for (size_t i = 0; i < doc->tag_count; i++)
        if (slice_equal(doc->tags[i], tag))
            return true;
    return false;
}

/* Metadata is sorted by key, and may have 4,096 of them. */
static bool has_label(const struct instance *doc, const struct document_pair *label)
{
    size_t low = 0, high = doc->metadata.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = slice_compare(doc->metadata.list[middle].key, label->key);
        if (order == 0)
            return slice_equal(doc->metadata.list[middle].value, label->value);
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
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
        if (!has_label(doc, &q->labels[n]))
            return false;
    return true;
}

/* Somebody wants it out of traffic: no failure, so protection does not bring it back. */
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

static void order(const struct select_query *q, struct arena *a, struct select_result *result)
{
    const struct catalog_instance **ordered = arena_alloc(a, (result->count + 1) * sizeof *ordered);
    size_t n = 0;
    for (unsigned d = 0; d <= 2; d++)
        for (size_t i = 0; i < result->count; i++)
            if (distance(q, result->list[i]->doc) == d)
                ordered[n++] = result->list[i];
    result->list = ordered;
}

void select_run(const struct select_query *q, const struct catalog_service *s, struct arena *a,
                struct select_result *ret_result)
{
    struct select_result result = {0};
    size_t candidates = 0, wanted = 0;
    size_t count = s ? s->count : 0;
    result.list = arena_alloc(a, (count + 1) * sizeof *result.list);
    for (size_t i = 0; s && i < s->count; i++) {
        if (!select_fits(q, s->list[i]))
            continue;
        result.list[result.count++] = s->list[i];
        result.serving += catalog_effect(s->list[i]).serves;
        candidates += !is_taken_out(s->list[i]);
    }
    if (q->only_serving) {
        double threshold = s ? s->settings.protect_threshold : 0;
        result.is_protected = threshold > 0 && result.serving < candidates &&
                              (double)result.serving <= threshold * (double)candidates;
        for (size_t i = 0; i < result.count; i++)
            if (result.is_protected ? !is_taken_out(result.list[i]) : catalog_effect(result.list[i]).serves)
                result.list[wanted++] = result.list[i];
        result.count = wanted;
    }
    if (result.count > 1 && (q->zone.size || q->region.size))
        order(q, a, &result);
    *ret_result = result;
}
