/* SPDX-License-Identifier: Apache-2.0
 * The reader of etcd's write-ahead log, on files that are made here byte by byte: which entries an import
 * takes, what a torn tail is, and that damage is refused with its place. Logs of a real etcd are read in
 * tests/interop (part import). */
#include "consensus/etcd_db/etcd_log.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "consensus/entry.h"
#include "consensus/raft/message.h"
#include "consensus/store/backend.h"
#include "consensus/wal/wal.h"
#include "proto/internal.pb-c.h"
#include "tests/sim/sim_io.h"
#include "unit.h"

enum { METADATA = 1, ENTRY = 2, STATE = 3, CRC = 4, SNAPSHOT = 5, FILES = 3, PUT_OP = 4 };

/* --- a log of up to three files ---------------------------------------------------------------------- */

struct made {
    struct buf files[FILES];
    size_t count, last_at; /* last_at: the offset of the last record */
    uint32_t crc;
};

static void add_varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_add_byte(b, (uint8_t)(v | 0x80));
    buf_add_byte(b, (uint8_t)v);
}

static void add_number(struct buf *b, unsigned field, uint64_t v)
{
    add_varint(b, field << 3);
    add_varint(b, v);
}

static void add_bytes(struct buf *b, unsigned field, struct slice bytes)
{
    add_varint(b, field << 3 | 2);
    add_varint(b, bytes.size);
    buf_add_slice(b, bytes);
}

static void add_record(struct made *m, unsigned type, struct buf *data)
{
    struct buf record = {0}, *out = &m->files[m->count - 1];
    uint8_t length[8];
    m->last_at = out->size;
    m->crc = crc32c(m->crc, data->data, data->size);
    add_number(&record, 1, type);
    add_number(&record, 2, m->crc);
    if (data->size)
        add_bytes(&record, 3, buf_slice(data));
    uint64_t padding = (8 - record.size % 8) % 8;
    put_le64(length, record.size | (padding ? (0x80 | padding) << 56 : 0));
    buf_add(out, length, 8);
    buf_add_slice(out, buf_slice(&record));
    for (; padding; padding--)
        buf_add_byte(out, 0);
    buf_done(&record);
    buf_done(data);
}

static void add_file(struct made *m, const char *metadata)
{
    struct buf none = {0}, data = {0};
    m->count++;
    add_record(m, CRC, &none);
    buf_add_text(&data, metadata);
    add_record(m, METADATA, &data);
}

static void add_entry(struct made *m, unsigned type, uint64_t term, uint64_t index, struct slice bytes)
{
    struct buf data = {0};
    add_number(&data, 1, type);
    add_number(&data, 2, term);
    add_number(&data, 3, index);
    if (bytes.size)
        add_bytes(&data, 4, bytes);
    add_record(m, ENTRY, &data);
}

/* A put of `value`, as etcd writes it. */
static void add_put(struct made *m, uint64_t term, uint64_t index, struct slice value)
{
    struct buf header = {0}, put = {0}, request = {0};
    add_number(&header, 1, 1000 + index);
    add_bytes(&put, 1, slice_text("key"));
    add_bytes(&put, 2, value);
    add_bytes(&request, 100, buf_slice(&header));
    add_bytes(&request, PUT_OP, buf_slice(&put));
    add_entry(m, RAFT_ENTRY_NORMAL, term, index, buf_slice(&request));
    buf_done(&header);
    buf_done(&put);
    buf_done(&request);
}

static void add_puts(struct made *m, uint64_t term, uint64_t from, uint64_t to)
{
    char value[32];
    for (uint64_t i = from; i <= to; i++) {
        snprintf(value, sizeof value, "%d of term %d", (int)i, (int)term);
        add_put(m, term, i, slice_text(value));
    }
}

static void add_state(struct made *m, uint64_t term, uint64_t commit)
{
    struct buf data = {0};
    add_number(&data, 1, term);
    add_number(&data, 2, 7);
    add_number(&data, 3, commit);
    add_record(m, STATE, &data);
}

static void add_snapshot(struct made *m, uint64_t index)
{
    struct buf data = {0};
    add_number(&data, 1, index);
    add_number(&data, 2, 1);
    add_record(m, SNAPSHOT, &data);
}

