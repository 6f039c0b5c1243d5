/* SPDX-License-Identifier: Apache-2.0
 * Peer transport: streams of messages between known members, and bootstrap queries to a URL.
 *
 * This is the second interface to the outside beside io.h: peer_tcp.c implements it with libuv, the simulator
 * has an implementation of its own. Loop thread only.
 *
 * Guarantees:
 * - The messages of one stream from one run of a member arrive whole, in order, at most once. Any message may
 *   be lost, also in the middle.
 * - Nothing blocks, and no queue grows without bound. A message that does not fit is dropped, and its sender
 *   is notified (send returns false, or on_unreachable).
 * - The dialer of a stream has proved in its handshake that it is member `from` of this cluster and means
 *   this member (peer_proof.h lists the proofs).
 * - A connection of another cluster, to another member, of a removed member or without a proof is refused
 *   with a reason.
 *
 * Not here: the meaning of messages (kv/peer_events.c), and raft's messages as bytes (codec.h). */
#ifndef CONSENSUS_PEER_PEER_H
#define CONSENSUS_PEER_PEER_H

#include "base/buf.h"
#include "base/err.h"
#include "consensus/peer/peer_proof.h"

/* The streams between two members, in each direction. Each is a connection of its own, so that a snapshot
 * does not delay a heartbeat. */
enum peer_stream {
    PEER_STREAM_LOG,  /* raft's messages, forwarded requests: small, many, sent once a turn */
    PEER_STREAM_BULK, /* pieces of snapshots, member RPCs */
    PEER_STREAM_COUNT
};

#define PEER_MESSAGE_MAX                                                                                     \
    (15u << 20) /* bytes of one message; a longer one is not sent, and a connection that brings one is
                   closed */
#define PEER_QUERY_MAX (1u << 20) /* bytes of one query or answer */

struct peer_served_query; /* a query that waits for its answer: from on_query until peer_ops.answer */

/* The sender of a bootstrap query. */
struct peer_query_sender {
    enum peer_proof proof; /* NONE, TOKEN or CERTIFICATE; `confirm` starts a dial-back */
    struct slice urls;     /* CERTIFICATE: the comma-separated peer URLs that the certificate is for;
                              borrowed */
};

/* Callbacks of the transport. They run on the loop thread, never inside a call of peer_ops. */
struct peer_events {
    /* message is borrowed until the callback returns. */
    void (*on_message)(void *arg, uint64_t from, enum peer_stream stream, struct slice message);
    /* The stream to a member was lost, or an attempt to open it failed (once for each attempt). */
    void (*on_unreachable)(void *arg, uint64_t id, enum peer_stream stream);
    /* The stream to a member was established, or re-established. */
    void (*on_reachable)(void *arg, uint64_t id, enum peer_stream stream);
    /* A process, which need not be a member, sends a bootstrap query. Answer it now or later, exactly once; a
     * query that is open when the transport closes must not be answered. sender and text are borrowed. */
    void (*on_query)(void *arg, struct peer_served_query *query, const struct peer_query_sender *sender,
                     struct slice text);
    /* A process without a token or a certificate tried to open a stream as a member that is not in our list,
     * or whose known URLs did not confirm it. It was refused and tries again. If another known member lists
     * the member, pass its URLs to set_vouched. May be NULL. */
    void (*on_unconfirmed)(void *arg, uint64_t id);
    /* A member reports that this member was removed from the cluster. This is final. */
    void (*on_removed)(void *arg, uint64_t reporter);
};

struct peer_round_trip {
    uint64_t id;
    uint64_t last_ns;         /* 0 = not known yet */
    uint64_t active_since_ms; /* when the log stream came up (monotonic clock); 0 = it is down */
};

struct peers {
    const struct peer_ops *ops;
};

struct peer_ops {
    /* Until set_identity is called, no stream is opened or accepted; queries work in both directions. */
    void (*set_events)(struct peers *p, const struct peer_events *events, void *arg);
    void (*set_identity)(struct peers *p, uint64_t cluster_id, uint64_t member_id);
    /* Sets feature levels: `own` is announced to other members; `required` is the level of the cluster. From
     * now on, no stream to or from a member with a lower level is opened. May be NULL. */
    void (*set_level)(struct peers *p, unsigned own, unsigned required);
    /* Adds a member to reach, or sets its new URLs (copied). This member itself is ignored. */
    void (*set_member)(struct peers *p, uint64_t id, const char *const *urls, size_t count);
    /* Removes a member: closes its streams, and from now on refuses its connections as removed. */
    void (*remove_member)(struct peers *p, uint64_t id);

    /* Adds URLs of a member that another member's list names ("vouches for"), when it is not in our list or
     * has other URLs there. It is dialed there, too, and its streams are accepted when they are proved.
     * Removed members are ignored. */
    void (*set_vouched)(struct peers *p, uint64_t id, const char *const *urls, size_t count);

    /* Copies the message (head and body joined) into the queue of the stream; flush sends it. False: it was
     * dropped, because the stream is down or its queue is full. */
    bool (*send)(struct peers *p, uint64_t to, enum peer_stream stream, struct slice head, struct slice body);
    /* Bytes queued on the stream, for flow control of snapshots. */
    size_t (*queued)(struct peers *p, uint64_t to, enum peer_stream stream);
    void (*flush)(struct peers *p); /* sends what is queued; at the end of a turn */

    /* Sends one query to the process that listens at url. Returns a number for cancel, never 0. done is
     * called once, later; answer is borrowed and empty after an error:
     * - OK
     * - ERR_TIMEOUT
     * - ERR_CLOSED: no process listens, the name does not resolve, or the listener closed
     * - ERR_LIMIT: text is longer than PEER_QUERY_MAX, or the answer is too long
     * - ERR_PERMISSION_DENIED: a proof is required and the listener showed none */
    uint64_t (*query)(struct peers *p, const char *url, struct slice text, uint64_t timeout_ms,
                      void (*done)(void *arg, int err, struct slice answer), void *arg);
    void (*cancel)(struct peers *p, uint64_t number); /* done will not be called */
    void (*answer)(struct peers *p, struct peer_served_query *query, struct slice text);

    /* Dials each of the recorded URLs in turn until one answers whether it sent this query. done is called
     * once, later, unless the query is answered first. At most one confirm at a time for a query. */
    void (*confirm)(struct peers *p, struct peer_served_query *query, const char *const *urls, size_t count,
                    void (*done)(void *arg, bool is_confirmed), void *arg);

    size_t (*round_trips)(struct peers *p, struct peer_round_trip *ret_list, size_t max);
};

#endif
