/* SPDX-License-Identifier: Apache-2.0
 * Tests of raft's messages as bytes. Every kind with every field survives a round trip. Every truncated or
 * changed encoding is refused or means something else. False sizes cost nothing.
 * codec_test --corpus DIR writes its messages as the corpus of tests/fuzz/codec_fuzz.c. */
#include "consensus/peer/codec.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/unit.h"

static uint64_t random_state = 1;

static uint64_t roll(uint64_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (random_state >> 16) % below;
}

/* Every length of varint comes up, 0 and the limit too. */
static uint64_t position(void)
{
    switch (roll(6)) {
    case 0:
        return 0;
    case 1:
        return RAFT_POSITION_MAX - roll(2);
    default:
        return roll(UINT64_C(1) << roll(47));
    }
}

static struct blob *payload(void)
{
    static const size_t sizes[] = {0, 1, 127, 128, 300, 20000};
    if (roll(5) == 0)
        return NULL;
    struct blob *b = blob_new(sizes[roll(COUNT_OF(sizes))]);
    for (uint32_t i = 0; i < b->size; i++)
        b->data[i] = (uint8_t)roll(256);
    return b;
}

static struct raft_ids ids(void)
{
    struct raft_ids set = {0};
    for (uint64_t n = roll(4) ? roll(5) : RAFT_MEMBERS_MAX / 4; n; n--) {
        uint64_t id = roll(UINT64_C(1) << 47);
        (void)raft_ids_add(&set, 1 + id * (roll(2) ? UINT64_C(65537) : 1));
    }
    return set;
}

#define ENTRIES 40
struct sample {
    struct raft_message m;
    struct raft_entry entries[ENTRIES];
    struct raft_snapshot snapshot;
};

static void sample_init(struct sample *s, enum raft_message_type type)
{
    *s = (struct sample){.m = {.type = type, .reject = roll(2)}};
    s->m.to = roll(UINT64_C(1) << 47) << 17;
    struct raft_message *m = &s->m;
    m->from = position();
    m->term = position();
    m->log_term = position();
    m->index = position();
    m->commit = position();
    m->vote = roll(2) ? UINT64_MAX - roll(3) : 0;
    m->reject_hint = position();
    m->context.size = (uint8_t)roll(RAFT_CONTEXT_MAX + 1);
    for (unsigned i = 0; i < m->context.size; i++)
        m->context.data[i] = (uint8_t)roll(256);
    m->entry_count = roll(2) ? roll(ENTRIES + 1) : 0;
    m->entries = m->entry_count ? s->entries : NULL;
    struct raft_entry before = {.index = m->index, .term = m->log_term};
    for (size_t i = 0; i < m->entry_count; i++) {
        bool follows = roll(4) && before.index < RAFT_POSITION_MAX;
        before.index = follows ? before.index + 1 : position();
        before.term = follows && roll(8) ? before.term : position();
        before.type = (enum raft_entry_type)roll(3);
        before.data = payload();
        s->entries[i] = before;
    }
    if (roll(2) || type == RAFT_MSG_SNAP) {
        s->snapshot.index = position();
        s->snapshot.term = position();
        struct raft_conf_state *c = &s->snapshot.conf_state;
        c->voters = ids();
        c->voters_outgoing = ids();
        c->learners = ids();
        c->learners_next = ids();
        c->auto_leave = roll(2);
        s->snapshot.data = payload();
        m->snapshot = &s->snapshot;
    }
}

static void sample_done(struct sample *s)
{
    for (size_t i = 0; i < s->m.entry_count; i++)
        blob_unref(s->entries[i].data);
    blob_unref(s->snapshot.data);
}

static void assert_blob_equal(const struct blob *a, const struct blob *b)
{
    assert_int_equal(!a, !b);
    assert_true(slice_equal(blob_slice(a), blob_slice(b)));
}

static void assert_ids_equal(const struct raft_ids *a, const struct raft_ids *b)
{
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->id, b->id, a->count * sizeof *a->id);
}

