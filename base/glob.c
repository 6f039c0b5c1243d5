/* SPDX-License-Identifier: Apache-2.0
 * Patterns of names; see glob.h. The first part is at the name's beginning and the last at its end. Each part
 * between them is found at the first place after the one before it: if any choice of places fits, this one
 * does. memmem is linear, so no pattern makes a match slow. */
#include "base/glob.h"

#include <stdio.h>
#include <string.h>

#include "base/name.h"

static int glob_error(const char *what, const char *text, char *error, size_t error_size)
{
    snprintf(error, error_size, "%s %s", what, text);
    return ERR_INVALID;
}

static void end_part(struct glob *g, size_t from)
{
    g->parts[g->count++] = slice_of(g->memory.data + from, g->memory.size - from);
}

/* Splits the pattern at its `*`. Several `*` side by side are one. */
static int split(struct glob *g, struct slice text, const char *what, char *error, size_t error_size)
{
    size_t from = 0;
    bool was_star = false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        bool is_star = c == '*';
        if (is_star && was_star)
            continue;
        was_star = is_star;
        if (is_star && g->count == GLOB_STARS_MAX)
            return glob_error(what, "has more than 8 `*`", error, error_size);
        if (is_star) {
            end_part(g, from);
            from = g->memory.size;
            continue;
        }
        if (c == '\\') {
            if (i + 1 == text.size || (text.data[i + 1] != '*' && text.data[i + 1] != '\\'))
                return glob_error(what, "has a backslash before neither * nor a backslash", error,
                                  error_size);
            c = text.data[++i];
        }
        buf_add_byte(&g->memory, c);
    }
    end_part(g, from);
    return OK;
}

int glob_read(struct glob *g, struct slice text, size_t max, const char *what, char *error, size_t error_size)
{
    glob_done(g);
    int err = name_check(text, max, what, error, error_size);
    if (err)
        return err;
    buf_reserve(&g->memory, text.size + 1); /* so that it does not move while the parts are added */
    if (memchr(text.data, '*', text.size))
        return split(g, text, what, error, error_size);
    buf_add_slice(&g->memory, text);
    end_part(g, 0);
    return OK;
}

void glob_set_prefix(struct glob *g, struct slice prefix)
{
    glob_done(g);
    buf_reserve(&g->memory, prefix.size + 1);
    buf_add_slice(&g->memory, prefix);
    end_part(g, 0);
    end_part(g, prefix.size);
}

void glob_done(struct glob *g)
{
    buf_done(&g->memory);
    *g = (struct glob){0};
}

static bool has_at(struct slice name, size_t at, struct slice part)
{
    return !part.size || memcmp(name.data + at, part.data, part.size) == 0;
}

bool glob_matches(const struct glob *g, struct slice name)
{
    struct slice first = g->parts[0], last = g->parts[g->count - 1];
    if (glob_is_name(g))
        return slice_equal(first, name);
    if (!name.size) /* only `*` matches: two stars have a part between them */
        return g->count == 2 && !first.size && !last.size;
    if (name.size < first.size + last.size || !has_at(name, 0, first) ||
        !has_at(name, name.size - last.size, last))
        return false;
    size_t at = first.size, end = name.size - last.size;
    for (size_t i = 1; i + 1 < g->count; i++) {
        struct slice part = g->parts[i];
        const uint8_t *found = memmem(name.data + at, end - at, part.data, part.size);
        if (!found)
            return false;
        at = (size_t)(found - name.data) + part.size;
    }
    return true;
}

struct slice glob_prefix(const struct glob *g)
{
    return g->parts[0];
}
