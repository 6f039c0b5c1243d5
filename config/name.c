/* SPDX-License-Identifier: Apache-2.0
 * Building and parsing the config center's keys; see name.h. */
#include "config/name.h"

#define POLICY_NAME "review" /* the last segment of a policy's key */

static const char *const folders[CONFIG_KEYS] = {
    [CONFIG_HEAD] = "heads/",       [CONFIG_RELEASE] = "releases/",    [CONFIG_DRAFT] = "drafts/",
    [CONFIG_POLICY] = "policies/",  [CONFIG_REVIEW] = "reviews/",      [CONFIG_SCHEDULE] = "schedules/",
    [CONFIG_ROLLOUT] = "rollouts/", [CONFIG_EMERGENCY] = "emergency/", [CONFIG_SCHEMA] = "schemas/",
};

/* Appends the key up to the name; only a release's key has a '/' after the name. */
static void add_parts(struct buf *out, enum config_key kind, struct slice ns, struct slice group)
{
    struct slice list[] = {ns, group};
    buf_add_text(out, CONFIG_PREFIX);
    buf_add_text(out, folders[kind]);
    for (size_t i = 0; i < 2 && list[i].size; i++) {
        name_add_segment(out, list[i]);
        buf_add_byte(out, '/');
    }
}

void config_name_add_prefix(struct buf *out, enum config_key kind, struct slice ns, struct slice group,
                            struct slice name)
{
    add_parts(out, kind, ns, group);
    if (!ns.size || !group.size || !name.size)
        return;
    name_add_segment(out, name);
    if (kind == CONFIG_RELEASE)
        buf_add_byte(out, '/');
}

void config_name_add_beginning(struct buf *out, enum config_key kind, struct slice ns, struct slice group,
                               struct slice beginning)
{
    add_parts(out, kind, ns, group);
    name_add_segment(out, beginning);
}

void config_name_add_key(struct buf *out, const struct config_name *name)
{
    if (name->kind == CONFIG_POLICY) {
        add_parts(out, name->kind, name->ns, (struct slice){0});
        buf_add_text(out, POLICY_NAME);
        return;
    }
    config_name_add_prefix(out, name->kind, name->ns, name->group, name->name);
    if (name->kind == CONFIG_RELEASE)
        name_add_hex16(out, name->seq);
}

static bool find_kind(struct slice *rest, enum config_key *ret_kind)
{
    if (!name_take_prefix(rest, CONFIG_PREFIX))
        return false;
    for (int k = 0; k < CONFIG_KEYS; k++) {
        if (!name_take_prefix(rest, folders[k]))
            continue;
        *ret_kind = (enum config_key)k;
        return true;
    }
    return false;
}

int config_name_parse(struct slice key, struct buf *scratch, struct config_name *ret_name)
{
    struct config_name name = {0};
    struct slice list[4] = {0};
    if (!find_kind(&key, &name.kind))
        return ERR_MALFORMED;
    size_t count = name.kind == CONFIG_RELEASE ? 4 : name.kind == CONFIG_POLICY ? 2 : 3;
    int err = name_parse_segments(key, count, scratch, list);
    if (!err && name.kind == CONFIG_POLICY) {
        name.ns = list[0];
        *ret_name = name;
        return slice_equal(list[1], slice_text(POLICY_NAME)) ? OK : ERR_MALFORMED;
    }
    if (!err && name.kind == CONFIG_RELEASE)
        err = name_parse_hex16(list[3], &name.seq);
    if (!err && name.kind == CONFIG_RELEASE && (name.seq == 0 || name.seq > CONFIG_SEQ_MAX))
        err = ERR_MALFORMED;
    if (err)
        return err;
    name.ns = list[0];
    name.group = list[1];
    name.name = list[2];
    *ret_name = name;
    return OK;
}
