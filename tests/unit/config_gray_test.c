/* SPDX-License-Identifier: Apache-2.0
 * Tests of gray rules: which clients a rule chooses, buckets as other languages compute them, strict
 * reading, canonical writing. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "config/gray.h"

#define ITEM "default/default/app.yaml"

static struct arena arena;
static char error[200];

static struct gray_rules rules_of(const char *text)
{
    struct gray_rules rules = {0};
    json_t *array;
    assert_int_equal(json_parse(slice_text(text), &array, error, sizeof error), OK);
    if (gray_rules_read(array, &arena, &rules, error, sizeof error))
        fail_msg("%s: %s", text, error);
    json_decref(array);
    return rules;
}

/* labels: "zone=b app=x"; the seq chosen, 0 for none. */
static uint64_t choose(const struct gray_rules *rules, const char *labels, const char *ip, const char *id)
{
    struct document_pair pairs[8];
    struct document_map map = {.list = pairs};
    char text[128], *at = text, *pair;
    snprintf(text, sizeof text, "%s", labels);
    while ((pair = strsep(&at, " ")) && *pair) {
        char *value = strchr(pair, '=');
        *value++ = 0;
        pairs[map.count++] = (struct document_pair){slice_text(pair), slice_text(value)};
    }
    const struct gray_rule *r = gray_choose(rules, &map, slice_text(ip), slice_text(id), slice_text(ITEM));
    return r ? r->seq : 0;
}

static void test_bucket(void **state)
{
    (void)state;
    static const struct {
        const char *id;
        unsigned bucket;
    } known[] = {{"web-7", 61},
                 {"a", 32},
                 {"orders-5d7f-x2k", 92},
                 {"\xe5\xae\xa2\xe6\x88\xb7", 56},
                 {"10.0.0.5:8080", 95}}; /* printed by Python */
    for (size_t i = 0; i < COUNT_OF(known); i++)
        assert_int_equal(gray_bucket(slice_text(known[i].id), slice_text(ITEM)), known[i].bucket);
    /* For another item other clients come first. */
    unsigned same = 0;
    for (int i = 0; i < 1000; i++) {
        char id[32];
        snprintf(id, sizeof id, "client-%d", i);
        same += gray_bucket(slice_text(id), slice_text(ITEM)) < 10 &&
                gray_bucket(slice_text(id), slice_text("default/default/app.yml")) < 10;
    }
    assert_in_range(same, 1, 30);
    /* Every bucket is used, and none by far too many. */
    unsigned hits[100] = {0};
    for (int i = 0; i < 20000; i++) {
        char id[32];
        snprintf(id, sizeof id, "client-%d", i);
        hits[gray_bucket(slice_text(id), slice_text(ITEM))]++;
    }
    for (int i = 0; i < 100; i++)
        assert_in_range(hits[i], 120, 280);
}

static void test_choose(void **state)
{
    (void)state;
    struct gray_rules r =
        rules_of("[{\"name\":\"all\",\"seq\":9,\"match\":{\"zone\":[\"b\",\"c\"],\"app\":[\"x\"]}}]");
    assert_int_equal(choose(&r, "app=x zone=c", "", ""), 9);
    assert_int_equal(choose(&r, "app=x zone=d", "", ""), 0);
    assert_int_equal(choose(&r, "app=x", "", ""), 0);
    assert_int_equal(choose(&r, "", "", ""), 0);
    assert_int_equal(choose(&r, "app=x zone=b more=y", "", ""), 9);
    r = rules_of("[{\"name\":\"net\",\"seq\":5,\"match\":{\"ip\":[\"10.0.0.0/"
                 "8\",\"192.168.1.7\",\"2001:db8::/33\"]}}]");
    assert_int_equal(choose(&r, "", "10.255.0.1", ""), 5);
    assert_int_equal(choose(&r, "", "11.0.0.1", ""), 0);
    assert_int_equal(choose(&r, "", "192.168.1.7", ""), 5);
    assert_int_equal(choose(&r, "", "192.168.1.8", ""), 0);
    assert_int_equal(choose(&r, "", "::ffff:10.1.2.3", ""), 5);
    assert_int_equal(choose(&r, "", "2001:db8:7fff::1", ""), 5);
    assert_int_equal(choose(&r, "", "2001:db8:8000::1", ""), 0);
    assert_int_equal(choose(&r, "", "", ""), 0);
    assert_int_equal(choose(&r, "", "host", ""), 0);
    assert_int_equal(choose(&r, "", "10.0.0.0/8", ""), 0);
    assert_int_equal(choose(&r, "ip=10.0.0.1", "", ""), 0);
    r = rules_of("[{\"name\":\"net\",\"seq\":5,\"match\":{\"ip\":[\"0.0.0.0/0\"]}}]");
    assert_int_equal(choose(&r, "", "1.2.3.4", ""), 5);
    assert_int_equal(choose(&r, "", "::1", ""), 0);
}

