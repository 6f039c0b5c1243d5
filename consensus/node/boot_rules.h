/* SPDX-License-Identifier: Apache-2.0
 * How a member without data starts: the rules, pure. Answers of the others and the time go in, the next step
 * comes out. boot.c asks, waits and carries the steps out.
 *
 * Two things must never happen: two clusters out of one set of flags, and a member that votes under an
 * identity whose promises it has lost. Two facts decide, and neither needs a lucky moment:
 *
 *   blank    a member that has no data, or nothing but the beginning it was made with (no term above the
 *            first, so it has neither voted nor stored anything). Whoever has found every other expected
 *            member blank since his own process began may begin under the identity of the flags, whatever
 *            the others are by now: a promise of an earlier life of his would have left its mark on each
 *            member of the quorum that it counted in.
 *   claimed  a member that was added later is started only after its name went through the log, and a name
 *            goes in once. A seat that has a name, or that was heard, was started.
 *
 * Everything else that was started before is taken out and comes back as a learner under a new id. */
#ifndef CONSENSUS_NODE_BOOT_RULES_H
#define CONSENSUS_NODE_BOOT_RULES_H

#include "base/buf.h"
#include "base/mem.h"
#include "consensus/kv.h"
#include "proto/peer.pb-c.h"

#define BOOT_NOT_LISTED_MS 3000 /* who is not the leader may know of an addition so much later */

enum boot_step {
    BOOT_WAIT,      /* for what `text` says */
    BOOT_BOOTSTRAP, /* begin the cluster of the flags, under the identity of the flags */
    BOOT_JOIN,      /* begin as `member_id` of `seen`'s cluster */
    BOOT_ASK,       /* ask the leader for `kind`, at `urls` */
    BOOT_REFUSE,    /* end with `text` */
};

struct boot_decision {
    enum boot_step step;
    Peerpb__Question__Kind kind;
    uint64_t member_id;
    const Peerpb__Answer *seen; /* valid until the next answer */
    char *const *urls;          /* of seen's */
    size_t url_count;
    char text[1024];
};

/* Who this member is told to be. Borrowed. */
struct boot_self {
    uint64_t run; /* random, of this process */
    const char *name, *token;
    const struct kv_member_option *cluster; /* one per peer URL */
    size_t cluster_count;
    const char *const *peer_urls;
    size_t peer_url_count;
    bool is_existing, is_auto, auto_join; /* is_auto: not told whether the others have begun */
};

/* Another expected member. */
struct boot_peer {
    const char *name;
    const char **urls;
    size_t url_count;
    Peerpb__Answer *answer; /* of the last question; NULL = none, or it did not come */
    bool was_blank;         /* in this run, with our flags */
};

struct boot_rules {
    struct boot_self self;
    uint64_t member_id, cluster_id; /* of the flags */
    char **cluster;                 /* "name=url", sorted */
    size_t cluster_count;
    struct boot_peer *peers;
    size_t peer_count;
    uint64_t claimed_id;          /* granted in this run */
    bool is_replacing;            /* a leader was asked to in this run, and may have */
    uint64_t not_listed_since_ms; /* 0 = no */
};

void boot_rules_init(struct boot_rules *r, const struct boot_self *self);
void boot_rules_done(struct boot_rules *r);
/* What a peer said to WHO; takes the answer (NULL: it could not be reached). An answer to another run is no
 * answer. */
void boot_rules_answer(struct boot_rules *r, size_t peer, Peerpb__Answer *answer);
/* What the leader said to what was asked for: all that is known may be old now. */
void boot_rules_outcome(struct boot_rules *r, const struct boot_decision *asked,
                        const Peerpb__Answer *answer);
void boot_rules_decide(struct boot_rules *r, uint64_t now_ms, struct boot_decision *ret_decision);
/* What this member says while it asks. Everything is borrowed from r; ret_answer is valid as long. */
void boot_rules_describe(const struct boot_rules *r, Peerpb__Answer *ret_answer);

#endif
