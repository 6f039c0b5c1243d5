/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: configuration changes from the network. The decoder refuses the bytes, or the change survives
 * an encode and decode round trip. */
#include <stdlib.h>

#include "consensus/raft/message.h"

static bool equal(const struct raft_conf_change *a, const struct raft_conf_change *b)
{
    bool same = a->transition == b->transition && a->count == b->count && a->id == b->id &&
                slice_equal(a->context, b->context);
    for (uint32_t i = 0; same && i < a->count; i++)
        same = a->changes[i].type == b->changes[i].type && a->changes[i].node_id == b->changes[i].node_id;
    return same;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int v1 = 0; v1 < 2; v1++) {
        struct raft_conf_change change, again;
        if (raft_conf_change_decode(slice_of(data, size), v1, &change))
            continue;
        struct blob *bytes = raft_conf_change_encode(&change, v1);
        if (raft_conf_change_decode(blob_slice(bytes), v1, &again) || !equal(&change, &again))
            abort();
        blob_unref(bytes);
    }
    return 0;
}