static void test_percent(void **state)
{
    (void)state;
    char text[100], id[16];
    bool was_in[200] = {0};
    for (int percent = 0; percent <= 100; percent++) {
        snprintf(text, sizeof text, "[{\"name\":\"p\",\"percent\":%d,\"seq\":1}]", percent);
        struct gray_rules r = rules_of(text);
        for (int i = 0; i < 200; i++) {
            snprintf(id, sizeof id, "c%d", i);
            bool is_in = choose(&r, "", "", id) == 1;
            assert_int_equal(is_in, gray_bucket(slice_text(id), slice_text(ITEM)) < (unsigned)percent);
            assert_true(is_in || !was_in[i]);
            was_in[i] = is_in;
        }
        assert_int_equal(choose(&r, "", "", ""), percent == 100);
        arena_reset(&arena);
    }
}

static void test_order(void **state)
{
    (void)state;
    struct gray_rules r = rules_of(
        "[{\"name\":\"b\",\"seq\":2},{\"name\":\"low\",\"priority\":-1,\"seq\":1},"
        "{\"name\":\"a\",\"seq\":3},{\"name\":\"high\",\"priority\":7,\"seq\":4,\"match\":{\"z\":[\"1\"]}}]");
    assert_int_equal(choose(&r, "z=1", "", ""), 4);
    assert_int_equal(choose(&r, "z=2", "", ""), 3);
    struct gray_rules less;
    assert_int_equal(gray_rules_remove(&r, slice_text("a"), &arena, &less), OK);
    assert_int_equal(less.count, 3);
    assert_int_equal(choose(&less, "z=2", "", ""), 2);
    assert_int_equal(gray_rules_remove(&less, slice_text("a"), &arena, &less), ERR_NOT_FOUND);
    struct gray_rule change = {.name = slice_text("low"), .priority = 9, .percent = 100, .seq = 11};
    assert_int_equal(gray_rules_put(&less, &change, &arena, &less), OK);
    assert_int_equal(less.count, 3);
    assert_int_equal(choose(&less, "z=1", "", ""), 11);
    char names[20][8];
    for (int i = 0; i < 13; i++) {
        snprintf(names[i], sizeof names[i], "r%d", i);
        change.name = slice_text(names[i]);
        assert_int_equal(gray_rules_put(&less, &change, &arena, &less), OK);
    }
    change.name = slice_text("more");
    assert_int_equal(gray_rules_put(&less, &change, &arena, &less), ERR_LIMIT);
    change.name = slice_text("r3");
    assert_int_equal(gray_rules_put(&less, &change, &arena, &less), OK);
    assert_int_equal(r.count, 4);
}

static void refused(const char *text, const char *why)
{
    struct gray_request q;
    int err = gray_request_read(slice_text(text), &arena, &q, error, sizeof error);
    if (err != ERR_INVALID || !strstr(error, why))
        fail_msg("%s: err %d, %s; wanted %s", text, err, error, why);
}

