/* SPDX-License-Identifier: Apache-2.0
 * Outcomes of applied entries; see outcomes.h.
 *
 *   encoded  0 version, 4 number of times, 8 first, 16 count, 24 revision before it, 32 the times (index,
 *            time), then the bits from the byte on that has the first entry
 *
 * Entry i has the bits 2 * (i % 4) of its byte: 1 = it is kept, 2 = it made a revision. `base` and the encoded
 * bits begin at a multiple of 4. */
#include "consensus/backup/outcomes.h"

#include "base/mem.h"

enum { VERSION = 1, HEAD_SIZE = 32, TIME_SIZE = 16, KEPT = 1, CHANGED = 2, WASTE_MAX = 4096 };

void backup_outcomes_done(struct backup_outcomes *o)
{
    buf_done(&o->bits);
    mem_free(o->times);
    *o = (struct backup_outcomes){0};
}

void backup_outcomes_reset(struct backup_outcomes *o, uint64_t index, int64_t revision)
{
    buf_clear(&o->bits);
    o->first = index + 1;
    o->base = o->first & ~UINT64_C(3);
    o->count = 0;
    o->revision = o->last_revision = revision;
    o->time_count = 0;
    o->cursor = 0;
}

static unsigned bits_of(const struct backup_outcomes *o, uint64_t index)
{
    uint64_t place = index - o->base;
    return o->bits.data[place / 4] >> (place % 4 * 2) & 3;
}

/* --- adding ------------------------------------------------------------------------------------------ */

static void add_time(struct backup_outcomes *o, uint64_t index, uint64_t time_ms)
{
    if (o->time_count && time_ms < o->times[o->time_count - 1].time_ms + BACKUP_TIME_STEP_MS)
        return;
    if (o->time_count == BACKUP_TIMES_MAX) {
        for (size_t i = 0; i < BACKUP_TIMES_MAX / 2; i++)
            o->times[i] = o->times[i * 2];
        o->time_count /= 2;
    }
    if (o->time_count == o->time_capacity) {
        o->time_capacity = o->time_capacity ? o->time_capacity * 2 : 64;
        o->times = mem_resize(o->times, o->time_capacity * sizeof *o->times);
    }
    o->times[o->time_count++] = (struct backup_outcome_time){index, time_ms};
}

void backup_outcomes_add(struct backup_outcomes *o, uint64_t index, const struct backup_outcome *outcome)
{
    int64_t step = outcome->revision - o->last_revision;
    if (index != o->first + o->count || step < 0 || step > 1) {
        backup_outcomes_reset(o, index, outcome->revision);
        return;
    }
    if (o->count == BACKUP_OUTCOMES_MAX)
        backup_outcomes_drop(o, o->first + BACKUP_OUTCOMES_MAX / 2 - 1);
    uint64_t place = index - o->base;
    while (o->bits.size <= place / 4)
        buf_add_byte(&o->bits, 0);
    unsigned bits = (outcome->is_kept ? KEPT : 0) | (step ? CHANGED : 0);
    o->bits.data[place / 4] |= (uint8_t)(bits << (place % 4 * 2));
    o->count++;
    o->last_revision = outcome->revision;
    add_time(o, index, outcome->time_ms);
}

void backup_outcomes_drop(struct backup_outcomes *o, uint64_t index)
{
    for (; o->count && o->first <= index; o->first++, o->count--)
        o->revision += (bits_of(o, o->first) & CHANGED) != 0;
    size_t old = 0; /* times: the last one before the first entry is needed */
    while (old + 1 < o->time_count && o->times[old + 1].index <= o->first)
        old++;
    if (old) {
        o->time_count -= old;
        memmove(o->times, o->times + old, o->time_count * sizeof *o->times);
    }
    uint64_t waste = (o->first - o->base) / 4;
    if (waste >= WASTE_MAX || waste == o->bits.size) {
        buf_consume(&o->bits, waste);
        o->base += waste * 4;
    }
}

/* --- reading ----------------------------------------------------------------------------------------- */

