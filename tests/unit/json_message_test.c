/* SPDX-License-Identifier: Apache-2.0
 * Tests of API messages as JSON: what etcd's gateway accepts, refuses and prints; then round trips of every
 * message, filled at random. */
#include "proto/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proto/election.pb-c.h"
#include "proto/lock.pb-c.h"
#include "proto/rpc.pb-c.h"

static const ProtobufCMessageDescriptor *const messages[] = {
#define MESSAGE(name) &name##__descriptor,
#include "tests/unit/messages.def"
#undef MESSAGE
};
enum { MESSAGE_COUNT = sizeof messages / sizeof *messages };

static struct arena arena;
static char error[160];

static ProtobufCMessage *parse(const ProtobufCMessageDescriptor *d, const char *text)
{
    ProtobufCMessage *m = NULL;
    int err = json_to_message(d, slice_text(text), &arena, error, sizeof error, &m);
    if (err)
        fail_msg("%s: %s", text, error);
    return m;
}

static void refuse(const ProtobufCMessageDescriptor *d, const char *text, const char *expected)
{
    ProtobufCMessage *m = NULL;
    assert_int_equal(json_to_message(d, slice_text(text), &arena, error, sizeof error, &m), ERR_MALFORMED);
    assert_null(m);
    assert_string_equal(error, expected);
}

static void prints(const ProtobufCMessage *m, const char *expected)
{
    struct buf out = {0};
    message_to_json(m, &out);
    assert_string_equal(buf_text(&out), expected);
    buf_done(&out);
}

/* Text in, canonical text out. */
static void becomes(const ProtobufCMessageDescriptor *d, const char *text, const char *expected)
{
    prints(parse(d, text), expected);
}

static void test_integers(void **state)
{
    (void)state;
    const ProtobufCMessageDescriptor *range = &etcdserverpb__range_request__descriptor;
    becomes(range, "{\"limit\":12}", "{\"limit\":\"12\"}");
    becomes(range, "{\"limit\":\"12\"}", "{\"limit\":\"12\"}");
    becomes(range, " { \"limit\" : -1 } ", "{\"limit\":\"-1\"}");
    becomes(range, "{\"limit\":1e3}", "{\"limit\":\"1000\"}");
    becomes(range, "{\"limit\":2.50e1}", "{\"limit\":\"25\"}");
    becomes(range, "{\"limit\":1200E-2}", "{\"limit\":\"12\"}");
    becomes(range, "{\"limit\":-0}", "{}");
    becomes(range, "{\"limit\":0e999999999999}", "{}");
    becomes(range, "{\"limit\":null}", "{}");
    becomes(range, "{\"limit\":9223372036854775807}", "{\"limit\":\"9223372036854775807\"}");
    becomes(range, "{\"limit\":-9223372036854775808}", "{\"limit\":\"-9223372036854775808\"}");
    refuse(range, "{\"limit\":9223372036854775808}",
           "proto: (line 1:10): invalid value for int64 field limit: 9223372036854775808");
    refuse(range, "{\"limit\":1.5}", "proto: (line 1:10): invalid value for int64 field limit: 1.5");
    refuse(range, "{\"limit\":1e-1}", "proto: (line 1:10): invalid value for int64 field limit: 1e-1");
    refuse(range, "{\"limit\":1e20}", "proto: (line 1:10): invalid value for int64 field limit: 1e20");
    refuse(range, "{\"limit\":01}", "proto: (line 1:10): invalid value for int64 field limit: 01");
    refuse(range, "{\"limit\":\" 1\"}", "proto: (line 1:10): invalid value for int64 field limit: \" 1\"");
    refuse(range, "{\"limit\":\"\"}", "proto: (line 1:10): invalid value for int64 field limit: \"\"");
    refuse(range, "{\"limit\":true}", "proto: (line 1:10): invalid value for int64 field limit: true");
    refuse(range, "{\"limit\":{}}", "proto: (line 1:10): invalid value for int64 field limit: {");

    const ProtobufCMessageDescriptor *alarm = &etcdserverpb__alarm_request__descriptor;
    becomes(alarm, "{\"memberID\":18446744073709551615}", "{\"memberID\":\"18446744073709551615\"}");
    refuse(alarm, "{\"memberID\":18446744073709551616}",
           "proto: (line 1:13): invalid value for uint64 field memberID: 18446744073709551616");
    refuse(alarm, "{\"memberID\":-1}", "proto: (line 1:13): invalid value for uint64 field memberID: -1");
    becomes(&etcdserverpb__hash_response__descriptor, "{\"hash\":4294967295}", "{\"hash\":4294967295}");
    refuse(&etcdserverpb__hash_response__descriptor, "{\"hash\":4294967296}",
           "proto: (line 1:9): invalid value for uint32 field hash: 4294967296");
}

