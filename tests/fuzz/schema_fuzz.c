/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a format (the first byte: j, y, p), a JSON Schema, and after the first 0x01 a content. A schema that
 * compiles checks a well-formed content with the same result twice; a refusal names a place. The values of a content
 * are JSON when they are written, and the text before the 0x01 is tried as a path and as a pattern too. */
#include "config/schema/regex.h"
#include "config/schema/schema.h"
#include "tests/fuzz/format.h"

static void check_place(const struct format_error *e)
{
    char place[64];
    snprintf(place, sizeof place, "line %zu, column %zu: ", e->line, e->column);
    assert(e->line && e->column && strncmp(e->text, place, strlen(place)) == 0 &&
           utf8_is_valid(slice_text(e->text)));
}

static void try_pattern(struct slice text, struct slice content)
{
    char why[200];
    struct arena a = {0};
    struct regex *r;
    int64_t steps = 100000;
    uint32_t left = REGEX_STATES_MAX;
    if (regex_compile(text, &a, &left, &r, why, sizeof why) == OK)
        (void)regex_matches(r, content, &steps);
    arena_done(&a);
}

static void try_values(enum format f, struct slice path, struct slice content)
{
    struct value_tree t;
    struct format_error error = {0};
    const struct value *v;
    char why[256];
    struct buf out = {0};
    struct json_writer w = {.out = &out};
    if (value_read(f, content, &t, &error) != OK) {
        check_place(&error);
    } else if (value_find(f, t.documents[0], path, &v, why, sizeof why) == OK || (v = t.documents[0])) {
        if (value_write(v, &w, 1 << 20) && format_check(FORMAT_JSON, buf_slice(&out), &error))
            assert(strstr(error.text, "duplicate key")); /* YAML: 1 and "1" are two keys */
    }
    buf_done(&out);
    value_tree_done(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct format_error error = {0}, again = {0};
    struct schema *s = NULL;
    if (!size)
        return 0;
    enum format f = data[0] == 'y' ? FORMAT_YAML : data[0] == 'p' ? FORMAT_PROPERTIES : FORMAT_JSON;
    const uint8_t *end = memchr(data, 1, size);
    struct slice text = slice_of(data + 1, (end && end > data ? (size_t)(end - data) : size) - 1);
    struct slice content =
        end && end > data ? slice_of(end + 1, size - (size_t)(end + 1 - data)) : slice_text("{}");
    try_pattern(text, content);
    int err = schema_compile(text, &s, &error);
    assert((err == OK) == (s != NULL) && (err == OK || err == ERR_MALFORMED));
    if (err)
        check_place(&error);
    if (format_check(f, content, &error) == OK) {
        try_values(f, text, content);
        if (s && schema_check(s, f, content, &error)) {
            check_place(&error);
            assert(schema_check(s, f, content, &again) == ERR_MALFORMED &&
                   strcmp(error.text, again.text) == 0);
        }
    }
    schema_free(s);
    return 0;
}
