/* SPDX-License-Identifier: Apache-2.0
 * permessage-deflate (RFC 7692) without context takeover: each message is compressed by itself.
 *
 * So one zlib state serves all connections, an idle connection costs no memory, and a part that many
 * connections get is compressed once. Pure but for that state. */
#ifndef SERVER_HTTP_DEFLATE_H
#define SERVER_HTTP_DEFLATE_H

#include "base/buf.h"
#include "base/err.h"

struct deflater;

void deflater_free(struct deflater *d); /* NULL is fine */

/* Inflates a message and appends it to out, at most `limit` bytes. ERR_LIMIT: it is longer; ERR_MALFORMED.
 * *d is made when it is first needed. */
MUST_CHECK int deflate_unpack(struct deflater **d, struct slice in, size_t limit, struct buf *out);
/* Appends the compressed rest of a message; stored blocks may precede it. The end marker is left out (RFC
 * 7692). */
void deflate_pack(struct deflater **d, struct slice in, struct buf *out);

#define DEFLATE_STORED_HEAD 5
/* The head of a stored block: up to 65,535 uncompressed bytes follow it. */
void deflate_stored_head(uint8_t head[DEFLATE_STORED_HEAD], size_t size);

/* True: a Sec-WebSocket-Extensions header has an offer that we accept: permessage-deflate with known
 * parameters, which does not ask for a smaller window on our side. */
bool deflate_is_offered(struct slice extensions);
/* The response header's value when the offer is accepted. */
#define DEFLATE_ANSWER "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

#endif