static void test_request(void **state)
{
    (void)state;
    struct gray_request q;
    struct buf out = {0};
    struct json_writer w = {.out = &out};
    const char *text =
        "{\"percent\":10,\"match\":{\"zone\":[\"c\",\"b\",\"c\"],\"app\":[\"x\"],"
        "\"ip\":[\"10.1.2.3/8\",\"::1\",\"10.0.0.0/8\",\"2001:DB8::/32\"]},\"seq\":3,\"priority\":1}";
    assert_int_equal(gray_request_read(slice_text(text), &arena, &q, error, sizeof error), OK);
    gray_rule_write(&q.rule, &w);
    assert_string_equal(
        buf_text(&out),
        "{\"priority\":1,\"match\":{\"app\":[\"x\"],\"zone\":[\"b\",\"c\"],\"ip\":[\"10.0.0.0/8\","
        "\"::1\",\"2001:db8::/32\"]},\"percent\":10,\"seq\":3}");
    assert_false(q.has_content);
    buf_done(&out);
    assert_int_equal(gray_request_read(slice_text("{\"content\":\"\"}"), &arena, &q, error, sizeof error),
                     OK);
    assert_true(q.has_content && q.content.size == 0 && q.rule.percent == 100 && q.rule.priority == 0);
    assert_int_equal(gray_request_read(slice_text("{\"content\":\"AP8=\",\"base64\":true}"), &arena, &q,
                                       error, sizeof error),
                     OK);
    assert_int_equal(q.content.size, 2);
    refused("{}", "needs either seq or content");
    refused("{\"seq\":1,\"content\":\"\"}", "needs either seq or content");
    refused("{\"seq\":1,\"percnt\":5}", "unknown field \"percnt\"");
    refused("{\"seq\":1,\"name\":\"x\"}", "unknown field \"name\"");
    refused("{\"seq\":0}", "seq is not a whole number");
    refused("{\"seq\":1,\"percent\":101}", "percent is not");
    refused("{\"seq\":1,\"percent\":0.5}", "percent is not");
    refused("{\"seq\":1,\"priority\":1000001}", "priority is not");
    refused("{\"seq\":1,\"match\":[]}", "match is not an object");
    refused("{\"seq\":1,\"match\":{\"zone\":\"b\"}}", "match has a value");
    refused("{\"seq\":1,\"match\":{\"zone\":[]}}", "match has a value");
    refused("{\"seq\":1,\"match\":{\"zone\":[1]}}", "match has a value");
    refused("{\"seq\":1,\"match\":{\"\":[\"x\"]}}", "match has a value");
    refused("{\"seq\":1,\"match\":{\"ip\":[\"10.0.0.0/33\"]}}", "match.ip has a value");
    refused("{\"seq\":1,\"match\":{\"ip\":[\"10.0.0\"]}}", "match.ip has a value");
    refused("{\"seq\":1,\"match\":{\"ip\":[\"::/129\"]}}", "match.ip has a value");
    refused("{\"seq\":1,\"match\":{\"ip\":[\"/8\"]}}", "match.ip has a value");
    refused("{\"content\":\"*\",\"base64\":true}", "content is no base64");
    refused("[]", "is not a JSON object");
    assert_int_equal(gray_request_read(slice_text("{"), &arena, &q, error, sizeof error), ERR_MALFORMED);
    struct buf big = {0};
    buf_add_text(&big, "{\"seq\":1,\"match\":{");
    for (int i = 0; i < 17; i++)
        buf_addf(&big, "%s\"l%d\":[\"v\"]", i ? "," : "", i);
    buf_add_text(&big, "}}");
    refused(buf_text(&big), "at most 16");
    buf_clear(&big);
    buf_add_text(&big, "{\"seq\":1,\"match\":{\"l\":[");
    for (int i = 0; i < 257; i++)
        buf_addf(&big, "%s\"%d\"", i ? "," : "", i);
    buf_add_text(&big, "]}}");
    refused(buf_text(&big), "1 to 256 strings");
    buf_done(&big);
}

static void test_stored(void **state)
{
    (void)state;
    static const char *const bad[] = {"{}", "[1]", "[{\"seq\":1}]", "[{\"name\":\"a\"}]",
                                      "[{\"name\":\"a\",\"seq\":1},{\"name\":\"a\",\"seq\":2}]"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct gray_rules rules;
        json_t *array;
        assert_int_equal(json_parse(slice_text(bad[i]), &array, error, sizeof error), OK);
        assert_int_equal(gray_rules_read(array, &arena, &rules, error, sizeof error), ERR_INVALID);
        json_decref(array);
    }
    struct gray_rules r = rules_of("[{\"name\":\"a\",\"seq\":1,\"later\":true}]");
    struct buf out = {0};
    struct json_writer w = {.out = &out};
    gray_rules_write(&r, &w);
    assert_string_equal(buf_text(&out), "[{\"name\":\"a\",\"priority\":0,\"percent\":100,\"seq\":1}]");
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bucket), cmocka_unit_test(test_choose),  cmocka_unit_test(test_percent),
        cmocka_unit_test(test_order),  cmocka_unit_test(test_request), cmocka_unit_test(test_stored),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_done(&arena);
    return failed;
}
