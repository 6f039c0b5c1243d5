/* SPDX-License-Identifier: Apache-2.0
 * server/alpn.c: arbitrary bytes, whole and cut. A cut input never gives another answer than "more" or, when
 * it is already clear, "bad"; "more" always asks for more than there is. */
#include <assert.h>

#include "server/alpn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t needed = 0;
    enum alpn whole = alpn_read(slice_of(data, size), &needed);
    if (whole == ALPN_MORE)
        assert(needed > size);
    for (size_t n = 0; n < size && n < 600; n++) {
        enum alpn cut = alpn_read(slice_of(data, n), &needed);
        assert(cut != ALPN_MORE || needed > n);
        assert(cut == ALPN_MORE || cut == whole);
    }
    return 0;
}
