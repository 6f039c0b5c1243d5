/* SPDX-License-Identifier: Apache-2.0
 * Metrics of the process: memory, CPU, descriptors, start time, from /proc at the moment of printing. A
 * value that cannot be read is left out, not printed as zero. */
#include "base/metric.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    STAT_UTIME = 14, /* field numbers of proc(5), from 1 */
    STAT_STIME = 15,
    STAT_STARTTIME = 22,
    STAT_VSIZE = 23,
    STAT_RSS = 24,
};

static void print_gauge(struct buf *out, const char *name, const char *type, const char *help, double value)
{
    metric_print_head(out, name, type, help);
    metric_print_value(out, name, value);
}

static ssize_t read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    if (n >= 0)
        text[n] = 0;
    return n;
}

/* The machine's start, in seconds since 1970. It does not change and is read once. */
static double boot_seconds(void)
{
    static double boot;
    if (boot > 0)
        return boot;
    FILE *f = fopen("/proc/stat", "re");
    if (!f)
        return 0;
    char line[256];
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "btime %lf", &boot) == 1)
            break;
    fclose(f);
    return boot;
}

static void print_stat(struct buf *out)
{
    char text[1024];
    if (read_text("/proc/self/stat", text, sizeof text) <= 0)
        return;
    /* The name in parentheses may contain any character: the fields are counted from behind its end. */
    char *p = strrchr(text, ')');
    if (!p)
        return;
    double fields[STAT_RSS + 1] = {0};
    p += 4; /* ") S" and the space */
    for (int i = 4; i <= STAT_RSS; i++)
        fields[i] = strtod(p, &p);
    double ticks = (double)sysconf(_SC_CLK_TCK);
    print_gauge(out, "process_cpu_seconds_total", "counter",
                "Total user and system CPU time spent in seconds.",
                (fields[STAT_UTIME] + fields[STAT_STIME]) / ticks);
    print_gauge(out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.",
                fields[STAT_RSS] * (double)sysconf(_SC_PAGESIZE));
    print_gauge(out, "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.",
                fields[STAT_VSIZE]);
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0)
        print_gauge(out, "process_virtual_memory_max_bytes", "gauge",
                    "Maximum amount of virtual memory available in bytes.", (double)limit.rlim_cur);
    if (boot_seconds() > 0)
        print_gauge(out, "process_start_time_seconds", "gauge",
                    "Start time of the process since unix epoch in seconds.",
                    boot_seconds() + fields[STAT_STARTTIME] / ticks);
}

static void print_descriptors(struct buf *out)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        print_gauge(out, "process_max_fds", "gauge", "Maximum number of open file descriptors.",
                    (double)limit.rlim_cur);
        print_gauge(out, "os_fd_limit", "gauge", "The file descriptor limit.", (double)limit.rlim_cur);
    }
    DIR *folder = opendir("/proc/self/fd");
    if (!folder)
        return;
    unsigned count = 0;
    while (readdir(folder))
        count++;
    closedir(folder);
    count -= 3; /* ".", ".." and the folder's own descriptor */
    print_gauge(out, "process_open_fds", "gauge", "Number of open file descriptors.", count);
    print_gauge(out, "os_fd_used", "gauge", "The number of used file descriptors.", count);
}

/* /proc/self/net/netstat has a line of names and a line of values for each group. */
static double netstat_value(char *names, char *values, const char *wanted)
{
    char *name_rest, *value_rest;
    char *name = strtok_r(names, " \n", &name_rest), *value = strtok_r(values, " \n", &value_rest);
    for (; name && value;
         name = strtok_r(NULL, " \n", &name_rest), value = strtok_r(NULL, " \n", &value_rest))
        if (strcmp(name, wanted) == 0)
            return strtod(value, NULL);
    return -1;
}

/* Bytes of the network namespace, as Prometheus' own libraries print them. */
static void print_network(struct buf *out)
{
    static const struct {
        const char *field, *name, *help;
    } rows[] = {
        {"InOctets", "process_network_receive_bytes_total",
         "Number of bytes received by the process over the network."},
        {"OutOctets", "process_network_transmit_bytes_total",
         "Number of bytes sent by the process over the network."},
    };
    char text[16384];
    if (read_text("/proc/self/net/netstat", text, sizeof text) <= 0)
        return;
    char *names = strstr(text, "IpExt:"), *values = names ? strstr(names + 1, "IpExt:") : NULL;
    if (!values)
        return;
    values[-1] = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char some_names[4096], some_values[8192];
        snprintf(some_names, sizeof some_names, "%s", names);
        snprintf(some_values, sizeof some_values, "%s", values);
        double value = netstat_value(some_names, some_values, rows[i].field);
        if (value >= 0)
            print_gauge(out, rows[i].name, "counter", rows[i].help, value);
    }
}

void metric_print_process(struct buf *out)
{
    print_stat(out);
    print_network(out);
    print_descriptors(out);
}
