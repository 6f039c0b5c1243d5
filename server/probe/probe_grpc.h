/* SPDX-License-Identifier: Apache-2.0
 * The gRPC part of a health check: one call of grpc.health.v1.Health/Check over HTTP/2, with nghttp2's client
 * session. Bytes in, bytes out; no socket, no clock. */
#ifndef SERVER_PROBE_PROBE_GRPC_H
#define SERVER_PROBE_PROBE_GRPC_H

#include "base/buf.h"
#include "base/err.h"
#include "registry/check_prober.h"

enum {
    PROBE_GRPC_BYTES_MAX = 64 << 10, /* of a server's bytes, until the call has ended */
    PROBE_GRPC_MESSAGE_MAX = 64,     /* bytes of the response; the one that is defined has 2 */
};

struct probe_grpc;

/* host is valid (probe_http.h); port 0: the scheme's own. service is copied. NULL: no memory. */
struct probe_grpc *probe_grpc_new(const char *host, uint16_t port, bool is_tls, const char *service);
void probe_grpc_free(struct probe_grpc *g);

/* Takes the next bytes. ERR_MALFORMED: this is no HTTP/2. ERR_LIMIT: too many bytes, or too many to send. */
MUST_CHECK int probe_grpc_feed(struct probe_grpc *g, struct slice bytes);
/* Appends the bytes to send now. ERR_MALFORMED, ERR_LIMIT: as above. */
MUST_CHECK int probe_grpc_take_output(struct probe_grpc *g, struct buf *out);
/* The call has ended. output: static text, or a number; nothing of the server's texts. */
bool probe_grpc_outcome(const struct probe_grpc *g, enum check_outcome *ret_outcome, char *output,
                        size_t output_size);

#endif