bool backup_outcomes_revision(struct backup_outcomes *o, uint64_t index, int64_t *ret_revision)
{
    if (index + 1 < o->first || index >= o->first + o->count)
        return false;
    if (o->cursor < o->first || o->cursor > index) {
        o->cursor = o->first - 1;
        o->cursor_revision = o->revision;
    }
    while (o->cursor < index)
        o->cursor_revision += (bits_of(o, ++o->cursor) & CHANGED) != 0;
    *ret_revision = o->cursor_revision;
    return true;
}

uint64_t backup_outcomes_time(const struct backup_outcomes *o, uint64_t index)
{
    size_t low = 0, high = o->time_count;
    while (low + 1 < high) {
        size_t middle = (low + high) / 2;
        if (o->times[middle].index <= index)
            low = middle;
        else
            high = middle;
    }
    return o->time_count ? o->times[low].time_ms : 0;
}

bool backup_outcomes_get(struct backup_outcomes *o, uint64_t index, struct backup_outcome *ret_outcome)
{
    if (index < o->first || !backup_outcomes_revision(o, index, &ret_outcome->revision))
        return false;
    ret_outcome->is_kept = bits_of(o, index) & KEPT;
    ret_outcome->time_ms = backup_outcomes_time(o, index);
    return true;
}

/* --- bytes ------------------------------------------------------------------------------------------- */

void backup_outcomes_encode(const struct backup_outcomes *o, struct buf *out)
{
    if (!o->count)
        return;
    uint64_t waste = (o->first - o->base) / 4;
    uint8_t *p = buf_reserve(out, HEAD_SIZE + o->time_count * TIME_SIZE);
    put_be32(p, VERSION);
    put_be32(p + 4, (uint32_t)o->time_count);
    put_be64(p + 8, o->first);
    put_be64(p + 16, o->count);
    put_be64(p + 24, (uint64_t)o->revision);
    p += HEAD_SIZE;
    for (size_t i = 0; i < o->time_count; i++, p += TIME_SIZE) {
        put_be64(p, o->times[i].index);
        put_be64(p + 8, o->times[i].time_ms);
    }
    out->size += HEAD_SIZE + o->time_count * TIME_SIZE;
    buf_add(out, o->bits.data + waste, o->bits.size - waste);
}

static int check_head(struct slice bytes, uint64_t times, uint64_t first, uint64_t count)
{
    uint64_t begin = first & ~UINT64_C(3);
    if (!first || first > INT64_MAX || !count || count > BACKUP_OUTCOMES_MAX || times > BACKUP_TIMES_MAX)
        return ERR_CORRUPT;
    uint64_t bits = (first + count - begin + 3) / 4;
    return bytes.size == HEAD_SIZE + times * TIME_SIZE + bits ? OK : ERR_CORRUPT;
}

static void decode_times(struct backup_outcomes *o, const uint8_t *p, size_t count)
{
    o->time_capacity = o->time_count = count;
    o->times = count ? mem_new(count * sizeof *o->times) : NULL;
    for (size_t i = 0; i < count; i++, p += TIME_SIZE)
        o->times[i] = (struct backup_outcome_time){get_be64(p), get_be64(p + 8)};
}

int backup_outcomes_decode(struct slice bytes, struct backup_outcomes *o)
{
    *o = (struct backup_outcomes){0};
    if (bytes.size < HEAD_SIZE)
        return ERR_CORRUPT;
    if (get_be32(bytes.data) != VERSION)
        return get_be32(bytes.data) > VERSION ? ERR_LEVEL : ERR_CORRUPT;
    uint32_t times = get_be32(bytes.data + 4);
    uint64_t first = get_be64(bytes.data + 8), count = get_be64(bytes.data + 16);
    int64_t revision = (int64_t)get_be64(bytes.data + 24);
    int err = check_head(bytes, times, first, count);
    if (!err && (revision < 1 || revision > INT64_MAX - BACKUP_OUTCOMES_MAX))
        err = ERR_CORRUPT;
    if (err)
        return err;
    decode_times(o, bytes.data + HEAD_SIZE, times);
    size_t head = HEAD_SIZE + times * TIME_SIZE;
    buf_add(&o->bits, bytes.data + head, bytes.size - head);
    o->first = first;
    o->base = first & ~UINT64_C(3);
    o->count = count;
    o->revision = o->last_revision = revision;
    (void)backup_outcomes_revision(o, first + count - 1, &o->last_revision);
    return OK;
}
