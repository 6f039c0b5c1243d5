/* SPDX-License-Identifier: Apache-2.0
 * Tests of metric: text format, cumulative buckets, collectors, the process's own metrics. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/metric_family.h"

static double value_of(const char *text, const char *name)
{
    char line[200];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *p = strstr(text, line);
    if (!p)
        fail_msg("no %s", name);
    return atof(p + strlen(line));
}

static void test_print(void **state)
{
    (void)state;
    metric_add(METRIC_PUTS, 3);
    metric_set(METRIC_HAS_LEADER, 1);
    metric_set(METRIC_DB_SIZE, 20480);
    struct buf b = {0};
    metric_print(&b);
    const char *text = buf_text(&b);
    assert_non_null(strstr(text, "# HELP etcd_mvcc_put_total Total number of puts seen by this member.\n"
                                 "# TYPE etcd_mvcc_put_total counter\netcd_mvcc_put_total 3\n"));
    assert_non_null(strstr(text, "# TYPE etcd_server_has_leader gauge\netcd_server_has_leader 1\n"));
    assert_non_null(strstr(text, "\netcd_mvcc_db_total_size_in_bytes 20480\n"));
    for (const char *p = text; *p; p = strchr(p, '\n') + 1)
        assert_non_null(strchr(p, '\n'));
    buf_done(&b);
}

static void test_histogram(void **state)
{
    (void)state;
    metric_observe(METRIC_WAL_FSYNC, 0.001); /* on the bound: inside */
    metric_observe(METRIC_WAL_FSYNC, 0.0010001);
    metric_observe(METRIC_WAL_FSYNC, 100); /* above all */
    metric_observe_many(METRIC_WAL_FSYNC, 1, 5);
    struct buf b = {0};
    metric_print(&b);
    const char *p = strstr(buf_text(&b), "# TYPE etcd_disk_wal_fsync_duration_seconds histogram\n");
    assert_non_null(p);
    static const char expected[] = "# TYPE etcd_disk_wal_fsync_duration_seconds histogram\n"
                                   "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"} 1\n"
                                   "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.002\"} 2\n"
                                   "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.004\"} 2\n"
                                   "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.008\"} 2\n"
                                   "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.016\"} 2\n"
                                   "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.032\"} 2\n"
                                   "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.064\"} 2\n"
                                   "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.128\"} 2\n"
                                   "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.256\"} 2\n"
                                   "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.512\"} 2\n"
                                   "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"1.024\"} 7\n"
                                   "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"2.048\"} 7\n"
                                   "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"4.096\"} 7\n"
                                   "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"8.192\"} 7\n"
                                   "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"} 8\n"
                                   "etcd_disk_wal_fsync_duration_seconds_sum 105.0020001\n"
                                   "etcd_disk_wal_fsync_duration_seconds_count 8\n";
    assert_memory_equal(p, expected, sizeof expected - 1);
    buf_done(&b);
}

static void collect(void *arg, struct buf *out)
{
    struct histogram h = {0};
    histogram_observe(&h, 0.1, 10, 2, 0.5);
    metric_set(METRIC_KEYS, *(double *)arg);
    metric_print_head(out, "peer_rtt", "histogram", "Time.");
    metric_print_histogram(out, "peer_rtt", "To=\"1\"", &h, 0.1, 10, 2);
}

static void test_collector(void **state)
{
    (void)state;
    double keys = 42;
    metric_collector_add(collect, &keys);
    struct buf b = {0};
    metric_print(&b);
    assert_true(value_of(buf_text(&b), "etcd_debugging_mvcc_keys_total") == 42);
    assert_non_null(strstr(buf_text(&b), "# HELP peer_rtt Time.\n# TYPE peer_rtt histogram\n"
                                         "peer_rtt_bucket{To=\"1\",le=\"0.1\"} 0\n"
                                         "peer_rtt_bucket{To=\"1\",le=\"1\"} 1\n"
                                         "peer_rtt_bucket{To=\"1\",le=\"+Inf\"} 1\n"
                                         "peer_rtt_sum{To=\"1\"} 0.5\npeer_rtt_count{To=\"1\"} 1\n"));
    metric_collector_remove(collect, &keys);
    buf_clear(&b);
    metric_print(&b);
    assert_null(strstr(buf_text(&b), "peer_rtt"));
    buf_done(&b);
}

