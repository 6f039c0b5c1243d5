/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: the difference of two texts that the first 0xff separates. The changes turn one text into the
 * other, the unified diff has as many lines of each kind as its header says, and the JSON form is valid
 * JSON. */
#include <assert.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "config/diff.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void apply(const struct diff *d, struct buf *out)
{
    uint32_t at = 0, to = 0;
    for (uint32_t i = 0; i < d->change_count; i++) {
        const struct diff_change *c = &d->changes[i];
        for (; at < c->from; at++, to++)
            buf_add_slice(out, d->from[at]);
        assert(at == c->from && to == c->to && (c->removed || c->added));
        at += c->removed;
        for (uint32_t n = 0; n < c->added; n++)
            buf_add_slice(out, d->to[to++]);
    }
    for (; at < d->from_count; at++, to++)
        buf_add_slice(out, d->from[at]);
    assert(to == d->to_count);
}

/* Lines after the two labels, by their first byte. */
static uint32_t count_lines(struct slice text, uint8_t mark)
{
    uint32_t count = 0, line = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (i && text.data[i - 1] != '\n')
            continue;
        count += line >= 2 && text.data[i] == mark;
        line++;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *mark = size ? memchr(data, 0xff, size) : NULL;
    size_t first = mark ? (size_t)(mark - data) : size;
    struct slice from = slice_of(data, first), to = slice_of(data + first, 0);
    if (mark)
        to = slice_of(mark + 1, size - first - 1);
    struct diff d;
    struct buf out = {0};
    char error[200];
    json_t *root;
    diff_init(&d, from, to);
    assert(slice_equal(from, to) == (d.change_count == 0));
    apply(&d, &out);
    assert(slice_equal(buf_slice(&out), to));
    buf_clear(&out);
    int err = diff_write(&d, "a", "b", SIZE_MAX / 2, &out);
    assert(err == OK);
    assert(count_lines(buf_slice(&out), '-') == d.removed && count_lines(buf_slice(&out), '+') == d.added);
    buf_clear(&out);
    struct json_writer w = {.out = &out};
    diff_write_json(&d, size / 2, &w);
    err = json_parse(buf_slice(&out), &root, error, sizeof error);
    assert(err == OK);
    json_decref(root);
    buf_done(&out);
    diff_done(&d);
    return 0;
}
