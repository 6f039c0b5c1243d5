/* SPDX-License-Identifier: Apache-2.0
 * Division of the health checks among the members; see check_share.h. */
#include "registry/check_share.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/wire.h"

enum { VERSION = 1 };

/* --- who holds a check ---------------------------------------------------------------------------------- */

uint64_t check_share_hash(struct slice key)
{
    static const uint8_t fixed[SIPHASH_KEY_SIZE] = "cairn: checks 1"; /* no secret: only the spread matters */
    return siphash24(fixed, key.data, key.size);
}

/* The finalizer of SplitMix64: each bit of the input changes each bit of the output with probability 1/2. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint64_t check_share_holder(const struct check_share *s, uint64_t hash)
{
    uint64_t holder = 0, highest = 0;
    for (size_t i = 0; i < s->count; i++) {
        uint64_t score = mix(hash ^ mix(s->ids[i]));
        if (!holder || score > highest) {
            highest = score;
            holder = s->ids[i];
        }
    }
    return holder;
}

/* --- messages ------------------------------------------------------------------------------------------- */

void check_share_write(const struct check_share *s, struct buf *out)
{
    buf_add_byte(out, VERSION);
    wire_add_u64(out, s->term);
    wire_add_u32(out, s->count);
    for (size_t i = 0; i < s->count; i++)
        wire_add_u64(out, s->ids[i]);
}

int check_share_accept(struct check_share *s, struct slice question, uint64_t now_ms, bool *ret_is_changed)
{
    struct wire_reader r = wire_begin(question, VERSION);
    struct check_share next = {.until_ms = now_ms + CHECK_LEASE_MS};
    next.term = wire_u64(&r);
    next.count = wire_count(&r, 8);
    if (next.count > CHECK_MEMBERS_MAX)
        return ERR_MALFORMED;
    for (size_t i = 0; i < next.count; i++)
        next.ids[i] = wire_u64(&r);
    int err = wire_end(&r);
    if (err)
        return err;
    if (next.term < s->term)
        return ERR_INVALID;
    if (!next.count) {
        s->term = next.term;
        *ret_is_changed = false;
        return OK;
    }
    *ret_is_changed = next.count != s->count || memcmp(next.ids, s->ids, next.count * sizeof *next.ids) != 0;
    *s = next;
    return OK;
}

void check_share_write_answer(bool is_able, struct buf *out)
{
    buf_add_byte(out, VERSION);
    wire_add_u32(out, is_able);
}

bool check_share_read_answer(struct slice answer)
{
    struct wire_reader r = wire_begin(answer, VERSION);
    bool is_able = wire_u32(&r) == 1;
    return wire_end(&r) == OK && is_able;
}

bool check_share_expire(struct check_share *s, uint64_t now_ms)
{
    if (!s->count || now_ms < s->until_ms)
        return false;
    s->count = 0;
    return true;
}

/* --- the leader ----------------------------------------------------------------------------------------- */

void check_roll_hear(struct check_roll *r, uint64_t id, uint64_t now_ms)
{
    size_t i = 0;
    while (i < r->count && r->list[i].id != id)
        i++;
    if (i == CHECK_MEMBERS_MAX)
        return;
    r->count += i == r->count;
    r->list[i].id = id;
    r->list[i].heard_ms = now_ms;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

bool check_roll_take(struct check_roll *r, uint64_t now_ms, struct check_share *s)
{
    uint64_t ids[CHECK_MEMBERS_MAX];
    size_t kept = 0;
    for (size_t i = 0; i < r->count; i++)
        if (now_ms - r->list[i].heard_ms < CHECK_SILENT_MS)
            r->list[kept++] = r->list[i];
    r->count = kept;
    for (size_t i = 0; i < kept; i++)
        ids[i] = r->list[i].id;
    qsort(ids, kept, sizeof *ids, compare_ids);
    bool is_changed = kept != s->count || memcmp(ids, s->ids, kept * sizeof *ids) != 0;
    memcpy(s->ids, ids, kept * sizeof *ids);
    s->count = kept;
    return is_changed;
}
