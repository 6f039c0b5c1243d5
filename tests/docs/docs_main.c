/* SPDX-License-Identifier: Apache-2.0
 * Pages of docs/ and the manual page of cairnd, printed from the tables that the programs are made of:
 *
 *   docs list              names of the generated pages
 *   docs page NAME         the page NAME, by tests/docs/NAME.in
 *   docs check             every row of every table is on exactly one page
 *   docs man NAME          the manual page of cairnd or cairnctl
 *
 * Exit 1 with a sentence on stderr when something is wrong. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdk/ctl/ctl.h"
#include "tests/docs/docs.h"

enum { PAGE_BYTES_MAX = 15000 };

static const char *const pages[] = {"options.md",          "options-registry.md", "options-security.md",
                                    "options-etcd.md",     "etcd-flags.md",       "metrics.md",
                                    "metrics-services.md", "metrics-etcd.md",     "api.md",
                                    "stream-frames.md",    "api-config.md",       "errors.md"};
static const struct docs_part *const lists[] = {docs_option_parts, docs_metric_parts, docs_api_parts,
                                                docs_frame_parts};

enum { PAGE_COUNT = sizeof pages / sizeof *pages, LIST_COUNT = sizeof lists / sizeof *lists };

/* A word that stands for code in running text: a flag, as --name. */
static size_t flag_size(const char *text)
{
    size_t size = 2;
    if (strncmp(text, "--", 2) != 0 || text[2] < 'a' || text[2] > 'z')
        return 0;
    while ((text[size] >= 'a' && text[size] <= 'z') || (text[size] >= '0' && text[size] <= '9') ||
           (text[size] == '-' && text[size + 1] >= 'a' && text[size + 1] <= 'z'))
        size++;
    return size;
}

void docs_add_text(struct buf *out, const char *text)
{
    bool is_code = false;
    while (*text) {
        size_t flag = is_code ? 0 : flag_size(text);
        if (flag) {
            buf_addf(out, "`%.*s`", (int)flag, text);
            text += flag;
            continue;
        }
        if (*text == '`')
            is_code = !is_code;
        if (*text == '|' || (!is_code && (*text == '<' || *text == '*')))
            buf_add_byte(out, '\\');
        buf_add_byte(out, *text == '\n' ? ' ' : (uint8_t)*text);
        text++;
    }
}

bool docs_report_row(const char *name, unsigned printed)
{
    if (printed != 1)
        fprintf(stderr, "docs: %s is on %u pages, not on one\n", name, printed);
    return printed == 1;
}

static const struct docs_part *part_find(const char *word, size_t size)
{
    for (size_t i = 0; i < LIST_COUNT; i++)
        for (const struct docs_part *part = lists[i]; part->word; part++)
            if (strlen(part->word) == size && memcmp(part->word, word, size) == 0)
                return part;
    return NULL;
}

/* "@word argument@\n" */
static int add_part(struct buf *out, char *line)
{
    char *end = strrchr(line, '@');
    *end = 0;
    size_t size = strcspn(line + 1, " ");
    const struct docs_part *part = part_find(line + 1, size);
    if (!part) {
        fprintf(stderr, "docs: no tables for @%s@\n", line + 1);
        return 1;
    }
    part->print(line[1 + size] ? line + 2 + size : "", out);
    return 0;
}

static int add_page(struct buf *out, const char *name)
{
    char line[4096], path[256];
    int err = 0;
    snprintf(path, sizeof path, "tests/docs/%s.in", name);
    FILE *f = fopen(path, "r");
    if (!f) {
        fprintf(stderr, "docs: cannot open %s\n", path);
        return 1;
    }
    while (!err && fgets(line, sizeof line, f)) {
        size_t size = strlen(line);
        if (size > 3 && line[0] == '@' && strcmp(line + size - 2, "@\n") == 0)
            err = add_part(out, line);
        else
            buf_add_text(out, line);
    }
    fclose(f);
    if (!err && out->size > PAGE_BYTES_MAX) {
        fprintf(stderr, "docs: docs/%s has %zu bytes; a page has at most %d\n", name, out->size,
                PAGE_BYTES_MAX);
        err = 1;
    }
    return err;
}

static int check(void)
{
    struct buf out = {0};
    int err = 0;
    for (size_t i = 0; i < PAGE_COUNT; i++) {
        buf_clear(&out);
        err |= add_page(&out, pages[i]);
    }
    buf_done(&out);
    bool is_complete = docs_options_are_complete();
    is_complete = docs_metrics_are_complete() && is_complete;
    is_complete = docs_routes_are_complete() && is_complete;
    return err || !is_complete;
}

int main(int argc, char **argv)
{
    struct buf out = {0};
    int err = 0;
    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        for (size_t i = 0; i < PAGE_COUNT; i++)
            buf_addf(&out, "%s\n", pages[i]);
    } else if (argc == 3 && strcmp(argv[1], "page") == 0) {
        err = add_page(&out, argv[2]);
    } else if (argc == 2 && strcmp(argv[1], "check") == 0) {
        err = check();
    } else if (argc == 3 && strcmp(argv[1], "man") == 0 && strcmp(argv[2], "cairnd") == 0) {
        docs_add_man(&out);
    } else if (argc == 3 && strcmp(argv[1], "man") == 0 && strcmp(argv[2], "cairnctl") == 0) {
        ctl_add_man(&out);
    } else {
        fprintf(stderr, "usage: docs list | page NAME | check | man NAME\n");
        err = 1;
    }
    fwrite(out.data, 1, out.size, stdout);
    buf_done(&out);
    return err;
}
