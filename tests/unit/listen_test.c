/* SPDX-License-Identifier: Apache-2.0
 * Tests of server/listen.c over real sockets on 127.0.0.1, with fakes in place of the two servers that get
 * its connections; and of server/alpn.c on ClientHellos made by OpenSSL. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/net/sources.h"
#include "base/net/tls.h"
#include "server/alpn.h"
#include "server/listen.h"

/* --- the servers that get the connections ----------------------------------------------------------- */
static struct {
    unsigned grpc, grpc_tls, http, http_tls, metrics;
    enum grpc_serves serves;
    char bytes[64]; /* the first unread ones */
    int no_delay, low_water;
} got;

static void read_connection(int fd)
{
    socklen_t size = sizeof(int);
    memset(got.bytes, 0, sizeof got.bytes);
    assert_true(recv(fd, got.bytes, sizeof got.bytes - 1, MSG_DONTWAIT) > 0);
    getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &got.no_delay, &size);
    getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &got.low_water, &size);
    close(fd);
}
void grpc_server_adopt(struct grpc_server *s, int fd, struct tls_context *tls, enum grpc_serves serves)
{
    (void)s;
    got.serves = serves;
    *(tls ? &got.grpc_tls : &got.grpc) += 1;
    read_connection(fd);
}
void http_server_adopt(struct http_server *s, int fd, bool is_tls, enum http_role role)
{
    (void)s;
    if (role == HTTP_METRICS_ONLY)
        got.metrics++;
    else
        *(is_tls ? &got.http_tls : &got.http) += 1;
    read_connection(fd);
}

struct fixture {
    uv_loop_t loop;
    struct listen_options options;
    struct listener *listener;
    char error[256];
    char dir[64];
};

static int setup(void **state)
{
    struct fixture *f = mem_new(sizeof *f);
    memset(&got, 0, sizeof got);
    uv_loop_init(&f->loop);
    f->options =
        (struct listen_options){.loop = &f->loop, .url = "http://127.0.0.1:0", .connections_max = 100};
    *state = f;
    return 0;
}
static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->listener)
        listener_close(f->listener);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(0, uv_loop_close(&f->loop));
    mem_free(f);
    return 0;
}
static void open_listener(struct fixture *f)
{
    if (listener_open(&f->options, f->error, sizeof f->error, &f->listener) != 0)
        fail_msg("%s", f->error);
}
/* From an address of this machine. */
static int dial_from(struct fixture *f, const char *source)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)listener_port(f->listener));
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    inet_pton(AF_INET, source, &from.sin_addr);
    assert_int_equal(0, bind(fd, (struct sockaddr *)&from, sizeof from));
    assert_int_equal(0, connect(fd, (struct sockaddr *)&a, sizeof a));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}
static int dial(struct fixture *f)
{
    return dial_from(f, "127.0.0.1");
}
static void run_ms(struct fixture *f, uint64_t ms)
{
    uint64_t until = clock_mono_ms() + ms;
    int turns = 0; /* where each one takes long, the time alone would not be enough */
    do {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        usleep(200);
    } while (clock_mono_ms() < until || ++turns < 50);
}
/* An expected event has a minute: the kernel may deliver late on a busy machine. */
#define AWAIT(f, wanted, value)                                                                              \
    do {                                                                                                     \
        for (uint64_t until_ = clock_mono_ms() + 60000;                                                      \
             (int)(value) != (int)(wanted) && clock_mono_ms() < until_;)                                     \
            run_ms(f, 1);                                                                                    \
        assert_int_equal(wanted, value);                                                                     \
    } while (0)
static void say(int fd, const void *data, size_t size)
{
    assert_int_equal(size, send(fd, data, size, MSG_NOSIGNAL));
}
static bool is_closed(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}
static void run_until_closed(struct fixture *f, int fd)
{
    for (uint64_t end = clock_mono_ms() + 60000; !is_closed(fd) && clock_mono_ms() < end;)
        AWAIT(f, true, is_closed(fd));
}
static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/* --- tests ------------------------------------------------------------------------------------------ */
static void test_plain(void **state)
{
    struct fixture *f = *state;
    open_listener(f);
    int fd = dial(f);
    say(fd, preface, 24);
    AWAIT(f, 1, got.grpc);
    assert_string_equal(preface, got.bytes); /* no byte was consumed */
    assert_int_equal(1, got.no_delay);
    close(fd);
    fd = dial(f);
    say(fd, "G", 1);
    AWAIT(f, 1, got.http);
    assert_string_equal("G", got.bytes);
    close(fd);
    fd = dial(f);
    say(fd, "PROPFIND /", 10);
    AWAIT(f, 2, got.http);
    close(fd);
}

