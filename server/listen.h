/* SPDX-License-Identifier: Apache-2.0
 * Listeners of the client ports. One port serves all protocols: the first bytes decide. They are only peeked
 * (MSG_PEEK), not read.
 *
 *   first bytes                               goes to
 *   plain, the HTTP/2 preface "PRI "          HTTP/2: server/grpc, for calls and for requests of HTTP
 *   plain, anything else                      HTTP/1.1: server/http
 *   TLS (0x16), ALPN offers h2                HTTP/2, also when it offers http/1.1 too, as with etcd
 *   TLS, ALPN offers http/1.1 alone           HTTP/1.1
 *   TLS without ALPN                          HTTP/1.1
 *
 * The scheme of the URL chooses plain or TLS; a port may serve both (allow_both). A connection is closed when
 * its protocol is not known after 10 s or 16 KiB. */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include "base/err.h"
#include "server/grpc/grpc.h"
#include "server/http/http.h"

struct listener;
struct sources;

enum listen_serves { LISTEN_ALL, LISTEN_GRPC_ONLY, LISTEN_HTTP_ONLY, LISTEN_METRICS };

struct text_list;

struct listen_options {
    struct uv_loop_s *loop;
    const char *url; /* http://, https://, unix://, unixs:// ; IP or localhost */
    struct grpc_server *grpc;
    struct http_server *http;
    struct tls_context *tls; /* for HTTP/2 over TLS; NULL: https is refused */
    enum listen_serves serves;
    bool allow_both; /* plain and TLS: when both schemes are given for one address, as etcd does */
    bool reuse_port, reuse_address;
    uint64_t sniff_timeout_ms; /* 0 = 10 s */
    size_t connections_max;    /* accepted and not yet handed over */
    struct sources *sources;   /* counts connections by source; NULL: not counted */
};

/* Opens a listener. ERR_INVALID, or ERR_EXISTS (address in use), with a sentence in error. localhost
 * listens on 127.0.0.1 and, if available, ::1. */
MUST_CHECK int listener_open(const struct listen_options *options, char *error, size_t error_size,
                             struct listener **ret);
int listener_port(const struct listener *l); /* the actual port when the URL has port 0 */
void listener_close(struct listener *l);     /* stops accepting; freed when its handles are closed */
/* A line for each address of client URLs; traffic: "grpc+http", "grpc" or "http". */
void listen_log_serving(const struct text_list *urls, const char *traffic);

#endif
