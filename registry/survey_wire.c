/* SPDX-License-Identifier: Apache-2.0
 * Messages of a survey; see survey_wire.h. The readers check everything: a count is at most what the
 * remaining bytes can hold. */
#include "registry/survey_wire.h"

#include "base/wire.h"

enum {
    VERSION = 1,
    ENTRY_SIZE_MIN = 3 * 4 + 8 + 4,
    LABEL_SIZE_MIN = 2 * 4,
};

void survey_write_request(const struct survey_request *q, struct buf *out)
{
    buf_add_byte(out, VERSION);
    wire_add_u64(out, (uint64_t)q->revision);
    wire_add_u32(out, q->max);
    wire_add_text(out, q->ns);
    wire_add_text(out, q->group);
    wire_add_text(out, q->service);
}

static void add_entry(struct buf *out, const struct survey_entry *e)
{
    wire_add_text(out, e->client_id);
    wire_add_text(out, e->peer);
    wire_add_text(out, e->transport);
    wire_add_u64(out, (uint64_t)e->revision);
    wire_add_u32(out, e->labels.count);
    for (size_t i = 0; i < e->labels.count; i++) {
        wire_add_text(out, e->labels.list[i].key);
        wire_add_text(out, e->labels.list[i].value);
    }
}

void survey_write_answer(const struct survey_answer *a, size_t size_max, struct buf *out)
{
    buf_add_byte(out, VERSION);
    wire_add_u64(out, a->acknowledged);
    wire_add_u64(out, a->waiting);
    wire_add_text(out, a->member);
    size_t at = out->size, count = 0;
    wire_add_u32(out, 0);
    for (; count < a->count; count++) {
        size_t before = out->size;
        add_entry(out, &a->list[count]);
        if (out->size > size_max) {
            out->size = before;
            break;
        }
    }
    put_be32(out->data + at, (uint32_t)count);
}

/* --- reading ---------------------------------------------------------------------------------------- */

int survey_read_request(struct slice bytes, struct survey_request *ret)
{
    struct wire_reader r = wire_begin(bytes, VERSION);
    struct survey_request q;
    q.revision = (int64_t)wire_u64(&r);
    q.max = wire_u32(&r);
    q.ns = wire_text(&r);
    q.group = wire_text(&r);
    q.service = wire_text(&r);
    int err = wire_end(&r);
    if (!err)
        *ret = q;
    return err;
}

static void take_entry(struct wire_reader *r, struct arena *a, struct survey_entry *e)
{
    e->client_id = wire_text(r);
    e->peer = wire_text(r);
    e->transport = wire_text(r);
    e->revision = (int64_t)wire_u64(r);
    e->labels.count = wire_count(r, LABEL_SIZE_MIN);
    e->labels.list = arena_new(a, (e->labels.count + 1) * sizeof *e->labels.list);
    for (size_t i = 0; i < e->labels.count; i++) {
        e->labels.list[i].key = wire_text(r);
        e->labels.list[i].value = wire_text(r);
    }
}

int survey_read_answer(struct slice bytes, struct arena *a, struct survey_answer *ret)
{
    struct wire_reader r = wire_begin(slice_of(arena_copy(a, bytes.data, bytes.size), bytes.size), VERSION);
    struct survey_answer answer;
    answer.acknowledged = wire_u64(&r);
    answer.waiting = wire_u64(&r);
    answer.member = wire_text(&r);
    answer.count = wire_count(&r, ENTRY_SIZE_MIN);
    struct survey_entry *list = arena_new(a, (answer.count + 1) * sizeof *list);
    for (size_t i = 0; i < answer.count && !r.is_bad; i++)
        take_entry(&r, a, &list[i]);
    answer.list = list;
    int err = wire_end(&r);
    if (!err)
        *ret = answer;
    return err;
}