/* A series is there from its first use on; a histogram's has the family's buckets. */
static void test_families(void **state)
{
    (void)state;
    struct buf b = {0};
    metric_print(&b);
    assert_null(strstr(buf_text(&b), "etcd_server_apply_duration_seconds_count"));
    assert_null(strstr(buf_text(&b), "etcd_network_snapshot_send_success{"));
    struct metric_series *s = metric_series_get(FAMILY_APPLY, "op=\"Put\",success=\"true\"");
    metric_series_observe(s, 0.00015, 3);
    metric_series_observe(s, 100, 1);
    metric_series_add(metric_series_of_member(FAMILY_SNAPSHOT_SENT, "To", 0xabc), 2);
    assert_ptr_equal(metric_series_get(FAMILY_APPLY, "op=\"Put\",success=\"true\""), s);
    assert_ptr_not_equal(metric_series_get(FAMILY_APPLY, "op=\"Txn\",success=\"true\""), s);
    metric_series_set(metric_series_get(FAMILY_ALARMS, "alarm_type=\"NOSPACE\""), 1);
    buf_clear(&b);
    metric_print(&b);
    static const char *const wanted[] = {
        "# TYPE etcd_server_apply_duration_seconds histogram\n",
        "etcd_server_apply_duration_seconds_bucket{op=\"Put\",success=\"true\",le=\"0.0001\"} 0\n",
        "etcd_server_apply_duration_seconds_bucket{op=\"Put\",success=\"true\",le=\"0.0002\"} 3\n",
        "etcd_server_apply_duration_seconds_bucket{op=\"Put\",success=\"true\",le=\"52.4288\"} 3\n",
        "etcd_server_apply_duration_seconds_bucket{op=\"Put\",success=\"true\",le=\"+Inf\"} 4\n",
        "etcd_server_apply_duration_seconds_count{op=\"Put\",success=\"true\"} 4\n",
        "etcd_server_apply_duration_seconds_count{op=\"Txn\",success=\"true\"} 0\n",
        "# TYPE etcd_network_snapshot_send_success counter\n",
        "\netcd_network_snapshot_send_success{To=\"abc\"} 2\n",
        "etcd_debugging_server_alarms{alarm_type=\"NOSPACE\"} 1\n",
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        assert_non_null(strstr(buf_text(&b), wanted[i]));
    metric_family_clear(FAMILY_ALARMS);
    metric_family_clear(FAMILY_APPLY);
    buf_clear(&b);
    metric_print(&b);
    assert_null(strstr(buf_text(&b), "{alarm_type"));
    assert_null(strstr(buf_text(&b), "etcd_server_apply_duration_seconds_count"));
    buf_done(&b);
}

static void test_process(void **state)
{
    (void)state;
    const char *emulator = getenv("EMULATOR");
    if (emulator && *emulator)
        skip(); /* qemu-user invents /proc/self/stat: no memory, no times */
    for (volatile int i = 0; i < 100000000; i++)
        continue;
    struct buf b = {0}, again = {0};
    metric_print(&b);
    const char *text = buf_text(&b);
    assert_true(value_of(text, "process_resident_memory_bytes") > 500000);
    assert_true(value_of(text, "process_virtual_memory_bytes") >
                value_of(text, "process_resident_memory_bytes"));
    assert_true(value_of(text, "process_cpu_seconds_total") > 0);
    assert_true(value_of(text, "process_max_fds") > 10);
    assert_true(value_of(text, "os_fd_limit") == value_of(text, "process_max_fds"));
    double age = (double)time(NULL) - value_of(text, "process_start_time_seconds");
    assert_true(age > -5 && age < 300);
    assert_true(value_of(text, "process_virtual_memory_max_bytes") > 0);
    assert_true(value_of(text, "process_network_receive_bytes_total") >= 0);
    assert_true(value_of(text, "process_network_transmit_bytes_total") >= 0);
    double fds = value_of(text, "process_open_fds");
    int fd = dup(0);
    metric_print(&again);
    assert_true(value_of(buf_text(&again), "process_open_fds") == fds + 1);
    assert_true(value_of(buf_text(&again), "os_fd_used") == fds + 1);
    close(fd);
    buf_done(&b);
    buf_done(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_print),    cmocka_unit_test(test_histogram), cmocka_unit_test(test_collector),
        cmocka_unit_test(test_families), cmocka_unit_test(test_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
