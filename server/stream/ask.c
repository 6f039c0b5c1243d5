/* SPDX-License-Identifier: Apache-2.0
 * What subscribe frames ask for, as the sources share it: namespace and group with their defaults, and what
 * stays of them when the frame is gone. */
#include "server/stream/private.h"

#include <stdio.h>
#include <string.h>

struct slice stream_ask_ns(const struct stream_frame *ask)
{
    return ask->ns.size ? ask->ns : slice_text("default");
}

struct slice stream_ask_group(const struct stream_frame *ask)
{
    return stream_frame_has(ask, STREAM_HAS_GROUP) ? ask->group : slice_text("default");
}

void stream_ask_add_part(struct buf *key, struct slice part)
{
    buf_add_slice(key, part);
    buf_add_byte(key, 0); /* stands in no name */
}

int stream_ask_refuse(char *error, size_t error_size, const char *text)
{
    snprintf(error, error_size, "%s", text);
    return ERR_INVALID;
}

struct slice stream_ask_moved(struct buf *texts, struct slice s)
{
    struct slice to = slice_of(texts->data + texts->size, s.size);
    buf_add_slice(texts, s);
    return to;
}

int stream_ask_check(const struct stream_frame *ask, bool is_prefix, char *error, size_t error_size)
{
    struct slice group = stream_ask_group(ask);
    int err = name_check(stream_ask_ns(ask), NAMESPACE_SIZE_MAX, "namespace", error, error_size);
    if (!err && (group.size || !is_prefix))
        err = name_check(group, NAME_SIZE_MAX, "group", error, error_size);
    if (!err && !is_prefix)
        err = name_check(ask->name, NAME_SIZE_MAX, "name", error, error_size);
    if (!err && is_prefix && ask->prefix.size)
        err = name_check(ask->prefix, NAME_SIZE_MAX, "prefix", error, error_size);
    return err;
}

bool stream_ask_right(const struct stream_frame *ask, struct buf *key)
{
    if (slice_equal(ask->kind, slice_text("kv"))) {
        bool is_prefix = stream_frame_has(ask, STREAM_HAS_PREFIX);
        buf_add_slice(key, is_prefix ? ask->prefix : ask->name);
        return is_prefix;
    }
    bool is_registry = ask->kind.size >= 7 && memcmp(ask->kind.data, "service", 7) == 0;
    bool is_list =
        slice_equal(ask->kind, slice_text("services")) || slice_equal(ask->kind, slice_text("configs"));
    const struct guard_need need = {.kind = is_registry ? GUARD_INSTANCES : GUARD_CONFIG,
                                    .ns = stream_ask_ns(ask),
                                    .group = stream_ask_group(ask),
                                    .is_prefix = is_list,
                                    .name = is_list ? ask->prefix : ask->name};
    return guard_need_key(&need, key);
}
