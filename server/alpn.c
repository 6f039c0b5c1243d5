/* SPDX-License-Identifier: Apache-2.0
 * Parser of a ClientHello (RFC 8446 4.1.2, the same in TLS 1.2; records: 5.1; ALPN: RFC 7301). The
 * ClientHello is the first handshake message; it may lie in several records, which are joined first. */
#include "server/alpn.h"

enum { RECORD_HEAD = 5, MESSAGE_HEAD = 4, HANDSHAKE = 22, CLIENT_HELLO = 1, EXTENSION_ALPN = 16 };

/* A cursor over bytes. A read past the end returns zeros, sets is_bad and moves to the end, so loops end. */
struct reader {
    const uint8_t *at, *end;
    bool is_bad;
};

static struct reader alpn_take(struct reader *r, size_t size)
{
    if (r->is_bad || (size_t)(r->end - r->at) < size) {
        r->is_bad = true;
        r->at = r->end;
        return (struct reader){r->end, r->end, true};
    }
    struct reader piece = {r->at, r->at + size, false};
    r->at += size;
    return piece;
}

static size_t alpn_take_number(struct reader *r, size_t size)
{
    struct reader piece = alpn_take(r, size);
    size_t n = 0;
    while (piece.at < piece.end)
        n = n << 8 | *piece.at++;
    return n;
}

static bool is_text(const struct reader *r, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(r->end - r->at) == n && memcmp(r->at, text, n) == 0;
}

static enum alpn read_protocols(struct reader extension)
{
    struct reader list = alpn_take(&extension, alpn_take_number(&extension, 2));
    bool has_h2 = false;
    while (list.at < list.end) {
        struct reader name = alpn_take(&list, alpn_take_number(&list, 1));
        has_h2 |= is_text(&name, "h2");
    }
    if (list.is_bad || extension.is_bad)
        return ALPN_BAD;
    return has_h2 ? ALPN_H2 : ALPN_HTTP;
}

static enum alpn read_hello(struct reader r)
{
    alpn_take(&r, 2 + 32);                  /* version, random */
    alpn_take(&r, alpn_take_number(&r, 1)); /* session id */
    alpn_take(&r, alpn_take_number(&r, 2)); /* cipher suites */
    alpn_take(&r, alpn_take_number(&r, 1)); /* compression methods */
    if (r.at == r.end)
        return r.is_bad ? ALPN_BAD : ALPN_NONE;
    struct reader extensions = alpn_take(&r, alpn_take_number(&r, 2));
    while (extensions.at < extensions.end) {
        size_t type = alpn_take_number(&extensions, 2);
        struct reader body = alpn_take(&extensions, alpn_take_number(&extensions, 2));
        if (type == EXTENSION_ALPN && !body.is_bad)
            return read_protocols(body);
    }
    return r.is_bad || extensions.is_bad ? ALPN_BAD : ALPN_NONE;
}

enum alpn alpn_read(struct slice in, size_t *ret_needed)
{
    uint8_t joined[ALPN_HELLO_MAX];
    size_t have = 0, at = 0, whole = MESSAGE_HEAD;
    while (have < whole) {
        *ret_needed = at + RECORD_HEAD;
        if (in.size < at + RECORD_HEAD)
            return in.size > at && in.data[at] != HANDSHAKE ? ALPN_BAD : ALPN_MORE;
        size_t size = (size_t)in.data[at + 3] << 8 | in.data[at + 4];
        if (in.data[at] != HANDSHAKE || in.data[at + 1] != 3 || size == 0 || size > sizeof joined - have)
            return ALPN_BAD;
        *ret_needed = at + RECORD_HEAD + size;
        if (in.size < *ret_needed)
            return *ret_needed > ALPN_HELLO_MAX ? ALPN_BAD : ALPN_MORE;
        memcpy(joined + have, in.data + at + RECORD_HEAD, size);
        have += size;
        at += RECORD_HEAD + size;
        if (have >= MESSAGE_HEAD) {
            whole = MESSAGE_HEAD + ((size_t)joined[1] << 16 | (size_t)joined[2] << 8 | joined[3]);
            if (joined[0] != CLIENT_HELLO || whole > sizeof joined)
                return ALPN_BAD;
        }
    }
    return read_hello((struct reader){joined + MESSAGE_HEAD, joined + whole, false});
}
