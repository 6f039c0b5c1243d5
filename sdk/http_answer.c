/* SPDX-License-Identifier: Apache-2.0
 * Parser of HTTP/1.1 responses. Lines are collected in `head` behind the head itself, which stays for
 * http_answer_field, and parsed when they are complete. Bodies are only counted. Ambiguous input is an
 * error: two different lengths, a length that is not a number, an unknown transfer coding. */
#include "sdk/http_answer.h"

#include <strings.h>

#include "base/text.h"

void http_answer_done(struct http_answer *a)
{
    buf_done(&a->head);
    *a = (struct http_answer){0};
}

static struct slice trim(struct slice s)
{
    while (s.size && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = slice_of(s.data + 1, s.size - 1);
    while (s.size && (s.data[s.size - 1] == ' ' || s.data[s.size - 1] == '\t' || s.data[s.size - 1] == '\r'))
        s.size--;
    return s;
}

/* Takes the first line of *rest, without its end; false if there is none. */
static bool next_line(struct slice *rest, struct slice *ret_line)
{
    const uint8_t *end = rest->size ? memchr(rest->data, '\n', rest->size) : NULL;
    if (!end)
        return false;
    *ret_line = slice_of(rest->data, (size_t)(end - rest->data));
    *rest = slice_of(end + 1, rest->size - ret_line->size - 1);
    if (ret_line->size && ret_line->data[ret_line->size - 1] == '\r')
        ret_line->size--;
    return true;
}

static bool is_text(struct slice s, const char *text)
{
    return s.size == strlen(text) && strncasecmp((const char *)s.data, text, s.size) == 0;
}

/* Searches for a field from *at (an offset in the head) and sets *at behind it. */
static bool find_field(const struct http_answer *a, const char *name, size_t *at, struct slice *ret_value)
{
    struct slice rest = slice_of(a->head.data + *at, a->head_size - *at), line;
    while (next_line(&rest, &line)) {
        *at = a->head_size - rest.size;
        const uint8_t *colon = line.size ? memchr(line.data, ':', line.size) : NULL;
        if (!colon || !is_text(slice_of(line.data, (size_t)(colon - line.data)), name))
            continue;
        *ret_value = trim(slice_of(colon + 1, line.size - (size_t)(colon - line.data) - 1));
        return true;
    }
    return false;
}

bool http_answer_field(const struct http_answer *a, const char *name, struct slice *ret_value)
{
    size_t at = 0;
    return a->head_size && find_field(a, name, &at, ret_value);
}

/* "HTTP/1.1 200 OK" */
static int read_status(struct http_answer *a, bool *ret_is_11)
{
    struct slice rest = slice_of(a->head.data, a->head_size), line;
    if (!next_line(&rest, &line) || line.size < 12 || memcmp(line.data, "HTTP/1.", 7) != 0 ||
        line.data[8] != ' ')
        return ERR_MALFORMED;
    if (line.data[7] != '0' && line.data[7] != '1')
        return ERR_MALFORMED;
    a->status = 0;
    for (int i = 9; i < 12; i++) {
        if (line.data[i] < '0' || line.data[i] > '9')
            return ERR_MALFORMED;
        a->status = a->status * 10 + (line.data[i] - '0');
    }
    if (a->status < 100 || (line.size > 12 && line.data[12] != ' '))
        return ERR_MALFORMED;
    *ret_is_11 = line.data[7] == '1';
    return OK;
}

static int read_length(struct http_answer *a, bool *ret_is_there)
{
    struct slice value;
    *ret_is_there = false;
    for (size_t at = 0; find_field(a, "Content-Length", &at, &value);) {
        uint64_t length;
        if (text_to_u64(value, &length) != OK || (*ret_is_there && length != a->left))
            return ERR_MALFORMED;
        a->left = length;
        *ret_is_there = true;
    }
    return OK;
}

/* Handles the complete head: chooses the phase of the body. */
static int on_head(struct http_answer *a)
{
    bool is_11, has_length;
    int err = read_status(a, &is_11);
    if (!err)
        err = read_length(a, &has_length);
    if (err)
        return err;
    struct slice value;
    a->keeps_alive = is_11 && !(http_answer_field(a, "Connection", &value) && is_text(value, "close"));
    bool has_coding = http_answer_field(a, "Transfer-Encoding", &value);
    if (has_coding && (has_length || !is_text(value, "chunked")))
        return ERR_MALFORMED;
    if (a->status < 200 && a->status != 101) {
        a->head.size = a->head_size = 0;
        a->left = 0;
        return OK;
    }
    if (a->status == 101 || a->status == 204 || a->status == 304)
        a->phase = HTTP_ANSWER_DONE;
    else if (has_coding)
        a->phase = HTTP_ANSWER_CHUNK_LINE;
    else if (!has_length)
        a->phase = HTTP_ANSWER_OPEN_END;
    else
        a->phase = a->left ? HTTP_ANSWER_BODY : HTTP_ANSWER_DONE;
    if (a->phase == HTTP_ANSWER_OPEN_END)
        a->keeps_alive = false;
    return OK;
}

/* "1a;extension" */
static int read_chunk_line(struct http_answer *a, struct slice line)
{
    uint64_t size = 0;
    size_t i = 0;
    for (uint32_t digit; i < line.size && text_hex(line.data + i, line.data + i + 1, 1, &digit); i++) {
        if (size >> 60)
            return ERR_MALFORMED;
        size = size << 4 | digit;
    }
    struct slice rest = trim(slice_of(line.data + i, line.size - i));
    if (i == 0 || (rest.size && rest.data[0] != ';'))
        return ERR_MALFORMED;
    a->left = size;
    a->phase = size ? HTTP_ANSWER_CHUNK : HTTP_ANSWER_TRAILER;
    return OK;
}

static int on_line(struct http_answer *a, struct slice line)
{
    if (a->phase == HTTP_ANSWER_CHUNK_LINE)
        return read_chunk_line(a, line);
    if (a->phase == HTTP_ANSWER_CHUNK_END) {
        a->phase = HTTP_ANSWER_CHUNK_LINE;
        return line.size ? ERR_MALFORMED : OK;
    }
    if (line.size == 0) /* end of the trailers */
        a->phase = HTTP_ANSWER_DONE;
    return OK;
}

/* Moves bytes up to the end of a line into head. */
static int feed_line(struct http_answer *a, struct slice *in)
{
    const uint8_t *end = memchr(in->data, '\n', in->size);
    size_t size = end ? (size_t)(end - in->data) + 1 : in->size;
    bool is_head = a->phase == HTTP_ANSWER_HEAD;
    size_t limit = is_head || a->phase == HTTP_ANSWER_TRAILER ? HTTP_ANSWER_HEAD_MAX : HTTP_ANSWER_LINE_MAX;
    if (a->head.size - a->head_size + size > limit)
        return ERR_LIMIT;
    size_t line_from = a->head.size;
    buf_add(&a->head, in->data, size);
    *in = slice_of(in->data + size, in->size - size);
    if (!end)
        return OK;
    if (is_head) {
        while (line_from > 0 && a->head.data[line_from - 1] != '\n')
            line_from--;
        struct slice line = trim(slice_of(a->head.data + line_from, a->head.size - line_from - 1));
        if (line.size || line_from == 0)
            return OK;
        a->head_size = a->head.size;
        return on_head(a);
    }
    struct slice rest = slice_of(a->head.data + a->head_size, a->head.size - a->head_size), line;
    int err = next_line(&rest, &line) ? on_line(a, line) : ERR_MALFORMED;
    a->head.size = a->head_size;
    return err;
}

int http_answer_feed(struct http_answer *a, struct slice *in, struct buf *ret_body)
{
    while (in->size && a->phase != HTTP_ANSWER_DONE && (ret_body || !http_answer_has_head(a))) {
        if (a->phase != HTTP_ANSWER_BODY && a->phase != HTTP_ANSWER_CHUNK &&
            a->phase != HTTP_ANSWER_OPEN_END) {
            int err = feed_line(a, in);
            if (err)
                return err;
            continue;
        }
        size_t size = in->size;
        if (a->phase != HTTP_ANSWER_OPEN_END && size > a->left)
            size = (size_t)a->left;
        buf_add(ret_body, in->data, size);
        *in = slice_of(in->data + size, in->size - size);
        if (a->phase == HTTP_ANSWER_OPEN_END)
            continue;
        a->left -= size;
        if (a->left == 0)
            a->phase = a->phase == HTTP_ANSWER_CHUNK ? HTTP_ANSWER_CHUNK_END : HTTP_ANSWER_DONE;
    }
    return OK;
}

int http_answer_end(struct http_answer *a)
{
    if (a->phase == HTTP_ANSWER_OPEN_END)
        a->phase = HTTP_ANSWER_DONE;
    return a->phase == HTTP_ANSWER_DONE ? OK : ERR_TRUNCATED;
}
