/* SPDX-License-Identifier: Apache-2.0
 * Numbers, durations, base64, UTF-8, URLs and percent-encoding. Pure: bytes in, values out. */
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* --- numbers --------------------------------------------------------------------------------- */

int text_to_u64(struct slice s, uint64_t *ret_value)
{
    uint64_t v = 0;
    if (s.size == 0)
        return ERR_MALFORMED;
    for (size_t i = 0; i < s.size; i++) {
        unsigned digit = (unsigned)s.data[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, digit, &v))
            return ERR_MALFORMED;
    }
    *ret_value = v;
    return OK;
}

int text_to_i64(struct slice s, int64_t *ret_value)
{
    bool negative = s.size > 0 && s.data[0] == '-';
    if (s.size > 0 && (s.data[0] == '-' || s.data[0] == '+'))
        s = slice_of(s.data + 1, s.size - 1);
    uint64_t v;
    int err = text_to_u64(s, &v);
    if (err)
        return err;
    if (v > (uint64_t)INT64_MAX + negative)
        return ERR_MALFORMED;
    *ret_value = (int64_t)(negative ? 0 - v : v);
    return OK;
}

void text_add_u64(struct buf *b, uint64_t value)
{
    char digits[20];
    char *p = digits + sizeof digits;
    do {
        *--p = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    buf_add(b, p, (size_t)(digits + sizeof digits - p));
}

void text_add_i64(struct buf *b, int64_t value)
{
    if (value < 0)
        buf_add_byte(b, '-');
    text_add_u64(b, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void text_add_double(struct buf *b, double value)
{
    if (isnan(value) || isinf(value)) {
        buf_add_text(b, isnan(value) ? "NaN" : value < 0 ? "-Inf" : "+Inf");
        return;
    }
    if (fabs(value) < 1e6 && value == (double)(int32_t)value && !(value == 0 && signbit(value))) {
        text_add_i64(b, (int32_t)value);
        return;
    }
    char text[40];
    for (int digits = 14; digits <= 16; digits++) {
        snprintf(text, sizeof text, "%.*e", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    char *e = strchr(text, 'e');
    int exponent = atoi(e + 1);
    while (e[-1] == '0' && e - text > 2)
        e--;
    if (e[-1] == '.')
        e--;
    int places = (int)(e - text) - (text[0] == '-') - 2; /* digits after the point */
    if (places < 0)
        places = 0;
    if (exponent < -4 || exponent >= 6) {
        buf_add(b, text, (size_t)(e - text));
        buf_addf(b, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    } else {
        buf_addf(b, "%.*f", places > exponent ? places - exponent : 0, value);
    }
}

/* --- durations ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    uint64_t ns;
} duration_units[] = {
    {"ns", 1},           {"us", 1000},      {"\xc2\xb5s", 1000}, /* micro sign */
    {"\xce\xbcs", 1000},                                         /* Greek mu */
    {"ms", 1000000},     {"s", 1000000000}, {"m", 60000000000},  {"h", 3600000000000},
};

static uint64_t duration_unit_ns(struct slice name)
{
    for (size_t i = 0; i < sizeof duration_units / sizeof *duration_units; i++)
        if (slice_equal(name, slice_text(duration_units[i].name)))
            return duration_units[i].ns;
    return 0;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static const uint64_t DURATION_LIMIT = (uint64_t)1 << 63;

/* Reads the whole part. An overflow is an error, as in Go. */
static const uint8_t *duration_whole(const uint8_t *p, const uint8_t *end, uint64_t *ret_whole)
{
    uint64_t v = 0;
    for (; p < end && is_digit(*p); p++) {
        if (v > DURATION_LIMIT / 10)
            return NULL;
        v = v * 10 + (*p - '0');
        if (v > DURATION_LIMIT)
            return NULL;
    }
    *ret_whole = v;
    return p;
}

/* Reads the digits after the point. Digits beyond 63 bits are dropped, as in Go. */
static const uint8_t *duration_fraction(const uint8_t *p, const uint8_t *end, uint64_t *ret_digits,
                                        double *ret_scale)
{
    uint64_t v = 0;
    double scale = 1;
    bool is_full = false;
    for (; p < end && is_digit(*p); p++) {
        if (is_full || v > (DURATION_LIMIT - 1) / 10) {
            is_full = true;
            continue;
        }
        uint64_t next = v * 10 + (*p - '0');
        if (next > DURATION_LIMIT) {
            is_full = true;
            continue;
        }
        v = next;
        scale *= 10;
    }
    *ret_digits = v;
    *ret_scale = scale;
    return p;
}

/* Reads one term of the sum, as "1.5h". Returns the position behind it; NULL: there is none. */
static const uint8_t *duration_term(const uint8_t *p, const uint8_t *end, uint64_t *ret_ns)
{
    const uint8_t *start = p;
    uint64_t whole, digits = 0;
    double scale = 1;
    p = duration_whole(p, end, &whole);
    if (!p)
        return NULL;
    bool has_digits = p > start;
    if (p < end && *p == '.') {
        start = ++p;
        p = duration_fraction(p, end, &digits, &scale);
        has_digits |= p > start;
    }
    if (!has_digits)
        return NULL;
    start = p;
    while (p < end && *p != '.' && !is_digit(*p))
        p++;
    uint64_t unit = duration_unit_ns(slice_of(start, (size_t)(p - start)));
    if (unit == 0 || whole > DURATION_LIMIT / unit)
        return NULL;
    uint64_t ns = whole * unit + (uint64_t)((double)digits * ((double)unit / scale));
    if (ns > DURATION_LIMIT)
        return NULL;
    *ret_ns = ns;
    return p;
}

int text_to_duration_ns(struct slice s, int64_t *ret_ns)
{
    if (s.size == 0)
        return ERR_MALFORMED;
    const uint8_t *p = s.data, *end = s.data + s.size;
    bool negative = *p == '-';
    if (*p == '-' || *p == '+')
        p++;
    if (end - p == 1 && *p == '0') {
        *ret_ns = 0;
        return OK;
    }
    if (p == end)
        return ERR_MALFORMED;
    uint64_t total = 0;
    while (p < end) {
        uint64_t ns;
        p = duration_term(p, end, &ns);
        if (!p)
            return ERR_MALFORMED;
        total += ns;
        if (total > DURATION_LIMIT)
            return ERR_MALFORMED;
    }
    if (total == DURATION_LIMIT && !negative)
        return ERR_MALFORMED;
    *ret_ns = (int64_t)(negative ? 0 - total : total);
    return OK;
}

/* Appends value / 10^places without trailing zeros of the fraction. */
static void add_decimal(struct buf *b, uint64_t value, unsigned places)
{
    uint64_t power = 1;
    for (unsigned i = 0; i < places; i++)
        power *= 10;
    text_add_u64(b, value / power);
    uint64_t fraction = value % power;
    if (!fraction)
        return;
    for (; fraction % 10 == 0; places--)
        fraction /= 10;
    buf_addf(b, ".%0*llu", (int)places, (unsigned long long)fraction);
}

void text_add_duration(struct buf *b, int64_t ns)
{
    uint64_t v = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    if (v == 0) {
        buf_add_text(b, "0s");
        return;
    }
    if (ns < 0)
        buf_add_byte(b, '-');
    if (v < 1000000000) {
        unsigned places = v < 1000 ? 0 : v < 1000000 ? 3 : 6;
        add_decimal(b, v, places);
        buf_add_text(b, places == 0 ? "ns" : places == 3 ? "\xc2\xb5s" : "ms");
        return;
    }
    uint64_t minutes = v / 60000000000, hours = minutes / 60;
    if (hours)
        buf_addf(b, "%lluh", (unsigned long long)hours);
    if (minutes)
        buf_addf(b, "%llum", (unsigned long long)(minutes % 60));
    add_decimal(b, v % 60000000000, 9);
    buf_add_byte(b, 's');
}

int text_to_bool(struct slice s, bool *ret_value)
{
    static const char *const words[2][6] = {{"0", "f", "F", "FALSE", "false", "False"},
                                            {"1", "t", "T", "TRUE", "true", "True"}};
    for (int value = 0; value < 2; value++)
        for (int i = 0; i < 6; i++)
            if (slice_equal(s, slice_text(words[value][i]))) {
                *ret_value = value;
                return OK;
            }
    return ERR_MALFORMED;
}

static int hex_digit(uint8_t c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool text_hex(const uint8_t *p, const uint8_t *end, unsigned digits, uint32_t *ret_value)
{
    uint32_t value = 0;
    if (end - p < (ptrdiff_t)digits)
        return false;
    for (unsigned i = 0; i < digits; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return false;
        value = value << 4 | (uint32_t)digit;
    }
    *ret_value = value;
    return true;
}

/* --- base64 ---------------------------------------------------------------------------------- */

void base64_encode(struct buf *b, struct slice s)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t *out = buf_reserve(b, (s.size + 2) / 3 * 4);
    const uint8_t *in = s.data;
    size_t left = s.size;
    for (; left >= 3; in += 3, left -= 3) {
        *out++ = (uint8_t)alphabet[in[0] >> 2];
        *out++ = (uint8_t)alphabet[(in[0] & 3) << 4 | in[1] >> 4];
        *out++ = (uint8_t)alphabet[(in[1] & 15) << 2 | in[2] >> 6];
        *out++ = (uint8_t)alphabet[in[2] & 63];
    }
    if (left) {
        unsigned second = left == 2 ? in[1] : 0;
        *out++ = (uint8_t)alphabet[in[0] >> 2];
        *out++ = (uint8_t)alphabet[(in[0] & 3) << 4 | second >> 4];
        *out++ = left == 2 ? (uint8_t)alphabet[(second & 15) << 2] : '=';
        *out++ = '=';
    }
    b->size += (s.size + 2) / 3 * 4;
}

/* Returns 0-63, or 64 for a character of neither alphabet. */
static unsigned base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26u;
    if (is_digit(c))
        return c - '0' + 52u;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : 64;
}

int base64_decode(struct slice text, struct buf *b)
{
    size_t size = text.size;
    for (int pad = 0; pad < 2 && size > 0 && text.data[size - 1] == '='; pad++)
        size--;
    if (size % 4 == 1 || (size != text.size && text.size % 4 != 0))
        return ERR_MALFORMED;
    uint8_t *out = buf_reserve(b, size / 4 * 3 + 3);
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned v = base64_value(text.data[i]);
        if (v == 64)
            return ERR_MALFORMED;
        bits = bits << 6 | v;
        count += 6;
        if (count >= 8) {
            count -= 8;
            *out++ = (uint8_t)(bits >> count);
        }
    }
    b->size += size * 3 / 4;
    return OK;
}

/* --- UTF-8 ----------------------------------------------------------------------------------- */

/* Table 3-7 of the Unicode standard: the second byte's range excludes overlong forms, surrogates and code
 * points above U+10FFFF. */
size_t utf8_length(struct slice s)
{
    if (s.size == 0)
        return 0;
    uint8_t c = s.data[0];
    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    size_t n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (s.size < n)
        return 0;
    uint8_t low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    uint8_t high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (s.data[1] < low || s.data[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((s.data[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

size_t utf8_valid_size(struct slice s)
{
    if (s.size == 0)
        return 0;
    const uint8_t *p = s.data, *end = s.data + s.size;
    while (p < end) {
        if (end - p >= 8 && !(get_le64(p) & 0x8080808080808080u)) {
            p += 8;
            continue;
        }
        size_t n = utf8_length(slice_of(p, (size_t)(end - p)));
        if (n == 0)
            break;
        p += n;
    }
    return (size_t)(p - s.data);
}

bool utf8_is_valid(struct slice s)
{
    return utf8_valid_size(s) == s.size;
}

void utf8_add(struct buf *b, uint32_t character)
{
    uint8_t c[4] = {0};
    if (character < 0x80) {
        buf_add_byte(b, (uint8_t)character);
    } else if (character < 0x800) {
        c[0] = (uint8_t)(0xc0 | character >> 6);
        c[1] = (uint8_t)(0x80 | (character & 0x3f));
        buf_add(b, c, 2);
    } else if (character < 0x10000) {
        c[0] = (uint8_t)(0xe0 | character >> 12);
        c[1] = (uint8_t)(0x80 | (character >> 6 & 0x3f));
        c[2] = (uint8_t)(0x80 | (character & 0x3f));
        buf_add(b, c, 3);
    } else {
        c[0] = (uint8_t)(0xf0 | character >> 18);
        c[1] = (uint8_t)(0x80 | (character >> 12 & 0x3f));
        c[2] = (uint8_t)(0x80 | (character >> 6 & 0x3f));
        c[3] = (uint8_t)(0x80 | (character & 0x3f));
        buf_add(b, c, 4);
    }
}

/* --- URLs ------------------------------------------------------------------------------------ */

static int copy_piece(struct slice s, char *ret_text, size_t size)
{
    if (s.size >= size || memchr(s.data, 0, s.size))
        return ERR_MALFORMED;
    memcpy(ret_text, s.data, s.size);
    ret_text[s.size] = 0;
    return OK;
}

static bool is_host_byte(uint8_t c, bool is_ipv6)
{
    uint8_t lower = c | 0x20;
    if (is_digit(c) || (lower >= 'a' && lower <= 'z') || c == '-' || c == '.' || c == '_')
        return true;
    return is_ipv6 && (c == ':' || c == '%');
}

/* Reads host:port; both are required, the port in digits only. */
static int parse_authority(struct slice s, struct url *url)
{
    const uint8_t *colon = s.size ? memrchr(s.data, ':', s.size) : NULL;
    if (!colon)
        return ERR_MALFORMED;
    struct slice host = slice_of(s.data, (size_t)(colon - s.data));
    struct slice digits = slice_of(colon + 1, s.size - host.size - 1);
    uint64_t port;
    if (text_to_u64(digits, &port) != OK || digits.size > 5 || port > UINT16_MAX)
        return ERR_MALFORMED;
    bool is_ipv6 = host.size > 2 && host.data[0] == '[' && host.data[host.size - 1] == ']';
    if (is_ipv6)
        host = slice_of(host.data + 1, host.size - 2);
    if (host.size == 0)
        return ERR_MALFORMED;
    for (size_t i = 0; i < host.size; i++)
        if (!is_host_byte(host.data[i], is_ipv6))
            return ERR_MALFORMED;
    url->port = (uint16_t)port;
    return copy_piece(host, url->host, sizeof url->host);
}

int url_parse(struct slice s, struct url *ret_url)
{
    static const char *const schemes[] = {"http", "https", "unix", "unixs"};
    struct url url = {0};
    const uint8_t *mark = s.size ? memmem(s.data, s.size, "://", 3) : NULL;
    if (!mark)
        return ERR_MALFORMED;
    struct slice scheme = slice_of(s.data, (size_t)(mark - s.data));
    struct slice rest = slice_of(mark + 3, s.size - scheme.size - 3);
    for (size_t i = 0; i < 4 && !url.scheme[0]; i++)
        if (scheme.size == strlen(schemes[i]) &&
            strncasecmp((const char *)scheme.data, schemes[i], scheme.size) == 0)
            memcpy(url.scheme, schemes[i], scheme.size);
    if (!url.scheme[0])
        return ERR_MALFORMED;
    int err;
    if (url.scheme[0] == 'u') {
        err = rest.size ? copy_piece(rest, url.host, sizeof url.host) : ERR_MALFORMED;
    } else {
        const uint8_t *slash = rest.size ? memchr(rest.data, '/', rest.size) : NULL;
        size_t authority = slash ? (size_t)(slash - rest.data) : rest.size;
        struct slice path = slice_of(rest.data + authority, rest.size - authority);
        err = parse_authority(slice_of(rest.data, authority), &url);
        if (!err && path.size && (memchr(path.data, '?', path.size) || memchr(path.data, '#', path.size)))
            err = ERR_MALFORMED;
        if (!err)
            err = copy_piece(path, url.path, sizeof url.path);
    }
    if (!err)
        *ret_url = url;
    return err;
}

int percent_decode(struct slice s, bool is_query, struct buf *b)
{
    size_t size_before = b->size;
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = s.data[i];
        if (c == '+' && is_query) {
            c = ' ';
        } else if (c == '%') {
            int high = s.size - i > 2 ? hex_digit(s.data[i + 1]) : -1;
            int low = s.size - i > 2 ? hex_digit(s.data[i + 2]) : -1;
            if (high < 0 || low < 0) {
                b->size = size_before;
                return ERR_MALFORMED;
            }
            c = (uint8_t)(high << 4 | low);
            i += 2;
        }
        buf_add_byte(b, c);
    }
    return OK;
}