static void add_zeros(struct made *m, size_t count)
{
    struct buf *b = &m->files[m->count - 1];
    memset(buf_reserve(b, count), 0, count);
    b->size += count;
}

static struct made begin(void)
{
    struct made m = {0};
    add_file(&m, "member 1");
    return m;
}

static void made_done(struct made *m)
{
    for (size_t i = 0; i < m->count; i++)
        buf_done(&m->files[i]);
}

/* --- reading ----------------------------------------------------------------------------------------- */

static char error[512];
static struct etcd_log_file sources[FILES];

static int read_bytes(void *arg, uint64_t offset, void *ret_bytes, size_t size)
{
    const struct buf *file = arg;
    assert_true(offset <= file->size && size <= file->size - offset);
    memcpy(ret_bytes, file->data + offset, size);
    return OK;
}

static int try_log(struct made *m, uint64_t after, struct etcd_log **ret)
{
    static const char *const names[] = {"one.wal", "two.wal", "three.wal"};
    for (size_t i = 0; i < m->count; i++)
        sources[i] = (struct etcd_log_file){names[i], {read_bytes, &m->files[i], m->files[i].size}};
    *error = 0;
    int err = etcd_log_read(sources, m->count, after, NULL, NULL, error, sizeof error, ret);
    assert_true(!err == !*error && !err == (*ret != NULL));
    return err;
}

static struct etcd_log *read_log(struct made *m, uint64_t after)
{
    struct etcd_log *log;
    if (try_log(m, after, &log) != OK)
        fail_msg("%s", error);
    return log;
}

static void refused(struct made *m, const char *says)
{
    struct etcd_log *log;
    assert_int_equal(try_log(m, 0, &log), ERR_CORRUPT);
    if (!strstr(error, says))
        fail_msg("\"%s\" does not say \"%s\"", error, says);
}

static struct etcd_log_plan plan_of(struct etcd_log *log, uint64_t index, size_t members)
{
    const struct etcd_db_marks marks = {.index = index, .term = 1, .members = members};
    struct etcd_log_plan plan;
    if (etcd_log_plan(log, &marks, &plan, error, sizeof error) != OK)
        fail_msg("%s", error);
    return plan;
}

static void no_plan(struct etcd_log *log, uint64_t index, const char *says)
{
    const struct etcd_db_marks marks = {.index = index, .members = 1};
    struct etcd_log_plan plan;
    assert_int_equal(etcd_log_plan(log, &marks, &plan, error, sizeof error), ERR_CORRUPT);
    if (!strstr(error, says))
        fail_msg("\"%s\" does not say \"%s\"", error, says);
}

static void right_value(struct etcd_log *log, size_t i, const char *value)
{
    enum etcd_entry_kind kind;
    struct slice data;
    if (etcd_log_entry(log, i, &kind, &data, error, sizeof error) != OK)
        fail_msg("%s", error);
    assert_int_equal(kind, ETCD_ENTRY_APPLIED);
    assert_true(data.size > strlen(value));
    assert_memory_equal(data.data + data.size - strlen(value), value, strlen(value));
}

/* --- tests ------------------------------------------------------------------------------------------- */

static void committed_entries_are_taken(void **state)
{
    struct made m = begin();
    (void)state;
    add_snapshot(&m, 0);
    add_puts(&m, 1, 1, 10);
    add_state(&m, 1, 8);
    add_zeros(&m, 4096);
    struct etcd_log *log = read_log(&m, 3);
    struct etcd_log_plan p = plan_of(log, 3, 3);
    assert_true(p.after == 3 && p.first == 0 && p.count == 5 && p.dropped == 2 && !p.is_alone);
    assert_int_equal(p.term, 1);
    right_value(log, p.first, "4 of term 1");
    right_value(log, p.first + 4, "8 of term 1");
    p = plan_of(log, 3, 1); /* the only member: what it wrote is committed */
    assert_true(p.count == 7 && p.dropped == 0 && p.is_alone);
    p = plan_of(log, 8, 3); /* the log begins earlier than needed */
    assert_true(p.count == 0 && p.dropped == 2);
    p = plan_of(log, 9, 3); /* the database has more than the log knows to be committed */
    assert_true(p.count == 0 && p.dropped == 1);
    p = plan_of(log, 10, 1);
    assert_true(p.count == 0 && p.dropped == 0);
    etcd_log_free(log);
    made_done(&m);
}