static void assert_snapshot_equal(const struct raft_snapshot *a, const struct raft_snapshot *b)
{
    assert_int_equal(!a, !b);
    if (!a)
        return;
    assert_int_equal(a->index, b->index);
    assert_int_equal(a->term, b->term);
    assert_ids_equal(&a->conf_state.voters, &b->conf_state.voters);
    assert_ids_equal(&a->conf_state.voters_outgoing, &b->conf_state.voters_outgoing);
    assert_ids_equal(&a->conf_state.learners, &b->conf_state.learners);
    assert_ids_equal(&a->conf_state.learners_next, &b->conf_state.learners_next);
    assert_int_equal(a->conf_state.auto_leave, b->conf_state.auto_leave);
    assert_blob_equal(a->data, b->data);
}

static void assert_message_equal(const struct raft_message *a, const struct raft_message *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->reject, b->reject);
    assert_int_equal(a->to, b->to);
    assert_int_equal(a->from, b->from);
    assert_int_equal(a->term, b->term);
    assert_int_equal(a->log_term, b->log_term);
    assert_int_equal(a->index, b->index);
    assert_int_equal(a->commit, b->commit);
    assert_int_equal(a->vote, b->vote);
    assert_int_equal(a->reject_hint, b->reject_hint);
    assert_int_equal(a->context.size, b->context.size);
    assert_memory_equal(a->context.data, b->context.data, RAFT_CONTEXT_MAX);
    assert_int_equal(a->entry_count, b->entry_count);
    for (size_t i = 0; i < a->entry_count; i++) {
        assert_int_equal(a->entries[i].index, b->entries[i].index);
        assert_int_equal(a->entries[i].term, b->entries[i].term);
        assert_int_equal(a->entries[i].type, b->entries[i].type);
        assert_blob_equal(a->entries[i].data, b->entries[i].data);
    }
    assert_snapshot_equal(a->snapshot, b->snapshot);
    assert_int_equal(b->response_count, 0);
}

static struct slice after_kind(const struct buf *b)
{
    assert_int_equal(b->data[0], CODEC_RAFT);
    return slice_of(b->data + 1, b->size - 1);
}

static void refuse(struct slice bytes)
{
    struct arena a = {0};
    struct raft_message m;
    /* Memory of the exact size: the sanitizer detects a read beyond it. */
    uint8_t *exact = mem_copy(bytes.data, bytes.size);
    assert_int_equal(codec_read_raft(slice_of(exact, bytes.size), &a, &m), ERR_MALFORMED);
    mem_free(exact);
    arena_done(&a);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct arena a = {0};
    struct buf out = {0};
    for (int round = 0; round < 2000; round++) {
        enum raft_message_type type = (enum raft_message_type)(round % RAFT_MSG_COUNT);
        if (raft_message_is_local(type))
            continue;
        struct sample s;
        struct raft_message m;
        sample_init(&s, type);
        buf_clear(&out);
        codec_add_raft(&out, &s.m);
        assert_int_equal(codec_read_raft(after_kind(&out), &a, &m), OK);
        assert_message_equal(&s.m, &m);
        codec_done_raft(&m);
        assert_int_equal(m.entry_count, 0);
        sample_done(&s);
        arena_reset(&a);
    }
    buf_done(&out);
    arena_done(&a);
}

/* No prefix of a message is a message, and nothing may follow one. */
static void test_cut_and_longer(void **state)
{
    (void)state;
    struct buf out = {0};
    for (int round = 0; round < 60; round++) {
        struct sample s;
        sample_init(&s, round % 2 ? RAFT_MSG_APP : RAFT_MSG_SNAP);
        buf_clear(&out);
        codec_add_raft(&out, &s.m);
        struct slice whole = after_kind(&out);
        for (size_t size = 0; size < whole.size; size += size < 400 ? 1 : 97)
            refuse(slice_of(whole.data, size));
        buf_add_byte(&out, 0);
        refuse(after_kind(&out));
        sample_done(&s);
    }
    buf_done(&out);
}

