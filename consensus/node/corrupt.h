/* SPDX-License-Identifier: Apache-2.0
 * Corruption verdict: which members' state differs from the majority's.
 *
 *   1. Each member remembers the digest of its state at a common place of the log (the mark).
 *   2. The leader reports its digest through the log.
 *   3. A member that sees a difference makes all members report theirs.
 *   4. The digest of the majority of voters is the right one.
 *
 * Pure: reports come in log order, so all members reach the same verdict. A member that did not apply the
 * mark (it has started, or received a snapshot, since) reports nothing and is never judged. */
#ifndef CONSENSUS_NODE_CORRUPT_H
#define CONSENSUS_NODE_CORRUPT_H

#include "consensus/raft/message.h"

/* Valid when zeroed: there is no mark. */
struct corrupt {
    uint64_t index; /* of the last mark; 0 = none */
    uint32_t digest;
    bool is_known;       /* this member applied the mark's entry itself */
    bool has_difference; /* two reported digests differ */
    bool has_reported;   /* this member's report is on its way */
    struct corrupt_reported {
        uint64_t member;
        uint32_t digest;
    } reports[RAFT_MEMBERS_MAX];
    size_t count;
};

enum corrupt_verdict {
    CORRUPT_NOT_YET,     /* no difference, or too few reports */
    CORRUPT_DECIDED,     /* a majority of the voters has one digest, others have another */
    CORRUPT_NO_MAJORITY, /* all voters have reported, or no majority is possible any more */
};

/* A mark at this index: the previous one and its reports are dropped. */
void corrupt_mark(struct corrupt *c, uint64_t index, uint32_t digest);
/* A member's digest at the mark. A report of another mark is ignored. True: this member must report now. */
bool corrupt_report(struct corrupt *c, uint64_t self, uint64_t member, uint64_t index, uint32_t digest);
enum corrupt_verdict corrupt_judge(const struct corrupt *c, const struct raft_ids *voters);
/* After CORRUPT_DECIDED: its reported digest is not the majority's. */
bool corrupt_is_diverged(const struct corrupt *c, const struct raft_ids *voters, uint64_t member);

#endif