static void a_member_change_ends_being_alone(void **state)
{
    struct made m = begin();
    (void)state;
    add_puts(&m, 1, 1, 3);
    add_entry(&m, RAFT_ENTRY_CONF_CHANGE, 1, 4, slice_text("change"));
    add_puts(&m, 1, 5, 6);
    add_state(&m, 1, 4);
    struct etcd_log *log = read_log(&m, 1);
    struct etcd_log_plan p = plan_of(log, 1, 1);
    assert_true(p.count == 3 && p.dropped == 2 && !p.is_alone);
    enum etcd_entry_kind kind;
    struct slice data;
    assert_int_equal(etcd_log_entry(log, p.first + 2, &kind, &data, error, sizeof error), OK);
    assert_int_equal(kind, ETCD_ENTRY_CONF);
    assert_int_equal(data.size, 0);
    p = plan_of(log, 4, 1); /* it is in the database */
    assert_true(p.is_alone && p.count == 2);
    etcd_log_free(log);
    made_done(&m);
}

static void a_later_leader_replaces_entries(void **state)
{
    struct made m = begin();
    (void)state;
    add_puts(&m, 1, 1, 9);
    add_file(&m, "member 1");
    add_puts(&m, 2, 4, 6);
    add_state(&m, 2, 6);
    struct etcd_log *log = read_log(&m, 2);
    struct etcd_log_plan p = plan_of(log, 2, 1);
    assert_true(p.count == 4 && p.dropped == 0 && p.term == 2);
    right_value(log, p.first, "3 of term 1");
    right_value(log, p.first + 1, "4 of term 2");
    right_value(log, p.first + 3, "6 of term 2");
    etcd_log_free(log);
    log = read_log(&m, 5); /* entries 6 to 9 of term 1 are gone, too */
    p = plan_of(log, 5, 1);
    assert_true(p.count == 1);
    right_value(log, p.first, "6 of term 2");
    etcd_log_free(log);
    made_done(&m);
}

static void a_snapshot_closes_a_gap(void **state)
{
    struct made m = begin();
    (void)state;
    add_puts(&m, 1, 1, 5);
    add_state(&m, 1, 5);
    add_snapshot(&m, 100);
    add_state(&m, 2, 100);
    add_puts(&m, 2, 101, 103);
    add_state(&m, 2, 103);
    add_snapshot(&m, 200); /* not committed: etcd died before it took it */
    struct etcd_log *log = read_log(&m, 3);
    assert_int_equal(etcd_log_snapshot(log), 100);
    struct etcd_log_plan p = plan_of(log, 100, 3);
    assert_true(p.after == 100 && p.count == 3);
    right_value(log, p.first, "101 of term 2");
    p = plan_of(log, 60, 3); /* etcd 3.4 does not count every entry: the snapshot has more */
    assert_true(p.after == 100 && p.count == 3);
    etcd_log_free(log);
    made_done(&m);
    m = begin();
    add_puts(&m, 1, 1, 5);
    add_puts(&m, 1, 7, 8);
    refused(&m, "entries are missing before this one");
    made_done(&m);
}

static void missing_entries_are_refused(void **state)
{
    struct made m = begin();
    (void)state;
    add_puts(&m, 1, 50, 60);
    add_state(&m, 1, 60);
    struct etcd_log *log = read_log(&m, 40);
    no_plan(log, 40, "the log has the entries from 50 on, and the database ends with entry 40");
    etcd_log_free(log);
    add_state(&m, 1, 70);
    log = read_log(&m, 55);
    no_plan(log, 55, "the log ends with entry 60, but entries up to 70 are committed");
    no_plan(log, 60, "the log has no entry after 60");
    etcd_log_free(log);
    made_done(&m);
}

