/* SPDX-License-Identifier: Apache-2.0
 * Tests of idempotency keys on a store of one member: a record with each write and none without, of two writes
 * with one key one has an effect, limits, the end of a record's time, a member that begins with records. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "config/config_private.h"
#include "consensus/feature.h"
#include "consensus/idempotency.h"
#include "tests/unit/config_node.h"

struct rig {
    struct config_node node;
    struct idempotency *keys;
    struct arena arena;
};

static void turn(void *arg)
{
    struct rig *r = arg;
    idempotency_turn(r->keys);
}

static void begin(struct rig *r)
{
    *r = (struct rig){.node = {.turn = turn, .arg = r}};
    config_node_open(&r->node, NULL);
}

static void open_keys(struct rig *r, uint64_t retention_ms, uint64_t count_max, uint64_t bytes_max)
{
    idempotency_free(r->keys);
    r->keys = idempotency_new(&(struct idempotency_options){
        .kv = r->node.node.kv, .retention_ms = retention_ms, .count_max = count_max, .bytes_max = bytes_max});
}

static void end(struct rig *r)
{
    struct idempotency *keys = r->keys;
    r->keys = NULL;
    idempotency_free(keys);
    config_node_close(&r->node);
    arena_done(&r->arena);
}

static void write_answer(struct config_request *q, const struct config_result *result, struct buf *out)
{
    (void)q;
    buf_addf(out, ",\"seq\":%d%s}", (int)result->seq, result->is_unchanged ? ",\"unchanged\":true" : "");
}

static struct config_once once_of(struct rig *r, const char *user, const char *key)
{
    struct buf text = {0};
    idempotency_add_key(slice_text(user), slice_text(key), &text);
    assert_int_equal(text.size, IDEMPOTENCY_KEY_SIZE);
    struct slice copy = slice_of(arena_copy(&r->arena, text.data, text.size), text.size);
    buf_done(&text);
    return (struct config_once){copy, slice_text("digest"), write_answer};
}

static void begin_rollback(struct rig *r, struct config_reply *a, const struct config_once *once,
                           const char *name, uint64_t seq)
{
    struct config_id key = config_id_of(name);
    *a = config_reply();
    a->request.once = once;
    config_rollback(r->node.config, &a->request, &key, seq, (struct slice){0}, &(struct config_condition){0});
}

static struct config_reply rollback(struct rig *r, const struct config_once *once, const char *name,
                                    uint64_t seq)
{
    static struct config_reply a;
    begin_rollback(r, &a, once, name, seq);
    config_node_wait(&r->node, &a);
    return a;
}

/* The stored answer; "" = there is no record. Its revision is that of the record. */
static const char *answer_of(struct rig *r, const struct config_once *once, int64_t *ret_revision)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct idempotency_record record;
    m.key = (ProtobufCBinaryData){once->key.size, (uint8_t *)(uintptr_t)once->key.data};
    assert_int_equal(kv_range_now(r->node.node.kv, &m, &r->arena, &response), OK);
    *ret_revision = 0;
    if (!response->n_kvs)
        return "";
    const Mvccpb__KeyValue *kv = response->kvs[0];
    int err = idempotency_read(slice_of(kv->value.data, kv->value.len), &r->arena, &record);
    assert_int_equal(err, OK);
    assert_true(record.time_ms > 0 && slice_equal(record.digest, slice_text("digest")));
    *ret_revision = kv->mod_revision;
    return arena_string(&r->arena, record.answer.data, record.answer.size);
}

static bool is_counted(void *arg)
{
    const struct rig *r = arg;
    return idempotency_count(r->keys) > 0;
}

static bool is_empty(void *arg)
{
    const struct rig *r = arg;
    return idempotency_count(r->keys) == 0;
}

/* A member that has not read the store has an empty count, too. */
static bool is_deleted(void *arg)
{
    struct rig *r = arg;
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    static uint8_t from[] = IDEMPOTENCY_PREFIX, to[] = IDEMPOTENCY_PREFIX;
    struct arena a = {0};
    to[sizeof to - 2] = '/' + 1;
    m.key = (ProtobufCBinaryData){sizeof from - 1, from};
    m.range_end = (ProtobufCBinaryData){sizeof to - 1, to};
    m.count_only = true;
    assert_int_equal(kv_range_now(r->node.node.kv, &m, &a, &response), OK);
    bool is_over = response->count == 0 && is_empty(r);
    arena_done(&a);
    return is_over;
}

