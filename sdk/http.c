/* SPDX-License-Identifier: Apache-2.0
 * See http.h. */
#include "sdk/http.h"

#include <strings.h>

#include "base/text.h"

static struct slice trimmed(struct slice s)
{
    while (s.size && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = slice_of(s.data + 1, s.size - 1);
    while (s.size && (s.data[s.size - 1] == ' ' || s.data[s.size - 1] == '\t' || s.data[s.size - 1] == '\r'))
        s.size--;
    return s;
}

/* The next line of text, without its end. False if there is none that is whole. */
static bool take_line(struct slice *text, struct slice *ret_line)
{
    const uint8_t *end = text->size ? memchr(text->data, '\n', text->size) : NULL;
    if (!end)
        return false;
    size_t n = (size_t)(end - text->data);
    *ret_line = slice_of(text->data, n && text->data[n - 1] == '\r' ? n - 1 : n);
    *text = slice_of(end + 1, text->size - n - 1);
    return true;
}

bool http_answer_field(const struct http_answer *a, const char *name, struct slice *ret)
{
    struct slice text = buf_slice(&a->head), line;
    size_t n = strlen(name);
    while (take_line(&text, &line))
        if (line.size > n && line.data[n] == ':' && strncasecmp((const char *)line.data, name, n) == 0) {
            *ret = trimmed(slice_of(line.data + n + 1, line.size - n - 1));
            return true;
        }
    return false;
}

/* "HTTP/1.1 200 OK" */
static int read_status(struct http_answer *a)
{
    struct slice text = buf_slice(&a->head), line;
    uint64_t status;
    if (!take_line(&text, &line) || line.size < 12 || memcmp(line.data, "HTTP/1.", 7) != 0 ||
        text_to_u64(slice_of(line.data + 9, 3), &status) != OK || status < 100 || status > 599)
        return ERR_MALFORMED;
    a->status = (int)status;
    return OK;
}

static int read_framing(struct http_answer *a)
{
    struct slice value;
    uint64_t size;
    if (a->status < 200 || a->status == 204 || a->status == 304) {
        a->is_complete = true;
    } else if (http_answer_field(a, "transfer-encoding", &value)) {
        if (value.size != 7 || strncasecmp((const char *)value.data, "chunked", 7) != 0)
            return ERR_MALFORMED;
        a->is_chunked = true;
    } else if (http_answer_field(a, "content-length", &value)) {
        if (text_to_u64(value, &size) != OK)
            return ERR_MALFORMED;
        if (size > HTTP_BODY_MAX)
            return ERR_LIMIT;
        a->body_left = (int64_t)size;
        a->is_complete = size == 0;
    } else {
        a->body_left = -1;
    }
    return OK;
}

static int read_head(struct http_answer *a)
{
    const uint8_t *end = a->in.size ? memmem(a->in.data, a->in.size, "\r\n\r\n", 4) : NULL;
    if (!end)
        return a->in.size > HTTP_HEAD_MAX ? ERR_LIMIT : OK;
    size_t n = (size_t)(end - a->in.data) + 2;
    if (n > HTTP_HEAD_MAX)
        return ERR_LIMIT;
    buf_add(&a->head, a->in.data, n);
    buf_consume(&a->in, n + 2);
    int err = read_status(a);
    return err ? err : read_framing(a);
}

/* A chunk's size line, or the line behind a chunk, or one of the trailer. */
static int read_chunk_line(struct http_answer *a, bool *ret_more)
{
    struct slice text = buf_slice(&a->in), line;
    size_t before = text.size;
    *ret_more = false;
    if (!take_line(&text, &line))
        return a->in.size > HTTP_HEAD_MAX ? ERR_LIMIT : OK;
    *ret_more = true;
    if (a->is_in_trailer) {
        a->is_complete = line.size == 0;
    } else if (line.size) { /* an empty one ends the chunk before */
        uint64_t size = 0;
        size_t i = 0;
        uint32_t digit;
        for (; i < line.size && i < 8 && text_hex(line.data + i, line.data + line.size, 1, &digit); i++)
            size = size << 4 | digit;
        if (!i || (i < line.size && line.data[i] != ';' && line.data[i] != ' '))
            return ERR_MALFORMED;
        a->body_left = (int64_t)size;
        a->is_in_trailer = size == 0;
    }
    buf_consume(&a->in, before - text.size);
    return OK;
}

static int read_body(struct http_answer *a)
{
    bool more = true;
    while (more && !a->is_complete) {
        size_t n =
            a->body_left < 0 || a->in.size < (uint64_t)a->body_left ? a->in.size : (size_t)a->body_left;
        if (a->body.size + n > HTTP_BODY_MAX)
            return ERR_LIMIT;
        buf_add(&a->body, a->in.data, n);
        buf_consume(&a->in, n);
        if (a->body_left > 0)
            a->body_left -= (int64_t)n;
        if (a->body_left != 0)
            return OK; /* more must come */
        if (!a->is_chunked) {
            a->is_complete = true;
        } else {
            int err = read_chunk_line(a, &more);
            if (err)
                return err;
        }
    }
    return OK;
}

int http_answer_feed(struct http_answer *a, struct slice bytes)
{
    buf_add_slice(&a->in, bytes);
    if (!a->status) {
        int err = read_head(a);
        if (err || !a->status)
            return err;
    }
    return a->is_complete ? OK : read_body(a);
}

int http_answer_end(struct http_answer *a)
{
    if (a->status && !a->is_chunked && a->body_left < 0)
        a->is_complete = true;
    return a->is_complete ? OK : ERR_TRUNCATED;
}

void http_answer_done(struct http_answer *a)
{
    buf_done(&a->in);
    buf_done(&a->head);
    buf_done(&a->body);
    *a = (struct http_answer){0};
}