/* Cut at each byte: a torn tail in the last file, damage in any other. */
static void a_torn_tail_is_cut(void **state)
{
    struct made m = begin();
    (void)state;
    add_puts(&m, 1, 1, 4);
    add_state(&m, 1, 2);
    add_puts(&m, 1, 5, 5);
    size_t whole = m.files[0].size;
    struct etcd_log *log;
    for (size_t size = whole - 1; size > 0; size--) {
        m.files[0].size = size;
        log = read_log(&m, 0);
        etcd_log_free(log);
    }
    m.files[0].size = m.last_at + 20;
    log = read_log(&m, 0);
    assert_int_equal(etcd_log_torn_at(log), m.last_at);
    assert_int_equal(plan_of(log, 0, 1).count, 4);
    etcd_log_free(log);
    add_file(&m, "member 1"); /* crc goes on from the whole record */
    refused(&m, "one.wal is damaged at offset");
    m.files[0].size = m.last_at;
    made_done(&m);
}

static void a_missing_end_of_a_file_is_refused(void **state)
{
    struct made m = begin();
    (void)state;
    add_puts(&m, 1, 1, 4);
    size_t end = m.last_at;
    add_file(&m, "member 1");
    add_puts(&m, 1, 5, 9);
    m.files[0].size = end; /* cut between two records */
    refused(&m, "two.wal is damaged at offset 0: its checksum does not continue");
    made_done(&m);
}

/* etcd's rule: a sector of zeros in the last record that is read. */
static void an_empty_sector_is_a_torn_record(void **state)
{
    struct made m = begin();
    uint8_t value[2000];
    (void)state;
    memset(value, 'x', sizeof value);
    add_puts(&m, 1, 1, 2);
    add_put(&m, 1, 3, slice_of(value, sizeof value));
    memset(m.files[0].data + 1024, 0, 512);
    size_t at = m.last_at;
    add_puts(&m, 1, 4, 4);
    struct etcd_log *log = read_log(&m, 0);
    assert_int_equal(etcd_log_torn_at(log), at);
    assert_int_equal(plan_of(log, 0, 1).count, 2);
    etcd_log_free(log);
    m.files[0].data[1100] = 1;
    refused(&m, "the checksum of a record is wrong");
    m.files[0].data[1100] = 0;
    add_file(&m, "member 1");
    refused(&m, "the checksum of a record is wrong");
    made_done(&m);
}

/* Each byte, changed: the log is refused, or nothing of it is different. A wrong length of one of the last
 * two records looks like a torn tail. */
static void damage_is_refused(void **state)
{
    struct made m = begin();
    unsigned refusals = 0;
    (void)state;
    add_puts(&m, 1, 1, 3);
    add_puts(&m, 1, 4, 4);
    size_t end = m.last_at;
    add_puts(&m, 1, 5, 6);
    for (size_t at = 0; at < end; at++) {
        struct etcd_log *log;
        m.files[0].data[at] ^= 0x55;
        if (try_log(&m, 0, &log) != OK) {
            assert_non_null(strstr(error, "one.wal is damaged at offset "));
            refusals++;
        } else {
            if (etcd_log_torn_at(log) != 0)
                fail_msg("byte %zu: damage looks like a torn tail", at);
            assert_int_equal(plan_of(log, 0, 1).count, 6);
            etcd_log_free(log);
        }
        m.files[0].data[at] ^= 0x55;
    }
    assert_true(refusals > end * 3 / 4); /* the others are padding */
    made_done(&m);
}

static void two_members_are_refused(void **state)
{
    struct made m = begin();
    (void)state;
    add_puts(&m, 1, 1, 2);
    add_file(&m, "member 2");
    refused(&m, "it belongs to another member");
    made_done(&m);
}

/* --- entries ----------------------------------------------------------------------------------------- */

static void is_kind(unsigned type, struct buf *data, int err, enum etcd_entry_kind kind)
{
    enum etcd_entry_kind got;
    const char *reason = NULL;
    int is = etcd_entry_check(type, buf_slice(data), &got, &reason);
    if (is != err)
        fail_msg("type %u, %zu bytes: %s", type, data->size, is ? reason : "accepted");
    assert_true(!err == !reason);
    if (!err)
        assert_int_equal(got, kind);
    buf_done(data);
}

