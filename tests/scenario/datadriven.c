/* SPDX-License-Identifier: Apache-2.0
 * The reader of scenario files. It walks the lines once, and copies them to the rewritten text, except for
 * the expected outputs. */
#include "tests/scenario/datadriven.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define DIFFERENCES_SHOWN 3

struct reader {
    const char *path;
    char *text; /* NUL-terminated; lines are cut out of it in place */
    char *next; /* NULL at the end */
    unsigned line;
    struct buf rewritten;
    struct arena arena; /* of the current directive */
};

static char *next_line(struct reader *r)
{
    char *line = r->next;
    if (!line || *line == 0)
        return NULL;
    char *end = strchr(line, '\n');
    r->next = end ? end + 1 : NULL;
    if (end)
        *end = 0;
    r->line++;
    return line;
}

static void emit(struct reader *r, const char *line)
{
    buf_add_text(&r->rewritten, line);
    buf_add_byte(&r->rewritten, '\n');
}

static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t size = strlen(text);
    while (size && isspace((unsigned char)text[size - 1]))
        text[--size] = 0;
    return text;
}

/* --- the directive line --- */
/* The values between the parentheses at p, split at commas that are not nested. Returns what follows. */
static char *parse_values(struct directive_arg *arg, char *p)
{
    int depth = 1;
    char *start = ++p;
    for (; *p && depth > 0; p++) {
        if (*p == '(')
            depth++;
        if (*p == ')')
            depth--;
        bool ends = depth == 0 || (depth == 1 && *p == ',');
        if (ends && arg->count < DIRECTIVE_VALUES_MAX) {
            *p = 0;
            arg->value[arg->count++] = trim(start);
            start = p + 1;
        }
    }
    return p;
}

static char *parse_arg(struct directive_arg *arg, char *p)
{
    arg->key = p;
    while (*p && *p != ' ' && *p != '\t' && *p != '=')
        p++;
    if (*p != '=') {
        if (*p)
            *p++ = 0;
        return p;
    }
    *p++ = 0;
    if (*p == '(')
        return parse_values(arg, p);
    arg->value[arg->count++] = p;
    while (*p && *p != ' ' && *p != '\t')
        p++;
    if (*p)
        *p++ = 0;
    return p;
}

static void parse_directive(struct directive *d, char *line)
{
    char *p = line;
    d->command = p;
    while (*p && !isspace((unsigned char)*p))
        p++;
    if (*p)
        *p++ = 0;
    for (;;) {
        while (isspace((unsigned char)*p))
            p++;
        if (*p == 0 || d->arg_count == DIRECTIVE_ARGS_MAX)
            return;
        p = parse_arg(&d->arg[d->arg_count++], p);
    }
}

const struct directive_arg *directive_find(const struct directive *d, const char *key)
{
    for (unsigned i = 0; i < d->arg_count; i++)
        if (strcmp(d->arg[i].key, key) == 0)
            return &d->arg[i];
    return NULL;
}

/* --- input and expectation --- */
static char *keep(struct reader *r, struct buf *text)
{
    char *kept = arena_string(&r->arena, text->data, text->size);
    buf_done(text);
    return kept;
}

/* False when the file ends without "----". */
static bool read_input(struct reader *r, struct directive *d)
{
    struct buf input = {0};
    bool separated = false;
    for (char *line; !separated && (line = next_line(r));) {
        char *copy = arena_string(&r->arena, line, strlen(line));
        separated = strcmp(trim(copy), "----") == 0;
        if (!separated) {
            emit(r, line);
            buf_addf(&input, "%s\n", line);
        }
    }
    d->input = trim(keep(r, &input));
    return separated;
}

static void read_until_double(struct reader *r, struct buf *expected)
{
    for (char *line; (line = next_line(r));) {
        if (strcmp(line, "----") == 0) {
            char *second = next_line(r);
            if (second && strcmp(second, "----") == 0) {
                (void)next_line(r); /* the blank line that ends the section */
                return;
            }
            buf_addf(expected, "%s\n", line);
            line = second;
        }
        if (line)
            buf_addf(expected, "%s\n", line);
    }
}

static bool is_blank(const char *line)
{
    while (isspace((unsigned char)*line))
        line++;
    return *line == 0;
}

static void read_expected(struct reader *r, struct directive *d)
{
    struct buf expected = {0};
    char *line = next_line(r);
    if (line && strcmp(line, "----") == 0) {
        read_until_double(r, &expected);
    } else {
        for (; line && !is_blank(line); line = next_line(r))
            buf_addf(&expected, "%s\n", line);
    }
    d->expected = keep(r, &expected);
}

