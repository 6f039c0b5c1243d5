/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a raft message from another member. The decoder refuses the bytes, or the message encodes to
 * the same bytes and keeps to the limits. */
#include <stdlib.h>

#include "consensus/peer/codec.h"

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

static void check(const struct raft_message *m)
{
    MUST(m->type < RAFT_MSG_COUNT && !raft_message_is_local(m->type) && m->response_count == 0);
    MUST(m->term <= RAFT_POSITION_MAX && m->index <= RAFT_POSITION_MAX && m->commit <= RAFT_POSITION_MAX);
    MUST(m->context.size <= RAFT_CONTEXT_MAX && m->entry_count <= CODEC_ENTRIES_MAX);
    for (size_t i = 0; i < m->entry_count; i++) {
        MUST(m->entries[i].type <= RAFT_ENTRY_CONF_CHANGE_V2 && m->entries[i].index <= RAFT_POSITION_MAX);
        MUST(!m->entries[i].data || m->entries[i].data->references == 1);
    }
    if (m->snapshot)
        MUST(m->snapshot->conf_state.voters.count <= RAFT_MEMBERS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a = {0};
    struct buf again = {0};
    struct raft_message m;
    if (codec_read_raft(slice_of(data, size), &a, &m) == OK) {
        check(&m);
        codec_add_raft(&again, &m);
        MUST(again.size == size + 1 && again.data[0] == CODEC_RAFT);
        MUST(memcmp(again.data + 1, data, size) == 0);
        codec_done_raft(&m);
    }
    buf_done(&again);
    arena_done(&a);
    return 0;
}