static struct buf request_of(unsigned op, struct slice body)
{
    struct buf header = {0}, request = {0};
    add_number(&header, 1, 5);
    add_bytes(&header, 2, slice_text("alice"));
    add_number(&header, 3, 9);
    add_bytes(&request, 100, buf_slice(&header));
    add_bytes(&request, op, body);
    buf_done(&header);
    return request;
}

static void entries_have_kinds(void **state)
{
    struct buf b = {0}, body = {0};
    (void)state;
    is_kind(RAFT_ENTRY_NORMAL, &b, OK, ETCD_ENTRY_EMPTY);
    buf_add_text(&b, "any");
    is_kind(RAFT_ENTRY_CONF_CHANGE, &b, OK, ETCD_ENTRY_CONF);
    is_kind(RAFT_ENTRY_CONF_CHANGE_V2, &b, OK, ETCD_ENTRY_CONF);
    is_kind(7, &b, ERR_LEVEL, ETCD_ENTRY_EMPTY);
    add_number(&b, 1, 77); /* etcdserverpb.Request of v2, whose field 4 is a value and no put */
    add_bytes(&b, 2, slice_text("PUT"));
    add_bytes(&b, 3, slice_text("/0/members/8e9e05c52164694d/attributes"));
    add_bytes(&b, 4, slice_text("\n\1k"));
    is_kind(RAFT_ENTRY_NORMAL, &b, OK, ETCD_ENTRY_CLUSTER);
    b = request_of(ENTRY_CLUSTER_VERSION, slice_text("\n\0053.7.0"));
    is_kind(RAFT_ENTRY_NORMAL, &b, OK, ETCD_ENTRY_CLUSTER);
    b = request_of(ENTRY_AUTHENTICATE, slice_text("\n\1u"));
    is_kind(RAFT_ENTRY_NORMAL, &b, OK, ETCD_ENTRY_CLUSTER);
    b = request_of(ENTRY_PUT, slice_text("\n\1k"));
    is_kind(RAFT_ENTRY_NORMAL, &b, OK, ETCD_ENTRY_APPLIED);
    b = request_of(ENTRY_PUT, slice_text("\n\7k")); /* cut off */
    is_kind(RAFT_ENTRY_NORMAL, &b, ERR_CORRUPT, ETCD_ENTRY_APPLIED);
    b = request_of(9000, slice_text("")); /* of a later etcd */
    is_kind(RAFT_ENTRY_NORMAL, &b, ERR_LEVEL, ETCD_ENTRY_APPLIED);
    b = request_of(ENTRY_STATE_CHECK, slice_text("")); /* only Cairn's log has it */
    is_kind(RAFT_ENTRY_NORMAL, &b, ERR_LEVEL, ETCD_ENTRY_APPLIED);
    add_number(&body, 17, 1); /* "proposed by the member itself": etcd has no such field */
    add_bytes(&b, 100, buf_slice(&body));
    add_bytes(&b, ENTRY_PUT, slice_text("\n\1k"));
    buf_done(&body);
    is_kind(RAFT_ENTRY_NORMAL, &b, ERR_LEVEL, ETCD_ENTRY_APPLIED);
}

static const char *fake_hash(void *arg, const char *password, const uint8_t salt[ETCD_ENTRY_SALT_SIZE])
{
    static char text[64];
    if (arg)
        return NULL;
    snprintf(text, sizeof text, "$2a$10$%s%02x%02x", password, salt[0], salt[15]);
    return text;
}