/* A changed byte is refused, or its message has exactly these bytes as its encoding. */
static void test_changed_bytes(void **state)
{
    (void)state;
    struct arena a = {0};
    struct buf out = {0}, again = {0};
    size_t refused = 0;
    for (int round = 0; round < 4000; round++) {
        struct sample s;
        struct raft_message m;
        sample_init(&s, round % 3 ? RAFT_MSG_APP : RAFT_MSG_SNAP);
        buf_clear(&out);
        codec_add_raft(&out, &s.m);
        sample_done(&s);
        size_t reach = out.size < 200 ? out.size : 200;
        unsigned bit = (unsigned)roll(8);
        out.data[1 + roll(reach - 1)] ^= (uint8_t)(1u << bit);
        if (codec_read_raft(after_kind(&out), &a, &m) == OK) {
            buf_clear(&again);
            codec_add_raft(&again, &m);
            assert_true(slice_equal(buf_slice(&out), buf_slice(&again)));
            codec_done_raft(&m);
        } else {
            refused++;
        }
        arena_reset(&a);
    }
    assert_true(refused > 500);
    buf_done(&out);
    buf_done(&again);
    arena_done(&a);
}

/* Bytes of a message by hand: type, fields, to, from, then the rest. */
static struct slice by_hand(struct buf *b, uint8_t type, unsigned fields, const char *rest, size_t size)
{
    buf_clear(b);
    buf_add_byte(b, type);
    buf_add_byte(b, (uint8_t)fields);
    buf_add_byte(b, (uint8_t)(fields >> 8));
    memset(buf_reserve(b, 16), 1, 16);
    b->size += 16;
    buf_add(b, rest, size);
    return buf_slice(b);
}

#define HAND(type, fields, rest) by_hand(&b, type, fields, rest, sizeof(rest) - 1)

