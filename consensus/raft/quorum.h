/* SPDX-License-Identifier: Apache-2.0
 * Id sets and majorities over them. Pure functions without knowledge of indexes or votes. A joint decision
 * needs both halves; an empty half always agrees. */
#ifndef CONSENSUS_RAFT_QUORUM_H
#define CONSENSUS_RAFT_QUORUM_H

#include "consensus/raft/message.h"

bool raft_ids_equal(const struct raft_ids *a, const struct raft_ids *b);
bool raft_ids_sorted(const struct raft_ids *ids); /* and unique, without 0, within the limit */
/* Elements that are in only one of the two. */
uint32_t raft_ids_difference(const struct raft_ids *a, const struct raft_ids *b);

enum raft_vote { RAFT_VOTE_MISSING, RAFT_VOTE_NO, RAFT_VOTE_YES };
enum raft_vote_result { RAFT_VOTE_PENDING, RAFT_VOTE_LOST, RAFT_VOTE_WON };

/* The highest index that a majority has reached; a member that did not answer counts 0. Sorts `acked`.
 * Without members there is no constraint: RAFT_NO_LIMIT. */
uint64_t raft_majority_index(uint64_t *acked, size_t count);
/* Without members: won. */
enum raft_vote_result raft_majority_vote(const enum raft_vote *votes, size_t count);

uint64_t raft_joint_index(uint64_t incoming, uint64_t outgoing);
enum raft_vote_result raft_joint_vote(enum raft_vote_result incoming, enum raft_vote_result outgoing);

#endif
