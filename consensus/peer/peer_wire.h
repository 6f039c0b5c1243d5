/* SPDX-License-Identifier: Apache-2.0
 * Wire format of connections between members: frames, and the payloads of the handshake; README.md has the
 * layouts. Pure: encode, decode, and which frame is allowed when.
 *
 * Invariant: no length is believed before its checksum was checked, and none above the limit of the present
 * stage. An unauthenticated connection gets no memory beyond that limit. */
#ifndef CONSENSUS_PEER_PEER_WIRE_H
#define CONSENSUS_PEER_PEER_WIRE_H

#include "base/buf.h"
#include "base/err.h"
#include "consensus/peer/peer_proof.h"

enum {
    WIRE_VERSION = 2,
    WIRE_HEADER_SIZE = 12,
    WIRE_HELLO_SIZE = 90, /* and the URLs */
    WIRE_URLS_MAX = 1024,
    WIRE_CHALLENGE_SIZE = 68,
    WIRE_CONFIRM_SIZE = 80,
    WIRE_REPLY_SIZE = 24,
    WIRE_PING_SIZE = 8,
};

enum wire_kind {
    WIRE_HELLO = 1,   /* first frame of the dialer */
    WIRE_HELLO_REPLY, /* from the dialed side: welcome, or the reason of a refusal */
    WIRE_MESSAGE,     /* on a stream, from the dialer */
    WIRE_PING,        /* from the dialer: its time */
    WIRE_PONG,        /* the ping's time; 0 = only a sign of life */
    WIRE_QUERY,       /* after a hello for WIRE_STREAM_QUERY: MAC of PROOF_MAC_SIZE bytes, then the text */
    WIRE_ANSWER,
    WIRE_CHALLENGE, /* from the dialed side, right after a hello: its nonce and its proof */
    WIRE_PROOF,     /* the dialer's proof: PROOF_MAC_SIZE bytes, zeros = it has no token */
    WIRE_CONFIRM,   /* after a hello for WIRE_STREAM_CONFIRM: did you open this connection? */
    WIRE_CONFIRMED, /* PROOF_MAC_SIZE bytes = yes, none = no */
};

/* The frames that the other side may send next. */
enum wire_stage {
    WIRE_AWAIT_HELLO,     /* incoming, no hello yet */
    WIRE_AWAIT_CHALLENGE, /* outgoing, HELLO sent */
    WIRE_AWAIT_PROOF,     /* incoming stream, HELLO read */
    WIRE_AWAIT_REPLY,     /* outgoing stream, PROOF sent */
    WIRE_AWAIT_MESSAGES,  /* incoming stream */
    WIRE_AWAIT_PONGS,     /* outgoing stream */
    WIRE_AWAIT_QUERY,
    WIRE_AWAIT_ANSWER,
    WIRE_AWAIT_CONFIRM,
    WIRE_AWAIT_CONFIRMED,
    WIRE_AWAIT_NOTHING,
};

#define WIRE_STREAM_CONFIRM 254 /* a dial-back */
#define WIRE_STREAM_QUERY   255 /* a bootstrap query */

struct wire_hello {
    uint16_t version;
    uint8_t stream;                /* enum peer_stream, WIRE_STREAM_CONFIRM or WIRE_STREAM_QUERY */
    uint32_t level;                /* the feature level of the dialer; 0 = the first */
    uint64_t cluster_id, from, to; /* 0 for a query */
    uint64_t run, number;          /* of the dialing process; of the connection within it. The highest number
                                      wins */
    uint8_t nonce[PROOF_NONCE_SIZE];
    struct slice urls; /* comma-separated peer URLs of `from`; borrowed */
};

struct wire_challenge {
    uint16_t version;
    uint8_t nonce[PROOF_NONCE_SIZE];
    uint8_t mac[PROOF_MAC_SIZE]; /* PROOF_DIALED; zeros = no token */
};

/* Identifies a connection that the receiver may have dialed. The tag proves knowledge of its nonce. */
struct wire_confirm {
    uint8_t stream;
    uint64_t cluster_id, from, to, run, number;
    uint8_t tag[PROOF_MAC_SIZE]; /* PROOF_CONFIRM_REQUEST */
};

enum wire_reason { /* on the wire: do not renumber */
                   WIRE_WELCOME = 0,
                   WIRE_VERSION_UNKNOWN = 1,
                   WIRE_NOT_READY = 2, /* the dialed process has no identity yet */
                   WIRE_WRONG_CLUSTER = 3,
                   WIRE_WRONG_MEMBER = 4, /* the dialed member is not `to` */
                   WIRE_REMOVED = 5,      /* `from` was removed from the cluster */
                   WIRE_TOO_MANY = 6,
                   WIRE_CERTIFICATE = 7,    /* for none of the addresses of `from` */
                   WIRE_UNKNOWN_MEMBER = 8, /* `from` is not in the member list of the dialed member */
                   WIRE_UNPROVED = 9,       /* no proof that `from` dials */
                   WIRE_LEVEL = 10,         /* the feature level of `from` is below the cluster's */
                   WIRE_REASON_COUNT
};
const char *wire_reason_text(enum wire_reason reason);
const char *wire_reason_name(enum wire_reason reason); /* a label of a metric */

struct wire_reply {
    uint16_t version;
    enum wire_reason reason;
    uint32_t level;                 /* as in the hello */
    uint64_t cluster_id, member_id; /* of the dialed member; 0 = not known yet */
};

struct wire_frame {
    enum wire_kind kind;
    struct slice payload; /* borrowed */
};

/* head and body are joined to one payload. */
void wire_add_frame(struct buf *out, enum wire_kind kind, struct slice head, struct slice body);
void wire_add_hello(struct buf *out, const struct wire_hello *hello);
void wire_add_reply(struct buf *out, const struct wire_reply *reply);
void wire_add_challenge(struct buf *out, const struct wire_challenge *challenge);
void wire_add_confirm(struct buf *out, const struct wire_confirm *confirm);
void wire_add_time(struct buf *out, enum wire_kind kind, uint64_t time_ns); /* PING, PONG */

/* Takes one frame off the front of `in`.
 * - 1: taken; the payload is borrowed from `in`
 * - 0: the frame is not complete
 * - ERR_MALFORMED: not a frame, or not allowed in this stage
 * - ERR_LIMIT: too long
 * - ERR_CORRUPT: the payload's checksum is wrong */
MUST_CHECK int wire_take(struct slice *in, enum wire_stage stage, struct wire_frame *ret_frame);

/* ERR_MALFORMED. Of a hello with another version only the version is decoded; the rest is zero. */
MUST_CHECK int wire_read_hello(struct slice payload, struct wire_hello *ret_hello);
MUST_CHECK int wire_read_challenge(struct slice payload, struct wire_challenge *ret_challenge);
MUST_CHECK int wire_read_confirm(struct slice payload, struct wire_confirm *ret_confirm);
MUST_CHECK int wire_read_reply(struct slice payload, struct wire_reply *ret_reply);

#endif
