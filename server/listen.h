/* SPDX-License-Identifier: Apache-2.0
 * Listeners of the client port. One port serves all: the first bytes decide, without being read (MSG_PEEK).
 * Plain: the HTTP/2 preface "PRI " goes to gRPC, the rest to HTTP. TLS (first byte 0x16): ALPN of the
 * ClientHello: http/1.1 offered -> HTTP; only h2 -> gRPC; none -> HTTP. The URL's scheme says which of the
 * two; a port may serve both (allow_both). A connection that does not say what it is within 10 s, or needs
 * more than 16 KiB for it, is closed. */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include "base/err.h"
#include "server/grpc/grpc.h"
#include "server/http/http.h"

struct listener;
struct sources;

enum listen_serves { LISTEN_ALL, LISTEN_GRPC_ONLY, LISTEN_HTTP_ONLY, LISTEN_METRICS };

struct listen_options {
    struct uv_loop_s *loop;
    const char *url; /* http://, https://, unix://, unixs:// ; IP or localhost */
    struct grpc_server *grpc;
    struct http_server *http;
    struct tls_context *tls; /* for gRPC over TLS; NULL: https is refused */
    enum listen_serves serves;
    bool allow_both; /* plain and TLS: when both schemes are given for one address, as etcd does */
    bool reuse_port, reuse_address;
    uint64_t sniff_timeout_ms; /* 0 = 10 s */
    size_t connections_max;    /* accepted and not yet handed over */
    struct sources *sources;   /* where they are counted; NULL: nowhere */
};

/* ERR_INVALID, ERR_EXISTS (address in use) with a sentence in error. localhost listens on 127.0.0.1 and, if
 * there, ::1. */
MUST_CHECK int listener_open(const struct listen_options *options, char *error, size_t error_size,
                             struct listener **ret);
int listener_port(const struct listener *l); /* the real one when the URL said 0 */
void listener_close(struct listener *l);     /* stops accepting; freed when its handles are closed */

#endif
