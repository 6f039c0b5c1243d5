/* SPDX-License-Identifier: Apache-2.0
 * The protocols that a TLS client offers by ALPN, read from its ClientHello before the TLS library sees it.
 * Pure. */
#ifndef SERVER_ALPN_H
#define SERVER_ALPN_H

#include "base/buf.h"

enum { ALPN_HELLO_MAX = 16 << 10 };

enum alpn {
    ALPN_MORE, /* not all there yet */
    ALPN_NONE, /* a ClientHello without the extension */
    ALPN_H2,   /* offers h2, perhaps among others */
    ALPN_HTTP, /* offers http/1.1 alone, or neither */
    ALPN_BAD,  /* not a ClientHello, or one larger than ALPN_HELLO_MAX */
};

/* `in` is all that has come so far. With ALPN_MORE, fewer than *ret_needed bytes are not worth another
 * call. */
enum alpn alpn_read(struct slice in, size_t *ret_needed);

#endif
