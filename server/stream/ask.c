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

/* One key, or all that begin so. */
static int may_read_keys(struct stream_conn *c, const struct stream_frame *ask, char *error,
                         size_t error_size)
{
    struct identity *i = c->server->options.identity;
    struct buf key = {0}, end = {0};
    bool is_prefix = stream_frame_has(ask, STREAM_HAS_PREFIX);
    buf_add_slice(&key, is_prefix ? ask->prefix : ask->name);
    if (is_prefix)
        stream_kv_prefix_end(ask->prefix, &end);
    if (!key.size)
        buf_add_byte(&key, 0);
    int err = guard_check_keys(i, &c->user, buf_slice(&key), buf_slice(&end), false, error, error_size);
    buf_done(&key);
    buf_done(&end);
    return err;
}

bool stream_ask_may(struct stream_conn *c, const struct stream_frame *ask)
{
    char error[500] = "";
    if (slice_equal(ask->kind, slice_text("kv"))) {
        int err = may_read_keys(c, ask, error, sizeof error);
        if (err)
            stream_conn_error(c, ask, guard_public_error(err), error);
        return !err;
    }
    bool is_registry = ask->kind.size >= 7 && memcmp(ask->kind.data, "service", 7) == 0;
    bool is_list =
        slice_equal(ask->kind, slice_text("services")) || slice_equal(ask->kind, slice_text("configs"));
    struct guard_need need = {.kind = is_registry ? GUARD_INSTANCES : GUARD_CONFIG,
                              .ns = stream_ask_ns(ask),
                              .group = stream_ask_group(ask),
                              .is_prefix = is_list,
                              .name = is_list ? ask->prefix : ask->name};
    return stream_conn_may(c, ask, &need);
}
