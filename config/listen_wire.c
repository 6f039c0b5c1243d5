/* SPDX-License-Identifier: Apache-2.0
 * Encoding of the listener RPC; see listen_wire.h. */
#include "config/listen_wire.h"

#include "base/wire.h"

enum {
    VERSION = 1,
    LISTENER_SIZE_MIN = 4 * 4 + 5 * 8 + 4,
    LABEL_SIZE_MIN = 2 * 4,
};

void listen_write_query(const struct config_id *key, struct buf *out)
{
    buf_add_byte(out, VERSION);
    wire_add_text(out, key->ns);
    wire_add_text(out, key->group);
    wire_add_text(out, key->name);
}

static void add_listener(struct buf *out, const struct config_listener *l)
{
    wire_add_text(out, l->client_id);
    wire_add_text(out, l->peer);
    wire_add_text(out, l->transport);
    wire_add_u64(out, l->chosen);
    wire_add_u64(out, l->sent);
    wire_add_u64(out, l->applied);
    wire_add_u64(out, l->rejected);
    wire_add_u64(out, (uint64_t)l->since_ms);
    wire_add_text(out, l->error);
    wire_add_u32(out, l->labels.count);
    for (size_t i = 0; i < l->labels.count; i++) {
        wire_add_text(out, l->labels.list[i].key);
        wire_add_text(out, l->labels.list[i].value);
    }
}

void listen_write_answer(const struct listen_answer *a, size_t size_max, struct buf *out)
{
    buf_add_byte(out, VERSION);
    wire_add_text(out, a->member);
    size_t at = out->size, count = 0;
    wire_add_u32(out, 0);
    wire_add_u32(out, 0);
    for (; count < a->count; count++) {
        size_t before = out->size;
        add_listener(out, &a->list[count]);
        if (out->size > size_max) {
            out->size = before;
            break;
        }
    }
    put_be32(out->data + at, (uint32_t)(a->left_out + (a->count - count)));
    put_be32(out->data + at + 4, (uint32_t)count);
}

int listen_read_query(struct slice bytes, struct config_id *ret)
{
    struct wire_reader r = wire_begin(bytes, VERSION);
    struct config_id key = {wire_text(&r), {0}, {0}};
    key.group = wire_text(&r);
    key.name = wire_text(&r);
    int err = wire_end(&r);
    if (!err)
        *ret = key;
    return err;
}

static void take_listener(struct wire_reader *r, struct arena *a, struct config_listener *l)
{
    l->client_id = wire_text(r);
    l->peer = wire_text(r);
    l->transport = wire_text(r);
    l->chosen = wire_u64(r);
    l->sent = wire_u64(r);
    l->applied = wire_u64(r);
    l->rejected = wire_u64(r);
    l->since_ms = (int64_t)wire_u64(r);
    l->error = wire_text(r);
    l->labels.count = wire_count(r, LABEL_SIZE_MIN);
    l->labels.list = arena_new(a, (l->labels.count + 1) * sizeof *l->labels.list);
    for (size_t i = 0; i < l->labels.count; i++) {
        l->labels.list[i].key = wire_text(r);
        l->labels.list[i].value = wire_text(r);
    }
}

int listen_read_answer(struct slice bytes, struct arena *a, struct listen_answer *ret)
{
    struct wire_reader r = wire_begin(slice_of(arena_copy(a, bytes.data, bytes.size), bytes.size), VERSION);
    struct listen_answer answer = {.member = wire_text(&r)};
    answer.left_out = wire_u32(&r);
    answer.count = wire_count(&r, LISTENER_SIZE_MIN);
    struct config_listener *list = arena_new(a, (answer.count + 1) * sizeof *list);
    for (size_t i = 0; i < answer.count && !r.is_bad; i++) {
        take_listener(&r, a, &list[i]);
        list[i].member = answer.member;
    }
    answer.list = list;
    int err = wire_end(&r);
    if (!err)
        *ret = answer;
    return err;
}
