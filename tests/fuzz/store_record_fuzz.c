/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: stored records from hostile bytes. The first 12 bytes are the revision. A record that decodes
 * must encode to bytes that decode to the same record. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "consensus/store/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record first, second;
    if (size < REVISION_KEY_SIZE)
        return 0;
    struct revision revision = revision_decode(data);
    struct slice bytes = slice_of(data + REVISION_KEY_SIZE, size - REVISION_KEY_SIZE);
    (void)!record_decode(bytes, revision, true, &first);
    if (record_decode(bytes, revision, false, &first) != 0)
        return 0;
    uint8_t *again = mem_alloc(RECORD_OVERHEAD_MAX + first.key.size + first.value.size);
    size_t length = record_encode(&first, revision, again);
    if (record_decode(slice_of(again, length), revision, true, &second) != 0 ||
        !slice_equal(first.key, second.key) || !slice_equal(first.value, second.value) ||
        first.create_revision != second.create_revision || first.version != second.version ||
        first.lease != second.lease)
        abort();
    mem_free(again);
    return 0;
}
