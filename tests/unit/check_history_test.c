/* SPDX-License-Identifier: Apache-2.0
 * Tests of history recording and its NDJSON form: a written history reads back the same, and an error is
 * named. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "tests/check/check.h"

#define S(text) slice_of(text, sizeof(text) - 1)

static void record_example(struct history *h)
{
    const struct history_compare compares[] = {
        {S("a"), HISTORY_MOD, HISTORY_GREATER, {0}, 3},
        {S("b"), HISTORY_VALUE, HISTORY_NOT_EQUAL, S("\xff\x00"), 0},
    };
    const struct history_step then[] = {{.kind = HISTORY_PUT,
                                         .key = S("a"),
                                         .value = S("\"quoted\"\n"),
                                         .lease = INT64_MAX,
                                         .wants_prev = true},
                                        {.kind = HISTORY_DELETE, .key = S("b"), .range_end = S("\0")}};
    const struct history_step otherwise = {
        .kind = HISTORY_RANGE, .key = S("a"), .at_revision = 5, .limit = 2, .is_count_only = true};
    struct history_op *op = history_call(h, 7, 1000,
                                         &(struct history_request){.kind = HISTORY_TXN,
                                                                   .compares = compares,
                                                                   .compare_count = 2,
                                                                   .then = {then, 2},
                                                                   .otherwise = {&otherwise, 1}});
    const struct history_kv kv = {S("a"), S("1"), 2, 3, 2, 9};
    const struct history_result results[] = {{&kv, 1, 0, false}, {NULL, 0, 4, true}};
    history_return(h, op, 2000, HISTORY_OK,
                   &(struct history_reply){
                       .revision = 8, .succeeded = true, .results = results, .result_count = 2, .ttl_s = -1});
    history_call(h, UINT32_MAX, 2000,
                 &(struct history_request){.kind = HISTORY_GRANT, .lease = -5, .ttl_s = 60});
    op = history_call(h, 2, 2000, &(struct history_request){.kind = HISTORY_COMPACT, .compact_revision = 4});
    history_return(h, op, 1, HISTORY_FAILED,
                   &(struct history_reply){.error = S("compacted"), .revision = 12});

    struct history_watch *w = history_watch_open(
        h, 3, 10,
        &(struct history_watch){.key = S("a"), .range_end = S("c"), .start_revision = 2, .wants_prev = true});
    const struct history_event events[] = {{{false, kv}, true, kv},
                                           {{true, {.key = S("b"), .mod = 3}}, false, {.mod = 0}}};
    history_watch_add(h, w, 20, &(struct history_response){.revision = 1, .is_created = true});
    history_watch_add(
        h, w, 30,
        &(struct history_response){.revision = 3, .events = events, .event_count = 2, .is_fragment = true});
    const struct history_change changes[] = {events[0].change, events[1].change};
    history_commit_add(h, &(struct history_commit){3, changes, 2, 0});
}

static void test_record(void **state)
{
    (void)state;
    struct history h = {0};
    record_example(&h);
    assert_int_equal(h.op_count, 3);
    /* The order is kept when the clock stands still or goes back. */
    assert_int_equal(h.ops[1]->call_ns, 2001);
    assert_int_equal(h.ops[1]->return_ns, HISTORY_NEVER);
    assert_int_equal(h.ops[1]->outcome, HISTORY_UNKNOWN);
    assert_int_equal(h.ops[2]->call_ns, 2002);
    assert_int_equal(h.ops[2]->return_ns, 2003);
    /* Of a failed operation only the reason is kept. */
    assert_int_equal(h.ops[2]->reply.revision, 0);
    assert_true(slice_equal(h.ops[2]->reply.error, S("compacted")));
    assert_int_equal(h.watches[0]->count, 2);
    assert_int_equal(h.commits[0].count, 2);
    struct buf b = {0};
    history_describe(&b, h.ops[0]);
    assert_string_equal(buf_text(&b), "#0 txn if mod \"a\" > 3 and value \"b\" != \"\\xff\\x00\" then put "
                                      "\"a\"=\"\\x22quoted\\x22\\x0a\" lease 9223372036854775807, delete "
                                      "\"b\"..\"\\x00\" else range \"a\" at revision 5 by client 7");
    buf_done(&b);
    history_done(&h);
}