static void test_split_preface(void **state)
{
    struct fixture *f = *state;
    open_listener(f);
    int fd = dial(f);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(0, got.grpc + got.http);
        say(fd, preface + i, 1);
        run_ms(f, 15);
    }
    assert_int_equal(1, got.grpc);
    assert_string_equal("PRI ", got.bytes);
    assert_int_equal(1, got.low_water);
    close(fd);
    fd = dial(f);
    say(fd, "PR", 2);
    run_ms(f, 15);
    say(fd, "OPFIND", 6);
    AWAIT(f, 1, got.http);
    close(fd);
    fd = dial(f); /* disconnects in the middle */
    say(fd, "PR", 2);
    run_ms(f, 15);
    shutdown(fd, SHUT_WR);
    AWAIT(f, true, is_closed(fd));
    close(fd);
}

static void on_end(uv_timer_t *t)
{
    (void)t;
}

/* A waiting half preface must not make the loop spin. */
static void test_no_spin(void **state)
{
    struct fixture *f = *state;
    open_listener(f);
    int fd = dial(f);
    say(fd, "PR", 2);
    run_ms(f, 50);
    unsigned wakes = 0;
    uv_timer_t end;
    uv_timer_init(&f->loop, &end);
    uv_timer_start(&end, on_end, 200, 0);
    for (; uv_is_active((uv_handle_t *)&end); wakes++)
        uv_run(&f->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&end, NULL);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_true(wakes < 10);
    close(fd);
}

