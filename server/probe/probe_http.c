/* SPDX-License-Identifier: Apache-2.0
 * The HTTP/1.1 part of a health check; see probe_http.h. */
#include "server/probe/probe_http.h"

#include <string.h>

bool probe_host_is_valid(const char *host)
{
    size_t n = strlen(host);
    if (n == 0 || n > 255 || host[0] == '-')
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = host[i], letter = (char)(c | 0x20);
        bool is_letter = letter >= 'a' && letter <= 'z', is_digit = c >= '0' && c <= '9';
        if (!is_letter && !is_digit && c != '.' && c != ':' && c != '-' && c != '_')
            return false;
    }
    return true;
}

void probe_http_request(struct buf *out, const char *host, uint16_t port, const char *path)
{
    bool is_v6 = strchr(host, ':') != NULL;
    buf_addf(out, "GET %s HTTP/1.1\r\nHost: %s%s%s", path, is_v6 ? "[" : "", host, is_v6 ? "]" : "");
    if (port)
        buf_addf(out, ":%u", port);
    buf_addf(out, "\r\nUser-Agent: cairn-check\r\nAccept: */*\r\nConnection: close\r\n\r\n");
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK" or "HTTP/1.1 200". 0: it is no status line. */
static int status_of(const char *line, size_t size)
{
    if (size < 12 || memcmp(line, "HTTP/1.", 7) != 0 || !is_digit(line[7]) || line[8] != ' ')
        return 0;
    if (!is_digit(line[9]) || !is_digit(line[10]) || !is_digit(line[11]) || (size > 12 && line[12] != ' '))
        return 0;
    int status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + line[11] - '0';
    return status < 100 || status > 599 ? 0 : status;
}

/* A whole line without its end. */
static int take_line(struct probe_answer *a)
{
    if (a->is_interim) {
        a->is_interim = a->size > 0; /* an empty line ends the fields */
        return OK;
    }
    int status = status_of(a->line, a->size);
    if (!status || status == 101)
        return ERR_MALFORMED;
    if (status < 200)
        a->is_interim = true;
    else
        a->status = status;
    return OK;
}

int probe_answer_feed(struct probe_answer *a, struct slice bytes)
{
    static const char begin[] = "HTTP/1.";
    for (size_t i = 0; i < bytes.size && !a->status; i++) {
        char c = (char)bytes.data[i];
        if (++a->total > PROBE_ANSWER_MAX)
            return ERR_LIMIT;
        if (c != '\n') {
            if (a->size == sizeof a->line)
                return ERR_LIMIT;
            /* Another protocol is known by its first bytes. */
            if (!a->is_interim && a->size < sizeof begin - 1 && c != begin[a->size])
                return ERR_MALFORMED;
            a->line[a->size++] = c;
            continue;
        }
        if (a->size && a->line[a->size - 1] == '\r')
            a->size--;
        int err = take_line(a);
        a->size = 0;
        if (err)
            return err;
    }
    return OK;
}
