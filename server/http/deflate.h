/* SPDX-License-Identifier: Apache-2.0
 * permessage-deflate (RFC 7692) without context between messages: each is compressed by itself, so one state
 * serves all connections, an idle connection costs nothing, and a part that many get is compressed once. Pure
 * but for that state. */
#ifndef SERVER_HTTP_DEFLATE_H
#define SERVER_HTTP_DEFLATE_H

#include "base/buf.h"
#include "base/err.h"

struct deflater;

void deflater_free(struct deflater *d); /* NULL is fine */

/* A message as it came, at most limit bytes of text behind what `out` has. ERR_LIMIT: it is more;
 * ERR_MALFORMED. *d is made when it is first needed. */
MUST_CHECK int deflate_unpack(struct deflater **d, struct slice in, size_t limit, struct buf *out);
/* The rest of a message, behind stored blocks or nothing; without the marker that ends it, as it travels. */
void deflate_pack(struct deflater **d, struct slice in, struct buf *out);

#define DEFLATE_STORED_HEAD 5
/* The head of a block of up to 65,535 bytes that follow as they are. */
void deflate_stored_head(uint8_t head[DEFLATE_STORED_HEAD], size_t size);

/* Whether one of the offers in a Sec-WebSocket-Extensions header is one we can take: permessage-deflate with
 * known parameters, and no smaller window of ours. */
bool deflate_is_offered(struct slice extensions);
/* What is answered then. */
#define DEFLATE_ANSWER "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

#endif