static struct tls_context *server_tls(struct fixture *f)
{
    const char *hosts[] = {"127.0.0.1"};
    char cert[100], key[100];
    struct tls_context *c = NULL;
    snprintf(f->dir, sizeof f->dir, "/tmp/listen_test.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(0, tls_self_signed(f->dir, hosts, 1, 1, f->error, sizeof f->error));
    snprintf(cert, sizeof cert, "%s/cert.pem", f->dir);
    snprintf(key, sizeof key, "%s/key.pem", f->dir);
    struct tls_options o = {.cert_file = cert, .key_file = key, .alpn = "h2"};
    assert_int_equal(0, tls_context_new(&o, f->error, sizeof f->error, &c));
    unlink(cert);
    unlink(key);
    rmdir(f->dir);
    return c;
}
static const char both[] = "h2,http/1.1";
/* The comma of `both` becomes the length of the second name. */
static struct buf hello(const char *alpn)
{
    char error[256];
    struct buf out = {0};
    struct tls_context *c = NULL;
    struct tls_options o = {.alpn = alpn};
    assert_int_equal(0, tls_context_new(&o, error, sizeof error, &c));
    struct tls *t = tls_connect(c, "localhost");
    tls_take_output(t, &out);
    tls_free(t);
    tls_context_free(c);
    uint8_t *at = alpn == both ? memmem(out.data, out.size, both, sizeof both - 1) : NULL;
    if (at) {
        at[-1] = 2;
        at[2] = 8;
    }
    return out;
}

static void test_tls(void **state)
{
    struct fixture *f = *state;
    f->options.tls = server_tls(f);
    f->options.url = "https://127.0.0.1:0";
    open_listener(f);
    static const char *const offers[] = {"h2", "http/1.1", NULL};
    for (int i = 0; i < 3; i++) {
        struct buf b = hello(offers[i]);
        int fd = dial(f);
        size_t first = b.size / 2;
        say(fd, b.data, 3);
        run_ms(f, 10);
        say(fd, b.data + 3, first - 3);
        run_ms(f, 10);
        assert_int_equal(i, got.grpc_tls + got.http_tls);
        say(fd, b.data + first, b.size - first);
        AWAIT(f, i + 1, got.grpc_tls + got.http_tls);
        assert_int_equal(1, got.grpc_tls);
        assert_int_equal(i, got.http_tls);
        assert_int_equal(1, got.low_water);
        close(fd);
        buf_done(&b);
    }
    int fd = dial(f); /* plain on a TLS port */
    say(fd, preface, 24);
    AWAIT(f, true, is_closed(fd));
    close(fd);
    listener_close(f->listener);
    f->options.allow_both = true;
    open_listener(f);
    fd = dial(f);
    say(fd, preface, 24);
    AWAIT(f, 1, got.grpc);
    close(fd);
    tls_context_free(f->options.tls);
}

static void test_tls_on_plain(void **state)
{
    struct fixture *f = *state;
    open_listener(f);
    struct buf b = hello("h2");
    int fd = dial(f);
    say(fd, b.data, b.size);
    run_ms(f, 30);
    assert_int_equal(0, got.grpc + got.http + got.grpc_tls + got.http_tls);
    close(fd);
    buf_done(&b);
}

static void test_serves(void **state)
{
    struct fixture *f = *state;
    f->options.serves = LISTEN_METRICS;
    open_listener(f);
    int fd = dial(f);
    say(fd, "GET", 3);
    AWAIT(f, 1, got.metrics);
    close(fd);
    fd = dial(f);
    say(fd, preface, 24);
    AWAIT(f, 1, got.grpc);
    assert_int_equal(GRPC_METRICS_ALONE, got.serves);
    close(fd);
    listener_close(f->listener);
    f->options.serves = LISTEN_HTTP_ONLY;
    open_listener(f);
    fd = dial(f);
    say(fd, preface, 24);
    AWAIT(f, 2, got.grpc);
    assert_int_equal(GRPC_HTTP_ALONE, got.serves);
    close(fd);
    listener_close(f->listener);
    f->options.serves = LISTEN_GRPC_ONLY;
    open_listener(f);
    fd = dial(f);
    say(fd, "GET", 3);
    AWAIT(f, 3, got.grpc);
    assert_int_equal(GRPC_ALONE, got.serves);
    close(fd);
}

static void test_silence(void **state)
{
    struct fixture *f = *state;
    f->options.sniff_timeout_ms = 100;
    open_listener(f);
    int silent = dial(f);
    run_ms(f, 60);
    int half = dial(f);
    say(half, "PR", 2);
    uint64_t begin = clock_mono_ms();
    run_until_closed(f, silent);
    if (clock_mono_ms() < begin + 90) /* otherwise both are due */
        assert_false(is_closed(half));
    run_until_closed(f, half);
    assert_int_equal(0, got.grpc + got.http);
    close(silent);
    close(half);
}

static void test_unauthenticated_limit(void **state)
{
    struct fixture *f = *state;
    f->options.connections_max = 3;
    open_listener(f);
    int fds[5];
    for (int i = 0; i < 5; i++) {
        fds[i] = dial(f);
        run_ms(f, 10);
    }
    assert_true(is_closed(fds[0])); /* the oldest silent ones are closed */
    assert_true(is_closed(fds[1]));
    for (int i = 2; i < 5; i++)
        assert_false(is_closed(fds[i]));
    say(fds[4], preface, 24);
    AWAIT(f, 1, got.grpc);
    for (int i = 0; i < 5; i++)
        close(fds[i]);
}

/* One source that opens connections and sends nothing loses its own; those of others stay. Connections that
 * were handed over are not counted here any more. */
static void test_sources(void **state)
{
    struct fixture *f = *state;
    struct sources sources;
    sources_init(&sources, 100, 3, 100);
    f->options.sources = &sources;
    open_listener(f);
    int honest = dial(f), fds[5];
    run_ms(f, 10);
    for (int i = 0; i < 5; i++) {
        fds[i] = dial_from(f, "127.0.0.66");
        run_ms(f, 10);
    }
    assert_int_equal(4, sources.opening);
    assert_true(is_closed(fds[0]));
    assert_true(is_closed(fds[1]));
    for (int i = 2; i < 5; i++)
        assert_false(is_closed(fds[i]));
    say(honest, preface, 24);
    AWAIT(f, 1, got.grpc);
    assert_int_equal(3, sources.count);
    close(honest);
    for (int i = 0; i < 5; i++)
        close(fds[i]);
    AWAIT(f, 0, sources.count);
    sources_done(&sources);
}

/* Many ClientHellos at once start a few at a time: the loop turns between them. */
static void test_handshakes(void **state)
{
    enum { COUNT = 20, AT_ONCE = 2 };
    struct fixture *f = *state;
    f->options.tls = server_tls(f);
    f->options.url = "https://127.0.0.1:0";
    open_listener(f);
    struct buf b = hello("h2");
    int fds[COUNT];
    for (int i = 0; i < COUNT; i++) {
        fds[i] = dial(f);
        say(fds[i], b.data, b.size);
    }
    uint64_t end = clock_mono_ms() + 60000;
    for (unsigned before = 0; got.grpc_tls < COUNT && clock_mono_ms() < end; before = got.grpc_tls) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        assert_true(got.grpc_tls - before <= AT_ONCE);
    }
    assert_int_equal(COUNT, got.grpc_tls);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    buf_done(&b);
    tls_context_free(f->options.tls);
}

static void test_out_of_descriptors(void **state)
{
    struct fixture *f = *state;
    struct rlimit old, tight;
    open_listener(f);
    run_ms(f, 10);
    int fd = dial(f);
    getrlimit(RLIMIT_NOFILE, &old);
    tight = old;
    tight.rlim_cur = (rlim_t)fd + 1;
    setrlimit(RLIMIT_NOFILE, &tight);
    say(fd, preface, 24);
    run_ms(f, 50);
    assert_int_equal(0, got.grpc);
    setrlimit(RLIMIT_NOFILE, &old);
    run_ms(f, 200); /* the pause ends by itself */
    assert_int_equal(1, got.grpc);
    close(fd);
}

