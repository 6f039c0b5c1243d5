/* SPDX-License-Identifier: Apache-2.0
 * Tests of the audit trail on a store of one member: one record with each change and none without, its author,
 * refusals in a burst, retention by time and bytes, a nearly full store. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "base/metric.h"
#include "config/config_private.h"
#include "consensus/audit.h"
#include "tests/unit/config_node.h"

struct rig {
    struct config_node node;
    struct audit *audit;
    struct arena arena;
    struct audit_record records[64]; /* the newest first */
    size_t count;
    char last_line[1024];
    unsigned lines;
};

static void keep_line(void *arg, struct slice line)
{
    struct rig *r = arg;
    snprintf(r->last_line, sizeof r->last_line, "%.*s", (int)line.size, (const char *)line.data);
    r->lines++;
}

static void turn(void *arg)
{
    struct rig *r = arg;
    audit_turn(r->audit);
}

static void begin_with(struct rig *r, uint64_t retention_ms, uint64_t retention_bytes, bool records_etcd)
{
    *r = (struct rig){.node = {.turn = turn, .arg = r}};
    config_node_open(&r->node, NULL);
    const struct audit_options options = {.kv = r->node.node.kv,
                                          .records_etcd = records_etcd,
                                          .retention_ms = retention_ms,
                                          .retention_bytes = retention_bytes,
                                          .on_line = keep_line,
                                          .arg = r};
    r->audit = audit_new(&options);
    r->node.config->options.audit = r->audit;
}

static void begin(struct rig *r, uint64_t retention_ms, uint64_t retention_bytes)
{
    begin_with(r, retention_ms, retention_bytes, false);
}

static void end(struct rig *r)
{
    struct audit *audit = r->audit;
    r->node.config->options.audit = NULL;
    r->audit = NULL;
    audit_free(audit);
    config_node_close(&r->node);
    arena_done(&r->arena);
}

static size_t read_all(struct rig *r)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    static uint8_t from[] = AUDIT_PREFIX, to[] = AUDIT_PREFIX;
    to[sizeof to - 2] = '/' + 1;
    m.key = (ProtobufCBinaryData){sizeof from - 1, from};
    m.range_end = (ProtobufCBinaryData){sizeof to - 1, to};
    arena_done(&r->arena);
    assert_int_equal(kv_range_now(r->node.node.kv, &m, &r->arena, &response), OK);
    assert_in_range(response->n_kvs, 0, COUNT_OF(r->records));
    r->count = response->n_kvs;
    for (size_t i = 0; i < r->count; i++) {
        const Mvccpb__KeyValue *kv = response->kvs[i];
        assert_int_equal(kv->key.len, AUDIT_KEY_SIZE);
        assert_int_equal(audit_read(slice_of(kv->value.data, kv->value.len), &r->arena, &r->records[i]), OK);
    }
    return r->count;
}

static struct config_reply publish_by(struct rig *r, const char *author, const char *name,
                                      const char *content)
{
    struct config_reply a = config_reply();
    const struct config_publish p = {.key = config_id_of(name), .content = slice_text(content)};
    a.request.author = (struct author){slice_text(author), slice_text("bob"), slice_text("10.0.0.5")};
    config_publish(r->node.config, &a.request, &p);
    config_node_wait(&r->node, &a);
    return a;
}

static void assert_change(const struct rig *r, size_t at, const char *operation, const char *name,
                          uint64_t seq)
{
    const struct audit_change *c = &r->records[at].changes[0];
    assert_string_equal(c->kind, "config");
    assert_string_equal(c->operation, operation);
    assert_true(slice_equal(c->name, slice_text(name)));
    assert_int_equal(c->seq, seq);
}

/* --- changes -------------------------------------------------------------------------------------------- */

static void test_changes(void **state)
{
    struct rig r;
    (void)state;
    begin(&r, 0, 0);
    struct config_reply a = publish_by(&r, "alice", "app.txt", "one");
    assert_int_equal(a.err, OK);
    assert_int_equal(kv_revision(r.node.node.kv), a.result.revision); /* of the same revision */
    assert_int_equal(read_all(&r), 1);
    assert_change(&r, 0, "publish", "app.txt", 1);
    assert_true(slice_equal(r.records[0].author.name, slice_text("alice")));
    assert_true(slice_equal(r.records[0].author.on_behalf_of, slice_text("bob")));
    assert_true(slice_equal(r.records[0].author.address, slice_text("10.0.0.5")));
    assert_in_range(r.records[0].time_ms, 1700000000000, INT64_MAX);
    assert_non_null(strstr(r.last_line, "\"author\":\"alice\""));
    assert_null(strstr(r.last_line, "one"));
    assert_true(publish_by(&r, "eve", "app.txt", "one").result.is_unchanged);
    assert_int_equal(publish_by(&r, "eve", "app.json", "{").err, ERR_MALFORMED);
    assert_int_equal(read_all(&r), 1);
    assert_int_equal(r.lines, 1);
    assert_int_equal(config_node_gray(&r.node, "app.txt", "r", "{\"percent\":10,\"content\":\"two\"}").err,
                     OK);
    assert_int_equal(config_node_rollback(&r.node, "app.txt", 2).err, OK);
    assert_int_equal(config_node_delete(&r.node, "app.txt").err, OK);
    assert_int_equal(read_all(&r), 4);
    assert_int_equal(r.lines, 4);
    end(&r);
}

