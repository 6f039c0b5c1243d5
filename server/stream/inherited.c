/* SPDX-License-Identifier: Apache-2.0
 * Inherited metadata (registry/inherit.h) in subscriptions on instances: what a change of it sends, and which items
 * a client that resumes has.
 *
 * The change makes every instance of the service another item: some begin or cease to match a selector. If all of
 * them fit into one delta they are sent as changed items. Otherwise the topic's readers get a snapshot, which is
 * encoded in steps: no turn writes the instances of a large service. */
#include "base/mutant.h"
#include "registry/view.h"
#include "server/stream/private.h"

enum {
    DELTA_BYTES = 256 << 10, /* as COMPARE_BYTES of topic.c: beyond it, a snapshot */
    ITEM_BYTES = 512         /* of an instance without its metadata, about */
};

static size_t bytes_of(const struct document_map *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->count; i++)
        n += m->list[i].key.size + m->list[i].value.size + sizeof "\"\":\"\",";
    return n;
}

static bool fits_delta(const struct catalog_service *s)
{
    const struct inheritance inherited = inheritance_of(s);
    size_t each = ITEM_BYTES + 2 * bytes_of(&inherited.metadata), bytes = 0;
    for (size_t i = 0; i < s->count && bytes <= DELTA_BYTES; i++)
        bytes += each + (s->list[i]->doc ? bytes_of(&s->list[i]->doc->metadata) : 0);
    return bytes <= DELTA_BYTES;
}

bool stream_inherited_as_delta(struct stream_topic *topic, const struct catalog_change *change)
{
    if (!change->is_inheritance_changed || MUTANT(INHERITED_NOT_SENT))
        return false;
    if (fits_delta(change->service))
        return true;
    stream_topic_invalidate(topic, change->revision);
    return false;
}

bool stream_inherited_is_known(const struct catalog_instance *i, const struct stream_known *known)
{
    if (!i)
        return false;
    const struct inheritance inherited = inheritance_of(i->service);
    int64_t revision = i->mod_revision > i->override_revision ? i->mod_revision : i->override_revision;
    return known->revision == revision &&
           (known->settings_revision == inherited.revision || MUTANT(INHERITED_ASSUMED_KNOWN));
}