static void test_names(void **state)
{
    (void)state;
    const ProtobufCMessageDescriptor *range = &etcdserverpb__range_request__descriptor;
    becomes(range, "{\"range_end\":\"Yg==\",\"key\":\"YQ==\"}", "{\"key\":\"YQ==\",\"range_end\":\"Yg==\"}");
    becomes(range, "{\"rangeEnd\":\"Yg\",\"minCreateRevision\":1}",
            "{\"range_end\":\"Yg==\",\"min_create_revision\":\"1\"}");
    becomes(range, "{\"range-end\":1,\"RANGE_END\":{\"a\":[1,{}]},\"range_end_\":null,\"rangeend\":[]}",
            "{}");
    becomes(range, "{\"\\u006bey\":\"YQ==\"}", "{\"key\":\"YQ==\"}");
    becomes(&etcdserverpb__lease_grant_request__descriptor, "{\"ID\":\"7\",\"TTL\":60}",
            "{\"TTL\":\"60\",\"ID\":\"7\"}");
    becomes(&etcdserverpb__lease_grant_request__descriptor, "{\"id\":\"7\",\"ttl\":60}", "{}");
    refuse(range, "{\"limit\":1,\"limit\":2}", "proto: (line 1:12): duplicate field \"limit\"");
    refuse(range, "{\"range_end\":\"\",\n \"rangeEnd\":\"\"}",
           "proto: (line 2:2): duplicate field \"range_end\"");
}

static void test_enums_and_bools(void **state)
{
    (void)state;
    const ProtobufCMessageDescriptor *range = &etcdserverpb__range_request__descriptor;
    becomes(range, "{\"sort_order\":\"DESCEND\",\"sort_target\":3}",
            "{\"sort_order\":\"DESCEND\",\"sort_target\":\"MOD\"}");
    becomes(range, "{\"sort_order\":\"SIDEWAYS\"}", "{}");
    becomes(range, "{\"sort_order\":99}", "{\"sort_order\":99}");
    becomes(range, "{\"serializable\":true,\"keys_only\":false}", "{\"serializable\":true}");
    refuse(range, "{\"sort_order\":1.5}", "proto: (line 1:15): invalid value for enum field sort_order: 1.5");
    refuse(range, "{\"serializable\":1}", "proto: (line 1:17): invalid value for bool field serializable: 1");
    refuse(range, "{\"serializable\":\"true\"}",
           "proto: (line 1:17): invalid value for bool field serializable: \"true\"");
    refuse(range, "{\"serializable\":truer}",
           "proto: (line 1:17): invalid value for bool field serializable: truer");
}