static void test_unix(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat st;
    static char url[128];
    snprintf(a.sun_path, sizeof a.sun_path, "/tmp/listen_test.%d", getpid());
    snprintf(url, sizeof url, "unix://%s", a.sun_path);
    f->options.url = url;
    for (int i = 0; i < 2; i++) { /* the second time over a stale file */
        int stale = socket(AF_UNIX, SOCK_STREAM, 0);
        if (i == 1)
            assert_int_equal(0, bind(stale, (struct sockaddr *)&a, sizeof a));
        close(stale);
        open_listener(f);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(0, connect(fd, (struct sockaddr *)&a, sizeof a));
        say(fd, preface, 24);
        AWAIT(f, i + 1, got.grpc);
        close(fd);
        listener_close(f->listener);
        f->listener = NULL;
        assert_int_not_equal(0, stat(a.sun_path, &st));
    }
}

static void test_bad_urls(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"127.0.0.1:0", "http://example.com:1", "https://127.0.0.1:0",
                                      "ftp://127.0.0.1:1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        f->options.url = bad[i];
        f->error[0] = 0;
        assert_int_equal(ERR_INVALID, listener_open(&f->options, f->error, sizeof f->error, &f->listener));
        assert_non_null(strstr(f->error, bad[i]));
    }
    f->options.url = "http://localhost:0";
    open_listener(f);
    static char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d", listener_port(f->listener));
    struct listener *second = NULL;
    f->options.url = url;
    assert_int_equal(ERR_EXISTS, listener_open(&f->options, f->error, sizeof f->error, &second));
    char holder[64];
    snprintf(holder, sizeof holder, "in use: process %d (listen_test) uses port %d; ", getpid(),
             listener_port(f->listener));
    assert_non_null(strstr(f->error, holder));
    assert_non_null(strstr(f->error, "--listen-client-urls"));
}

static void test_alpn(void **state)
{
    (void)state;
    static const struct {
        const char *offer;
        enum alpn want;
    } cases[] = {
        {"h2", ALPN_H2}, {"http/1.1", ALPN_HTTP}, {"spdy/3", ALPN_HTTP}, {NULL, ALPN_NONE}, {both, ALPN_H2}};
    size_t needed;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = hello(cases[i].offer);
        assert_int_equal(cases[i].want, alpn_read(buf_slice(&b), &needed));
        for (size_t n = 0; n < b.size; n++) {
            assert_int_equal(ALPN_MORE, alpn_read(slice_of(b.data, n), &needed));
            assert_true(needed > n && needed <= b.size);
        }
        /* The same in three records. */
        struct buf cut = {0};
        for (size_t at = 5, step = (b.size - 5) / 3 + 1; at < b.size; at += step) {
            size_t n = b.size - at < step ? b.size - at : step;
            uint8_t head[5] = {22, 3, 1, (uint8_t)(n >> 8), (uint8_t)n};
            buf_add(&cut, head, 5);
            buf_add(&cut, b.data + at, n);
        }
        assert_int_equal(cases[i].want, alpn_read(buf_slice(&cut), &needed));
        b.data[0] = 23;
        assert_int_equal(ALPN_BAD, alpn_read(buf_slice(&b), &needed));
        buf_done(&b);
        buf_done(&cut);
    }
    /* An extension that claims more than there is, inside lengths that are right: bad, and at once. */
    struct buf b = hello("h2");
    uint8_t *extension = memmem(b.data, b.size, "\x02h2", 3);
    assert_non_null(extension);
    extension[-4] = 0xff;
    assert_int_equal(ALPN_BAD, alpn_read(buf_slice(&b), &needed));
    buf_done(&b);
    static const uint8_t huge[] = {22, 3, 1, 0x7f, 0xff, 1};
    assert_int_equal(ALPN_BAD, alpn_read(slice_of(huge, sizeof huge), &needed));
    static const uint8_t long_message[] = {22, 3, 1, 0, 4, 1, 1, 0, 0};
    assert_int_equal(ALPN_BAD, alpn_read(slice_of(long_message, sizeof long_message), &needed));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
        TEST(test_plain),
        TEST(test_split_preface),
        TEST(test_no_spin),
        TEST(test_tls),
        TEST(test_tls_on_plain),
        TEST(test_serves),
        TEST(test_silence),
        TEST(test_unauthenticated_limit),
        TEST(test_out_of_descriptors),
        TEST(test_sources),
        TEST(test_handshakes),
        TEST(test_unix),
        TEST(test_bad_urls),
        cmocka_unit_test(test_alpn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
