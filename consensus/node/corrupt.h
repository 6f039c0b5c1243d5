/* SPDX-License-Identifier: Apache-2.0
 * Whose state differs? Members remember the digest of their state at a common place of the log, the leader
 * tells its own, and whoever sees a difference makes all tell theirs: the digest that most voters have is the
 * right one. Pure: what is told comes in the order of the log, so all members come to the same verdict.
 *
 * A member that was not there (it has started, or got a snapshot, since) has nothing to tell and is never
 * judged. */
#ifndef CONSENSUS_NODE_CORRUPT_H
#define CONSENSUS_NODE_CORRUPT_H

#include "consensus/raft/message.h"

/* Valid when zeroed: nothing is remembered. */
struct corrupt {
    uint64_t index; /* of the last mark; 0 = none */
    uint32_t digest;
    bool is_known;     /* this member applied the mark's entry itself */
    bool is_differing; /* two that were told differ */
    bool has_told;     /* this member's is on its way */
    struct corrupt_reported {
        uint64_t member;
        uint32_t digest;
    } told[RAFT_MEMBERS_MAX];
    size_t count;
};

enum corrupt_verdict {
    CORRUPT_NOT_YET,     /* nothing differs, or too few have told */
    CORRUPT_DECIDED,     /* a majority of the voters has the same digest, others have not */
    CORRUPT_NO_MAJORITY, /* all voters have told, or no majority is possible any more */
};

/* A mark at this index: what was before is forgotten. */
void corrupt_mark(struct corrupt *c, uint64_t index, uint32_t digest);
/* A member's digest at the mark; one of another mark is passed over. True: this member must tell its own now.
 */
bool corrupt_report(struct corrupt *c, uint64_t self, uint64_t member, uint64_t index, uint32_t digest);
enum corrupt_verdict corrupt_judge(const struct corrupt *c, const struct raft_ids *voters);
/* After CORRUPT_DECIDED: it has told another digest than the majority. */
bool corrupt_is_diverged(const struct corrupt *c, const struct raft_ids *voters, uint64_t member);

#endif