/* etcd 3.4 logs {name 1, password 2, options 3}; later ones {name, hash 4}. */
static void passwords_of_old_etcds_are_hashed(void **state)
{
    struct buf out = {0}, again = {0},
               plain = request_of(ENTRY_AUTH_USER_ADD, slice_text("\n\3bob\22\4open"));
    struct buf without = request_of(ENTRY_AUTH_USER_ADD, slice_text("\n\3bob\32\2\10\1"));
    struct buf change = request_of(ENTRY_AUTH_USER_CHANGE_PASSWORD, slice_text("\n\3bob\22\4open"));
    enum etcd_entry_kind kind;
    const char *reason;
    struct entry e;
    (void)state;
    assert_int_equal(etcd_entry_check(0, buf_slice(&plain), &kind, &reason), OK);
    assert_int_equal(kind, ETCD_ENTRY_PASSWORD);
    assert_int_equal(etcd_entry_hash_password(buf_slice(&plain), fake_hash, NULL, &out), OK);
    assert_int_equal(etcd_entry_hash_password(buf_slice(&plain), fake_hash, NULL, &again), OK);
    assert_true(slice_equal(buf_slice(&out), buf_slice(&again))); /* all members agree */
    assert_int_equal(etcd_entry_check(0, buf_slice(&out), &kind, &reason), OK);
    assert_int_equal(kind, ETCD_ENTRY_APPLIED);
    assert_int_equal(entry_decode(buf_slice(&out), &e), OK);
    assert_true(e.op == ENTRY_AUTH_USER_ADD && e.id == 5 && e.who.auth_revision == 9 && !e.who.is_own);
    assert_true(slice_equal(e.who.user, slice_text("alice")));
    Etcdserverpb__AuthUserAddRequest *m =
        etcdserverpb__auth_user_add_request__unpack(NULL, e.body.size, e.body.data);
    assert_string_equal(m->name, "bob");
    assert_string_equal(m->password, "");
    assert_memory_equal(m->hashedpassword, "JDJhJDEwJG9wZW", 14); /* $2a$10$open */
    etcdserverpb__auth_user_add_request__free_unpacked(m, NULL);
    assert_int_equal(etcd_entry_hash_password(buf_slice(&plain), fake_hash, &out, &again), ERR_INTERNAL);
    assert_int_equal(again.size, 0);
    assert_int_equal(etcd_entry_check(0, buf_slice(&without), &kind, &reason), OK);
    assert_int_equal(kind, ETCD_ENTRY_APPLIED);
    assert_int_equal(etcd_entry_hash_password(buf_slice(&without), fake_hash, NULL, &again), ERR_CORRUPT);
    assert_int_equal(etcd_entry_check(0, buf_slice(&change), &kind, &reason), OK);
    assert_int_equal(kind, ETCD_ENTRY_PASSWORD);
    assert_int_equal(etcd_entry_hash_password(buf_slice(&change), fake_hash, NULL, &again), OK);
    assert_int_equal(etcd_entry_check(0, buf_slice(&again), &kind, &reason), OK);
    assert_int_equal(kind, ETCD_ENTRY_APPLIED);
    buf_done(&out);
    buf_done(&again);
    buf_done(&plain);
    buf_done(&without);
    buf_done(&change);
}

/* --- the entries in the new member's log ----------------------------------------------------------------- */

struct log_content {
    struct wal_hard_state state;
    uint64_t index, term, next; /* next: the index of the entry that comes */
    size_t bytes;
};

static int note_entry(void *arg, const struct wal_entry *entry)
{
    struct log_content *c = arg;
    assert_true(entry->index == c->next++ && entry->term == 13 && entry->type == RAFT_ENTRY_NORMAL);
    c->bytes += entry->data.size;
    return OK;
}

static int note_state(void *arg, const struct wal_hard_state *state)
{
    ((struct log_content *)arg)->state = *state;
    return OK;
}

static int note_snapshot(void *arg, uint64_t index, uint64_t term)
{
    struct log_content *c = arg;
    c->index = index;
    c->term = term;
    c->next = index + 1;
    return OK;
}

static int read_tail(void *arg, size_t i, struct slice *ret_data, char *text, size_t text_size)
{
    if (arg && i == 2) {
        snprintf(text, text_size, "entry 2 is damaged");
        return ERR_CORRUPT;
    }
    *ret_data = i % 2 ? slice_text("entry") : (struct slice){0};
    return OK;
}

static void step(void *arg)
{
    assert_true(sim_clock_step(arg));
}

static void give_rows(struct bbolt_writer *w, struct buf *out)
{
    static const uint8_t index[8] = {0, 0, 0, 0, 0, 0, 0, 40};
    bbolt_writer_bucket(w, slice_text("meta"), out);
    bbolt_writer_put(w, slice_text("consistent_index"), slice_of(index, 8), out);
    bbolt_writer_bucket(w, slice_text("members"), out);
    bbolt_writer_put(w, slice_text("8e9e05c52164694d"), slice_text("{}"), out);
}