static void test_bundle(void **state)
{
    struct rig r;
    struct config_reply a = config_reply();
    const struct config_publish p[] = {{.key = config_id_of("a.txt"), .content = slice_text("1")},
                                       {.key = config_id_of("b.txt"), .content = slice_text("2")}};
    (void)state;
    begin(&r, 0, 0);
    (void)publish_by(&r, "alice", "a.txt", "1");
    config_bundle(r.node.config, &a.request, p, 2, NULL, 0);
    config_node_wait(&r.node, &a);
    assert_int_equal(a.err, OK);
    assert_int_equal(read_all(&r), 2);
    assert_int_equal(r.records[0].count, 1); /* a.txt is unchanged */
    assert_change(&r, 0, "publish", "b.txt", 1);
    end(&r);
}

/* As many operations as --max-txn-ops allows, and the record. */
static void test_largest_bundle(void **state)
{
    struct rig r;
    struct config_reply a = config_reply();
    struct config_publish p[64];
    char names[COUNT_OF(p)][8];
    memset(p, 0, sizeof p);
    (void)state;
    begin(&r, 0, 0);
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        snprintf(names[i], sizeof names[i], "n%zu", i);
        p[i].key = config_id_of(names[i]);
        p[i].content = slice_text("x");
    }
    config_bundle(r.node.config, &a.request, p, COUNT_OF(p), NULL, 0);
    config_node_wait(&r.node, &a);
    assert_int_equal(a.err, OK);
    assert_int_equal(read_all(&r), 1);
    assert_int_equal(r.records[0].count, COUNT_OF(p));
    end(&r);
}

/* --- refusals ------------------------------------------------------------------------------------------- */

static bool is_audit_idle(void *arg)
{
    struct rig *r = arg;
    return read_all(r) == AUDIT_REFUSED_BURST;
}

static void test_refusals(void **state)
{
    struct rig r;
    struct audit_change change = {.kind = "config", .operation = "config_put", .name = slice_text("x")};
    const struct audit_record refused = {.author = {.name = slice_text("eve")},
                                         .error = slice_text("forbidden"),
                                         .changes = &change,
                                         .count = 1};
    (void)state;
    begin(&r, 0, 0);
    for (int i = 0; i < AUDIT_REFUSED_BURST + 7; i++)
        audit_refused(r.audit, &refused);
    one_node_run(&r.node.node, is_audit_idle, &r);
    assert_true(slice_equal(r.records[0].error, slice_text("forbidden")));
    assert_true(slice_equal(r.records[0].author.name, slice_text("eve")));
    assert_int_equal(r.lines, AUDIT_REFUSED_BURST);
    assert_int_equal(r.records[0].omitted, 0);
    end(&r);
}

/* --- retention ------------------------------------------------------------------------------------------ */

static bool is_one_left(void *arg)
{
    return read_all(arg) == 1;
}

static bool is_none_left(void *arg)
{
    return read_all(arg) == 0;
}

static void test_old_ones(void **state)
{
    struct rig r;
    (void)state;
    begin(&r, 1, 0);
    (void)publish_by(&r, "alice", "a.txt", "1");
    one_node_run(&r.node.node, is_none_left, &r);
    end(&r);
}

static void test_too_many(void **state)
{
    struct rig r;
    (void)state;
    begin(&r, 0, 0);
    (void)publish_by(&r, "alice", "a.txt", "1");
    (void)publish_by(&r, "alice", "a.txt", "2");
    (void)publish_by(&r, "alice", "a.txt", "3");
    assert_int_equal(read_all(&r), 3);
    r.node.config->options.audit = NULL;
    audit_free(r.audit);
    const struct audit_options options = {.kv = r.node.node.kv, .retention_bytes = 400};
    r.audit = audit_new(&options);
    one_node_run(&r.node.node, is_one_left, &r);
    assert_change(&r, 0, "publish", "a.txt", 3);
    end(&r);
}

/* --- documents ------------------------------------------------------------------------------------------ */

static void test_keys(void **state)
{
    struct buf old = {0}, new = {0}, edge = {0};
    (void)state;
    audit_key_from(1000, &old);
    audit_key_from(2000, &new);
    assert_true(slice_compare(buf_slice(&new), buf_slice(&old)) < 0); /* the newest first */
    audit_key_from(-5, &edge);
    assert_string_equal(buf_text(&edge), AUDIT_PREFIX "9999999999999");
    buf_clear(&edge);
    audit_key_from(INT64_MAX, &edge);
    assert_string_equal(buf_text(&edge), AUDIT_PREFIX "0000000000000");
    buf_done(&old);
    buf_done(&new);
    buf_done(&edge);
}

