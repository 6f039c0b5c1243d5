/* SPDX-License-Identifier: Apache-2.0
 * Common rules for the fuzz targets of the format checkers. The same text gives the same result twice, and a
 * refusal names a place within the text in UTF-8. */
#ifndef TESTS_FUZZ_FORMAT_H
#define TESTS_FUZZ_FORMAT_H

#include <assert.h>
#include <stdio.h>

#include "base/text.h"
#include "config/format/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline bool fuzz_format(enum format f, const uint8_t *data, size_t size)
{
    struct format_error error = {0}, again = {0};
    char place[64];
    int err = format_check(f, slice_of(data, size), &error);
    assert(format_check(f, slice_of(data, size), &again) == err && strcmp(error.text, again.text) == 0);
    assert(err == OK || err == ERR_MALFORMED);
    if (!err)
        return true;
    snprintf(place, sizeof place, "line %zu, column %zu: ", error.line, error.column);
    assert(strncmp(error.text, place, strlen(place)) == 0 && utf8_is_valid(slice_text(error.text)));
    assert(error.line >= 1 && error.column >= 1 && error.line + error.column <= size + 2);
    return false;
}

#endif