static void test_bytes_and_strings(void **state)
{
    (void)state;
    const ProtobufCMessageDescriptor *put = &etcdserverpb__put_request__descriptor;
    const ProtobufCMessageDescriptor *user = &etcdserverpb__auth_user_add_request__descriptor;
    becomes(put, "{\"key\":\"+/+/\",\"value\":\"-_-_\"}", "{\"key\":\"+/+/\",\"value\":\"+/+/\"}");
    becomes(put, "{\"key\":\"+\\/+\\/\"}", "{\"key\":\"+/+/\"}");
    becomes(put, "{\"key\":\"AA\"}", "{\"key\":\"AA==\"}");
    becomes(put, "{\"key\":\"\"}", "{}");
    refuse(put, "{\"key\":\"%\"}", "proto: (line 1:8): invalid value for bytes field key: \"%\"");
    refuse(put, "{\"key\":1}", "proto: (line 1:8): invalid value for bytes field key: 1");
    becomes(user, "{\"name\":\"a\\\"\\\\\\n\\u00e9\\ud83d\\ude00<>\"}",
            "{\"name\":\"a\\\"\\\\\\n\xc3\xa9\xf0\x9f\x98\x80<>\"}");
    refuse(user, "{\"name\":\"\\ud83d\"}", "proto: syntax error (line 1:10): invalid escape in string");
    refuse(user, "{\"name\":\"\\ude00\"}", "proto: syntax error (line 1:10): invalid escape in string");
    refuse(user, "{\"name\":\"\\x\"}", "proto: syntax error (line 1:10): invalid escape in string");
    refuse(user, "{\"name\":\"a\\u0000b\"}",
           "proto: (line 1:9): invalid value for string field name: \"a\\u0000b\"");
    refuse(user, "{\"name\":\"\xff\"}", "proto: syntax error (line 1:9): invalid UTF-8 in string");
    refuse(user, "{\"\xc3\xa9\":1,\"name\":\"\xff\"}",
           "proto: syntax error (line 1:15): invalid UTF-8 in string");
    refuse(user, "{\"other\":\"\xff\"}", "proto: syntax error (line 1:10): invalid UTF-8 in string");
    refuse(user, "{\"name\":\"a\nb\"}", "proto: syntax error (line 1:11): invalid character in string");
    refuse(user, "{\"name\":7}", "proto: (line 1:9): invalid value for string field name: 7");
}

static void test_oneofs_and_lists(void **state)
{
    (void)state;
    const ProtobufCMessageDescriptor *watch = &etcdserverpb__watch_request__descriptor;
    becomes(watch, "{\"create_request\":{\"key\":\"Zm9v\",\"filters\":[\"NODELETE\",0,\"NOVEL\"]}}",
            "{\"create_request\":{\"key\":\"Zm9v\",\"filters\":[\"NODELETE\",\"NOPUT\"]}}");
    becomes(watch, "{\"progress_request\":{}}", "{\"progress_request\":{}}");
    becomes(watch, "{\"create_request\":null,\"cancel_request\":{\"watch_id\":0}}",
            "{\"cancel_request\":{}}");
    refuse(watch, "{\"create_request\":{},\"cancel_request\":{}}",
           "proto: (line 1:39): error parsing \"cancel_request\", its oneof is already set");
    const ProtobufCMessageDescriptor *txn = &etcdserverpb__txn_request__descriptor;
    becomes(txn,
            "{\"compare\":[{\"target\":\"VALUE\",\"key\":\"YQ==\",\"value\":\"\"}],"
            "\"success\":[{\"requestPut\":{\"key\":\"YQ==\"}},{}],\"failure\":[]}",
            "{\"compare\":[{\"target\":\"VALUE\",\"key\":\"YQ==\",\"value\":\"\"}],"
            "\"success\":[{\"request_put\":{\"key\":\"YQ==\"}},{}]}");
    becomes(txn, "{\"compare\":[{\"version\":0}]}", "{\"compare\":[{\"version\":\"0\"}]}");
    becomes(txn, "{\"compare\":null}", "{}");
    refuse(txn, "{\"compare\":{}}", "proto: syntax error (line 1:12): unexpected token {");
    refuse(txn, "{\"compare\":[null]}", "proto: syntax error (line 1:13): unexpected token null");
    refuse(txn, "{\"compare\":[{},]}", "proto: syntax error (line 1:16): unexpected token ]");
    refuse(txn, "{\"compare\":[{}", "unexpected EOF");

    char many[8000] = "{\"keys\":[";
    for (int i = 0; i < 1000; i++)
        strcat(many, i ? ",\"YQ\"" : "\"YQ\"");
    strcat(many, "]}");
    ProtobufCMessage *m = parse(&etcdserverpb__lease_time_to_live_response__descriptor, many);
    assert_int_equal(((Etcdserverpb__LeaseTimeToLiveResponse *)(void *)m)->n_keys, 1000);
    assert_memory_equal(((Etcdserverpb__LeaseTimeToLiveResponse *)(void *)m)->keys[999].data, "a", 1);
}

