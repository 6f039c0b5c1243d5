/* SPDX-License-Identifier: Apache-2.0
 * Parameters of subscribe frames, for all sources: namespace and group with their defaults, checks of
 * names, the key whose permission is needed, and copies that outlive the frame. */
#include <stdio.h>
#include <string.h>

#include "base/mutant.h"
#include "consensus/audit.h"
#include "server/stream/private.h"

struct slice stream_subscribe_ns(const struct stream_frame *frame)
{
    return frame->ns.size ? frame->ns : slice_text("default");
}

struct slice stream_subscribe_group(const struct stream_frame *frame)
{
    return stream_frame_has(frame, STREAM_HAS_GROUP) ? frame->group : slice_text("default");
}

void stream_subscribe_add_part(struct buf *key, struct slice part)
{
    buf_add_slice(key, part);
    buf_add_byte(key, 0); /* no name contains it */
}

int stream_subscribe_error(char *error, size_t error_size, const char *text)
{
    snprintf(error, error_size, "%s", text);
    return ERR_INVALID;
}

struct slice stream_subscribe_copy(struct buf *texts, struct slice s)
{
    struct slice to = slice_of(texts->data + texts->size, s.size);
    buf_add_slice(texts, s);
    return to;
}

int stream_subscribe_check(const struct stream_frame *frame, char *error, size_t error_size)
{
    if (frame->groups.count)
        return stream_subscribe_error(error, error_size,
                                      "subscribe: groups belongs to services, instances and configs");
    int err = name_check(stream_subscribe_ns(frame), NAMESPACE_SIZE_MAX, "namespace", error, error_size);
    if (!err)
        err = name_check(stream_subscribe_group(frame), NAME_SIZE_MAX, "group", error, error_size);
    if (!err)
        err = name_check(frame->name, NAME_SIZE_MAX, "name", error, error_size);
    return err;
}

void stream_subscribe_add_audience(struct buf *key, const struct audience *a)
{
    buf_add_byte(key, 0);
    if (a)
        buf_add(key, a->digest, sizeof a->digest);
}

bool stream_subscribe_copy_filter(struct select_query *ret, const struct select_query *q, struct buf *texts)
{
    size_t size = q->cluster.size + q->version.size + q->protocol.size;
    for (size_t i = 0; i < q->tag_count; i++)
        size += q->tags[i].size;
    for (size_t i = 0; i < q->label_count; i++)
        size += q->labels[i].key.size + q->labels[i].value.size;
    *ret = *q;
    buf_reserve(texts, texts->size + size + 1); /* so that it does not move while texts are added */
    ret->cluster = stream_subscribe_copy(texts, q->cluster);
    ret->version = stream_subscribe_copy(texts, q->version);
    ret->protocol = stream_subscribe_copy(texts, q->protocol);
    for (size_t i = 0; i < q->tag_count; i++)
        ret->tags[i] = stream_subscribe_copy(texts, q->tags[i]);
    for (size_t i = 0; i < q->label_count; i++) {
        ret->labels[i].key = stream_subscribe_copy(texts, q->labels[i].key);
        ret->labels[i].value = stream_subscribe_copy(texts, q->labels[i].value);
    }
    return size || q->only_serving || q->no_guarded || q->tag_count || q->label_count;
}

bool stream_subscribe_right(const struct stream_frame *frame, struct buf *key)
{
    if (slice_equal(frame->kind, slice_text("audit")) && !MUTANT(AUDIT_STREAM_UNGUARDED)) {
        buf_add_text(key, AUDIT_PREFIX);
        return true;
    }
    if (slice_equal(frame->kind, slice_text("kv"))) {
        bool is_prefix = stream_frame_has(frame, STREAM_HAS_PREFIX);
        buf_add_slice(key, is_prefix ? frame->prefix : frame->name);
        return is_prefix;
    }
    bool is_registry = frame->kind.size >= 7 && memcmp(frame->kind.data, "service", 7) == 0;
    bool is_list =
        slice_equal(frame->kind, slice_text("services")) || slice_equal(frame->kind, slice_text("configs"));
    const struct guard_need need = {.kind = is_registry ? GUARD_INSTANCES : GUARD_CONFIG,
                                    .ns = stream_subscribe_ns(frame),
                                    .group = stream_subscribe_group(frame),
                                    .is_prefix = is_list,
                                    .name = is_list ? frame->prefix : frame->name};
    return guard_need_key(&need, key);
}
