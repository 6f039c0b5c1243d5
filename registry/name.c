/* SPDX-License-Identifier: Apache-2.0
 * Encoder and parser of keys; see name.h. */
#include "registry/name.h"

#define SEGMENTS_MAX 4

static const struct {
    const char *folder;
    size_t segments;
} kinds[NAME_KINDS] = {
    [NAME_SERVICE] = {"services/", 3},   [NAME_INSTANCE] = {"instances/", 4},
    [NAME_OVERRIDE] = {"overrides/", 4}, [NAME_SESSION] = {"sessions/", 1},
    [NAME_GUARD] = {"guards/", 1},
};

void name_add_prefix(struct buf *out, enum name_kind kind, struct slice ns, struct slice group,
                     struct slice service)
{
    struct slice list[] = {ns, group, service};
    buf_add_text(out, REGISTRY_PREFIX);
    buf_add_text(out, kinds[kind].folder);
    for (size_t i = 0; i < 3 && list[i].size; i++) {
        name_add_segment(out, list[i]);
        buf_add_byte(out, '/');
    }
}

void name_add_key(struct buf *out, const struct name *name)
{
    if (name->kind == NAME_SESSION) {
        name_add_prefix(out, NAME_SESSION, (struct slice){0}, (struct slice){0}, (struct slice){0});
        name_add_hex16(out, (uint64_t)name->session);
        return;
    }
    name_add_prefix(out, name->kind, name->ns, name->group, name->service);
    if (name->kind == NAME_SERVICE || name->kind == NAME_GUARD)
        out->size--; /* the last '/' */
    else
        name_add_segment(out, name->id);
}

static int find_kind(struct slice *rest, enum name_kind *ret_kind)
{
    if (!name_take_prefix(rest, REGISTRY_PREFIX))
        return ERR_MALFORMED;
    for (int k = 0; k < NAME_KINDS; k++) {
        if (!name_take_prefix(rest, kinds[k].folder))
            continue;
        *ret_kind = (enum name_kind)k;
        return OK;
    }
    return ERR_MALFORMED;
}

int name_parse(struct slice key, struct buf *scratch, struct name *ret_name)
{
    struct name name = {0};
    struct slice list[SEGMENTS_MAX] = {0};
    int err = find_kind(&key, &name.kind);
    if (err)
        return err;
    if (name.kind == NAME_SESSION) {
        uint64_t id = 0;
        err = name_parse_hex16(key, &id);
        if (!err && !id)
            err = ERR_MALFORMED;
        name.session = (int64_t)id;
    } else {
        err = name_parse_segments(key, kinds[name.kind].segments, scratch, list);
        name.ns = list[0];
        name.group = list[1];
        name.service = list[2];
        name.id = list[3];
    }
    if (!err)
        *ret_name = name;
    return err;
}
