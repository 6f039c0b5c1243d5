/* SPDX-License-Identifier: Apache-2.0
 * Values of gRPC's headers: grpc-timeout, content-type, grpc-message. Pure. */
#include "server/grpc/private.h"

/* Parses one to eight digits and a unit. It rounds up, so that a deadline never fires early. */
int header_timeout(struct slice value, uint64_t *ret_ms)
{
    if (value.size < 2 || value.size > 9)
        return ERR_MALFORMED;
    uint64_t n = 0;
    for (size_t i = 0; i + 1 < value.size; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            return ERR_MALFORMED;
        n = n * 10 + (uint64_t)(value.data[i] - '0');
    }
    switch (value.data[value.size - 1]) {
    case 'H':
        *ret_ms = n * 3600 * 1000;
        return 0;
    case 'M':
        *ret_ms = n * 60 * 1000;
        return 0;
    case 'S':
        *ret_ms = n * 1000;
        return 0;
    case 'm':
        *ret_ms = n;
        return 0;
    case 'u':
        *ret_ms = (n + 999) / 1000;
        return 0;
    case 'n':
        *ret_ms = (n + 999999) / 1000000;
        return 0;
    default:
        return ERR_MALFORMED;
    }
}

bool header_is_grpc(struct slice content_type)
{
    static const char base[] = "application/grpc";
    size_t n = sizeof base - 1;
    if (content_type.size < n || memcmp(content_type.data, base, n) != 0)
        return false;
    return content_type.size == n || content_type.data[n] == '+' || content_type.data[n] == ';';
}

void header_percent(struct buf *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p >= ' ' && *p <= '~' && *p != '%')
            buf_add_byte(out, (uint8_t)*p);
        else
            buf_addf(out, "%%%02X", (unsigned)(uint8_t)*p);
    }
}

void header_quote(struct buf *out, struct slice s)
{
    buf_add_byte(out, '"');
    for (size_t i = 0; i < s.size; i++) {
        uint8_t b = s.data[i];
        if (b == '"' || b == '\\')
            buf_add_byte(out, '\\');
        if (b >= ' ' && b <= '~')
            buf_add_byte(out, b);
        else
            buf_addf(out, "\\x%02x", (unsigned)b);
    }
    buf_add_byte(out, '"');
}
