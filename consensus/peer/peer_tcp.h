/* SPDX-License-Identifier: Apache-2.0
 * The real `struct peers`: TCP and TLS on libuv, everything on the loop thread. */
#ifndef CONSENSUS_PEER_PEER_TCP_H
#define CONSENSUS_PEER_PEER_TCP_H

#include "consensus/io.h"
#include "consensus/peer/peer.h"
#include "consensus/peer/peer_proof.h"

struct output_budget;
struct uv_loop_s;

/* For the URLs that begin with https. All NULL and false: there may be none. */
struct peer_tls_options {
    const char *cert_file, *key_file;               /* PEM; of both sides unless the next two are given */
    const char *client_cert_file, *client_key_file; /* for dialing */
    /* Given, or with client_cert_auth: who dials us must show a certificate of it, as in etcd. The one we
     * dial is checked against it; without it against the system's authorities. */
    const char *ca_file;
    const char *crl_file;
    bool client_cert_auth;
    const char *allowed_cn, *allowed_hostname; /* comma-separated; of who dials us */
    /* Who dials us may show a certificate that names hosts, but neither one of that member's peer URLs nor
     * the address that it dials from. */
    bool skip_client_san;
    const char *cipher_suites; /* Go's names, comma-separated */
    const char *min_version, *max_version;
    /* No cert_file: a self-signed pair is made in this folder (--peer-auto-tls); then nobody is checked. */
    const char *auto_dir;
    unsigned auto_years; /* 0 = 1 */
};

/* Copied where it is kept, but io and loop. */
struct peer_tcp_options {
    struct io *io; /* clocks, randomness, timers */
    struct uv_loop_s *loop;
    const char *const *listen_urls; /* http://IP:port, https://IP:port, localhost for both loopbacks */
    size_t listen_url_count;
    /* Told to members that do not know us yet, so that they can answer. */
    const char *const *advertise_urls;
    size_t advertise_url_count;
    struct peer_tls_options tls;
    const struct proof_tokens *tokens; /* of --join-token-file; NULL = none */
    bool requires_proof;               /* --require-peer-proof */
    /* Where unread output is counted: of streams between members without ever closing them, of
     * unauthenticated connections as of any client's. NULL: nowhere. */
    struct output_budget *output;
    uint64_t heartbeat_ms; /* raft's; 0 = 100. Pings are 5 of them apart, a silent lane ends after 25 */
};

/* Listens at once (questions are taken). ERR_INVALID, ERR_EXISTS (address in use) and a sentence in error. */
MUST_CHECK int peer_tcp_new(const struct peer_tcp_options *options, char *error, size_t error_size,
                            struct peers **ret_peers);
/* Tokens for openings from now on; streams that are open stay. */
void peer_tcp_set_tokens(struct peers *p, const struct proof_tokens *tokens);
/* Ends everything; no event comes any more, asks under way end without a word, questions not yet answered
 * must not be. done comes on the loop when all sockets are closed and p is freed; it may be NULL. */
void peer_tcp_close(struct peers *p, void (*done)(void *arg), void *arg);

#endif