static void test_written_is_read(void **state)
{
    (void)state;
    struct history h = {0}, again = {0};
    struct buf first = {0}, second = {0};
    size_t line;
    char error[200];
    record_example(&h);
    history_write(&h, &first);
    assert_int_equal(history_read(&again, buf_slice(&first), &line, error, sizeof error), 0);
    history_write(&again, &second);
    assert_string_equal(buf_text(&first), buf_text(&second));
    const struct history_op *op = again.ops[0];
    assert_int_equal(op->client, 7);
    assert_int_equal(op->request.compares[0].relation, HISTORY_GREATER);
    assert_true(slice_equal(op->request.compares[1].value, S("\xff\x00")));
    assert_int_equal(op->request.then.items[0].lease, INT64_MAX);
    assert_true(slice_equal(op->request.then.items[1].range_end, S("\0")));
    assert_true(op->request.otherwise.items[0].is_count_only);
    assert_int_equal(op->reply.ttl_s, -1);
    assert_true(op->reply.results[1].has_more);
    assert_int_equal(again.ops[1]->client, UINT32_MAX);
    assert_int_equal(again.ops[1]->return_ns, HISTORY_NEVER);
    assert_true(again.watches[0]->responses[1].is_fragment);
    assert_true(again.watches[0]->responses[1].events[0].has_prev);
    assert_int_equal(again.commits[0].changes[1].kv.mod, 3);
    history_done(&h);
    history_done(&again);
    buf_done(&first);
    buf_done(&second);
}

static void test_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"{\"op\":", "line 1"},
        {"[]", "is no op"},
        {"{\"op\":{},\"watch\":{}}", "is no op"},
        {"{\"op\":[]}", "is no object"},
        {"{\"op\":{\"color\":1}}", "not known"},
        {"{\"op\":{\"client\":-1}}", "client"},
        {"{\"op\":{\"call_ns\":\"1\"}}", "call_ns"},
        {"{\"op\":{\"outcome\":\"maybe\"}}", "outcome"},
        {"{\"op\":{\"request\":{\"is_serializable\":1}}}", "is_serializable"},
        {"{\"op\":{\"request\":{\"then\":{\"items\":{}}}}}", "items"},
        {"{\"commit\":{\"changes\":[{\"kv\":{\"key\":{\"base64\":\"?\"}}}]}}", "key"},
        {"{\"watch\":{\"responses\":[{\"events\":[1]}]}}", "is no object"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct history h = {0};
        char error[200] = "", text[300];
        size_t line = 0;
        snprintf(text, sizeof text, "{\"op\":{}}\n\n%s\n", cases[i].text);
        assert_int_equal(history_read(&h, slice_text(text), &line, error, sizeof error), ERR_MALFORMED);
        assert_int_equal(line, 3);
        if (!strstr(error, cases[i].error))
            fail_msg("%s: %s", cases[i].text, error);
        history_done(&h);
    }
}

static void test_commits_from_watch(void **state)
{
    (void)state;
    struct history h = {0};
    struct history_watch *w =
        history_watch_open(&h, 0, 0, &(struct history_watch){.key = S("\0"), .range_end = S("\0")});
    struct history_event e[3] = {{{false, {.key = S("a"), .mod = 2}}, false, {.mod = 0}},
                                 {{false, {.key = S("b"), .mod = 3}}, false, {.mod = 0}},
                                 {{true, {.key = S("a"), .mod = 3}}, false, {.mod = 0}}};
    history_watch_add(&h, w, 0, &(struct history_response){.revision = 1, .is_created = true});
    history_watch_add(&h, w, 0, &(struct history_response){.revision = 3, .events = e, .event_count = 2});
    history_watch_add(&h, w, 0, &(struct history_response){.revision = 3, .events = e + 2, .event_count = 1});
    history_commits_from_watch(&h, w);
    assert_int_equal(h.commit_count, 2);
    assert_int_equal(h.commits[0].count, 1);
    assert_int_equal(h.commits[1].revision, 3);
    assert_int_equal(h.commits[1].count, 2);
    assert_true(h.commits[1].changes[1].is_delete);
    history_done(&h);
}

