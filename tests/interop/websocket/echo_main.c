/* SPDX-License-Identifier: Apache-2.0
 * An echo server for WebSocket conformance suites: server/http itself, with one handler at /echo that sends
 * each message back. Usage: ws_echo PORT [deflate].
 *
 * Messages go back as text, whatever they came as: cairnd's streams send text alone. It listens on the
 * loopback address and runs until it is killed, or its parent ends. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/net/output.h"
#include "base/net/sources.h"
#include "server/http/request.h"

enum { MESSAGE_BYTES_MAX = 16 << 20, CONNECTIONS_MAX = 100 };

static void on_begin(struct http_request *q)
{
    q->message_bytes_max = MESSAGE_BYTES_MAX;
}

static void on_body(struct http_request *q, struct slice piece)
{
    if (!q->is_stream)
        http_stream_open(q, 200, "text/plain");
    http_stream_send(q, piece);
}

static void on_end(struct http_request *q)
{
    if (!q->is_stream)
        http_respond(q, 200, "text/plain", (struct slice){0});
    else
        http_stream_close(q);
}

static void on_quiet(struct http_request *q)
{
    (void)q;
}

static int listener;
static struct http_server *server;

static void on_connection(uv_poll_t *poll, int status, int events)
{
    (void)poll, (void)status, (void)events;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        http_server_adopt(server, fd, false, HTTP_ALL);
}

static int listen_on(int port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    return bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 128) ? -1 : fd;
}

int main(int argc, char **argv)
{
    struct http_handler handler = {
        .begin = on_begin,
        .body = on_body,
        .end = on_end,
        .writable = on_quiet,
        .expired = on_quiet,
        .gone = on_quiet,
        .takes_deflate = argc > 2,
    };
    struct http_mount mount = {.path = "/echo", .handler = &handler, .takes_websocket = true};
    struct rpc_server rpc = {.mono_ms = clock_mono_ms};
    struct sources sources;
    struct output_budget output;
    uv_loop_t loop;
    uv_poll_t poll;
    char error[256];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    listener = argc > 1 ? listen_on(atoi(argv[1])) : -1;
    if (listener < 0) {
        fprintf(stderr, "usage: ws_echo PORT [deflate]; or the port is taken\n");
        return 2;
    }
    uv_loop_init(&loop);
    sources_init(&sources, 0, 0, 0);
    output_budget_init(&output, 0, 0);
    struct http_options options = {
        .loop = &loop,
        .rpc = &rpc,
        .request_bytes_max = MESSAGE_BYTES_MAX,
        .connections_max = CONNECTIONS_MAX,
        .output = &output,
        .sources = &sources,
        .server_version = "3.7.1",
        .host_whitelist = "*",
        .own_hosts = "*",
        .mounts = &mount,
        .mount_count = 1,
    };
    if (http_server_new(&options, error, sizeof error, &server)) {
        fprintf(stderr, "ws_echo: %s\n", error);
        return 2;
    }
    uv_poll_init(&loop, &poll, listener);
    uv_poll_start(&poll, UV_READABLE, on_connection);
    uv_run(&loop, UV_RUN_DEFAULT);
    return 0;
}
