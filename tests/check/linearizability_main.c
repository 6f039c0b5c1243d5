/* SPDX-License-Identifier: Apache-2.0
 * Test of the linearizability checker: linearizability DIR. Every history in DIR whose verdict is known
 * (verdicts.txt, and the names of kv/cNN-ok.txt and kv/cNN-bad.txt) must get that verdict, none may exhaust
 * its limits. Without DIR it says that it skipped. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check/wgl_models.h"

/* Each history: a second or two and a tenth of a gigabyte at the very most. */
static const struct wgl_limits limits = {.steps_max = 20 * 1000 * 1000, .memory_max = (size_t)128 << 20};

struct tally {
    size_t right, wrong, linearizable;
    uint64_t steps;
    size_t memory;
};

static bool read_file(const char *path, struct buf *ret_text)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    size_t n;
    do {
        n = fread(buf_reserve(ret_text, 65536), 1, 65536, f);
        ret_text->size += n;
    } while (n > 0);
    fclose(f);
    return true;
}

static void check_file(struct tally *t, const char *path, bool is_register, bool is_linearizable)
{
    struct buf text = {0};
    struct wgl_history h = {0};
    size_t line = 0;
    if (!read_file(path, &text)) {
        printf("  FAIL %s: %s\n", path, strerror(errno));
        t->wrong++;
        return;
    }
    struct slice all = buf_slice(&text);
    int rc = is_register ? wgl_read_register(&h, all, &line) : wgl_read_append(&h, all, &line);
    if (rc) {
        printf("  FAIL %s:%zu: not understood\n", path, line);
        t->wrong++;
    } else {
        struct wgl_result r = wgl_check(&h.model, h.ops, h.count, limits);
        enum wgl_verdict want = is_linearizable ? WGL_LINEARIZABLE : WGL_ILLEGAL;
        if (r.verdict != want)
            printf("  FAIL %s: %s\n", path,
                   r.verdict == WGL_GAVE_UP        ? "gave up"
                   : r.verdict == WGL_LINEARIZABLE ? "passed, but is known to be illegal"
                                                   : "refused, but is known to be linearizable");
        t->right += r.verdict == want;
        t->wrong += r.verdict != want;
        t->linearizable += r.verdict == WGL_LINEARIZABLE;
        t->steps += r.steps;
        t->memory = r.memory > t->memory ? r.memory : t->memory;
    }
    wgl_history_done(&h);
    buf_done(&text);
}

static void check_verdicts(struct tally *t, const char *dir)
{
    char path[1024], name[256], verdict[8];
    snprintf(path, sizeof path, "%s/verdicts.txt", dir);
    FILE *f = fopen(path, "re");
    if (!f) {
        printf("  FAIL %s: %s\n", path, strerror(errno));
        t->wrong++;
        return;
    }
    while (fscanf(f, "%255s %7s", name, verdict) == 2) {
        snprintf(path, sizeof path, "%s/%s", dir, name);
        check_file(t, path, true, strcmp(verdict, "true") == 0);
    }
    fclose(f);
}

static void check_kv(struct tally *t, const char *dir)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/kv", dir);
    DIR *d = opendir(path);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        bool is_ok = strstr(e->d_name, "-ok.txt") != NULL;
        if (!is_ok && !strstr(e->d_name, "-bad.txt"))
            continue;
        snprintf(path, sizeof path, "%s/kv/%s", dir, e->d_name);
        check_file(t, path, false, is_ok);
    }
    if (d)
        closedir(d);
}

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : "../shared/linearizability-data";
    DIR *d = opendir(dir);
    if (!d) {
        printf("linearizability: skipped, %s is absent (LINEARIZABILITY= says where the histories lie)\n",
               dir);
        return 0;
    }
    closedir(d);
    struct tally t = {0};
    check_verdicts(&t, dir);
    check_kv(&t, dir);
    printf(
        "linearizability: %zu verdicts as known (%zu linearizable), %zu not; %llu steps, %zu KiB at most\n",
        t.right, t.linearizable, t.wrong, (unsigned long long)t.steps, t.memory / 1024);
    return t.wrong > 0 || t.right == 0;
}