/* Two deletes without an acknowledgement, one unknown operation. Each might be the end of a lease; the first
 * is, so all of its keys are deleted. The second lease lives on, so the operation came late. */
static void test_late_delete_is_no_end_of_a_lease(void **state)
{
    static const char text[] =
        "{\"op\":{\"outcome\":\"ok\",\"call_ns\":1,\"return_ns\":2,\"request\":{\"kind\":\"grant\",\"lease\":"
        "7,\"ttl_s\":2},"
        "\"reply\":{\"revision\":1,\"ttl_s\":2}}}\n"
        "{\"op\":{\"outcome\":\"ok\",\"call_ns\":3,\"return_ns\":4,\"request\":{\"kind\":\"grant\",\"lease\":"
        "8,\"ttl_s\":9},"
        "\"reply\":{\"revision\":1,\"ttl_s\":9}}}\n"
        "{\"op\":{\"outcome\":\"ok\",\"call_ns\":5,\"return_ns\":6,\"request\":{\"then\":{\"items\":[{"
        "\"key\":\"k\",\"value\":"
        "\"a\",\"lease\":7}]}},\"reply\":{\"revision\":2,\"results\":[{}]}}}\n"
        "{\"op\":{\"call_ns\":7,\"return_ns\":8,\"request\":{\"kind\":\"delete\",\"then\":{\"items\":[{"
        "\"kind\":\"delete\","
        "\"key\":\"k\"}]}}}}\n"
        "{\"op\":{\"outcome\":\"ok\",\"call_ns\":2500000000,\"return_ns\":2500000001,\"request\":{\"then\":{"
        "\"items\":["
        "{\"key\":\"k\",\"value\":\"b\",\"lease\":8}]}},\"reply\":{\"revision\":4,\"results\":[{}]}}}\n"
        "{\"op\":{\"outcome\":\"ok\",\"call_ns\":2500000002,\"return_ns\":2500000003,\"request\":{\"kind\":"
        "\"range\",\"then\":"
        "{\"items\":[{\"kind\":\"range\",\"key\":\"k\"}]}},\"reply\":{\"revision\":5,\"results\":[{}]}}}\n"
        "{\"op\":{\"outcome\":\"ok\",\"call_ns\":2500000004,\"return_ns\":2500000005,\"request\":{\"kind\":"
        "\"keepalive\",\"lease\":8},"
        "\"reply\":{\"revision\":5,\"ttl_s\":9}}}\n"
        "{\"commit\":{\"revision\":2,\"changes\":[{\"kv\":{\"key\":\"k\",\"value\":\"a\",\"lease\":7}}]}}\n"
        "{\"commit\":{\"revision\":3,\"changes\":[{\"is_delete\":true,\"kv\":{\"key\":\"k\"}}]}}\n"
        "{\"commit\":{\"revision\":4,\"changes\":[{\"kv\":{\"key\":\"k\",\"value\":\"b\",\"lease\":8}}]}}\n"
        "{\"commit\":{\"revision\":5,\"changes\":[{\"is_delete\":true,\"kv\":{\"key\":\"k\"}}]}}\n";
    struct history h = {0};
    struct check_report report = {0};
    struct check_options options = {.is_replay_complete = true};
    size_t line = 0;
    char error[200] = "";
    (void)state;
    if (history_read(&h, S(text), &line, error, sizeof error))
        fail_msg("line %zu: %s", line, error);
    if (!check_history(&h, &options, &report))
        fail_msg("%s", buf_text(&report.text));
    check_report_done(&report);
    history_done(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_written_is_read),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_commits_from_watch),
        cmocka_unit_test(test_late_delete_is_no_end_of_a_lease),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
