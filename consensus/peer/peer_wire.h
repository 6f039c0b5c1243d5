/* SPDX-License-Identifier: Apache-2.0
 * The bytes on a connection between members; drawn in README.md. Pure: frames and hellos in and out, and what
 * may come when. No length is believed before its checksum was checked, and none beyond what the moment
 * allows: somebody who has not said who he is gets no memory. */
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
    WIRE_HELLO = 1,   /* first frame of who dials */
    WIRE_HELLO_REPLY, /* first frame of who was dialed; none before an ANSWER */
    WIRE_MESSAGE,     /* on a lane, from who dialed */
    WIRE_PING,        /* from who dialed: his time */
    WIRE_PONG,        /* the ping's time; 0 = only a sign of life */
    WIRE_QUESTION,    /* after a hello for WIRE_STREAM_QUESTION: PROOF_MAC_SIZE bytes, then its text */
    WIRE_ANSWER,
    WIRE_CHALLENGE, /* from the dialed side, right after a hello: its nonce and its proof */
    WIRE_PROOF,     /* the dialer's proof: PROOF_MAC_SIZE bytes, zeros = it has no token */
    WIRE_CONFIRM,   /* after a hello for WIRE_STREAM_CONFIRM: did you open this connection? */
    WIRE_CONFIRMED, /* PROOF_MAC_SIZE bytes = yes, none = no */
};

/* What the next frame of the other side may be. */
enum wire_stage {
    WIRE_AWAIT_HELLO,     /* dialed, not knowing by whom */
    WIRE_AWAIT_CHALLENGE, /* dialed, HELLO sent */
    WIRE_AWAIT_PROOF,     /* a stream into us, HELLO read */
    WIRE_AWAIT_REPLY,     /* dialed a stream, PROOF sent */
    WIRE_AWAIT_MESSAGES,  /* a lane into us */
    WIRE_AWAIT_PONGS,     /* a lane out of us */
    WIRE_AWAIT_QUESTION,
    WIRE_AWAIT_ANSWER,
    WIRE_AWAIT_CONFIRM,
    WIRE_AWAIT_CONFIRMED,
    WIRE_AWAIT_NOTHING,
};

#define WIRE_STREAM_CONFIRM  254 /* a dial-back */
#define WIRE_STREAM_QUESTION 255 /* a bootstrap query */

struct wire_hello {
    uint16_t version;
    uint8_t stream;                /* enum peer_stream, WIRE_STREAM_CONFIRM or WIRE_STREAM_QUESTION */
    uint32_t level;                /* the feature level that the dialer has; 0 = the first */
    uint64_t cluster_id, from, to; /* 0 for a question */
    uint64_t run, number;          /* of the dialing process, of the connection within it; later ones win */
    uint8_t nonce[PROOF_NONCE_SIZE];
    struct slice urls; /* comma-separated: where `from` is reached; borrowed */
};

struct wire_challenge {
    uint16_t version;
    uint8_t nonce[PROOF_NONCE_SIZE];
    uint8_t mac[PROOF_MAC_SIZE]; /* PROOF_DIALED; zeros = it has no token */
};

/* Names a connection that the one asked may have dialed; the tag says with which nonce. */
struct wire_confirm {
    uint8_t stream;
    uint64_t cluster_id, from, to, run, number;
    uint8_t tag[PROOF_MAC_SIZE]; /* PROOF_CONFIRM_QUESTION */
};

enum wire_reason { /* on the wire: do not renumber */
                   WIRE_WELCOME = 0,
                   WIRE_VERSION_UNKNOWN = 1,
                   WIRE_NOT_READY = 2, /* the one dialed does not know yet who it is */
                   WIRE_WRONG_CLUSTER = 3,
                   WIRE_WRONG_MEMBER = 4, /* the one dialed is not `to` */
                   WIRE_REMOVED = 5,      /* `from` was removed from the cluster */
                   WIRE_TOO_MANY = 6,
                   WIRE_CERTIFICATE = 7,    /* it is for none of the addresses of `from` */
                   WIRE_UNKNOWN_MEMBER = 8, /* `from` is not in the member list of the one dialed */
                   WIRE_UNPROVED = 9,       /* that `from` dials was not proved */
                   WIRE_LEVEL = 10,         /* its feature level is below the cluster's */
                   WIRE_REASON_COUNT
};
const char *wire_reason_text(enum wire_reason reason);
const char *wire_reason_name(enum wire_reason reason); /* as a metric's label */

struct wire_reply {
    uint16_t version;
    enum wire_reason reason;
    uint32_t level;                 /* as in the hello */
    uint64_t cluster_id, member_id; /* of who was dialed; 0 = not known yet */
};

struct wire_frame {
    enum wire_kind kind;
    struct slice payload; /* borrowed */
};

/* Head and body are one payload, joined. */
void wire_add_frame(struct buf *out, enum wire_kind kind, struct slice head, struct slice body);
void wire_add_hello(struct buf *out, const struct wire_hello *hello);
void wire_add_reply(struct buf *out, const struct wire_reply *reply);
void wire_add_challenge(struct buf *out, const struct wire_challenge *challenge);
void wire_add_confirm(struct buf *out, const struct wire_confirm *confirm);
void wire_add_time(struct buf *out, enum wire_kind kind, uint64_t time_ns); /* PING, PONG */

/* Takes a frame off the front of in. 1 = taken; 0 = not all of it is there; ERR_MALFORMED: this is no frame,
 * or none that may come now; ERR_LIMIT: too long; ERR_CORRUPT: the payload's checksum does not hold. */
MUST_CHECK int wire_take(struct slice *in, enum wire_stage stage, struct wire_frame *ret_frame);

/* ERR_MALFORMED. A hello of another version is decoded as far as the version, the rest is zero. */
MUST_CHECK int wire_read_hello(struct slice payload, struct wire_hello *ret_hello);
MUST_CHECK int wire_read_challenge(struct slice payload, struct wire_challenge *ret_challenge);
MUST_CHECK int wire_read_confirm(struct slice payload, struct wire_confirm *ret_confirm);
MUST_CHECK int wire_read_reply(struct slice payload, struct wire_reply *ret_reply);

#endif
