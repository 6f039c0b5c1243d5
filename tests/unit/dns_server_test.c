/* SPDX-License-Identifier: Apache-2.0
 * Tests of server/dns over real sockets on loopback; the test turns the loop. Pipelines, slow and greedy
 * clients, limits. The registry is a catalog and two functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/metric.h"
#include "base/net/output.h"
#include "server/dns/dns_server.h"
#include "server/dns/dns_server_private.h"
#include "tests/unit/dns_world.h"

struct registry {
    struct catalog *catalog;
    bool is_ready;
};

bool registry_is_ready(const struct registry *r)
{
    return r->is_ready;
}

struct catalog *registry_catalog(struct registry *r)
{
    return r->catalog;
}

struct fixture {
    uv_loop_t loop;
    struct registry registry;
    struct dns_world *world;
    struct dns_server *server;
    struct output_budget output; /* without limits, unless a test sets them */
    bool is_stopped;
};

static void on_stopped(void *arg)
{
    ((struct fixture *)arg)->is_stopped = true;
}

static struct fixture *start(const char *listen, size_t connections_max, uint64_t idle_ms)
{
    struct fixture *f = mem_new(sizeof *f);
    char error[200] = "";
    uv_loop_init(&f->loop);
    f->world = dns_world_new();
    f->registry = (struct registry){f->world->catalog, true};
    output_budget_init(&f->output, 0, 0);
    struct dns_server_options o = {
        .loop = &f->loop,
        .registry = &f->registry,
        .output = &f->output,
        .listen = listen,
        .zone = "cairn.",
        .ttl_ns = 5000000000,
        .connections_max = connections_max,
        .idle_ms = idle_ms,
    };
    int err = dns_server_new(&o, error, sizeof error, &f->server);
    assert_string_equal(error, "");
    assert_int_equal(err, 0);
    return f;
}

static void stop(struct fixture *f)
{
    dns_server_stop(f->server, on_stopped, f);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_true(f->is_stopped);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    assert_int_equal(f->output.bytes, 0);
    output_budget_done(&f->output);
    dns_world_free(f->world);
    mem_free(f);
}

static int dial_from(struct fixture *f, int type, const char *source)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)dns_server_port(f->server))};
    struct sockaddr_in from = {.sin_family = AF_INET};
    inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
    inet_pton(AF_INET, source, &from.sin_addr);
    int fd = socket(AF_INET, type, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static int dial(struct fixture *f, int type)
{
    return dial_from(f, type, "127.0.0.1");
}

/* One A query after its length, for "same.svc.cairn."; returns the size of the message. */
static size_t question(uint8_t *out)
{
    static const uint8_t bytes[] = "\0\x20\x12\x34\1\0\0\1\0\0\0\0\0\0\4same\3svc\5cairn\0\0\1\0\1";
    memcpy(out, bytes, sizeof bytes - 1);
    out[1] = (uint8_t)(sizeof bytes - 3);
    return sizeof bytes - 3;
}

/* Turns the loop until that many bytes have arrived, or the end; returns the number of bytes. */
static size_t read_bytes(struct fixture *f, int fd, uint8_t *out, size_t wanted)
{
    size_t size = 0;
    uint64_t end = clock_mono_ms() + 60000;
    while (size < wanted && clock_mono_ms() < end) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        ssize_t n = recv(fd, out + size, wanted - size, MSG_DONTWAIT);
        if (n > 0)
            size += (size_t)n;
        else if (n == 0 || errno != EAGAIN)
            return size;
    }
    return size;
}

static bool is_answer(const uint8_t *message, size_t size)
{
    static const uint8_t address[] = {0, 4, 10, 6, 0, 1};
    return size > 20 && message[0] == 0x12 && message[1] == 0x34 && (message[2] & 0x80) && message[7] == 1 &&
           memmem(message, size, address, sizeof address);
}

static double metric(const char *name)
{
    struct buf text = {0};
    char line[80];
    snprintf(line, sizeof line, "\n%s ", name);
    metric_print(&text);
    const char *at = strstr(buf_text(&text), line);
    assert_non_null(at);
    double value = strtod(at + strlen(line), NULL);
    buf_done(&text);
    return value;
}

