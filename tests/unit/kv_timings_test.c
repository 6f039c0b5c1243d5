/* SPDX-License-Identifier: Apache-2.0
 * Durations for etcd's histograms: which clock readings they lie between, and what counts as slow. */
#include <stdio.h>
#include <stdlib.h>

#include "base/metric_family.h"
#include "kv_parts.h"

static struct kv *kv;
static struct buf text;

static int set_up(void **state)
{
    (void)state;
    kv = parts_start();
    kv->timings = (struct kv_timings){0};
    parts.ns_per_look = 0;
    parts.now_ms = 1000;
    return 0;
}

/* The value of a series, or 0. */
static double value_of(const char *series)
{
    buf_clear(&text);
    metric_print(&text);
    const char *at = strstr(buf_text(&text), series);
    double value = at ? strtod(at + strlen(series), NULL) : 0;
    buf_done(&text);
    return value;
}

#define PUTS "etcd_server_apply_duration_seconds_%s{op=\"Put\",success=\"%s\",version=\"v3\"}"

static double puts_of(const char *what, const char *success)
{
    char name[128];
    snprintf(name, sizeof name, PUTS, what, success);
    return value_of(name);
}

static void assert_near(double a, double b)
{
    assert_true(a - b < 1e-9 && b - a < 1e-9);
}

/* Entries of a chain share the clock's readings; one alone has two of its own. */
static void test_entries(void **state)
{
    (void)state;
    kv->settings.slow_apply_ns = 100000000;
    double slow = metric_get(METRIC_SLOW_APPLY);
    kv_time_chain(kv, 2);
    parts.now_ms += 3; /* belongs to the first */
    kv_time_entry(kv);
    kv_time_apply(kv, ENTRY_PUT, OK);
    assert_near(puts_of("sum", "true"), 0.003);
    parts.now_ms += 5;
    kv_time_entry(kv);
    kv_time_apply(kv, ENTRY_PUT, ERR_NO_SPACE);
    assert_near(puts_of("sum", "false"), 0.005);
    parts.now_ms += 1000; /* between entries: of none */
    kv_time_entry(kv);
    parts.now_ms += 2;
    kv_time_apply(kv, ENTRY_PUT, OK);
    assert_near(puts_of("sum", "true"), 0.005);
    assert_near(puts_of("count", "true"), 2);
    assert_near(metric_get(METRIC_SLOW_APPLY), slow);
    kv_time_entry(kv); /* in slices: other entries of the metrics come in between */
    uint64_t begin_ns = kv_time_entry_begin(kv);
    parts.now_ms += 101;
    kv_time_entry_resume(kv, begin_ns);
    kv_time_apply(kv, ENTRY_PUT, OK);
    assert_near(puts_of("sum", "true"), 0.106);
    assert_near(metric_get(METRIC_SLOW_APPLY), slow + 1);
    kv_time_entry(kv);
    kv_time_apply(kv, ENTRY_STATE_CHECK, OK); /* etcd has no such entry */
    assert_near(puts_of("count", "true"), 3);
}

static void test_requests(void **state)
{
    (void)state;
    struct kv_request r = {.kind = KV_PUT, .op = ENTRY_PUT, .begun_ns = kv_clock_ns(kv)};
    static const char sum[] = "etcd_server_request_duration_seconds_sum{success=\"true\",type=\"Put\"}",
                      count[] = "etcd_server_request_duration_seconds_count{success=\"true\",type=\"Put\"}";
    parts.now_ms += 7;
    kv_clock_ns(kv);
    kv_time_request(kv, &r, true);
    assert_near(value_of(sum), 0.007);
    kv_time_request(kv, &r, true); /* once only */
    assert_near(value_of(count), 1);
    r = (struct kv_request){.kind = KV_RANGE, .begun_ns = kv_clock_ns(kv)};
    kv_time_request(kv, &r, false);
    assert_near(value_of("etcd_server_request_duration_seconds_count{success=\"false\",type=\"Range\"}"), 1);
    r = (struct kv_request){.kind = KV_KEEP_ALIVE, .begun_ns = kv_clock_ns(kv)};
    kv_time_request(kv, &r, true);
    assert_int_equal(r.begun_ns, 0);
    assert_near(value_of(count), 1);
}

/* Ranges that run together share their time. */
static void test_ranges(void **state)
{
    (void)state;
    static const char sum[] = "etcd_server_range_duration_seconds_sum{success=\"true\"}",
                      count[] = "etcd_server_range_duration_seconds_count{success=\"true\"}";
    kv->settings.slow_apply_ns = 100000000;
    double slow = metric_get(METRIC_SLOW_APPLY);
    kv_time_reads_begin(kv, kv_clock_ns(kv));
    kv_time_range(kv, true);
    kv_time_range(kv, true);
    kv_time_range(kv, false);
    parts.now_ms += 6;
    kv_time_reads_note(kv, kv_clock_ns(kv));
    assert_near(value_of(sum), 0.004);
    assert_near(value_of(count), 2);
    assert_near(value_of("etcd_server_range_duration_seconds_sum{success=\"false\"}"), 0.002);
    kv_time_reads_end(kv); /* nothing is left */
    assert_near(value_of(count), 2);
    kv_time_range(kv, true);
    parts.now_ms += 1;
    kv_time_reads_end(kv);
    assert_near(value_of(sum), 0.005);
    uint64_t begin_ns = kv_clock_ns(kv);
    parts.now_ms += 200;
    kv_time_long_range(kv, begin_ns, true);
    assert_near(value_of(sum), 0.205);
    assert_near(metric_get(METRIC_SLOW_APPLY), slow + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_entries, set_up),
        cmocka_unit_test_setup(test_requests, set_up),
        cmocka_unit_test_setup(test_ranges, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
