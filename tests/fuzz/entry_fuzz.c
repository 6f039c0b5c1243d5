/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a log entry. The decoder refuses the bytes or returns an entry with at most one message. */
#include <stdlib.h>

#include "consensus/entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct entry e;
    if (entry_decode(slice_of(data, size), &e) != OK)
        return 0;
    if (e.version.size > size || (!e.op && !e.unknown && !e.is_skipped))
        abort();
    if (!e.op)
        return 0;
    const ProtobufCMessageDescriptor *type = entry_descriptor(e.op);
    if (!type || e.body.size > size)
        abort();
    struct slice rest = e.needs;
    struct auth_need need;
    while (e.has_needs && entry_next_need(&rest, &need) == OK)
        if (need.key.size > size || need.range_end.size > size)
            abort();
    struct arena a = {0};
    (void)protobuf_c_message_unpack(type, arena_allocator(&a), e.body.size, e.body.data);
    arena_done(&a);
    return 0;
}
