/* SPDX-License-Identifier: Apache-2.0
 * Encoding of raft's messages; README.md has the format.
 *
 * Invariant: every message has exactly one encoding. A field that is 0 is absent, a varint is as short as
 * possible, and an entry that follows its predecessor has no index and term. So decoded bytes encode to the
 * same bytes again; the tests check that.
 *
 * An append with many entries is on the path of every write of a cluster. Encoding reserves once for all
 * entries. Decoding allocates one array in the arena and one blob for each payload; the log keeps the blobs.
 */
#include "consensus/peer/codec.h"

#include <assert.h>

#include "base/varint.h"

/* Which fields follow, in this order. */
enum {
    HAS_REJECT = 1 << 0, /* the flag is the value */
    HAS_TERM = 1 << 1,
    HAS_LOG_TERM = 1 << 2,
    HAS_INDEX = 1 << 3,
    HAS_COMMIT = 1 << 4,
    HAS_VOTE = 1 << 5,
    HAS_REJECT_HINT = 1 << 6,
    HAS_CONTEXT = 1 << 7,
    HAS_ENTRIES = 1 << 8,
    HAS_SNAPSHOT = 1 << 9,
    HAS_ALL = (1 << 10) - 1
};

/* An entry's first byte. */
enum {
    ENTRY_TYPE = 3,         /* mask: enum raft_entry_type */
    ENTRY_FOLLOWS = 1 << 2, /* index and term are not sent: the next index, the same term */
    ENTRY_DATA = 1 << 3,    /* a payload, may be empty */
    ENTRY_ALL = (1 << 4) - 1
};

/* A snapshot's first byte. */
enum { SNAPSHOT_AUTO_LEAVE = 1 << 0, SNAPSHOT_DATA = 1 << 1, SNAPSHOT_ALL = (1 << 2) - 1 };

enum { VARINT_MAX = 10, HEAD_MAX = 4 + 2 * 8 + 6 * VARINT_MAX + 1 + RAFT_CONTEXT_MAX + VARINT_MAX };

/* --- encode --- */
static uint8_t *codec_put_varint(uint8_t *p, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *p++ = (uint8_t)(value | 0x80);
    *p++ = (uint8_t)value;
    return p;
}

static uint8_t *put_blob(uint8_t *p, const struct blob *b)
{
    p = codec_put_varint(p, b->size);
    memcpy(p, b->data, b->size);
    return p + b->size;
}

static uint8_t *put_entries(uint8_t *p, const struct raft_message *m)
{
    uint64_t index = m->index, term = m->log_term;
    p = codec_put_varint(p, m->entry_count);
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        bool follows = e->index == index + 1 && e->term == term;
        *p++ = (uint8_t)((unsigned)e->type | (follows ? ENTRY_FOLLOWS : 0) | (e->data ? ENTRY_DATA : 0));
        if (!follows) {
            p = codec_put_varint(p, e->index);
            p = codec_put_varint(p, e->term);
        }
        if (e->data)
            p = put_blob(p, e->data);
        index = e->index;
        term = e->term;
    }
    return p;
}

static uint8_t *put_ids(uint8_t *p, const struct raft_ids *ids)
{
    *p++ = (uint8_t)ids->count;
    for (uint32_t i = 0; i < ids->count; i++, p += 8)
        put_le64(p, ids->id[i]);
    return p;
}

static uint8_t *put_snapshot(uint8_t *p, const struct raft_snapshot *s)
{
    const struct raft_conf_state *c = &s->conf_state;
    *p++ = (uint8_t)((c->auto_leave ? SNAPSHOT_AUTO_LEAVE : 0) | (s->data ? SNAPSHOT_DATA : 0));
    p = codec_put_varint(p, s->index);
    p = codec_put_varint(p, s->term);
    p = put_ids(p, &c->voters);
    p = put_ids(p, &c->voters_outgoing);
    p = put_ids(p, &c->learners);
    p = put_ids(p, &c->learners_next);
    return s->data ? put_blob(p, s->data) : p;
}

static unsigned fields_of(const struct raft_message *m)
{
    return (m->reject ? HAS_REJECT : 0u) | (m->term ? HAS_TERM : 0u) | (m->log_term ? HAS_LOG_TERM : 0u) |
           (m->index ? HAS_INDEX : 0u) | (m->commit ? HAS_COMMIT : 0u) | (m->vote ? HAS_VOTE : 0u) |
           (m->reject_hint ? HAS_REJECT_HINT : 0u) | (m->context.size ? HAS_CONTEXT : 0u) |
           (m->entry_count ? HAS_ENTRIES : 0u) | (m->snapshot ? HAS_SNAPSHOT : 0u);
}