static void udp_answers(void **state)
{
    (void)state;
    struct fixture *f = start("127.0.0.1:0", 0, 0);
    uint8_t q[64], a[512];
    size_t size = question(q);
    int fd = dial(f, SOCK_DGRAM);
    enum { MANY = 100 }; /* more than a batch, fewer than the kernel keeps */
    for (int i = 0; i < MANY; i++)
        assert_int_equal(send(fd, q + 2, size, 0), size);
    assert_int_equal(send(fd, q, 5, 0), 5); /* no query: no answer and no effect */
    for (int i = 0; i < MANY; i++) {
        size_t n = read_bytes(f, fd, a, 1);
        assert_int_equal(n, 1);
        (void)n;
    }
    f->registry.is_ready = false;
    assert_int_equal(send(fd, q + 2, size, 0), size);
    uint64_t end = clock_mono_ms() + 60000;
    ssize_t n = -1;
    while (n < 0 && clock_mono_ms() < end) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        n = recv(fd, a, sizeof a, MSG_DONTWAIT);
    }
    assert_int_equal(n, size);
    assert_int_equal(a[3] & 0xf, DNS_SERVFAIL);
    struct buf text = {0};
    metric_print(&text);
    assert_non_null(strstr(buf_text(&text), "cairn_dns_queries_total{transport=\"udp\"} 102\n"));
    assert_non_null(strstr(buf_text(&text), "cairn_dns_answers_total{rcode=\"servfail\"} 1\n"));
    assert_non_null(strstr(buf_text(&text), "cairn_dns_dropped_total 1\n"));
    buf_done(&text);
    close(fd);
    stop(f);
}

/* All sockets of a turn share its slice of time; the next turn has a new one. */
static void slices(void **state)
{
    (void)state;
    struct fixture *f = start("127.0.0.1:0", 0, 0);
    assert_false(dns_server_is_slice_over(f->server));
    f->server->slice_end_ns = 1; /* as if it had begun long ago */
    assert_true(dns_server_is_slice_over(f->server));
    f->server->slice_at_ms--; /* in an earlier turn */
    assert_false(dns_server_is_slice_over(f->server));
    stop(f);
}

/* The answer to a query for one address does not come from another one. */
static void udp_on_all_addresses(void **state)
{
    (void)state;
    struct fixture *f = start("0.0.0.0:0", 0, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)dns_server_port(f->server))};
    inet_pton(AF_INET, "127.0.0.99", &a.sin_addr);
    uint8_t q[64], answer[512];
    size_t size = question(q);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(send(fd, q + 2, size, 0), size);
    ssize_t n = -1;
    for (uint64_t end = clock_mono_ms() + 60000; n < 0 && clock_mono_ms() < end;) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        n = recv(fd, answer, sizeof answer, MSG_DONTWAIT); /* a connected socket accepts only its peer's */
    }
    assert_true(n > 0 && is_answer(answer, (size_t)n));
    close(fd);
    stop(f);
}

/* A query with a cookie, and the cookie in its answer. */
static void ask_with_cookie(struct fixture *f, int fd, const uint8_t *cookie, size_t size,
                            uint8_t ret_cookie[24])
{
    static const uint8_t opt[] = "\0\0\x29\4\320\0\0\0\0";
    uint8_t q[128], a[512];
    size_t at = question(q);
    q[2 + 11] = 1;
    memcpy(q + 2 + at, opt, 9);
    memcpy(q + 2 + at + 9, (uint8_t[]){0, (uint8_t)(size + 4), 0, 10, 0, (uint8_t)size}, 6);
    memcpy(q + 2 + at + 15, cookie, size);
    assert_true(send(fd, q + 2, at + 15 + size, 0) > 0);
    ssize_t n = -1;
    for (uint64_t end = clock_mono_ms() + 60000; n < 0 && clock_mono_ms() < end;) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        n = recv(fd, a, sizeof a, MSG_DONTWAIT);
    }
    assert_true(n > 28 && is_answer(a, (size_t)n));
    assert_memory_equal(a + n - 28, "\0\12\0\30", 4);
    memcpy(ret_cookie, a + n - 24, 24);
}

