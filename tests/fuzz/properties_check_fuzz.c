/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as Java's properties: an answer, with a place if it is no. What is accepted stays so with a
 * comment behind it. */
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
