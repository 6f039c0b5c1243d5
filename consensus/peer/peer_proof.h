/* SPDX-License-Identifier: Apache-2.0
 * Proofs on the peer port: their kinds, the proof that each operation needs, and the bytes that a MAC covers.
 * Pure: no sockets, no clock, no randomness. The side that grants an operation decides.
 *
 *     certificate  mutual TLS: a client certificate that --peer-trusted-ca-file signed
 *     token        HMAC-SHA256 by a token of --join-token-file over both nonces and the handshake
 *     dial-back    the granting member connects to the peer URL that is recorded for the member and asks
 *                  whether that member opened a connection with this nonce
 *     none         any process that reaches the port
 *
 * A proof covers the handshake of a connection, not the bytes that follow. An attacker that can change
 * packets between members can take over a plain connection after its handshake. TLS prevents that. */
#ifndef CONSENSUS_PEER_PEER_PROOF_H
#define CONSENSUS_PEER_PEER_PROOF_H

#include "base/buf.h"
#include "base/err.h"

/* From weak to strong. */
enum peer_proof {
    PEER_PROOF_NONE,
    PEER_PROOF_DIAL_BACK,
    PEER_PROOF_TOKEN,
    PEER_PROOF_CERTIFICATE,
    PEER_PROOF_COUNT
};
const char *peer_proof_name(enum peer_proof proof); /* as the metric's label: "none", "dial_back", ... */

/* The operations that another process requests on the peer port. */
enum peer_operation {
    PEER_OPEN_STREAM,         /* raft messages, snapshot pieces, member RPCs: as a member that we know */
    PEER_OPEN_UNKNOWN_STREAM, /* the same, as a member that was added while this member was behind */
    PEER_QUERY_WHO,           /* bootstrap queries (proto/peer.proto) */
    PEER_QUERY_CLAIM,
    PEER_QUERY_REPLACE,
    PEER_QUERY_ADD,
    PEER_OPERATION_COUNT
};
const char *peer_operation_name(enum peer_operation operation);

enum peer_verdict {
    PEER_REFUSE,
    PEER_DIAL_BACK, /* accepted if a dial-back to a recorded peer URL confirms it */
    PEER_ACCEPT,
};
/* The weakest proof that the operation needs. is_required: --require-peer-proof. */
enum peer_proof peer_proof_needed(enum peer_operation operation, bool is_required);
enum peer_verdict peer_proof_judge(enum peer_operation operation, enum peer_proof shown, bool is_required);

/* --- tokens -------------------------------------------------------------------------------------------- */
enum {
    PROOF_TOKENS_MAX = 8,
    PROOF_TOKEN_MIN = 32, /* bytes of text */
    PROOF_TOKEN_MAX = 1024,
    PROOF_FILE_MAX = 16 << 10,
};

/* The first token makes proofs; all are accepted, so that a token is replaced without an interruption. */
struct proof_tokens {
    size_t count;
    struct buf list[PROOF_TOKENS_MAX];
};
/* Parses one token a line. White space around it is cut off; empty lines and lines that begin with # are
 * skipped. ERR_INVALID, with the rest of a sentence that begins with the file's name in error.
 * proof_tokens_free frees *ret_tokens. */
MUST_CHECK int proof_tokens_parse(struct slice text, struct proof_tokens *ret_tokens, char *error,
                                  size_t error_size);
void proof_tokens_copy(struct proof_tokens *to, const struct proof_tokens *from);
void proof_tokens_free(struct proof_tokens *tokens); /* overwrites them first */

/* --- what is authenticated ----------------------------------------------------------------------------- */
enum { PROOF_NONCE_SIZE = 32, PROOF_MAC_SIZE = 32 };

enum proof_role { /* each has a label of its own, so that a MAC of one side is not valid for the other */
                  PROOF_DIALED, /* the dialed member shows the token, in its challenge */
                  PROOF_DIALER, /* the dialer shows it; for a bootstrap query also over the query's text */
                  PROOF_CONFIRM_REQUEST, /* a dial-back; keyed by the dialer's nonce, so that the request
                                             does not reveal the nonce */
                  PROOF_CONFIRM_ANSWER,  /* ... and its answer: only a process that has the nonce can
                                             confirm */
};

struct proof_handshake {
    uint16_t version; /* of the wire */
    uint8_t stream;   /* enum peer_stream or WIRE_STREAM_QUERY */
    uint64_t cluster_id, from, to, run, number;
    const uint8_t *dialer_nonce, *dialed_nonce; /* PROOF_NONCE_SIZE bytes */
    struct slice urls;                          /* the dialer's peer URLs */
    struct slice text;                          /* of a bootstrap query */
};

void proof_mac(struct slice key, enum proof_role role, const struct proof_handshake *handshake,
               uint8_t ret_mac[PROOF_MAC_SIZE]);
/* In constant time. */
bool proof_mac_matches(struct slice key, enum proof_role role, const struct proof_handshake *handshake,
                       const uint8_t mac[PROOF_MAC_SIZE]);
/* True if any of the tokens matches; the time does not depend on which. */
bool proof_tokens_match(const struct proof_tokens *tokens, enum proof_role role,
                        const struct proof_handshake *handshake, const uint8_t mac[PROOF_MAC_SIZE]);
/* By the first token; zeros when there is none. */
void proof_tokens_mac(const struct proof_tokens *tokens, enum proof_role role,
                      const struct proof_handshake *handshake, uint8_t ret_mac[PROOF_MAC_SIZE]);

#endif
