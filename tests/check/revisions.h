/* SPDX-License-Identifier: Apache-2.0
 * Linearizability by revisions. Every reply carries the store's revision, and so the order of execution. The
 * checker needs no search: it builds the order from acknowledged mutations and the replay, inserts the
 * operations of unknown outcome, and compares all responses with the state at their revisions. O(n log n).
 * The other checkers use this order. */
#ifndef TESTS_CHECK_REVISIONS_H
#define TESTS_CHECK_REVISIONS_H

#include "tests/check/check.h"
#include "tests/check/timeline.h"

enum revisions_author { AUTHOR_NOBODY, AUTHOR_OPERATION, AUTHOR_LEASE, AUTHOR_LEASE_PART };

struct revisions_entry {
    int64_t revision;
    const struct history_change *changes;
    size_t count;
    enum revisions_author author;
    const struct history_op *op; /* AUTHOR_OPERATION */
    int64_t lease;               /* the end of this lease; of a part of its keys: AUTHOR_LEASE_PART */
    int64_t told_lease;          /* history_commit.ended_lease */
    /* It was committed before this time: the earliest reply or response that shows so. */
    int64_t seen_ns;
    const struct history_op *seen_by_op;
    const struct history_watch *seen_by_watch;
};

/* A key was put with a lease. */
struct revisions_attachment {
    int64_t lease, revision;
    struct slice key;
};

struct revisions {
    const struct history *history;
    struct timeline timeline;
    struct revisions_entry *entries; /* entries[i] is revision i + 2 */
    size_t count;
    struct revisions_attachment *attachments; /* by lease, key, revision */
    size_t attachment_count;
    struct arena arena;
};

/* Checks and builds. False: there is no order to compare with; is_undecided, or findings, say why. */
bool revisions_check(struct revisions *r, const struct history *h, const struct check_options *options,
                     struct check_report *report);
void revisions_done(struct revisions *r);

const struct revisions_entry *revisions_at(const struct revisions *r, int64_t revision); /* NULL: none */
/* True: the operation is acknowledged, and its reply shows a change. */
bool revisions_is_mutation(const struct history_op *op);
/* Keys attached to a lease at a revision; ret_key may be NULL, gets one of them. */
size_t revisions_attached(const struct revisions *r, int64_t lease, int64_t at, struct slice *ret_key);
/* "seen by #3 get by client 1", or by a watch. */
void revisions_describe_proof(struct buf *b, const struct revisions_entry *e);

#endif
