/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: server/alpn.c, which reads ALPN protocols from a ClientHello. The input is arbitrary bytes,
 * whole and cut. A cut input gives "more" or the same result as the whole. "more" always asks for more bytes
 * than there are. */
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