/* --- writes --------------------------------------------------------------------------------------------- */

static void test_writes(void **state)
{
    struct rig r;
    int64_t revision;
    (void)state;
    begin(&r);
    open_keys(&r, 0, 0, 0);
    config_node_publish(&r.node, "a.txt", "1");
    config_node_publish(&r.node, "a.txt", "2");
    struct config_once once = once_of(&r, "u", "k"), other = once_of(&r, "v", "k"),
                       third = once_of(&r, "u", "k3");
    assert_string_equal(answer_of(&r, &once, &revision), "");
    struct config_reply a = rollback(&r, &once, "a.txt", 1);
    assert_int_equal(a.err, OK);
    assert_string_equal(answer_of(&r, &once, &revision), ",\"seq\":3}");
    assert_int_equal(revision, a.result.revision);
    config_node_publish(&r.node, "a.txt", "4");
    a = rollback(&r, &once, "a.txt", 1);
    assert_int_equal(a.err, ERR_CONFLICT);
    assert_int_equal(config_node_find(&r.node, "a.txt")->head->seq, 4);
    a = rollback(&r, &other, "a.txt", 1); /* another user's key of the same text */
    assert_int_equal(a.err, OK);
    assert_int_equal(config_node_find(&r.node, "a.txt")->head->seq, 5);
    /* It changes nothing, and leaves its record all the same: later it would change something. */
    a = rollback(&r, &third, "a.txt", 5);
    assert_int_equal(a.err, OK);
    assert_true(a.result.is_unchanged);
    assert_string_equal(answer_of(&r, &third, &revision), ",\"seq\":5,\"unchanged\":true}");
    config_node_publish(&r.node, "a.txt", "6");
    a = rollback(&r, &third, "a.txt", 5);
    assert_int_equal(a.err, ERR_CONFLICT);
    assert_int_equal(config_node_find(&r.node, "a.txt")->head->seq, 6);
    end(&r);
}

/* A refused write, and one that only checks, leave nothing. */
static void test_without_effect(void **state)
{
    struct rig r;
    int64_t revision;
    (void)state;
    begin(&r);
    config_node_publish(&r.node, "a.txt", "1");
    struct config_once once = once_of(&r, "u", "k");
    struct config_reply a = rollback(&r, &once, "a.txt", 9);
    assert_int_equal(a.err, ERR_NOT_FOUND);
    assert_string_equal(answer_of(&r, &once, &revision), "");
    a = config_reply();
    a.request.once = &once;
    config_publish(r.node.config, &a.request,
                   &(struct config_publish){
                       .key = config_id_of("a.txt"), .content = slice_text("2"), .only_validate = true});
    config_node_wait(&r.node, &a);
    assert_int_equal(a.err, OK);
    assert_string_equal(answer_of(&r, &once, &revision), "");
    end(&r);
}

/* Two writes with one key in the same turn, of different configurations: their queues do not order them. */
static void test_at_once(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    for (int i = 0; i < 4; i++) {
        config_node_publish(&r.node, i % 2 ? "a.txt" : "b.txt", i < 2 ? "1" : "2");
    }
    static struct config_reply a, b;
    struct config_once once = once_of(&r, "u", "k");
    begin_rollback(&r, &a, &once, "a.txt", 1);
    begin_rollback(&r, &b, &once, "b.txt", 1);
    config_node_wait(&r.node, &a);
    config_node_wait(&r.node, &b);
    assert_int_equal((a.err == OK) + (b.err == OK), 1);
    assert_int_equal(a.err == OK ? b.err : a.err, ERR_CONFLICT);
    config_node_settle(&r.node);
    assert_int_equal(
        config_node_find(&r.node, "a.txt")->head->seq + config_node_find(&r.node, "b.txt")->head->seq, 5);
    end(&r);
}

/* --- records -------------------------------------------------------------------------------------------- */

static void put_record(struct rig *r, const char *user, const char *key, const char *value)
{
    struct buf text = {0};
    idempotency_add_key(slice_text(user), slice_text(key), &text);
    one_node_put(&r->node.node, buf_text(&text), value, 0);
    buf_done(&text);
}

