/* SPDX-License-Identifier: Apache-2.0
 * Text that users type and programs print: numbers, Go durations, base64, URLs, UTF-8, quoting. A parser
 * accepts the whole slice or returns ERR_MALFORMED. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/buf.h"
#include "base/err.h"

MUST_CHECK int text_to_u64(struct slice s, uint64_t *ret_value);
MUST_CHECK int text_to_i64(struct slice s, int64_t *ret_value);
/* Go's time.ParseDuration: "1h2m3.5s", "100ms", "-1s", "0". */
MUST_CHECK int text_to_duration_ns(struct slice s, int64_t *ret_ns);
MUST_CHECK int text_to_bool(struct slice s, bool *ret_value); /* Go's strconv.ParseBool */
void text_add_duration(struct buf *b, int64_t ns);            /* Go's Duration.String */

/* RFC 3339: "2026-11-21T10:00:00Z", with fractions (cut off) or an offset; seconds since 1970. */
MUST_CHECK int text_to_time(struct slice s, int64_t *ret_s);
void text_add_time(struct buf *b, int64_t s); /* in UTC, with Z; years 0 to 9999 */

void text_add_u64(struct buf *b, uint64_t value);
void text_add_i64(struct buf *b, int64_t value);
void text_add_double(struct buf *b, double value); /* Go's shortest 'g': "1", "0.001", "1e+06" */

void base64_encode(struct buf *b, struct slice s);              /* standard alphabet, padded */
MUST_CHECK int base64_decode(struct slice text, struct buf *b); /* either alphabet, padding optional */

bool utf8_is_valid(struct slice s);
size_t utf8_length(struct slice s);     /* bytes of the first character; 0 if it is invalid or s is empty */
size_t utf8_valid_size(struct slice s); /* bytes before the first invalid one */
void utf8_add(struct buf *b,
              /* below U+110000; also encodes surrogates, which are not valid UTF-8 */
              uint32_t character);
/* Reads exactly `digits` hexadecimal digits at p, at most 8; false if there are fewer. */
bool text_hex(const uint8_t *p, const uint8_t *end, unsigned digits, uint32_t *ret_value);

/* http, https: scheme://host:port[/path]; all parts except the path are required. unix, unixs: host holds
 * the whole rest, port is 0. User, query and fragment are errors. */
struct url {
    char scheme[16];
    char host[256]; /* without [] around IPv6 */
    uint16_t port;
    char path[256];
};
MUST_CHECK int url_parse(struct slice s, struct url *ret_url);

/* Percent-decodes a part of a path or query; '+' means space only in a query. */
MUST_CHECK int percent_decode(struct slice s, bool is_query, struct buf *b);

#endif
