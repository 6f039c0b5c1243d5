/* SPDX-License-Identifier: Apache-2.0
 * Checker of configuration formats: formats TYPE < list of files. It prints one line a file: "ok FILE"
 * or "no FILE: sentence". With
 * --measure TYPE FILE: one line with the milliseconds and the KiB that the check took at most. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "config/format/format.h"

static bool read_file(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    size_t n;
    do {
        n = fread(buf_reserve(out, 1 << 16), 1, 1 << 16, f);
        out->size += n;
    } while (n);
    bool is_read = !ferror(f);
    fclose(f);
    return is_read;
}

static int check_list(enum format type)
{
    char path[4096];
    while (fgets(path, sizeof path, stdin)) {
        struct buf bytes = {0};
        struct format_error error;
        path[strcspn(path, "\n")] = 0;
        if (!read_file(path, &bytes)) {
            fprintf(stderr, "formats: cannot read %s\n", path);
            return 2;
        }
        int err = format_check(type, buf_slice(&bytes), &error);
        printf(err ? "no %s: %s\n" : "ok %s\n", path, error.text);
        buf_done(&bytes);
    }
    return 0;
}

static long rss_max_kib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static int measure(enum format type, const char *path)
{
    struct buf bytes = {0};
    struct format_error error = {0};
    struct timespec start, end;
    if (!read_file(path, &bytes))
        return 2;
    long before = rss_max_kib();
    clock_gettime(CLOCK_MONOTONIC, &start);
    int err = format_check(type, buf_slice(&bytes), &error);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double ms = (double)(end.tv_sec - start.tv_sec) * 1e3 + (double)(end.tv_nsec - start.tv_nsec) / 1e6;
    printf("%8zu bytes %8.1f ms %8ld KiB  %s\n", bytes.size, ms, rss_max_kib() - before,
           err ? error.text : "ok");
    buf_done(&bytes);
    return 0;
}

int main(int argc, char **argv)
{
    enum format type;
    bool measures = argc == 4 && strcmp(argv[1], "--measure") == 0;
    if ((argc != 2 && !measures) || format_from_name(slice_text(argv[measures ? 2 : 1]), &type)) {
        fprintf(stderr, "usage: formats TYPE < list of files, or formats --measure TYPE FILE\n");
        return 2;
    }
    return measures ? measure(type, argv[3]) : check_list(type);
}
