/* SPDX-License-Identifier: Apache-2.0
 * A server on a real loop and real sockets with raw bytes on the client's side, for tests of everything that
 * is served over HTTP. A program includes this file once. */
#ifndef TESTS_UNIT_HTTP_CLIENT_H
#define TESTS_UNIT_HTTP_CLIENT_H

#include "server/http/http.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/net/output.h"
#include "base/net/sources.h"
#include "base/text.h"
#include "tests/unit/unit.h"

enum { WAIT_MS = 60000 }; /* for input that arrives at once on an idle machine */

/* --- a server and clients ------------------------------------------------------------------------------ */

static uv_loop_t loop;
static struct http_server *server;
static struct rpc_server rpc_server;
static struct http_options options;
static bool is_stopped;
static struct sources sources;      /* the same */
static struct output_budget output; /* without limits, unless a test sets them */

HELPER static void on_stopped(void *arg)
{
    (void)arg;
    is_stopped = true;
}

static const char *not_ready; /* the error of /readyz */

HELPER static const char *why_not_ready(void *arg)
{
    (void)arg;
    return not_ready;
}

HELPER static const char *fake_cluster_version(void *arg, struct arena *a)
{
    (void)arg;
    return arena_printf(a, "3.7.0");
}

/* With these mounts. */
HELPER static void open_server(const struct http_mount *mounts, size_t mount_count)
{
    char error[256] = "";
    uv_loop_init(&loop);
    output_budget_init(&output, 0, 0);
    sources_init(&sources, 0, 0, 0);
    rpc_server = (struct rpc_server){.mono_ms = clock_mono_ms};
    options = (struct http_options){
        .loop = &loop,
        .rpc = &rpc_server,
        .request_bytes_max = 64 * 1024,
        .connections_max = 200,
        .output = &output,
        .sources = &sources,
        .enable_gateway = true,
        .server_version = "3.7.1",
        .cluster_version = fake_cluster_version,
        .not_ready = why_not_ready,
        .mounts = mounts,
        .mount_count = mount_count,
    };
    is_stopped = false;
    assert_int_equal(http_server_new(&options, error, sizeof error, &server), 0);
}

HELPER static int stop_server(void **state)
{
    (void)state;
    http_server_stop(server, on_stopped, NULL);
    uint64_t end = clock_mono_ms() + WAIT_MS;
    while (!is_stopped && clock_mono_ms() < end)
        uv_run(&loop, UV_RUN_ONCE);
    assert_true(is_stopped);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(output.bytes, 0);
    output_budget_done(&output);
    assert_int_equal(sources.count, 0);
    sources_done(&sources);
    return 0;
}

/* With the options as they are now. */
HELPER static int restart(void)
{
    char error[256];
    http_server_stop(server, on_stopped, NULL);
    while (!is_stopped)
        uv_run(&loop, UV_RUN_ONCE);
    is_stopped = false;
    return http_server_new(&options, error, sizeof error, &server);
}

/* With --cors and --host-whitelist as they were given. */
HELPER static int restart_with(const char *cors, const char *hosts)
{
    options.cors = options.origins = cors;
    options.host_whitelist = hosts;
    return restart();
}

struct client {
    int fd;
    struct buf in;
    bool is_closed;
};

HELPER static struct client connect_as(enum http_role role)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&a, &size);
    struct client c = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
    assert_int_equal(connect(c.fd, (struct sockaddr *)&a, sizeof a), 0);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    close(listener);
    fcntl(c.fd, F_SETFL, O_NONBLOCK);
    http_server_adopt(server, fd, false, role);
    return c;
}

HELPER static struct client connect_client(void)
{
    return connect_as(HTTP_ALL);
}

HELPER static void pump(struct client *c)
{
    uv_run(&loop, UV_RUN_NOWAIT);
    uint8_t *at = buf_reserve(&c->in, 65536);
    ssize_t n = recv(c->fd, at, 65536, 0);
    if (n > 0)
        c->in.size += (size_t)n;
    else if (n == 0 || errno != EAGAIN)
        c->is_closed = true;
    if (n <= 0)
        usleep(200);
}

HELPER static void send_bytes(struct client *c, const void *data, size_t size)
{
    const char *at = data;
    uint64_t end = clock_mono_ms() + WAIT_MS;
    while (size && clock_mono_ms() < end) {
        ssize_t n = send(c->fd, at, size, MSG_NOSIGNAL);
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        } else if (errno != EAGAIN) {
            return;
        }
        pump(c);
    }
}

HELPER static void send_text(struct client *c, const char *text)
{
    send_bytes(c, text, strlen(text));
}

HELPER static bool has(struct client *c, const char *text)
{
    buf_text(&c->in);
    return c->in.size && memmem(c->in.data, c->in.size, text, strlen(text));
}

HELPER static unsigned count(struct client *c, const char *text)
{
    unsigned n = 0;
    const uint8_t *at = c->in.data, *end = at + c->in.size;
    while (at && (at = memmem(at, (size_t)(end - at), text, strlen(text)))) {
        n++;
        at += strlen(text);
    }
    return n;
}

/* As count, of the bytes after *from, which moves on, so that megabytes are scanned only once. */
HELPER static unsigned count_on(struct client *c, const char *text, size_t *from)
{
    size_t size = strlen(text);
    unsigned n = 0;
    const uint8_t *at;
    while (c->in.size > *from && (at = memmem(c->in.data + *from, c->in.size - *from, text, size))) {
        *from = (size_t)(at - c->in.data) + size;
        n++;
    }
    if (c->in.size >= size && *from < c->in.size - size + 1)
        *from = c->in.size - size + 1;
    return n;
}

HELPER static void expect_times(struct client *c, const char *text, unsigned times)
{
    uint64_t end = clock_mono_ms() + WAIT_MS;
    size_t from = 0;
    unsigned seen = count_on(c, text, &from);
    while (seen < times && clock_mono_ms() < end && !c->is_closed) {
        pump(c);
        seen += count_on(c, text, &from);
    }
    if (count(c, text) != times)
        fail_msg("'%s' is there %u times, not %u, in:\n%s", text, count(c, text), times, buf_text(&c->in));
}

HELPER static void expect(struct client *c, const char *text)
{
    expect_times(c, text, 1);
}

HELPER static void expect_closed(struct client *c)
{
    uint64_t end = clock_mono_ms() + WAIT_MS;
    while (!c->is_closed && clock_mono_ms() < end)
        pump(c);
    if (!c->is_closed)
        fail_msg("still open after:\n%s", buf_text(&c->in));
}

HELPER static void turn(struct client *c, unsigned ms)
{
    uint64_t end = clock_mono_ms() + ms;
    while (clock_mono_ms() < end)
        pump(c);
}

HELPER static void done(struct client *c)
{
    close(c->fd);
    buf_done(&c->in);
    *c = (struct client){.fd = -1};
    for (int i = 0; i < 5; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
}

HELPER static void post(struct client *c, const char *path, const char *body)
{
    char text[4096];
    snprintf(text, sizeof text, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", path,
             strlen(body), body);
    send_text(c, text);
}

#endif