static size_t size_limit(const struct raft_message *m)
{
    size_t size = HEAD_MAX;
    for (size_t i = 0; i < m->entry_count; i++)
        size += 1 + 3 * VARINT_MAX + blob_slice(m->entries[i].data).size;
    if (m->snapshot)
        size += 1 + 3 * VARINT_MAX + 4 * (1 + 8 * RAFT_MEMBERS_MAX) + blob_slice(m->snapshot->data).size;
    return size;
}

void codec_add_raft(struct buf *out, const struct raft_message *m)
{
    assert(m->type < RAFT_MSG_COUNT && !raft_message_is_local(m->type));
    assert(m->response_count == 0 && m->entry_count <= CODEC_ENTRIES_MAX);
    assert(m->context.size <= RAFT_CONTEXT_MAX);
    unsigned has = fields_of(m);
    uint8_t *start = buf_reserve(out, size_limit(m)), *p = start;
    *p++ = CODEC_RAFT;
    *p++ = (uint8_t)m->type;
    *p++ = (uint8_t)has;
    *p++ = (uint8_t)(has >> 8);
    put_le64(p, m->to);
    put_le64(p + 8, m->from);
    p += 16;
    const uint64_t numbers[] = {m->term, m->log_term, m->index, m->commit, m->vote, m->reject_hint};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i])
            p = codec_put_varint(p, numbers[i]);
    if (has & HAS_CONTEXT) {
        *p++ = m->context.size;
        memcpy(p, m->context.data, m->context.size);
        p += m->context.size;
    }
    if (has & HAS_ENTRIES)
        p = put_entries(p, m);
    if (has & HAS_SNAPSHOT)
        p = put_snapshot(p, m->snapshot);
    out->size += (size_t)(p - start);
}

/* --- decode --- */
struct reader {
    const uint8_t *p, *end;
};

static size_t left(const struct reader *r)
{
    return (size_t)(r->end - r->p);
}

static bool get_byte(struct reader *r, uint8_t *ret_byte)
{
    if (r->p == r->end)
        return false;
    *ret_byte = *r->p++;
    return true;
}

static bool get_le64_at(struct reader *r, uint64_t *ret_value)
{
    if (left(r) < 8)
        return false;
    *ret_value = get_le64(r->p);
    r->p += 8;
    return true;
}

/* Accepts the shortest form only. */
static bool get_varint(struct reader *r, uint64_t *ret_value)
{
    struct slice rest = slice_of(r->p, left(r));
    if (!varint_take(&rest, ret_value))
        return false;
    bool is_shortest = rest.data[-1] != 0 || rest.data == r->p + 1;
    r->p = rest.data;
    return is_shortest;
}

static bool get_position(struct reader *r, uint64_t *ret_value)
{
    return get_varint(r, ret_value) && *ret_value <= RAFT_POSITION_MAX;
}

static bool get_blob(struct reader *r, struct blob **ret_blob)
{
    uint64_t size;
    if (!get_varint(r, &size) || size > left(r))
        return false;
    *ret_blob = blob_copy(slice_of(r->p, size));
    r->p += size;
    return true;
}

static bool get_entry(struct reader *r, uint64_t index, uint64_t term, struct raft_entry *ret_entry)
{
    uint8_t head;
    if (!get_byte(r, &head) || head > ENTRY_ALL || (head & ENTRY_TYPE) > RAFT_ENTRY_CONF_CHANGE_V2)
        return false;
    struct raft_entry e = {.type = (enum raft_entry_type)(head & ENTRY_TYPE)};
    if (head & ENTRY_FOLLOWS) {
        e.index = index + 1;
        e.term = term;
        if (e.index > RAFT_POSITION_MAX)
            return false;
    } else if (!get_position(r, &e.index) || !get_position(r, &e.term) ||
               (e.index == index + 1 && e.term == term)) {
        return false;
    }
    if (head & ENTRY_DATA && !get_blob(r, &e.data))
        return false;
    *ret_entry = e;
    return true;
}

/* After a failure entry_count is the number of entries that hold a blob. */
static bool get_entries(struct reader *r, struct arena *a, struct raft_message *m)
{
    uint64_t count, index = m->index, term = m->log_term;
    /* An entry takes at least one byte. */
    if (!get_varint(r, &count) || count == 0 || count > left(r) || count > CODEC_ENTRIES_MAX)
        return false;
    struct raft_entry *entries = arena_alloc(a, count * sizeof *entries);
    m->entries = entries;
    for (uint64_t i = 0; i < count; i++) {
        if (!get_entry(r, index, term, &entries[i]))
            return false;
        m->entry_count = i + 1;
        index = entries[i].index;
        term = entries[i].term;
    }
    return true;
}