static void test_syntax(void **state)
{
    (void)state;
    const ProtobufCMessageDescriptor *range = &etcdserverpb__range_request__descriptor;
    refuse(range, "", "unexpected EOF");
    refuse(range, "{\"key\":\"Zm9v\"", "unexpected EOF");
    refuse(range, "{\"key\":\"Zm9", "unexpected EOF");
    refuse(range, "{\"key\":", "unexpected EOF");
    refuse(range, "{\"key\"", "unexpected EOF");
    refuse(range, "[]", "proto: syntax error (line 1:1): unexpected token [");
    refuse(range, "value=1", "proto: syntax error (line 1:1): unexpected token value");
    refuse(range, "{key:1}", "proto: syntax error (line 1:2): unexpected token key");
    refuse(range, "{\"a\":tru}", "proto: syntax error (line 1:6): unexpected token tru");
    refuse(range, "{\"a\":[1 2]}", "proto: syntax error (line 1:9): unexpected token 2");
    refuse(range, "{\"a\":1,}", "proto: syntax error (line 1:8): unexpected token }");
    becomes(range, "{\"limit\":1} and what follows", "{\"limit\":\"1\"}");
}

static void test_depth(void **state)
{
    (void)state;
    struct buf b = {0};
    for (int levels = JSON_DEPTH_MAX; levels <= JSON_DEPTH_MAX + 1; levels++) {
        buf_clear(&b);
        buf_add_text(&b, "{\"x\":");
        for (int i = 1; i < levels; i++)
            buf_add_text(&b, i % 2 ? "[" : "{\"a\":");
        buf_add_text(&b, "1");
        for (int i = levels - 1; i > 0; i--)
            buf_add_text(&b, i % 2 ? "]" : "}");
        buf_add_text(&b, "}");
        ProtobufCMessage *m;
        int err = json_to_message(&etcdserverpb__range_request__descriptor, buf_slice(&b), &arena, error,
                                  sizeof error, &m);
        assert_int_equal(err, levels > JSON_DEPTH_MAX ? ERR_MALFORMED : OK);
    }
    buf_clear(&b);
    for (int i = 0; i < 100000; i++)
        buf_add_text(&b, "{\"success\":[{\"request_txn\":");
    ProtobufCMessage *m;
    assert_int_equal(json_to_message(&etcdserverpb__txn_request__descriptor, buf_slice(&b), &arena, error,
                                     sizeof error, &m),
                     ERR_MALFORMED);
    assert_non_null(strstr(error, "exceeded max recursion depth"));
    buf_done(&b);
}

/* --- every message, at random, there and back ------------------------------------------------- */

static uint64_t seed = 1;
static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static ProtobufCMessage *random_message(const ProtobufCMessageDescriptor *d, unsigned depth);

static void fill(const ProtobufCFieldDescriptor *f, char *member, unsigned depth)
{
    static const char *const texts[] = {"x", "\"\\/\b\f\n\r\t\x01\x7f",
                                        "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "<&>"};
    static const int64_t numbers[] = {1, -1, INT64_MAX, INT64_MIN, 4294967296, 12345};
    size_t n;
    switch ((int)f->type) {
    case PROTOBUF_C_TYPE_STRING:
        *(const char **)(void *)member = texts[next_random() % 4];
        break;
    case PROTOBUF_C_TYPE_BYTES:
        n = 1 + next_random() % 40;
        *(ProtobufCBinaryData *)(void *)member = (ProtobufCBinaryData){n, arena_alloc(&arena, n)};
        for (size_t i = 0; i < n; i++)
            ((ProtobufCBinaryData *)(void *)member)->data[i] = (uint8_t)next_random();
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        *(ProtobufCMessage **)(void *)member = random_message(f->descriptor, depth + 1);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)(void *)member = 1;
        break;
    case PROTOBUF_C_TYPE_ENUM: {
        const ProtobufCEnumDescriptor *e = f->descriptor;
        *(int *)(void *)member = e->values[next_random() % e->n_values].value;
        break;
    }
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        *(int64_t *)(void *)member = numbers[next_random() % 6];
        break;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_UINT32:
        *(int32_t *)(void *)member = (int32_t)numbers[next_random() % 2];
        break;
    default:
        fail_msg("field %s has a type that the API did not use: see json_read.c and json_write.c", f->name);
    }
}

