/* SPDX-License-Identifier: Apache-2.0
 * How members reach each other: messages between known members, and questions to a URL. The second seam
 * beside io.h: peer_tcp.c is the real one (libuv), the simulator brings its own. Loop thread only.
 *
 * What arrives on one lane from one run of a member arrives whole, in order, at most once; anything may be
 * lost, also in the middle. Nothing here blocks or buffers without bound: what does not fit is dropped and
 * its sender is told. The dialer of a stream has proved, when it opened the stream, that it is member `from`
 * of this cluster and means this member (peer_proof.h says by what); connections of another cluster, to
 * another member, from a removed member, or without a proof are refused with a reason.
 *
 * Not here: what messages mean (kv/peer_events.c), how raft's messages look as bytes (codec.h). */
#ifndef CONSENSUS_PEER_PEER_H
#define CONSENSUS_PEER_PEER_H

#include "base/buf.h"
#include "base/err.h"
#include "consensus/peer/peer_proof.h"

/* Each lane is a connection of its own, so that a snapshot never delays a heartbeat. */
enum peer_stream {
    PEER_STREAM_LOG,  /* raft's messages, forwarded calls; small, many, batched once a turn */
    PEER_STREAM_BULK, /* pieces of snapshots, members' questions to each other */
    PEER_STREAM_COUNT
};

#define PEER_MESSAGE_MAX                                                                                     \
    (15u << 20) /* of one message; a longer one is not sent, and ends a connection it comes on */
#define PEER_QUESTION_MAX (1u << 20) /* of one question or answer */

struct peer_served_query; /* somebody waits for an answer; from on_query until peer_ops.answer */

/* Who asks a bootstrap query. */
struct peer_asker {
    enum peer_proof proof; /* NONE, TOKEN or CERTIFICATE: a dial-back is asked for by confirm */
    struct slice urls;     /* CERTIFICATE: comma-separated peer URLs, for one of which it is; borrowed */
};

/* What comes in; all on the loop thread, never from inside a call of peer_ops. */
struct peer_events {
    /* message is borrowed. */
    void (*on_message)(void *arg, uint64_t from, enum peer_stream stream, struct slice message);
    /* The lane to a member is lost or could not be made (again and again: once for each attempt). */
    void (*on_unreachable)(void *arg, uint64_t id, enum peer_stream stream);
    /* The lane stands, after it did not. */
    void (*on_reachable)(void *arg, uint64_t id, enum peer_stream stream);
    /* A process that need not be a member asks; answer now or later, exactly once (or end). */
    void (*on_query)(void *arg, struct peer_served_query *question, const struct peer_asker *asker,
                     struct slice text);
    /* A process opened a stream without a token or a certificate, as a member that is not in our list or does
     * not confirm it at the URLs that we know. If another member that we know lists it, tell its URLs by
     * set_vouched: it was refused, and tries again. May be NULL. */
    void (*on_unconfirmed)(void *arg, uint64_t id);
    /* A member says that this one was removed from the cluster: final. */
    void (*on_removed)(void *arg, uint64_t told_by);
};

struct peer_round_trip {
    uint64_t id;
    uint64_t last_ns;         /* 0 = not known yet */
    uint64_t active_since_ms; /* when the log lane came up (mono); 0 = it is down */
};

struct peers {
    const struct peer_ops *ops;
};

struct peer_ops {
    /* Until identity is set no lane is opened or accepted, but questions go both ways. */
    void (*set_events)(struct peers *p, const struct peer_events *events, void *arg);
    void (*set_identity)(struct peers *p, uint64_t cluster_id, uint64_t member_id);
    /* Feature levels: what this member has, which it tells others; what the cluster is at: no stream to or
     * from a member with less is opened from now on. May be NULL. */
    void (*set_level)(struct peers *p, unsigned own, unsigned required);
    /* A member to reach, or its new URLs (copied). Itself: ignored. */
    void (*set_member)(struct peers *p, uint64_t id, const char *const *urls, size_t count);
    /* No longer a member: lanes are closed, its connections are refused as removed from now on. */
    void (*remove_member)(struct peers *p, uint64_t id);

    /* What another member's list says about a member that is not in ours (yet), or has other URLs there: it
     * is dialed there, too, and its streams are taken if they are proved. Ignored for removed members. */
    void (*set_vouched)(struct peers *p, uint64_t id, const char *const *urls, size_t count);

    /* Copies message (head and body are one message, joined) into the lane's queue, which leaves with flush.
     * False: dropped - the lane is down or its queue is full. */
    bool (*send)(struct peers *p, uint64_t to, enum peer_stream stream, struct slice head, struct slice body);
    /* Bytes that wait in the lane: for who paces himself (snapshots). */
    size_t (*queued)(struct peers *p, uint64_t to, enum peer_stream stream);
    void (*flush)(struct peers *p); /* end of a turn */

    /* One question to whoever listens at url; done comes once, later: OK and the answer, ERR_TIMEOUT,
     * ERR_CLOSED (nobody there, name does not resolve), ERR_LIMIT. Returns a number for cancel, never 0. */
    uint64_t (*ask)(struct peers *p, const char *url, struct slice text, uint64_t timeout_ms,
                    void (*done)(void *arg, int err, struct slice answer), void *arg);
    void (*cancel)(struct peers *p, uint64_t ask); /* done will not come */
    void (*answer)(struct peers *p, struct peer_served_query *question, struct slice text);

    /* Dials each of the recorded URLs in turn until one answers whether it asked this. done comes once,
     * later, unless the question is answered first. At most one at a time for a question. */
    void (*confirm)(struct peers *p, struct peer_served_query *question, const char *const *urls,
                    size_t count, void (*done)(void *arg, bool is_confirmed), void *arg);

    size_t (*round_trips)(struct peers *p, struct peer_round_trip *ret_list, size_t max);
};

#endif