/* Sorted, unique, without 0. */
static bool get_ids(struct reader *r, struct raft_ids *ids)
{
    uint8_t count;
    uint64_t before = 0;
    if (!get_byte(r, &count) || count > RAFT_MEMBERS_MAX)
        return false;
    for (; ids->count < count; ids->count++) {
        if (!get_le64_at(r, &ids->id[ids->count]) || ids->id[ids->count] <= before)
            return false;
        before = ids->id[ids->count];
    }
    return true;
}

static bool get_snapshot(struct reader *r, struct arena *a, struct raft_message *m)
{
    uint8_t head;
    if (!get_byte(r, &head) || head > SNAPSHOT_ALL)
        return false;
    struct raft_snapshot *s = arena_new(a, sizeof *s);
    struct raft_conf_state *c = &s->conf_state;
    c->auto_leave = head & SNAPSHOT_AUTO_LEAVE;
    if (!get_position(r, &s->index) || !get_position(r, &s->term) || !get_ids(r, &c->voters) ||
        !get_ids(r, &c->voters_outgoing) || !get_ids(r, &c->learners) || !get_ids(r, &c->learners_next))
        return false;
    if (c->voters.count + c->voters_outgoing.count + c->learners.count > RAFT_MEMBERS_MAX)
        return false;
    m->snapshot = s; /* codec_done_raft releases its data from here on */
    return !(head & SNAPSHOT_DATA) || get_blob(r, &s->data);
}

static bool get_number(struct reader *r, unsigned has, unsigned bit, uint64_t limit, uint64_t *ret_value)
{
    if (!(has & bit))
        return true;
    return get_varint(r, ret_value) && *ret_value != 0 && *ret_value <= limit;
}

static bool get_numbers(struct reader *r, unsigned has, struct raft_message *m)
{
    return get_number(r, has, HAS_TERM, RAFT_POSITION_MAX, &m->term) &&
           get_number(r, has, HAS_LOG_TERM, RAFT_POSITION_MAX, &m->log_term) &&
           get_number(r, has, HAS_INDEX, RAFT_POSITION_MAX, &m->index) &&
           get_number(r, has, HAS_COMMIT, RAFT_POSITION_MAX, &m->commit) &&
           get_number(r, has, HAS_VOTE, UINT64_MAX, &m->vote) &&
           get_number(r, has, HAS_REJECT_HINT, RAFT_POSITION_MAX, &m->reject_hint);
}

static bool get_context(struct reader *r, struct raft_context *context)
{
    uint8_t size;
    if (!get_byte(r, &size) || size == 0 || size > RAFT_CONTEXT_MAX || size > left(r))
        return false;
    memcpy(context->data, r->p, size);
    context->size = size;
    r->p += size;
    return true;
}

static bool get_message(struct reader *r, struct arena *a, struct raft_message *m)
{
    uint8_t type, low, high;
    if (!get_byte(r, &type) || type >= RAFT_MSG_COUNT ||
        raft_message_is_local((enum raft_message_type)type) || !get_byte(r, &low) || !get_byte(r, &high))
        return false;
    unsigned has = low | (unsigned)high << 8;
    m->type = (enum raft_message_type)type;
    m->reject = has & HAS_REJECT;
    return has <= HAS_ALL && get_le64_at(r, &m->to) && get_le64_at(r, &m->from) && get_numbers(r, has, m) &&
           (!(has & HAS_CONTEXT) || get_context(r, &m->context)) &&
           (!(has & HAS_ENTRIES) || get_entries(r, a, m)) &&
           (!(has & HAS_SNAPSHOT) || get_snapshot(r, a, m)) && left(r) == 0;
}

int codec_read_raft(struct slice bytes, struct arena *a, struct raft_message *ret_message)
{
    struct reader r = {bytes.data, bytes.data + bytes.size};
    struct raft_message m = {0};
    if (bytes.size == 0 || !get_message(&r, a, &m)) {
        codec_done_raft(&m);
        return ERR_MALFORMED;
    }
    *ret_message = m;
    return OK;
}

void codec_done_raft(struct raft_message *m)
{
    for (size_t i = 0; i < m->entry_count; i++)
        blob_unref(m->entries[i].data);
    if (m->snapshot)
        blob_unref(m->snapshot->data);
    *m = (struct raft_message){0};
}