static void test_hostile(void **state)
{
    (void)state;
    struct arena a = {0};
    struct buf b = {0};
    struct raft_message m;
    assert_int_equal(codec_read_raft(HAND(RAFT_MSG_HEARTBEAT, 2, "\x05"), &a, &m), OK);
    assert_int_equal(m.term, 5);
    refuse((struct slice){(const uint8_t *)"", 0});
    for (int type = 0; type < 256; type++)
        if (type >= RAFT_MSG_COUNT || raft_message_is_local((enum raft_message_type)type))
            refuse(HAND((uint8_t)type, 2, "\x05"));
    refuse(HAND(RAFT_MSG_HEARTBEAT, 2, "\x00"));                                     /* 0 is absent */
    refuse(HAND(RAFT_MSG_HEARTBEAT, 2, "\x85\x00"));                                 /* 5, too long */
    refuse(HAND(RAFT_MSG_HEARTBEAT, 2, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")); /* beyond positions */
    refuse(HAND(RAFT_MSG_HEARTBEAT, 2, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02")); /* beyond 64 bits */
    refuse(HAND(RAFT_MSG_HEARTBEAT, 2, "\x81\x80\x80\x80\x80\x80\x80\x80\x40"));     /* limit + 1 */
    assert_int_equal(
        codec_read_raft(HAND(RAFT_MSG_HEARTBEAT, 2, "\x80\x80\x80\x80\x80\x80\x80\x80\x40"), &a, &m), OK);
    assert_true(m.term == RAFT_POSITION_MAX);
    refuse(HAND(RAFT_MSG_HEARTBEAT, 1u << 10, "")); /* an unknown field */
    refuse(HAND(RAFT_MSG_HEARTBEAT, 1u << 7,
                "\x11"
                "0123456789abcdefg")); /* a context of 17 bytes */
    refuse(HAND(RAFT_MSG_HEARTBEAT, 1u << 7, "\x00"));
    refuse(HAND(RAFT_MSG_HEARTBEAT, 1u << 7,
                "\x08"
                "short"));
    refuse(HAND(RAFT_MSG_APP, 1u << 8, "\x00"));             /* no entries */
    refuse(HAND(RAFT_MSG_APP, 1u << 8, "\x7f\x04"));         /* 127 entries in one byte */
    refuse(HAND(RAFT_MSG_APP, 1u << 8, "\x01\x07"));         /* entry type 3 */
    refuse(HAND(RAFT_MSG_APP, 1u << 8, "\x01\x14"));         /* an unknown bit */
    refuse(HAND(RAFT_MSG_APP, 1u << 8, "\x01\x00\x01\x00")); /* it follows, but the flag is not set */
    refuse(HAND(RAFT_MSG_APP, 1u << 8,
                "\x01\x0c\x7f"
                "little")); /* 127 bytes of payload */
    refuse(HAND(RAFT_MSG_APP, 1u << 8,
                "\x02\x0c\x03"
                "one\x0c\x04"
                "two"));
    refuse(HAND(RAFT_MSG_SNAP, 1u << 9, "\x04\x01\x01\x00\x00\x00\x00"));
    refuse(HAND(RAFT_MSG_SNAP, 1u << 9, "\x00\x01\x01\x41"));
    refuse(HAND(RAFT_MSG_SNAP, 1u << 9, "\x00\x01\x01\x01\0\0\0\0\0\0\0\0\x00\x00\x00")); /* member 0 */
    refuse(HAND(RAFT_MSG_SNAP, 1u << 9,
                "\x00\x01\x01\x02\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x00\x00\x00")); /* not sorted */
    buf_done(&b);
    arena_done(&a);
}

/* Voters of both halves and learners: 64 at most, together. */
static void test_members_limit(void **state)
{
    (void)state;
    struct raft_snapshot s = {.index = 1, .term = 1};
    struct raft_message m = {.type = RAFT_MSG_SNAP, .to = 1, .from = 2, .term = 1, .snapshot = &s}, back;
    struct buf out = {0};
    struct arena a = {0};
    for (uint64_t id = 1; id <= RAFT_MEMBERS_MAX; id++)
        assert_true(raft_ids_add(id % 2 ? &s.conf_state.voters : &s.conf_state.learners, id));
    codec_add_raft(&out, &m);
    assert_int_equal(codec_read_raft(after_kind(&out), &a, &back), OK);
    codec_done_raft(&back);
    assert_true(raft_ids_add(&s.conf_state.voters_outgoing, 1));
    buf_clear(&out);
    codec_add_raft(&out, &m);
    refuse(after_kind(&out));
    buf_done(&out);
    arena_done(&a);
}

/* Few bytes cannot request much memory. */
static void test_entries_limit(void **state)
{
    (void)state;
    struct raft_entry *entries = mem_new(CODEC_ENTRIES_MAX * sizeof *entries);
    struct raft_message m = {.type = RAFT_MSG_APP, .term = 1, .entries = entries}, back;
    struct buf out = {0}, more = {0};
    struct arena a = {0};
    m.entry_count = CODEC_ENTRIES_MAX;
    for (size_t i = 0; i < m.entry_count; i++)
        entries[i].index = i + 1;
    codec_add_raft(&out, &m);
    assert_int_equal(codec_read_raft(after_kind(&out), &a, &back), OK);
    assert_int_equal(back.entry_count, CODEC_ENTRIES_MAX);
    assert_int_equal(back.entries[CODEC_ENTRIES_MAX - 1].index, CODEC_ENTRIES_MAX);
    /* kind, type, fields, to, from, term: 21 bytes; then the count, three bytes. */
    buf_add(&more, out.data, out.size);
    more.data[21]++;
    buf_add_byte(&more, more.data[more.size - 1]);
    refuse(after_kind(&more));
    buf_done(&out);
    buf_done(&more);
    arena_done(&a);
    mem_free(entries);
}

static void write_corpus(const char *dir)
{
    for (int type = 0; type < RAFT_MSG_COUNT; type++) {
        if (raft_message_is_local((enum raft_message_type)type))
            continue;
        struct sample s;
        struct buf out = {0};
        do {
            buf_clear(&out);
            sample_init(&s, (enum raft_message_type)type);
            codec_add_raft(&out, &s.m);
            sample_done(&s);
        } while (out.size > 1000);
        char path[300];
        snprintf(path, sizeof path, "%s/message_%d", dir, type);
        FILE *f = fopen(path, "w");
        if (!f || fwrite(out.data + 1, out.size - 1, 1, f) != 1 || fclose(f))
            exit(1);
        buf_done(&out);
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--corpus") == 0) {
        write_corpus(argv[2]);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_cut_and_longer),
        cmocka_unit_test(test_changed_bytes), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_members_limit), cmocka_unit_test(test_entries_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
