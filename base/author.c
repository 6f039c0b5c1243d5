/* SPDX-License-Identifier: Apache-2.0
 * Authors of changes; see author.h. */
#include "base/author.h"

#include <stdio.h>

#include "base/text.h"

static const char *fault_of(struct slice text, size_t size_max)
{
    if (text.size > size_max)
        return "is longer than 256 bytes";
    if (!utf8_is_valid(text))
        return "is not valid UTF-8";
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] < 0x20 || text.data[i] == 0x7f)
            return "holds a control character";
    return NULL;
}

static struct slice copy_line(struct arena *a, struct slice text, size_t size_max)
{
    if (!text.size || fault_of(text, size_max))
        return (struct slice){0};
    return slice_of(arena_copy(a, text.data, text.size), text.size);
}

struct author author_copy(struct arena *a, const struct author *author)
{
    return (struct author){
        .name = copy_line(a, author->name, TEXT_SIZE_MAX),
        .on_behalf_of = copy_line(a, author->on_behalf_of, TEXT_SIZE_MAX),
        .address = copy_line(a, author->address, AUTHOR_ADDRESS_MAX),
    };
}

int author_check(struct slice on_behalf_of, char *error, size_t error_size)
{
    const char *fault = fault_of(on_behalf_of, TEXT_SIZE_MAX);
    if (fault)
        snprintf(error, error_size, "on_behalf_of %s", fault);
    return fault ? ERR_INVALID : OK;
}

void author_read(struct document_reader *r, struct author *ret)
{
    document_text(r, "author", &ret->name);
    document_text(r, "on_behalf_of", &ret->on_behalf_of);
    document_text(r, "address", &ret->address);
}

void author_write_members(const struct author *author, struct json_writer *w)
{
    document_add_text(w, "author", author->name);
    document_add_text(w, "on_behalf_of", author->on_behalf_of);
    document_add_text(w, "address", author->address);
}
