/* SPDX-License-Identifier: Apache-2.0
 * JSON of instances; see view.h. */
#include "registry/view.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/mutant.h"

static void write_override(const struct catalog_instance *i, struct json_writer *w)
{
    struct buf text = {0};
    override_write_view(i->override, &text);
    jw_key(w, "override");
    jw_raw(w, buf_slice(&text));
    buf_done(&text);
    jw_key(w, "registered");
    jw_open(w, '{');
    jw_key(w, "state");
    jw_text(w, instance_state_name(i->doc->state));
    jw_key(w, "weight");
    jw_int(w, i->doc->weight);
    jw_close(w, '}');
}

/* The settings' revision is there also when the instance has all of the keys itself: it has read them. */
static void write_inherited(const struct instance *doc, const struct inheritance *inherited,
                            struct json_writer *w)
{
    bool has_some = false;
    for (size_t k = 0; k < inherited->metadata.count; k++) {
        if (document_map_find(&doc->metadata, inherited->metadata.list[k].key))
            continue;
        if (!has_some) {
            jw_key(w, "inherited");
            jw_open(w, '[');
        }
        has_some = true;
        jw_string(w, inherited->metadata.list[k].key);
    }
    if (has_some)
        jw_close(w, ']');
    jw_key(w, "settings_revision");
    jw_int(w, inherited->revision);
}

void view_write_instance(const struct catalog_instance *i, const struct inheritance *inherited,
                         struct json_writer *w)
{
    struct catalog_effect effect = catalog_effect(i);
    struct instance shown = *i->doc;
    struct arena merged = {0};
    shown.metadata = inheritance_merge(inherited, &i->doc->metadata, &merged);
    shown.state = effect.state;
    shown.weight = effect.weight;
    shown.is_guarded = i->doc->is_guarded && !MUTANT(GUARDED_MARK_MISSING);
    jw_open(w, '{');
    jw_key(w, "id");
    jw_string(w, i->id);
    instance_write_members(&shown, w);
    arena_done(&merged);
    if (inherited->revision)
        write_inherited(i->doc, inherited, w);
    jw_key(w, "serving");
    jw_bool(w, effect.serves);
    if (i->override)
        write_override(i, w);
    jw_key(w, "create_revision");
    jw_int(w, i->create_revision);
    jw_key(w, "mod_revision");
    jw_int(w, i->mod_revision > i->override_revision ? i->mod_revision : i->override_revision);
    jw_close(w, '}');
}

int view_session_read(struct slice text, int64_t *ret_session)
{
    uint64_t id = 0;
    if (text.size == 0 || text.size > 16)
        return ERR_MALFORMED;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        bool is_digit = c >= '0' && c <= '9', is_letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'f';
        if (!is_digit && !is_letter)
            return ERR_MALFORMED;
        id = id << 4 | (uint64_t)(is_digit ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    *ret_session = (int64_t)id;
    return id == 0 || id > INT64_MAX ? ERR_MALFORMED : OK;
}

void view_session_write(int64_t session, struct json_writer *w)
{
    char id[24];
    snprintf(id, sizeof id, "%" PRIx64, (uint64_t)session);
    jw_text(w, id);
}
