/* SPDX-License-Identifier: Apache-2.0
 * Parser of HTTP/1.1 request heads; see head.h. It rejects everything that a proxy in front might read in
 * another way:
 *   - a line that does not end with CRLF, a folded line;
 *   - a blank before ':';
 *   - control characters in a value. */
#include "server/http/head.h"

#include <strings.h>

#include "base/text.h"

size_t http_head_size(struct slice in, size_t from)
{
    size_t at = from > 3 ? from - 3 : 0;
    if (in.size < at + 4)
        return 0;
    const uint8_t *end = memmem(in.data + at, in.size - at, "\r\n\r\n", 4);
    return end ? (size_t)(end - in.data) + 4 : 0;
}

/* RFC 9110's tchar. */
static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = s.data[i];
        bool is_alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!is_alnum && (c == 0 || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return s.size > 0;
}

static bool has_control(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if ((s.data[i] < 0x20 && s.data[i] != '\t') || s.data[i] == 0x7f)
            return true;
    return false;
}

/* The line at the front of text, without its CRLF, taken off. */
static bool take_line(struct slice *text, struct slice *ret_line)
{
    const uint8_t *end = text->size ? memmem(text->data, text->size, "\r\n", 2) : NULL;
    if (!end)
        return false;
    *ret_line = slice_of(text->data, (size_t)(end - text->data));
    *text = slice_of(end + 2, text->size - ret_line->size - 2);
    return true;
}

int http_method_parse(struct slice s, enum http_method *ret_method)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if (slice_equal(s, slice_text(names[i]))) {
            *ret_method = (enum http_method)(1u << i);
            return 0;
        }
    }
    return is_token(s) ? 501 : 400;
}

static int parse_request_line(struct slice line, struct http_head *h)
{
    const uint8_t *end = line.data + line.size;
    const uint8_t *first = line.size ? memchr(line.data, ' ', line.size) : NULL;
    if (!first)
        return 400;
    const uint8_t *second = memchr(first + 1, ' ', (size_t)(end - first) - 1);
    if (!second || has_control(line))
        return 400;
    struct slice version = slice_of(second + 1, (size_t)(end - second) - 1);
    h->target = slice_of(first + 1, (size_t)(second - first) - 1);
    h->is_http11 = slice_equal(version, slice_text("HTTP/1.1"));
    if (!h->is_http11 && !slice_equal(version, slice_text("HTTP/1.0")))
        return version.size == 8 && memcmp(version.data, "HTTP/", 5) == 0 ? 505 : 400;
    if (h->target.size == 0)
        return 400;
    return http_method_parse(slice_of(line.data, (size_t)(first - line.data)), &h->method);
}

static struct slice http_head_trim(struct slice s)
{
    while (s.size && (*s.data == ' ' || *s.data == '\t'))
        s = slice_of(s.data + 1, s.size - 1);
    while (s.size && (s.data[s.size - 1] == ' ' || s.data[s.size - 1] == '\t'))
        s.size--;
    return s;
}

int http_head_add(struct http_head *h, struct slice name, struct slice value)
{
    if (!is_token(name) || has_control(value))
        return 400;
    if (h->count == HTTP_FIELDS_MAX)
        return 431;
    h->fields[h->count].name = name;
    h->fields[h->count++].value = http_head_trim(value);
    return 0;
}

int http_head_parse(struct slice text, struct http_head *ret_head)
{
    struct slice line;
    ret_head->count = 0;
    if (!take_line(&text, &line))
        return 400;
    int status = parse_request_line(line, ret_head);
    if (status)
        return status;
    while (take_line(&text, &line) && line.size) {
        const uint8_t *colon = memchr(line.data, ':', line.size);
        if (!colon)
            return 400;
        struct slice name = slice_of(line.data, (size_t)(colon - line.data));
        struct slice value = slice_of(colon + 1, line.size - name.size - 1);
        if ((status = http_head_add(ret_head, name, value)))
            return status;
    }
    return text.size ? 400 : 0;
}

bool http_text_is(struct slice s, const char *text)
{
    return s.size == strlen(text) && (s.size == 0 || strncasecmp((const char *)s.data, text, s.size) == 0);
}

bool http_head_field(const struct http_head *h, const char *name, struct slice *ret_value, size_t *ret_count)
{
    size_t count = 0;
    for (size_t i = 0; i < h->count; i++)
        if (http_text_is(h->fields[i].name, name) && count++ == 0)
            *ret_value = h->fields[i].value;
    if (ret_count)
        *ret_count = count;
    return count > 0;
}

bool http_list_has(struct slice list, const char *word)
{
    while (list.size) {
        const uint8_t *comma = memchr(list.data, ',', list.size);
        size_t n = comma ? (size_t)(comma - list.data) : list.size;
        if (http_text_is(http_head_trim(slice_of(list.data, n)), word))
            return true;
        n += comma != NULL;
        list = slice_of(list.data + n, list.size - n);
    }
    return false;
}

/* "http://host:1/path" (as sent to proxies) -> "/path". */
static struct slice without_authority(struct slice target)
{
    const uint8_t *scheme = memmem(target.data, target.size, "://", 3);
    if (target.data[0] == '/' || !scheme)
        return target;
    size_t at = (size_t)(scheme - target.data) + 3;
    const uint8_t *slash = memchr(target.data + at, '/', target.size - at);
    return slash ? slice_of(slash, target.size - (size_t)(slash - target.data)) : slice_text("/");
}

static int split_query(struct slice query, struct buf *out)
{
    while (query.size) {
        const uint8_t *end = memchr(query.data, '&', query.size);
        size_t n = end ? (size_t)(end - query.data) : query.size;
        size_t before = out->size;
        int err = percent_decode(slice_of(query.data, n), true, out);
        if (err || (out->size > before && memchr(out->data + before, 0, out->size - before)))
            return ERR_MALFORMED;
        if (n)
            buf_add_byte(out, 0);
        n += end != NULL;
        query = slice_of(query.data + n, query.size - n);
    }
    return 0;
}

int http_target_split(struct slice target, struct buf *text, struct slice *ret_path, struct slice *ret_query)
{
    buf_clear(text);
    target = without_authority(target);
    const uint8_t *mark = memchr(target.data, '?', target.size);
    size_t n = mark ? (size_t)(mark - target.data) : target.size;
    if (percent_decode(slice_of(target.data, n), false, text) || text->size == 0 ||
        memchr(text->data, 0, text->size) || (text->data[0] != '/' && !http_text_is(target, "*")))
        return ERR_MALFORMED;
    size_t path_size = text->size;
    buf_add_byte(text, 0);
    if (mark && split_query(slice_of(mark + 1, target.size - n - 1), text))
        return ERR_MALFORMED;
    *ret_path = slice_of(text->data, path_size);
    *ret_query = slice_of(text->data + path_size + 1, text->size - path_size - 1);
    return 0;
}
