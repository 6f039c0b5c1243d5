/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: requests and answers between members about listeners. A message that can be read is written
 * as the same bytes. */
#include <assert.h>

#include "config/listen_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_of(data, size);
    struct config_id key;
    struct listen_answer answer;
    struct arena a = {0};
    struct buf again = {0};
    if (listen_read_query(bytes, &key) == OK) {
        listen_write_query(&key, &again);
        assert(slice_equal(bytes, buf_slice(&again)));
    }
    buf_clear(&again);
    if (listen_read_answer(bytes, &a, &answer) == OK) {
        listen_write_answer(&answer, SIZE_MAX, &again);
        assert(slice_equal(bytes, buf_slice(&again)));
    }
    buf_done(&again);
    arena_done(&a);
    return 0;
}
