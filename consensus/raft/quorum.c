/* SPDX-License-Identifier: Apache-2.0
 * Sets of ids as sorted arrays, and majorities; see quorum.h. */
#include "consensus/raft/quorum.h"

/* The position of id, or the one where it would be. */
static uint32_t position(const struct raft_ids *ids, uint64_t id)
{
    uint32_t low = 0, high = ids->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (ids->id[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool raft_ids_has(const struct raft_ids *ids, uint64_t id)
{
    uint32_t at = position(ids, id);
    return at < ids->count && ids->id[at] == id;
}

bool raft_ids_add(struct raft_ids *ids, uint64_t id)
{
    uint32_t at = position(ids, id);
    if (at < ids->count && ids->id[at] == id)
        return true;
    if (ids->count == RAFT_MEMBERS_MAX)
        return false;
    memmove(ids->id + at + 1, ids->id + at, (ids->count - at) * sizeof ids->id[0]);
    ids->id[at] = id;
    ids->count++;
    return true;
}

void raft_ids_remove(struct raft_ids *ids, uint64_t id)
{
    uint32_t at = position(ids, id);
    if (at == ids->count || ids->id[at] != id)
        return;
    ids->count--;
    memmove(ids->id + at, ids->id + at + 1, (ids->count - at) * sizeof ids->id[0]);
}

bool raft_ids_equal(const struct raft_ids *a, const struct raft_ids *b)
{
    return a->count == b->count && memcmp(a->id, b->id, a->count * sizeof a->id[0]) == 0;
}

bool raft_ids_sorted(const struct raft_ids *ids)
{
    if (ids->count > RAFT_MEMBERS_MAX)
        return false;
    for (uint32_t i = 0; i < ids->count; i++)
        if (ids->id[i] <= (i ? ids->id[i - 1] : RAFT_NONE))
            return false;
    return true;
}

uint32_t raft_ids_difference(const struct raft_ids *a, const struct raft_ids *b)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < a->count; i++)
        n += !raft_ids_has(b, a->id[i]);
    for (uint32_t i = 0; i < b->count; i++)
        n += !raft_ids_has(a, b->id[i]);
    return n;
}

uint64_t raft_majority_index(uint64_t *acked, size_t count)
{
    if (count == 0)
        return RAFT_NO_LIMIT;
    for (size_t i = 1; i < count; i++) { /* insertion sort: few members, nearly equal indexes */
        uint64_t value = acked[i];
        size_t at = i;
        for (; at > 0 && acked[at - 1] > value; at--)
            acked[at] = acked[at - 1];
        acked[at] = value;
    }
    return acked[count - (count / 2 + 1)];
}

enum raft_vote_result raft_majority_vote(const enum raft_vote *votes, size_t count)
{
    if (count == 0)
        return RAFT_VOTE_WON;
    size_t tally[3] = {0};
    for (size_t i = 0; i < count; i++)
        tally[votes[i]]++;
    size_t majority = count / 2 + 1;
    if (tally[RAFT_VOTE_YES] >= majority)
        return RAFT_VOTE_WON;
    return tally[RAFT_VOTE_YES] + tally[RAFT_VOTE_MISSING] >= majority ? RAFT_VOTE_PENDING : RAFT_VOTE_LOST;
}

uint64_t raft_joint_index(uint64_t incoming, uint64_t outgoing)
{
    return incoming < outgoing ? incoming : outgoing;
}

enum raft_vote_result raft_joint_vote(enum raft_vote_result incoming, enum raft_vote_result outgoing)
{
    if (incoming == outgoing)
        return incoming;
    if (incoming == RAFT_VOTE_LOST || outgoing == RAFT_VOTE_LOST)
        return RAFT_VOTE_LOST;
    return RAFT_VOTE_PENDING;
}