static struct buf make_database(void)
{
    struct bbolt_writer *w = bbolt_writer_new();
    struct buf out = {0};
    give_rows(w, &out);
    (void)bbolt_writer_plan(w, &out);
    give_rows(w, &out);
    assert_int_equal(bbolt_writer_finish(w, &out), OK);
    bbolt_writer_free(w);
    return out;
}

/* Restores a database of index 40 with five entries behind index 9000. */
static int restore_tail(struct io *io, struct sim_clock *clock, bool is_damaged)
{
    static const struct etcd_db_member cluster[] = {{"a", "http://127.0.0.1:1"}};
    struct etcd_db_tail tail = {9000, 12, 5, read_tail, is_damaged ? &tail : NULL};
    struct buf file = make_database();
    const struct bbolt_source source = {read_bytes, &file, file.size};
    struct etcd_db *db;
    struct etcd_db_marks marks;
    struct etcd_db_restored restored;
    assert_int_equal(etcd_db_open(&source, "file", ETCD_DB_SKIP, error, sizeof error, &db), OK);
    assert_int_equal(etcd_db_read_marks(db, &marks, error, sizeof error), OK);
    assert_true(marks.index == 40 && marks.term == 0 && marks.members == 1);
    const struct etcd_db_restore options = {.store_path = "m/store",
                                            .wal_dir = "m/wal",
                                            .name = "a",
                                            .token = "t",
                                            .cluster = cluster,
                                            .cluster_count = 1,
                                            .tail = &tail,
                                            .backend_open = backend_memory_open,
                                            .run_loop = step,
                                            .run_loop_arg = clock};
    assert_int_equal(io->ops->mkdir(io, "m"), OK);
    int err = etcd_db_restore(io, db, &options, &restored, error, sizeof error);
    etcd_db_close(db);
    buf_done(&file);
    sim_clock_run(clock);
    return err;
}

static void entries_are_committed_in_the_new_log(void **state)
{
    (void)state;
    for (int is_damaged = 0; is_damaged < 2; is_damaged++) {
        struct sim_disk *disk = sim_disk_new();
        struct sim_clock clock = {0};
        struct io *io = sim_io_new(&(struct sim_io_options){.disk = disk, .clock = &clock, .seed = 1});
        int err = restore_tail(io, &clock, is_damaged);
        if (is_damaged) {
            assert_int_equal(err, ERR_CORRUPT);
            assert_string_equal(error, "entry 2 is damaged");
        } else {
            struct log_content c = {0};
            struct wal *wal;
            const struct wal_options options = {.io = io, .dir = "m/wal", .segment_size = 8 << 20};
            const struct wal_replay replay = {note_entry, note_state, note_snapshot, &c};
            assert_int_equal(err, OK);
            assert_int_equal(wal_open(&options, &replay, NULL, error, sizeof error, &wal), OK);
            assert_true(c.index == 9002 && c.term == 13 && c.next == 9008 && c.bytes == 10);
            assert_true(c.state.term == 13 && c.state.commit == 9007);
            wal_close(wal);
        }
        sim_clock_run(&clock);
        sim_io_free(io);
        sim_clock_done(&clock);
        sim_disk_free(disk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(committed_entries_are_taken),
        cmocka_unit_test(a_member_change_ends_being_alone),
        cmocka_unit_test(a_later_leader_replaces_entries),
        cmocka_unit_test(a_snapshot_closes_a_gap),
        cmocka_unit_test(missing_entries_are_refused),
        cmocka_unit_test(a_torn_tail_is_cut),
        cmocka_unit_test(a_missing_end_of_a_file_is_refused),
        cmocka_unit_test(an_empty_sector_is_a_torn_record),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(two_members_are_refused),
        cmocka_unit_test(entries_have_kinds),
        cmocka_unit_test(entries_are_committed_in_the_new_log),
        cmocka_unit_test(passwords_of_old_etcds_are_hashed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
