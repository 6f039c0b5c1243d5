/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a failpoint's terms. The parser refuses them, or the failpoint is passed a few times. A sleep
 * is never longer than an hour. */
#include <assert.h>

#include "base/failpoint_terms.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct failpoint_terms *t;
    if (failpoint_terms_new(slice_of(data, size), &t) != OK)
        return 0;
    assert(slice_equal(failpoint_terms_text(t), slice_of(data, size)));
    for (int i = 0; i < 8; i++)
        assert(failpoint_terms_pass(t, i / 8.0).sleep_ms <= 3600 * 1000);
    assert(failpoint_terms_count(t) <= 8);
    failpoint_terms_free(t);
    return 0;
}
