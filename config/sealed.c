/* SPDX-License-Identifier: Apache-2.0
 * Opening of stored contents; see sealed.h. */
#include "config/sealed.h"

#include <stdio.h>

#include "base/metric.h"
#include "config/config.h"

struct slice sealed_names(struct arena *a, const struct config_id *id)
{
    struct buf names = {0};
    seal_add_names(&names, id->ns, id->group, id->name);
    struct slice copy = slice_of(arena_copy(a, names.data, names.size), names.size);
    buf_done(&names);
    return copy;
}

int sealed_open(const struct seal_keys *keys, const struct config_id *id, struct slice key_id,
                struct slice envelope, struct arena *a, struct slice *ret, char *error, size_t error_size)
{
    const struct seal_key *key = seal_keys_find(keys, key_id);
    int size = key_id.size < SEAL_ID_MAX ? (int)key_id.size : SEAL_ID_MAX, err = ERR_CORRUPT;
    if (!key) {
        snprintf(error, error_size,
                 "it is sealed with key %.*s, which this member does not have: see --encryption-key-file",
                 size, (const char *)key_id.data);
        return ERR_KEY_MISSING;
    }
    if (envelope.size >= SEAL_ROOM) {
        uint8_t *content = arena_alloc(a, envelope.size - SEAL_ROOM + 1);
        err = seal_open(key, sealed_names(a, id), envelope, content);
        if (!err)
            *ret = slice_of(content, envelope.size - SEAL_ROOM);
    }
    if (err) {
        snprintf(
            error, error_size,
            "its sealed content does not open with key %.*s: it was changed, or sealed under another name",
            size, (const char *)key_id.data);
    }
    return err;
}

int sealed_open_release(const struct seal_keys *keys, const struct config_id *id, struct config_release *r,
                        struct arena *a, char *error, size_t error_size)
{
    if (!r->sealed.size)
        return OK;
    int err = sealed_open(keys, id, r->sealed, r->envelope, a, &r->content, error, error_size);
    metric_add(METRIC_CONFIG_OPEN_FAILURES, err != OK);
    return err;
}

int sealed_open_draft(const struct seal_keys *keys, const struct config_id *id, struct config_draft *d,
                      struct arena *a, char *error, size_t error_size)
{
    if (!d->sealed.size)
        return OK;
    int err = sealed_open(keys, id, d->sealed, d->envelope, a, &d->content, error, error_size);
    metric_add(METRIC_CONFIG_OPEN_FAILURES, err != OK);
    return err;
}