static bool has_four(void *arg)
{
    const struct rig *r = arg;
    return idempotency_count(r->keys) == 4;
}

static void test_limits(void **state)
{
    struct rig r;
    char error[200];
    (void)state;
    begin(&r);
    static const char *const users[] = {"a", "a", "a", "b"}, *const keys[] = {"1", "2", "3", "1"};
    for (int i = 0; i < 4; i++)
        put_record(&r, users[i], keys[i], "{\"time_ms\":9000000000000,\"digest\":\"d\",\"answer\":\"}\"}");
    struct config_once of_a = once_of(&r, "a", "4"), of_b = once_of(&r, "b", "2");
    assert_int_equal(idempotency_admit(NULL, of_a.key, error, sizeof error), OK);
    open_keys(&r, 0, 6, 0); /* a user may have half of them */
    one_node_run(&r.node.node, has_four, &r);
    assert_int_equal(idempotency_admit(r.keys, of_a.key, error, sizeof error), ERR_QUOTA);
    assert_non_null(strstr(error, "this user"));
    assert_int_equal(idempotency_admit(r.keys, of_b.key, error, sizeof error), OK);
    open_keys(&r, 0, 4, 0); /* a member that begins with records */
    one_node_run(&r.node.node, has_four, &r);
    assert_int_equal(idempotency_admit(r.keys, of_b.key, error, sizeof error), ERR_QUOTA);
    assert_non_null(strstr(error, "Idempotency-Key"));
    uint64_t bytes = idempotency_bytes(r.keys);
    open_keys(&r, 0, 0, bytes);
    one_node_run(&r.node.node, has_four, &r);
    assert_int_equal(idempotency_admit(r.keys, of_b.key, error, sizeof error), ERR_QUOTA);
    /* Deleted records are no longer counted. */
    one_node_delete(&r.node.node, IDEMPOTENCY_PREFIX, "/cairn/idempotency0");
    one_node_run(&r.node.node, is_empty, &r);
    assert_int_equal(idempotency_bytes(r.keys), 0);
    assert_int_equal(idempotency_admit(r.keys, of_a.key, error, sizeof error), OK);
    end(&r);
}

/* An older member would carry out a repeated request once more. */
static void test_older_members(void **state)
{
    struct rig r;
    char error[200];
    (void)state;
    r = (struct rig){.node = {.turn = turn, .arg = &r}};
    r.node.node.feature_level = FEATURE_LEVEL_CONTENTS - 1;
    config_node_open(&r.node, NULL);
    open_keys(&r, 0, 0, 0);
    struct config_once once = once_of(&r, "a", "1");
    assert_int_equal(idempotency_admit(r.keys, once.key, error, sizeof error), ERR_UNIMPLEMENTED);
    assert_string_equal(error,
                        "idempotency keys need all members to be of this version: the feature level of "
                        "the cluster is 3, and must be 4");
    end(&r);
}

/* The leader deletes what is old, in as many transactions as it needs; what cannot be read goes, too. */
static void test_old_ones(void **state)
{
    struct rig r;
    char key[16];
    (void)state;
    begin(&r);
    open_keys(&r, 0, 0, 0);
    for (int i = 0; i < 150; i++) {
        snprintf(key, sizeof key, "%d", i);
        put_record(&r, "u", key, i % 2 ? "{\"time_ms\":1000,\"digest\":\"d\",\"answer\":\"}\"}" : "nothing");
    }
    one_node_run(&r.node.node, is_deleted, &r);
    /* One of now stays. */
    config_node_publish(&r.node, "a.txt", "1");
    struct config_once once = once_of(&r, "u", "k");
    assert_int_equal(rollback(&r, &once, "a.txt", 1).err, OK);
    one_node_run(&r.node.node, is_counted, &r);
    one_node_run_ms(&r.node.node, 50);
    assert_int_equal(idempotency_count(r.keys), 1);
    open_keys(&r, 1, 0, 0);
    one_node_run(&r.node.node, is_deleted, &r);
    end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes), cmocka_unit_test(test_without_effect), cmocka_unit_test(test_at_once),
        cmocka_unit_test(test_limits), cmocka_unit_test(test_older_members),  cmocka_unit_test(test_old_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