/* A cookie is valid for the address that received it, whatever the port. */
static void udp_cookies(void **state)
{
    (void)state;
    struct fixture *f = start("127.0.0.1:0", 0, 0);
    int first = dial(f, SOCK_DGRAM), again = dial(f, SOCK_DGRAM),
        other = dial_from(f, SOCK_DGRAM, "127.0.0.2");
    double valid = metric("cairn_dns_cookies_valid_total"), bad = metric("cairn_dns_cookies_bad_total");
    uint8_t cookie[24], none[24];
    ask_with_cookie(f, first, (const uint8_t *)"12345678", 8, cookie);
    assert_memory_equal(cookie, "12345678\1\0\0\0", 12);
    assert_int_equal((int)(metric("cairn_dns_cookies_valid_total") - valid), 0);
    ask_with_cookie(f, again, cookie, 24, none);
    assert_int_equal((int)(metric("cairn_dns_cookies_valid_total") - valid), 1);
    assert_int_equal((int)(metric("cairn_dns_cookies_bad_total") - bad), 0);
    ask_with_cookie(f, other, cookie, 24, none);
    assert_int_equal((int)(metric("cairn_dns_cookies_valid_total") - valid), 1);
    assert_int_equal((int)(metric("cairn_dns_cookies_bad_total") - bad), 1);
    close(first);
    close(again);
    close(other);
    stop(f);
}

/* Ports of services that answer an answer get none. */
static void udp_no_loops(void **state)
{
    (void)state;
    static const uint16_t ports[] = {7, 13, 17, 19, 37};
    struct fixture *f = start("127.0.0.1:0", 0, 0);
    uint8_t q[64], a[512];
    size_t size = question(q), tried = 0;
    double dropped = metric("cairn_dns_dropped_total");
    for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) {
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons(ports[i])};
        inet_pton(AF_INET, "127.0.0.77", &from.sin_addr);
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        struct sockaddr_in to = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)dns_server_port(f->server))};
        inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
        if (bind(fd, (struct sockaddr *)&from, sizeof from) == 0) { /* a privilege */
            assert_int_equal(sendto(fd, q + 2, size, 0, (struct sockaddr *)&to, sizeof to), size);
            tried++;
        }
        close(fd);
    }
    int fd = dial(f, SOCK_DGRAM);
    assert_int_equal(send(fd, q + 2, size, 0), size); /* after them */
    assert_int_equal(read_bytes(f, fd, a, 1), 1);
    assert_int_equal((int)(metric("cairn_dns_dropped_total") - dropped), tried);
    print_message("%zu ports\n", tried);
    close(fd);
    stop(f);
}