/* A client of the etcd API may have written anything there. */
static void test_unreadable(void **state)
{
    struct arena a = {0};
    struct audit_record r;
    (void)state;
    assert_int_equal(audit_read(slice_text(""), &a, &r), ERR_MALFORMED);
    assert_int_equal(audit_read(slice_text("{\"time_ms\":-1}"), &a, &r), ERR_INVALID);
    assert_int_equal(audit_read(slice_text("{\"changes\":[7]}"), &a, &r), ERR_INVALID);
    assert_int_equal(audit_read(slice_text("{\"changes\":7}"), &a, &r), OK);
    assert_int_equal(r.count, 0);
    arena_done(&a);
}

/* --- operations of etcd's API ----------------------------------------------------------------------------- */

struct request_end {
    struct kv_request request;
    bool is_done;
    int err;
};

static void on_end(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    struct request_end *e = container_of(r, struct request_end, request);
    (void)m;
    e->is_done = true;
    e->err = err;
}

static bool has_ended(void *arg)
{
    return ((struct request_end *)arg)->is_done;
}

static int add_role(struct rig *r, const char *name, const char *author)
{
    Etcdserverpb__AuthRoleAddRequest m = ETCDSERVERPB__AUTH_ROLE_ADD_REQUEST__INIT;
    const struct auth_who nobody = {0};
    const struct author client = {.name = slice_text(author), .address = slice_text("10.0.0.7")};
    struct request_end end = {.request = {.done = on_end, .who = &nobody, .author = &client}};
    m.name = (char *)(uintptr_t)name;
    kv_auth(r->node.node.kv, &end.request, &m.base);
    one_node_run(&r->node.node, has_ended, &end);
    return end.err;
}

static bool has_record(void *arg)
{
    return read_all(arg) > 0;
}

static bool has_two_records(void *arg)
{
    return read_all(arg) > 1;
}

static void test_etcd_lines(void **state)
{
    struct rig r;
    (void)state;
    begin(&r, 0, 0);
    int64_t revision = kv_revision(r.node.node.kv);
    assert_int_equal(add_role(&r, "team", "client.example"), OK);
    turn(&r);
    assert_int_equal(r.lines, 1);
    assert_non_null(strstr(r.last_line, "\"author\":\"client.example\",\"address\":\"10.0.0.7\""));
    assert_non_null(strstr(r.last_line, "\"kind\":\"role\",\"operation\":\"add\",\"name\":\"team\""));
    assert_int_equal(add_role(&r, "team", "client.example"), ERR_ROLE_EXISTS);
    turn(&r);
    assert_int_equal(r.lines, 1); /* nothing was changed */
    assert_int_equal(kv_revision(r.node.node.kv), revision);
    assert_int_equal(read_all(&r), 0);
    end(&r);
}

static void test_etcd_records(void **state)
{
    struct rig r;
    (void)state;
    begin_with(&r, 0, 0, true);
    assert_int_equal(add_role(&r, "team", "client.example"), OK);
    one_node_run(&r.node.node, has_record, &r);
    assert_int_equal(r.count, 1);
    assert_int_equal(r.lines, 1);
    assert_string_equal(r.records[0].changes[0].kind, "role");
    assert_true(slice_equal(r.records[0].author.name, slice_text("client.example")));
    assert_true(r.records[0].index > 0);
    assert_int_equal(add_role(&r, "other", ""), OK);
    one_node_run(&r.node.node, has_two_records, &r);
    assert_true(slice_equal(r.records[0].author.name, slice_text(AUTHOR_ANONYMOUS)));
    assert_true(r.records[0].index > r.records[1].index);
    end(&r);
}

static void test_descriptions(void **state)
{
    struct arena a = {0};
    struct audit_change c;
    Etcdserverpb__AuthUserAddRequest add = ETCDSERVERPB__AUTH_USER_ADD_REQUEST__INIT;
    Etcdserverpb__AlarmRequest alarm = ETCDSERVERPB__ALARM_REQUEST__INIT;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    static char name[] = "two\nlines";
    (void)state;
    add.name = name;
    assert_true(audit_describe(&add.base, &a, &c));
    assert_true(slice_equal(c.name, slice_text("two?lines")));
    assert_false(audit_describe(&alarm.base, &a, &c)); /* a list of alarms */
    alarm.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE;
    alarm.alarm = ETCDSERVERPB__ALARM_TYPE__NOSPACE;
    assert_true(audit_describe(&alarm.base, &a, &c));
    assert_string_equal(c.operation, "raise");
    assert_true(slice_equal(c.name, slice_text("NOSPACE")));
    assert_false(audit_describe(&put.base, &a, &c));
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes),        cmocka_unit_test(test_bundle),
        cmocka_unit_test(test_largest_bundle), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_old_ones),       cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_etcd_lines),     cmocka_unit_test(test_etcd_records),
        cmocka_unit_test(test_descriptions),   cmocka_unit_test(test_keys),
        cmocka_unit_test(test_unreadable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
