/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: contents that refer to each other, separated by 0x01. The first byte of each is its format (j, y, p,
 * else text); their names are n/g/a, n/g/b, n/g/c, n/h/b and m/g/d. The result is the same twice and within its
 * limit, a content without "${" stays as it is, what is needed is not there, and a refusal names a place. */
#include <assert.h>
#include <stdio.h>

#include "base/text.h"
#include "config/render/render.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DOCUMENTS = 5 };
static const char *const names[DOCUMENTS][3] = {
    {"n", "g", "a"}, {"n", "g", "b"}, {"n", "g", "c"}, {"n", "h", "b"}, {"m", "g", "d"}};

static size_t read_documents(const uint8_t *data, size_t size, struct render_document ret[DOCUMENTS])
{
    size_t count = 0;
    for (size_t at = 0; at < size && count < DOCUMENTS; count++) {
        const uint8_t *end = memchr(data + at, 1, size - at);
        size_t stop = end ? (size_t)(end - data) : size;
        uint8_t f = data[at];
        at += at < stop;
        ret[count] = (struct render_document){
            .name = {slice_text(names[count][0]), slice_text(names[count][1]), slice_text(names[count][2])},
            .format = f == 'j'   ? FORMAT_JSON
                      : f == 'y' ? FORMAT_YAML
                      : f == 'p' ? FORMAT_PROPERTIES
                                 : FORMAT_TEXT,
            .content = slice_of(data + at, stop - at),
        };
        at = stop + 1;
    }
    return count;
}

static void check_needed(const struct render_document *list, size_t count, const struct render_name *n)
{
    assert(n->name.size && n->group.size && n->ns.size);
    for (size_t i = 0; i < count; i++)
        assert(!slice_equal(list[i].name.name, n->name) || !slice_equal(list[i].name.group, n->group) ||
               !slice_equal(list[i].name.ns, n->ns));
}

static void check_place(const struct format_error *e)
{
    char place[64];
    snprintf(place, sizeof place, "line %zu, column %zu: ", e->line, e->column);
    assert(e->line && e->column && strncmp(e->text, place, strlen(place)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct render_document list[DOCUMENTS];
    struct render_result r, again;
    size_t count = read_documents(data, size, list);
    if (!count)
        return 0;
    int err = render_run(list, count, &r);
    assert(render_run(list, count, &again) == err && slice_equal(buf_slice(&r.out), buf_slice(&again.out)) &&
           strcmp(r.where.text, again.where.text) == 0);
    assert(err == OK || err == ERR_NOT_READY || err == ERR_MALFORMED || err == ERR_REQUEST_TOO_LARGE);
    assert(r.out.size <= RENDER_BYTES_MAX);
    if (err)
        check_place(&r.where);
    if (err == ERR_NOT_READY)
        check_needed(list, count, &r.needed);
    if (err && utf8_is_valid(slice_of(data, size)))
        assert(utf8_is_valid(slice_text(r.where.text)));
    const struct slice first = list[0].content;
    if (!first.size || !memmem(first.data, first.size, "${", 2))
        assert(err == OK && slice_equal(buf_slice(&r.out), first));
    render_result_done(&r);
    render_result_done(&again);
    return 0;
}
