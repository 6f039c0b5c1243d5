/* SPDX-License-Identifier: Apache-2.0
 * TCP transport: `struct peers` over TCP and TLS, on libuv and the loop thread. */
#ifndef CONSENSUS_PEER_PEER_TCP_H
#define CONSENSUS_PEER_PEER_TCP_H

#include "consensus/io.h"
#include "consensus/peer/peer.h"
#include "consensus/peer/peer_proof.h"

struct output_budget;
struct uv_loop_s;

/* For URLs that begin with https. All NULL and false: no TLS. */
struct peer_tls_options {
    const char *cert_file, *key_file;               /* PEM; used in both directions unless the next two are
                                                       given */
    const char *client_cert_file, *client_key_file; /* for dialing */
    /* If given, or with client_cert_auth, a dialing member must show a certificate that this CA signed, as in
     * etcd. The certificate of a dialed member is checked against this CA; without one, against the system's
     * authorities. */
    const char *ca_file;
    const char *crl_file;
    bool client_cert_auth;
    const char *allowed_cn, *allowed_hostname; /* comma-separated; of the dialing member */
    /* Accept a certificate that names hosts even if it names neither one of that member's peer URLs nor the
     * address from which it dials. */
    bool skip_client_san;
    const char *cipher_suites; /* Go's names, comma-separated */
    const char *min_version, *max_version;
    /* Without cert_file: a self-signed pair is made in this folder (--peer-auto-tls); then no certificate is
     * checked. */
    const char *auto_dir;
    unsigned auto_years; /* 0 = 1 */
};

/* The transport copies everything it keeps, except io and loop. */
struct peer_tcp_options {
    struct io *io; /* clocks, randomness, timers */
    struct uv_loop_s *loop;
    const char *const *listen_urls; /* http://IP:port or https://IP:port; localhost means both loopback
                                       addresses */
    size_t listen_url_count;
    /* Sent to members that do not know us yet, so that they can open streams to us. */
    const char *const *advertise_urls;
    size_t advertise_url_count;
    struct peer_tls_options tls;
    const struct proof_tokens *tokens; /* of --join-token-file; NULL = none */
    bool requires_proof;               /* --require-peer-proof */
    /* Counts unread output. Streams between members are counted and never closed for it; unauthenticated
     * connections are treated like those of clients. NULL: not counted. */
    struct output_budget *output;
    uint64_t heartbeat_ms; /* raft's; 0 = 100. A ping is sent every 5 heartbeats; a stream that is silent for
                              25 is closed */
};

/* Starts to listen at once (queries are accepted). ERR_INVALID, ERR_EXISTS (address in use), with a sentence
 * in error. */
MUST_CHECK int peer_tcp_new(const struct peer_tcp_options *options, char *error, size_t error_size,
                            struct peers **ret_peers);
/* Sets the tokens for handshakes from now on (copied); open streams stay. */
void peer_tcp_set_tokens(struct peers *p, const struct proof_tokens *tokens);
/* Closes everything. No callback of peer_events or of a query comes any more; open queries must not be
 * answered. done runs on the loop when all sockets are closed and p is freed; it may be NULL. */
void peer_tcp_close(struct peers *p, void (*done)(void *arg), void *arg);

#endif