static void tcp_pipelines(void **state)
{
    (void)state;
    struct fixture *f = start("127.0.0.1:0", 0, 0);
    uint8_t q[64], *all = mem_new(1 << 20);
    size_t size = question(q) + 2;
    int fd = dial(f, SOCK_STREAM);
    for (size_t i = 0; i < size; i++) { /* a byte at a time */
        assert_int_equal(send(fd, q + i, 1, 0), 1);
        for (int k = 0; k < 3; k++)
            uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(read_bytes(f, fd, all, 2), 2);
    size_t answer = (size_t)(all[0] << 8 | all[1]);
    assert_int_equal(read_bytes(f, fd, all, answer), answer);
    assert_true(is_answer(all, answer));
    /* A thousand queries at once, and the client shuts down its sending side. */
    enum { MANY = 1000 };
    for (size_t i = 0; i < MANY; i++)
        memcpy(all + i * size, q, size);
    assert_int_equal(send(fd, all, MANY * size, 0), MANY * size);
    shutdown(fd, SHUT_WR);
    assert_int_equal(read_bytes(f, fd, all, 1 << 20), MANY * (answer + 2));
    for (size_t i = 0; i < MANY; i++)
        assert_true(is_answer(all + i * (answer + 2) + 2, answer));
    close(fd);
    mem_free(all);
    stop(f);
}

enum { PIECE = 1 << 16, PENDING_MAX = 16384, ANSWER_MAX = 65535 + 2 };

/* Sends queries until the socket takes no more, and reads nothing. Returns the size of a query; `all` holds
 * PIECE. */
static size_t ask_without_reading(struct fixture *f, int fd, uint8_t *all, size_t *ret_sent,
                                  double *ret_pending)
{
    for (unsigned i = 0; i < DNS_RECORDS_MAX; i++) { /* large answers to small questions, all of one size */
        char key[64], value[64];
        snprintf(key, sizeof key, "default/default/same/x%u", i);
        snprintf(value, sizeof value, "{\"host\":\"10.6.1.%u\",\"port\":1}", i + 100);
        dns_world_put(f->world, NAME_INSTANCE, key, value);
    }
    for (const char *c = "123"; *c; c++) {
        char key[] = "default/default/same/s.";
        key[sizeof key - 2] = *c;
        dns_world_put(f->world, NAME_INSTANCE, key, NULL);
    }
    size_t size = question(all) + 2, sent = 0, per = PIECE / size;
    all[size - 3] = DNS_SRV;
    for (size_t i = 1; i < per; i++)
        memcpy(all + i * size, all, size);
    int small = 16384; /* of the client's own buffer: it is done sooner */
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    size_t part = 0;
    double pending = 0;
    uint64_t end = clock_mono_ms() + 60000; /* the kernel may deliver late on a busy machine */
    for (int quiet = 0; quiet < 300 || (pending <= PENDING_MAX && clock_mono_ms() < end);) {
        ssize_t n = send(fd, all + part, per * size - part, MSG_DONTWAIT);
        quiet = n > 0 ? 0 : quiet + 1;
        part = n > 0 ? (part + (size_t)n) % (per * size) : part;
        sent += n > 0 ? (size_t)n : 0;
        uv_run(&f->loop, UV_RUN_NOWAIT);
        if (n < 0)
            usleep(100);
        double now = metric("cairn_dns_pending_bytes");
        pending = now > pending ? now : pending;
        assert_true(sent < 64u << 20);
    }
    *ret_sent = sent;
    *ret_pending = pending;
    return size;
}

/* A client that sends queries and does not read: its buffer is bounded, costs no time, and other clients are
 * served. */
static void tcp_greedy(void **state)
{
    (void)state;
    struct fixture *f = start("127.0.0.1:0", 0, 0);
    uint8_t q[64], answer[64], *all = mem_new(PIECE);
    size_t sent;
    double pending;
    int fd = dial(f, SOCK_STREAM), other = dial(f, SOCK_STREAM);
    size_t size = ask_without_reading(f, fd, all, &sent, &pending);
    memcpy(q, all, size);
    const double least = PENDING_MAX, most = PENDING_MAX + ANSWER_MAX;
    assert_true(pending > least && pending <= most);
    assert_true(f->output.bytes > PENDING_MAX && f->output.bytes <= ANSWER_MAX + PENDING_MAX);
    struct pollfd busy = {.fd = uv_backend_fd(&f->loop), .events = POLLIN};
    assert_int_equal(poll(&busy, 1, 0), 0);
    assert_int_equal(send(other, q, size, 0), size);
    assert_int_equal(read_bytes(f, other, answer, 2), 2);
    /* The client reads after all: it gets an answer for each whole query that it sent. */
    size_t each = (size_t)(answer[0] << 8 | answer[1]) + 2, got = 0, n;
    shutdown(fd, SHUT_WR);
    while ((n = read_bytes(f, fd, all, PIECE)) > 0)
        got += n;
    assert_int_equal(got, sent / size * each);
    close(fd);
    close(other);
    mem_free(all);
    stop(f);
}

/* Beyond the total of all connections the server closes the connection that holds the most, with a reason. */
static void tcp_total(void **state)
{
    (void)state;
    struct fixture *f = start("127.0.0.1:0", 0, 0);
    uint8_t q[64], answer[64], *all = mem_new(PIECE);
    size_t sent;
    double pending;
    int fd = dial(f, SOCK_STREAM), other = dial(f, SOCK_STREAM);
    size_t size = ask_without_reading(f, fd, all, &sent, &pending);
    memcpy(q, all, size);
    f->output.bytes_max = PENDING_MAX / 2;
    assert_false(output_budget_turn(&f->output, clock_mono_ms() + 2000)); /* not its first second */
    assert_int_equal(f->output.closed[OUTPUT_TOTAL], 1);
    assert_int_equal(f->output.bytes, 0);
    assert_true(metric("cairn_dns_connections") <= 1);
    while (read_bytes(f, fd, all, PIECE) > 0) /* the kernel's buffer, then the end */
        ;
    assert_int_equal(send(other, q, size, 0), size);
    assert_int_equal(read_bytes(f, other, answer, 2), 2);
    close(fd);
    close(other);
    mem_free(all);
    stop(f);
}

static void tcp_nonsense_is_closed(void **state)
{
    (void)state;
    static const char *const bytes[] = {"\0\0", "\0\5hello", "GET / HTTP/1.1\r\n\r\n", "\xff\xff"};
    struct fixture *f = start("127.0.0.1:0", 0, 0);
    uint8_t a[64];
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        int fd = dial(f, SOCK_STREAM);
        assert_true(send(fd, bytes[i], i == 0 ? 2 : i == 1 ? 7 : strlen(bytes[i]), 0) > 0);
        uint64_t begin = clock_mono_ms();
        assert_int_equal(read_bytes(f, fd, a, 1), 0);
        assert_true(clock_mono_ms() - begin < 9000); /* not by the idle time-out */
        close(fd);
    }
    stop(f);
}

