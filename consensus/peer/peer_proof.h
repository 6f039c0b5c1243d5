/* SPDX-License-Identifier: Apache-2.0
 * Proofs on the peer port: which kinds there are, what each operation needs, and the bytes that are
 * authenticated. Pure: no sockets, no clock, no randomness. The side that grants an operation decides.
 *
 *   certificate  mutual TLS: a client certificate that --peer-trusted-ca-file signed
 *   token        HMAC-SHA256 by a token of --join-token-file over both nonces and the opening
 *   dial-back    the granting member connects to the peer URL that is recorded for the member and asks
 *                whether that member opened a connection with this nonce
 *   none         whoever reaches the port
 *
 * A proof covers the opening of a connection. It does not protect the bytes that follow: an attacker who can
 * change packets between members takes over a plain connection after it was opened. TLS prevents that. */
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

/* What another process asks of this member on the peer port. */
enum peer_operation {
    PEER_OPEN_STREAM,         /* raft messages, snapshot pieces, member RPCs: as a member that we know */
    PEER_OPEN_UNKNOWN_STREAM, /* the same, as a member that was added while we were behind */
    PEER_QUERY_WHO,           /* bootstrap queries (proto/peer.proto) */
    PEER_QUERY_CLAIM,
    PEER_QUERY_REPLACE,
    PEER_QUERY_ADD,
    PEER_OPERATION_COUNT
};
const char *peer_operation_name(enum peer_operation operation);

enum peer_verdict {
    PEER_REFUSE,
    PEER_ASK_BACK, /* accepted if a dial-back to a recorded peer URL confirms it */
    PEER_ACCEPT,
};
/* The weakest proof with which the operation is granted. is_required: --require-peer-proof. */
enum peer_proof peer_proof_needed(enum peer_operation operation, bool is_required);
enum peer_verdict peer_proof_judge(enum peer_operation operation, enum peer_proof shown, bool is_required);

/* --- tokens -------------------------------------------------------------------------------------------- */
enum {
    PROOF_TOKENS_MAX = 8,
    PROOF_TOKEN_MIN = 32, /* bytes of text */
    PROOF_TOKEN_MAX = 1024,
    PROOF_FILE_MAX = 16 << 10,
};

/* The first makes proofs; each of them is accepted, so that a token is replaced without an interruption. */
struct proof_tokens {
    size_t count;
    struct buf list[PROOF_TOKENS_MAX];
};
/* One token a line, white space around it is cut off, empty lines and lines that begin with # are skipped.
 * ERR_INVALID and what is wrong (the rest of a sentence that begins with the file's name). */
MUST_CHECK int proof_tokens_parse(struct slice text, struct proof_tokens *ret_tokens, char *error,
                                  size_t error_size);
void proof_tokens_copy(struct proof_tokens *to, const struct proof_tokens *from);
void proof_tokens_free(struct proof_tokens *tokens); /* overwrites them */

/* --- what is authenticated ----------------------------------------------------------------------------- */
enum { PROOF_NONCE_SIZE = 32, PROOF_MAC_SIZE = 32 };

enum proof_role { /* each has a label of its own, so that no side can be made to answer for the other */
                  PROOF_DIALED, /* the dialed member shows the token, in its challenge */
                  PROOF_DIALER, /* the dialer shows it; for a bootstrap query over the query's text, too */
                  PROOF_CONFIRM_QUESTION, /* a dial-back; keyed by the dialer's nonce, so that asking reveals
                                             nothing */
                  PROOF_CONFIRM_ANSWER,   /* ... and its answer: only a process that has the nonce can say yes
                                           */
};

struct proof_opening {
    uint16_t version; /* of the wire */
    uint8_t stream;   /* enum peer_stream or WIRE_STREAM_QUESTION */
    uint64_t cluster_id, from, to, run, number;
    const uint8_t *dialer_nonce, *dialed_nonce; /* PROOF_NONCE_SIZE bytes */
    struct slice urls;                          /* the dialer's peer URLs */
    struct slice text;                          /* of a bootstrap query */
};

void proof_mac(struct slice key, enum proof_role role, const struct proof_opening *opening,
               uint8_t ret_mac[PROOF_MAC_SIZE]);
/* In constant time. */
bool proof_mac_matches(struct slice key, enum proof_role role, const struct proof_opening *opening,
                       const uint8_t mac[PROOF_MAC_SIZE]);
/* By any of the tokens, in a time that does not depend on which. */
bool proof_tokens_match(const struct proof_tokens *tokens, enum proof_role role,
                        const struct proof_opening *opening, const uint8_t mac[PROOF_MAC_SIZE]);
/* By the first token; zeros when there is none. */
void proof_tokens_mac(const struct proof_tokens *tokens, enum proof_role role,
                      const struct proof_opening *opening, uint8_t ret_mac[PROOF_MAC_SIZE]);

#endif
