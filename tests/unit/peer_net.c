/* SPDX-License-Identifier: Apache-2.0
 * See peer_net.h. */
#include "tests/unit/peer_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

uv_loop_t net_loop;
struct io *net_io;
static uv_timer_t waker;

static void on_wake(uv_timer_t *t)
{
    (void)t;
}

int net_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* as the server does: who writes to one that has gone is told so */
    uv_loop_init(&net_loop);
    uv_timer_init(&net_loop, &waker);
    net_io = io_real_new(&net_loop, true);
    log_set_level(getenv("PEER_TEST_LOG") ? LOG_DEBUG : LOG_FATAL);
    return 0;
}

int net_teardown(void **state)
{
    (void)state;
    io_real_free(net_io);
    uv_close((uv_handle_t *)&waker, NULL);
    /* After a failed test its members still dial: that must not last for ever. */
    for (int i = 0; i < 1000 && uv_run(&net_loop, UV_RUN_NOWAIT) != 0; i++)
        usleep(1000);
    return uv_loop_close(&net_loop);
}

void net_run(unsigned ms)
{
    uint64_t end = uv_hrtime() + ms * UINT64_C(1000000);
    do {
        uv_update_time(&net_loop);
        uv_timer_start(&waker, on_wake, 1, 0);
        uv_run(&net_loop, UV_RUN_ONCE);
    } while (uv_hrtime() < end);
    uv_timer_stop(&waker);
}

/* --- nodes --------------------------------------------------------------------------------------------- */
static void on_message(void *arg, uint64_t from, enum peer_lane lane, struct slice message)
{
    struct node *n = arg;
    n->messages[lane]++;
    n->bytes += message.size;
    n->last_from = from;
    if (message.size >= 8) {
        uint64_t number = get_le64(message.data);
        if (number <= n->last_number[lane])
            n->is_ordered = false;
        n->lost_numbers += number - n->last_number[lane] - 1;
        n->last_number[lane] = number;
        for (size_t i = 8; i < message.size; i += 511)
            if (message.data[i] != (uint8_t)number)
                n->is_ordered = false;
    }
    buf_clear(&n->last);
    buf_add_slice(&n->last, message);
    if (n->hook)
        n->hook(n);
}

static void on_unreachable(void *arg, uint64_t id, enum peer_lane lane)
{
    struct node *n = arg;
    (void)id;
    (void)lane;
    n->unreachable++;
}

static void on_reachable(void *arg, uint64_t id, enum peer_lane lane)
{
    struct node *n = arg;
    (void)id;
    (void)lane;
    n->reachable++;
}

static void on_question(void *arg, struct peer_question *q, struct slice text)
{
    struct node *n = arg;
    n->questions++;
    if (n->is_echoing)
        n->peers->ops->answer(n->peers, q, text);
    else
        n->held = q;
}

static void on_removed(void *arg, uint64_t told_by)
{
    struct node *n = arg;
    n->removed++;
    n->removed_by = told_by;
}

static const struct peer_events events = {on_message, on_unreachable, on_reachable, on_question, on_removed};

int free_port(void)
{
    static int next;
    if (!next)
        next = 20000 + getpid() % 2000 * 6;
    for (;;) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        a.sin_port = htons((uint16_t)next++);
        int rc = bind(fd, (struct sockaddr *)&a, sizeof a);
        close(fd);
        if (rc == 0)
            return next - 1;
        assert_true(next < 32700);
    }
}

void net_open(struct node *n, uint64_t id, int port, const char *host, const struct peer_tls_options *tls)
{
    char error[300] = "";
    *n = (struct node){.id = id, .is_ordered = true, .is_echoing = true};
    n->port = port ? port : free_port();
    snprintf(n->url, sizeof n->url, "%s://%s:%d", tls ? "https" : "http", host, n->port);
    n->url_list[0] = n->url;
    struct peer_tcp_options o = {.io = net_io,
                                 .loop = &net_loop,
                                 .listen_urls = n->url_list,
                                 .listen_url_count = 1,
                                 .advertise_urls = n->url_list,
                                 .advertise_url_count = 1,
                                 .heartbeat_ms = 10};
    if (tls)
        o.tls = *tls;
    if (peer_tcp_new(&o, error, sizeof error, &n->peers) != OK)
        fail_msg("%s", error);
    n->peers->ops->set_events(n->peers, &events, n);
    if (id)
        n->peers->ops->set_identity(n->peers, CLUSTER, id);
}

static void on_closed(void *arg)
{
    *(bool *)arg = true;
}

void net_close(struct node *n)
{
    bool closed = false;
    peer_tcp_close(n->peers, on_closed, &closed);
    assert_false(closed);
    WAIT_UNTIL(closed);
    n->peers = NULL;
    buf_done(&n->last);
}

void net_knows(struct node *n, const struct node *other)
{
    n->peers->ops->set_member(n->peers, other->id, other->url_list, 1);
}

bool net_send(struct node *n, uint64_t to, enum peer_lane lane, uint64_t number, size_t size)
{
    uint8_t head[8], *body = mem_alloc(size);
    put_le64(head, number);
    memset(body, (uint8_t)number, size);
    bool ok = n->peers->ops->send(n->peers, to, lane, slice_of(head, 8), slice_of(body, size - 8));
    mem_free(body);
    return ok;
}

void net_flush(struct node *n)
{
    n->peers->ops->flush(n->peers);
}

/* --- raw sockets --------------------------------------------------------------------------------------- */
int raw_connect(int port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

int raw_listen(int *ret_port)
{
    *ret_port = free_port();
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)*ret_port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

int raw_accept(int fd)
{
    int got = -1;
    for (int i = 0; i < 60000 && got < 0; i++) {
        got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (got < 0)
            net_run(1);
    }
    assert_true(got >= 0);
    return got;
}

void raw_send(int fd, struct slice bytes)
{
    while (bytes.size) {
        ssize_t n = send(fd, bytes.data, bytes.size, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            net_run(1);
            continue;
        }
        if (n <= 0)
            return; /* the other side has had enough */
        bytes = slice_of(bytes.data + n, bytes.size - (size_t)n);
    }
}

void raw_read(int fd, unsigned ms, struct buf *ret_bytes, bool *ret_closed)
{
    uint64_t end = uv_hrtime() + ms * UINT64_C(1000000);
    uint8_t b[4096];
    *ret_closed = false;
    while (uv_hrtime() < end && !*ret_closed) {
        ssize_t n = recv(fd, b, sizeof b, 0);
        if (n > 0)
            buf_add(ret_bytes, b, (size_t)n);
        else if (n == 0 || errno != EAGAIN)
            *ret_closed = true;
        else
            net_run(1);
    }
}