static int ask_over_tcp_from(struct fixture *f, const char *source)
{
    uint8_t q[64], a[2];
    size_t size = question(q) + 2;
    int fd = dial_from(f, SOCK_STREAM, source);
    assert_int_equal(send(fd, q, size, 0), size);
    assert_int_equal(read_bytes(f, fd, a, 2), 2);
    return fd;
}

static int ask_over_tcp(struct fixture *f)
{
    return ask_over_tcp_from(f, "127.0.0.1");
}

/* The connection that has been idle for longest makes room; here that is not the first. */
static void tcp_makes_room(void **state)
{
    (void)state;
    enum { MAX = 3, NEVER_MS = 1 << 30 };
    struct fixture *f = start("127.0.0.1:0", MAX, NEVER_MS);
    uint8_t q[64], a[512];
    size_t size = question(q) + 2;
    int fds[MAX + 1];
    for (int i = 0; i < MAX; i++)
        fds[i] = ask_over_tcp(f);
    assert_int_equal(send(fds[0], q, size, 0), size);
    read_bytes(f, fds[0], a, size + 16 + 2); /* the rest of the first answer, the second one's length */
    fds[MAX] = ask_over_tcp(f);
    while (read_bytes(f, fds[1], a, 1) == 1)
        continue; /* to its end, or to the timeout of read_bytes */
    assert_int_equal(recv(fds[1], a, 1, MSG_DONTWAIT), 0);
    for (int i = 0; i <= MAX; i++)
        if (i != 1)
            assert_int_equal(send(fds[i], q, size, MSG_NOSIGNAL), size);
    assert_int_equal((int)metric("cairn_dns_connections"), MAX);
    for (int i = 0; i <= MAX; i++)
        close(fds[i]);
    stop(f);
}

static void tcp_idle(void **state)
{
    (void)state;
    struct fixture *f = start("127.0.0.1:0", 0, 100);
    uint8_t a[1];
    int fd = ask_over_tcp(f), silent = dial(f, SOCK_STREAM);
    while (read_bytes(f, fd, a, 1) == 1)
        continue;
    assert_int_equal(recv(fd, a, 1, MSG_DONTWAIT), 0);
    assert_int_equal(read_bytes(f, silent, a, 1), 0);
    assert_int_equal(recv(silent, a, 1, MSG_DONTWAIT), 0);
    close(fd);
    close(silent);
    stop(f);
}

/* One source opens more and more connections and uses each of them. Other sources have one idle connection
 * each. They keep it, and get a new one when they need it. */
