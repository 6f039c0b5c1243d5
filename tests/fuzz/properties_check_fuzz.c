/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: the checker of Java properties. It accepts the text, or refuses it and names a place. An
 * accepted text stays valid when a comment is appended. */
#include "tests/fuzz/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!fuzz_format(FORMAT_PROPERTIES, data, size))
        return 0;
    struct buf more = {0};
    struct format_error error;
    buf_add(&more, data, size);
    buf_add_text(&more, "\n\n# end\n");
    assert(format_check(FORMAT_PROPERTIES, buf_slice(&more), &error) == OK);
    buf_done(&more);
    return 0;
}
