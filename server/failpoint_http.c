/* SPDX-License-Identifier: Apache-2.0
 * gofail's HTTP protocol on a thread of its own, because it must answer while a failpoint blocks the loop. One
 * request a connection, one connection at a time; only tests use it. The response is sent before the failpoint
 * that the request set can end the process. */
#include "server/failpoint_http.h"

#ifdef FAILPOINTS
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/text.h"

enum { REQUEST_MAX = 16 << 10, PATIENCE_S = 2 };

struct request {
    char method[8], name[256];
    struct slice body;
};

struct failpoint_http_answer {
    int status;
    struct buf text;
};

/* --- requests ---------------------------------------------------------------------------- */

static void say(struct failpoint_http_answer *a, int status, const char *text)
{
    a->status = status;
    buf_add_text(&a->text, text);
    buf_add_byte(&a->text, '\n');
}

static const char *reason(int err)
{
    return err == ERR_NOT_FOUND ? "failpoint: failpoint does not exist"
           : err == ERR_INVALID ? "failpoint: failpoint is disabled"
                                : "failpoint: could not parse terms";
}

static void put(const struct request *r, struct failpoint_http_answer *a)
{
    struct buf text = {0};
    buf_add_slice(&text, r->body);
    int err = strcmp(r->name, "failpoints") == 0 ? failpoint_load(buf_text(&text))
                                                 : failpoint_enable(slice_text(r->name), r->body);
    buf_done(&text);
    if (err) {
        buf_add_text(&a->text, "fail to set failpoint: ");
        say(a, 400, reason(err));
    } else {
        a->status = 204;
    }
}

static void get(const struct request *r, struct failpoint_http_answer *a)
{
    size_t n = strlen(r->name);
    bool is_count = n > 6 && strcmp(r->name + n - 6, "/count") == 0;
    uint64_t count;
    struct buf terms = {0};
    if (n == 0) {
        a->status = 200;
        failpoint_list(&a->text);
        return;
    }
    int err = failpoint_status(slice_of(r->name, is_count ? n - 6 : n), &terms, &count);
    if (err) {
        buf_add_text(&a->text, "failed to GET: ");
        say(a, is_count && err == ERR_INVALID ? 500 : 404, reason(err));
    } else if (is_count) {
        a->status = 200;
        text_add_u64(&a->text, count);
    } else {
        say(a, 200, buf_text(&terms));
    }
    buf_done(&terms);
}

static void failpoint_http_answer(const struct request *r, struct failpoint_http_answer *a)
{
    int err;
    if (strcmp(r->method, "PUT") == 0) {
        put(r, a);
    } else if (strcmp(r->method, "GET") == 0) {
        get(r, a);
    } else if (strcmp(r->method, "DELETE") != 0) {
        say(a, 405, "Method not allowed");
    } else if ((err = failpoint_disable(slice_text(r->name)))) {
        buf_add_text(&a->text, "failed to delete failpoint ");
        say(a, 400, reason(err));
    } else {
        a->status = 204;
    }
}

/* --- one connection --------------------------------------------------------------------------- */

/* False: the request is not complete yet. */
static bool parse(struct buf *in, struct request *r)
{
    const char *text = buf_text(in), *end = strstr(text, "\r\n\r\n");
    size_t length = 0;
    if (!end || sscanf(text, "%7s /%255[^ \r\n]", r->method, r->name) < 1)
        return false;
    for (const char *line = strstr(text, "\r\n"); line && line < end; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, "content-length:", 15) == 0)
            length = strtoul(line + 17, NULL, 10);
    size_t head = (size_t)(end - text) + 4;
    if (length > REQUEST_MAX || in->size - head < length)
        return false;
    r->body = slice_of(in->data + head, length);
    return true;
}

static void send_all(int fd, const struct buf *out)
{
    for (size_t at = 0; at < out->size;) {
        ssize_t n = send(fd, out->data + at, out->size - at, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        at += (size_t)n;
    }
}

static void serve(int fd)
{
    struct buf in = {0}, out = {0};
    struct request r = {0};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    while (in.size <= REQUEST_MAX) {
        ssize_t n = recv(fd, buf_reserve(&in, 4096), 4096, 0);
        if (n <= 0)
            break;
        in.size += (size_t)n;
        if (!parse(&in, &r))
            continue;
        struct failpoint_http_answer a = {0};
        failpoint_hold_panics();
        failpoint_http_answer(&r, &a);
        buf_addf(&out, "HTTP/1.1 %d %s\r\n", a.status, a.status < 300 ? "OK" : "Error");
        if (a.status != 204)
            buf_addf(&out, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\n", a.text.size);
        buf_add_text(&out, "Connection: close\r\n\r\n");
        buf_add_slice(&out, buf_slice(&a.text));
        send_all(fd, &out);
        shutdown(fd, SHUT_WR);
        failpoint_let_panics();
        buf_done(&a.text);
        break;
    }
    buf_done(&in);
    buf_done(&out);
    close(fd);
}

static void *failpoint_http_run(void *arg)
{
    int listener = (int)(intptr_t)arg;
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            serve(fd);
    }
    return NULL;
}

static int listen_on(const char *where)
{
    char host[64];
    const char *colon = strrchr(where, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    int fd = -1, yes = 1;
    if (!colon || (size_t)(colon - where) >= sizeof host)
        return -1;
    memcpy(host, where, (size_t)(colon - where));
    host[colon - where] = 0;
    if (getaddrinfo(*host ? host : NULL, colon + 1, &hints, &list) != 0)
        return -1;
    fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (fd >= 0 && (bind(fd, list->ai_addr, list->ai_addrlen) != 0 || listen(fd, 64) != 0)) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    return fd;
}

int failpoint_http_start(void)
{
    const char *set = getenv("GOFAIL_FAILPOINTS"), *where = getenv("GOFAIL_HTTP");
    pthread_t thread;
    int fd;
    if (set && failpoint_load(set) != OK) {
        fprintf(stderr, "GOFAIL_FAILPOINTS=%s: cannot be read\n", set);
        return ERR_MALFORMED;
    }
    if (!where || !*where)
        return OK;
    fd = listen_on(where);
    if (fd < 0 || pthread_create(&thread, NULL, failpoint_http_run, (void *)(intptr_t)fd) != 0) {
        fprintf(stderr, "GOFAIL_HTTP=%s: cannot be listened on\n", where);
        return ERR_IO;
    }
    pthread_detach(thread);
    return OK;
}
#else
/* A translation unit must not be empty. */
extern const int failpoint_http_is_absent;
const int failpoint_http_is_absent = 1;
#endif