static void tcp_greedy_source(void **state)
{
    (void)state;
    enum { MAX = 8, OTHERS = 3, MANY = 50, NEVER_MS = 1 << 30 };
    static const char *const sources[OTHERS] = {"127.0.1.1", "127.0.2.1", "127.0.3.1"};
    struct fixture *f = start("127.0.0.1:0", MAX, NEVER_MS);
    double evicted = metric("cairn_dns_connections_evicted_total");
    int others[OTHERS], greedy[MANY];
    for (int i = 0; i < OTHERS - 1; i++)
        others[i] = ask_over_tcp_from(f, sources[i]);
    for (int i = 0; i < MANY; i++) {
        char source[20];
        snprintf(source, sizeof source, "127.0.9.%d", i + 1); /* one prefix */
        greedy[i] = ask_over_tcp_from(f, source);
    }
    others[OTHERS - 1] = ask_over_tcp_from(f, sources[OTHERS - 1]);
    assert_int_equal((int)metric("cairn_dns_connections"), MAX);
    assert_int_equal((int)(metric("cairn_dns_connections_evicted_total") - evicted), MANY + OTHERS - MAX);
    for (int i = 0; i < OTHERS; i++) {
        uint8_t q[64], a[512];
        size_t size = question(q) + 2;
        read_bytes(f, others[i], a, size - 2 + 16); /* the rest of the first answer */
        assert_int_equal(send(others[i], q, size, MSG_NOSIGNAL), size);
        assert_int_equal(read_bytes(f, others[i], a, 2), 2);
        close(others[i]);
    }
    for (int i = 0; i < MANY; i++)
        close(greedy[i]);
    stop(f);
}

static void stops_with_clients(void **state)
{
    (void)state;
    struct fixture *f = start("127.0.0.1:0,localhost:0", 0, 0);
    int fd = dial(f, SOCK_STREAM);
    for (int i = 0; i < 5; i++)
        uv_run(&f->loop, UV_RUN_NOWAIT);
    stop(f);
    close(fd);
}

static void listen_addresses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "8600",          "127.0.0.1",           "127.0.0.1:x",  "127.0.0.1:65536", "name:53", "::1:53",
        "127.0.0.1:53,", "http://127.0.0.1:53", "127.0.0.1:-1", "[127.0.0.1]:53",  ":53"};
    char error[200];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(dns_server_check(bad[i], "cairn.", error, sizeof error), ERR_INVALID);
    assert_int_equal(dns_server_check("", "cairn", error, sizeof error), 0);
    assert_int_equal(dns_server_check("127.0.0.1:53,[::1]:53,localhost:0", "a.b.", error, sizeof error), 0);
    assert_int_equal(dns_server_check("", "", error, sizeof error), ERR_INVALID);
    assert_string_equal(error, "not a DNS zone of 1 to 128 bytes: \"\"");
    /* An address in use gives an error text, and leaves nothing open. */
    struct fixture *f = start("127.0.0.1:0", 0, 0);
    char listen[40];
    snprintf(listen, sizeof listen, "127.0.0.1:%d", dns_server_port(f->server));
    struct dns_server_options o = {
        .loop = &f->loop, .registry = &f->registry, .listen = listen, .zone = "cairn.", .ttl_ns = 0};
    struct dns_server *none = NULL;
    assert_int_equal(dns_server_new(&o, error, sizeof error, &none), ERR_EXISTS);
    assert_non_null(strstr(error, "TCP: Address already in use: process "));
    assert_non_null(strstr(error, "--listen-dns"));
    stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(udp_answers),
        cmocka_unit_test(slices),
        cmocka_unit_test(udp_on_all_addresses),
        cmocka_unit_test(udp_cookies),
        cmocka_unit_test(udp_no_loops),
        cmocka_unit_test(tcp_pipelines),
        cmocka_unit_test(tcp_greedy),
        cmocka_unit_test(tcp_total),
        cmocka_unit_test(tcp_nonsense_is_closed),
        cmocka_unit_test(tcp_makes_room),
        cmocka_unit_test(tcp_greedy_source),
        cmocka_unit_test(tcp_idle),
        cmocka_unit_test(stops_with_clients),
        cmocka_unit_test(listen_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