static size_t stride(ProtobufCType type)
{
    return type == PROTOBUF_C_TYPE_BYTES ? sizeof(ProtobufCBinaryData)
           : type == PROTOBUF_C_TYPE_ENUM || type == PROTOBUF_C_TYPE_BOOL || type == PROTOBUF_C_TYPE_INT32 ||
                   type == PROTOBUF_C_TYPE_UINT32
               ? 4
               : 8;
}

static ProtobufCMessage *random_message(const ProtobufCMessageDescriptor *d, unsigned depth)
{
    ProtobufCMessage *m = arena_new(&arena, d->sizeof_message);
    d->message_init(m);
    assert_true(d->n_fields <= 64);
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        assert_true(i == 0 || f[-1].id < f->id);
        if (next_random() % 3 == 0 || (f->type == PROTOBUF_C_TYPE_MESSAGE && depth > 3))
            continue;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t n = next_random() % 6;
            char *list = arena_new(&arena, n * stride(f->type) + 1);
            for (size_t k = 0; k < n; k++)
                fill(f, list + k * stride(f->type), depth);
            *(size_t *)(void *)((char *)m + f->quantifier_offset) = n;
            *(void **)(void *)((char *)m + f->offset) = list;
            continue;
        }
        if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
            uint32_t *oneof_case = (uint32_t *)(void *)((char *)m + f->quantifier_offset);
            if (*oneof_case)
                continue;
            *oneof_case = f->id;
        }
        fill(f, (char *)m + f->offset, depth);
    }
    return m;
}

static void same(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    size_t n = protobuf_c_message_get_packed_size(a);
    assert_int_equal(n, protobuf_c_message_get_packed_size(b));
    uint8_t *x = arena_alloc(&arena, n + 1), *y = arena_alloc(&arena, n + 1);
    protobuf_c_message_pack(a, x);
    protobuf_c_message_pack(b, y);
    assert_memory_equal(x, y, n);
}

static void test_round_trip(void **state)
{
    (void)state;
    assert_true(MESSAGE_COUNT > 100);
    struct buf out = {0};
    for (unsigned i = 0; i < MESSAGE_COUNT; i++) {
        for (unsigned round = 0; round < 50; round++) {
            ProtobufCMessage *m = random_message(messages[i], 0), *back = NULL;
            buf_clear(&out);
            message_to_json(m, &out);
            if (json_to_message(messages[i], buf_slice(&out), &arena, error, sizeof error, &back))
                fail_msg("%s: %s\n%s", messages[i]->name, error, buf_text(&out));
            same(m, back);
            arena_reset(&arena);
        }
    }
    buf_done(&out);
}

static void test_scan(void **state)
{
    (void)state;
    const char *text = " {\"a\":\"}\\\"{\",\"b\":[1,{}]}\n{}[ ]\"x\\\"y\" 12 {";
    const char *const values[] = {" {\"a\":\"}\\\"{\",\"b\":[1,{}]}", "\n{}", "[ ]", "\"x\\\"y\"", " 12 "};
    for (size_t step = 1; step < strlen(text); step++) {
        struct json_scan s = {0};
        size_t at = 0, start = 0, value = 0, end = 0;
        while (at < strlen(text)) {
            end = at + step < strlen(text) ? at + step : strlen(text);
            while (at < end) {
                at += json_scan(&s, slice_of(text + at, end - at));
                if (!s.is_complete)
                    break;
                assert_int_equal(at - start, strlen(values[value]));
                assert_memory_equal(text + start, values[value], at - start);
                value++;
                start = at;
            }
        }
        assert_int_equal(value, 5);
        assert_true(s.is_inside);
    }
    struct json_scan blank = {0};
    assert_int_equal(json_scan(&blank, slice_text(" \r\n\t")), 4);
    assert_false(blank.is_inside);
}

static int done(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_enums_and_bools),
        cmocka_unit_test(test_bytes_and_strings),
        cmocka_unit_test(test_oneofs_and_lists),
        cmocka_unit_test(test_syntax),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_scan),
    };
    return cmocka_run_group_tests(tests, NULL, done);
}
