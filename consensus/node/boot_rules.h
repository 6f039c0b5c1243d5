/* SPDX-License-Identifier: Apache-2.0
 * Rules for the start of a member without data. Pure: the others' answers and the time go in, the next step
 * comes out. boot.c sends the queries, waits and carries the steps out.
 *
 * Two things must never happen: two clusters from one set of flags, and a member that votes under an identity
 * whose earlier votes and acknowledgements it has lost. Two facts decide, and neither depends on timing:
 *
 *   blank    A member without data, or with nothing but the state it was created with: its term is not above
 *            the first, so it has neither voted nor stored anything. A process may begin the cluster under
 *            the identity of its flags when it has found every other expected member blank since it started.
 *            The others' present state does not matter: an earlier vote under this identity would have left
 *            a mark on each member of the quorum in which it counted.
 *   claimed  A member that was added later starts only after its name went through the log, and the log takes
 *            a name for an id once. An id with a name, or a member that was heard, has been started.
 *
 * A quorum of blank members is enough for etcd. Take n1, n2 and n3, and two histories:
 *
 *   fresh    n2 and n3 start for the first time. n1 is late.
 *   loss     n1 and n3 began, and committed entries without n2. n3 loses its disk. n1 is cut off. n2 and n3 start.
 *
 * In both, n2 and n3 have no data, find each other blank and do not reach n1. Nothing else can be asked: all
 * that told the histories apart is on the disk of n1 and on the one that was lost. A rule that begins in the
 * first history begins in the second one, too: n3 votes again under an id whose acknowledgements it has lost,
 * and the same cluster id has two logs. So the operator chooses by --initial-cluster-state:
 *
 *   new      as etcd: a quorum begins. It waits BOOT_QUORUM_MS for the others, and does not begin at all when
 *            it has met a member with data. Only the loss of a majority of the disks, or of those that were
 *            ever used, while all others are cut off, leads to two logs.
 *   auto     it begins only when it has found all others blank: n1 cannot have begun without n2, so the
 *            histories differ. For orchestrators, which start a member on an empty disk by themselves.
 *
 * A member that comes after the quorum has begun is replaced under a new id: nobody can know whether it had
 * voted. Without --auto-join it could not come, so then `new` waits for all as well.
 *
 * All other members that were started before are removed and come back as learners under a new id. */
#ifndef CONSENSUS_NODE_BOOT_RULES_H
#define CONSENSUS_NODE_BOOT_RULES_H

#include "base/buf.h"
#include "base/mem.h"
#include "consensus/kv.h"
#include "proto/peer.pb-c.h"

#define BOOT_NOT_LISTED_MS 3000 /* other members may know of an addition so much later than the leader */
#define BOOT_QUORUM_MS     3000 /* a quorum of blank members waits so long for the others */

enum boot_step {
    BOOT_WAIT,      /* `text` says for what */
    BOOT_BOOTSTRAP, /* begin the cluster of the flags, under the identity of the flags */
    BOOT_JOIN,      /* start as `member_id` of the cluster of `best` */
    BOOT_REQUEST,   /* send the request `kind` to the leader at `urls` */
    BOOT_REFUSE,    /* end with the error `text` */
};

struct boot_decision {
    enum boot_step step;
    Peerpb__BootstrapQuery__Kind kind;
    uint64_t member_id;
    const Peerpb__Answer *best; /* the answer that decided; valid until the next answer */
    char *const *urls;          /* the leader's, from `best` */
    size_t url_count;
    char text[1024]; /* of BOOT_BOOTSTRAP: the members that are missing */
};

/* This member according to its flags. Borrowed. */
struct boot_self {
    uint64_t run; /* random, of this process */
    const char *name, *token;
    const struct kv_member_option *cluster; /* one per peer URL */
    size_t cluster_count;
    const char *const *peer_urls;
    size_t peer_url_count;
    bool is_existing, is_auto, auto_join; /* is_auto: the flags do not say whether the others have begun */
};

/* Another expected member. */
struct boot_peer {
    const char *name;
    const char **urls;
    size_t url_count;
    Peerpb__Answer *answer; /* to the last query; NULL = none, or it did not come */
    bool was_blank;         /* in this run, with our flags */
    bool had_data;          /* in this run, before it was found blank */
};

struct boot_rules {
    struct boot_self self;
    uint64_t member_id, cluster_id; /* derived from the flags */
    char **cluster;                 /* "name=url", sorted */
    size_t cluster_count;
    struct boot_peer *peers;
    size_t peer_count;
    uint64_t claimed_id;          /* granted in this run */
    bool is_replacing;            /* a leader was requested to in this run, and may have done it */
    uint64_t not_listed_since_ms; /* 0 = it is listed, or unknown */
    uint64_t quorum_since_ms;     /* a quorum was found blank; 0 = not yet */
};

void boot_rules_init(struct boot_rules *r, const struct boot_self *self);
void boot_rules_done(struct boot_rules *r);
/* Takes a peer's answer to WHO; NULL: the peer could not be reached. An answer to another run counts as
 * none. */
void boot_rules_answer(struct boot_rules *r, size_t peer, Peerpb__Answer *answer);
/* The leader's answer to `request`, NULL = none. All earlier answers may be old now and are dropped. */
void boot_rules_outcome(struct boot_rules *r, const struct boot_decision *request,
                        const Peerpb__Answer *answer);
void boot_rules_decide(struct boot_rules *r, uint64_t now_ms, struct boot_decision *ret_decision);
/* This member's answer to WHO while it bootstraps. All pointers are borrowed from r. */
void boot_rules_describe(const struct boot_rules *r, Peerpb__Answer *ret_answer);

#endif
