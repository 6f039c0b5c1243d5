/* SPDX-License-Identifier: Apache-2.0
 * Judge of recorded histories: check-history [--no-replay] [--healthy MS] FILE... It reads the NDJSON of one
 * run, in one file or several (one for each client and one for the replay), and checks it. Exit 0: nothing
 * found, 1: something, 2: nothing could be decided or read. --healthy: leases must end within so many
 * milliseconds after their TTL.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "tests/check/check.h"

static int read_history(struct history *h, const char *path)
{
    struct buf text = {0};
    FILE *f = fopen(path, "re");
    size_t n, line = 0;
    char error[200];
    if (!f) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    do {
        n = fread(buf_reserve(&text, 65536), 1, 65536, f);
        text.size += n;
    } while (n > 0);
    fclose(f);
    int rc = history_read(h, buf_slice(&text), &line, error, sizeof error);
    if (rc)
        fprintf(stderr, "%s:%zu: %s\n", path, line, error);
    buf_done(&text);
    return rc;
}

int main(int argc, char **argv)
{
    struct check_options options = {.is_replay_complete = true};
    struct check_report report = {0};
    struct history h = {0};
    for (int i = 1; i < argc; i++) {
        int64_t ms;
        if (strcmp(argv[i], "--no-replay") == 0) {
            options.is_replay_complete = false;
        } else if (strcmp(argv[i], "--healthy") == 0 && i + 1 < argc &&
                   text_to_i64(slice_text(argv[i + 1]), &ms) == 0) {
            options.was_healthy = true;
            options.lease_late_bound_ns = ms * 1000000;
            i++;
        } else if (read_history(&h, argv[i])) {
            return 2;
        }
    }
    if (h.op_count == 0) {
        fprintf(stderr, "usage: check-history [--no-replay] [--healthy MS] FILE...\n");
        return 2;
    }
    bool passed = check_history(&h, &options, &report);
    printf("%s%zu operations, %zu watches, %zu commits: %zu findings%s\n", buf_text(&report.text), h.op_count,
           h.watch_count, h.commit_count, report.count, report.is_undecided ? ", undecided" : "");
    int code = passed ? 0 : report.count ? 1 : 2;
    check_report_done(&report);
    history_done(&h);
    return code;
}