static bool next_directive(struct reader *r, struct directive *d)
{
    char *line;
    while ((line = next_line(r))) {
        emit(r, line);
        unsigned at = r->line;
        line = trim(arena_string(&r->arena, line, strlen(line)));
        if (*line == 0 || *line == '#')
            continue;
        for (size_t size; (size = strlen(line)) && line[size - 1] == '\\';) {
            char *more = next_line(r);
            if (!more)
                break;
            emit(r, more);
            line[size - 1] = 0;
            more = trim(arena_string(&r->arena, more, strlen(more)));
            line = arena_printf(&r->arena, "%s %s", line, more);
        }
        *d = (struct directive){.path = r->path, .line = at, .input = "", .expected = ""};
        parse_directive(d, line);
        if (read_input(r, d))
            read_expected(r, d);
        return true;
    }
    return false;
}

/* --- running --- */
static bool has_blank_line(const char *text)
{
    for (const char *p = text; *p;) {
        const char *end = strchr(p, '\n');
        if (!end)
            return false;
        bool blank = true;
        for (const char *c = p; c < end; c++)
            blank = blank && isspace((unsigned char)*c);
        if (blank)
            return true;
        p = end + 1;
    }
    return false;
}

static void emit_output(struct reader *r, const char *actual)
{
    const char *rule = has_blank_line(actual) ? "----\n----\n" : "----\n";
    buf_add_text(&r->rewritten, rule);
    buf_add_text(&r->rewritten, actual);
    if (has_blank_line(actual))
        buf_add_text(&r->rewritten, rule);
    buf_add_byte(&r->rewritten, '\n');
}

static bool read_file(const char *path, struct buf *ret_text)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    for (;;) {
        uint8_t *to = buf_reserve(ret_text, 4096);
        size_t n = fread(to, 1, 4096, f);
        ret_text->size += n;
        if (n == 0)
            break;
    }
    fclose(f);
    buf_add_byte(ret_text, 0);
    return true;
}

static void write_file(const char *path, const struct buf *text)
{
    /* One blank line less at the end: it belongs to the last directive. */
    size_t size = text->size;
    while (size > 1 && text->data[size - 1] == '\n' && text->data[size - 2] == '\n')
        size--;
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(text->data, 1, size, f) != size)
        fprintf(stderr, "%s: cannot be written\n", path);
    if (f)
        fclose(f);
}

static void show_difference(const struct directive *d, const char *actual)
{
    const char *e = d->expected, *a = actual;
    unsigned line = 1;
    while (*e && *a) {
        size_t el = strcspn(e, "\n"), al = strcspn(a, "\n");
        if (el != al || memcmp(e, a, el) != 0)
            break;
        e += el + (e[el] != 0);
        a += al + (a[al] != 0);
        line++;
    }
    printf("%s:%u: %s: line %u of the output\n  expected: %.*s\n  actual:   %.*s\n", d->path, d->line,
           d->command, line, (int)strcspn(e, "\n"), e, (int)strcspn(a, "\n"), a);
    if (getenv("SCENARIO_VERBOSE"))
        printf("--- expected\n%s--- actual\n%s---\n", d->expected, actual);
}

struct datadriven_result datadriven_run(const char *path, bool rewrite,
                                        void (*run)(void *arg, const struct directive *d, struct buf *out),
                                        void *arg)
{
    struct datadriven_result result = {0};
    struct buf text = {0};
    if (!read_file(path, &text))
        return (struct datadriven_result){.unreadable = true};
    struct reader r = {.path = path, .text = (char *)text.data, .next = (char *)text.data};
    struct directive d;
    while (next_directive(&r, &d)) {
        struct buf out = {0};
        result.directives++;
        run(arg, &d, &out);
        if (out.size && out.data[out.size - 1] != '\n')
            buf_add_byte(&out, '\n');
        const char *actual = buf_text(&out);
        if (!rewrite && strcmp(actual, d.expected) != 0 && result.differences++ < DIFFERENCES_SHOWN)
            show_difference(&d, actual);
        emit_output(&r, actual);
        buf_done(&out);
        arena_reset(&r.arena);
    }
    if (rewrite)
        write_file(path, &r.rewritten);
    buf_done(&r.rewritten);
    buf_done(&text);
    arena_done(&r.arena);
    return result;
}
