/* SPDX-License-Identifier: Apache-2.0
 * Tests of the SDK's retries, against a server that accepts connections and never answers a call. The server
 * sends SETTINGS, reads until it has received a call's HEADERS, and ends the connection as the case says.
 * The test counts the calls that the server received. */
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sdk/cairn.h"
#include "tests/unit/unit.h"

enum ending {
    END_CLOSE,  /* at once */
    END_GOAWAY, /* announces before that it accepted none of the calls */
    END_RESET,  /* RST_STREAM, REFUSED_STREAM; the connection stays */
    END_SILENT  /* nothing at all */
};

struct fake {
    int listener, stop[2];
    char endpoint[32];
    enum ending ending;
    pthread_t thread;
    pthread_mutex_t mutex;
    int calls, connections;
};

static void write_frame(int fd, uint8_t type, uint32_t stream, const void *payload, uint8_t size)
{
    uint8_t frame[64] = {0, 0, size, type};
    uint32_t id = htonl(stream);
    memcpy(frame + 5, &id, 4);
    memcpy(frame + 9, payload, size);
    (void)!send(fd, frame, 9u + size, MSG_NOSIGNAL);
}

/* True: the connection stays open. */
static bool end_call(const struct fake *f, int fd, uint32_t stream)
{
    static const uint8_t no_stream[8] = {0}, refused[4] = {0, 0, 0, 7};
    if (f->ending == END_GOAWAY)
        write_frame(fd, 7, 0, no_stream, sizeof no_stream);
    else if (f->ending == END_RESET)
        write_frame(fd, 3, stream, refused, sizeof refused);
    return f->ending == END_RESET || f->ending == END_SILENT;
}

static bool read_exactly(const struct fake *f, int fd, uint8_t *to, size_t size)
{
    for (size_t n = 0; n < size;) {
        struct pollfd p[] = {{fd, POLLIN, 0}, {f->stop[0], POLLIN, 0}};
        if (poll(p, 2, -1) < 0 || p[1].revents)
            return false;
        ssize_t got = recv(fd, to + n, size - n, 0);
        if (got <= 0)
            return false;
        n += (size_t)got;
    }
    return true;
}

static void serve(struct fake *f, int fd)
{
    static uint8_t bytes[1 << 16];
    bool goes_on = read_exactly(f, fd, bytes, 24);
    write_frame(fd, 4, 0, "", 0);
    while (goes_on && read_exactly(f, fd, bytes, 9)) {
        size_t size = (size_t)bytes[0] << 16 | (size_t)bytes[1] << 8 | bytes[2];
        uint8_t type = bytes[3];
        uint32_t stream;
        memcpy(&stream, bytes + 5, 4);
        if (size > sizeof bytes || !read_exactly(f, fd, bytes, size))
            break;
        if (type != 1)
            continue;
        pthread_mutex_lock(&f->mutex);
        f->calls++;
        pthread_mutex_unlock(&f->mutex);
        goes_on = end_call(f, fd, ntohl(stream));
    }
    close(fd);
}

static void *run(void *arg)
{
    struct fake *f = arg;
    for (;;) {
        struct pollfd p[] = {{f->listener, POLLIN, 0}, {f->stop[0], POLLIN, 0}};
        if (poll(p, 2, -1) < 0 || p[1].revents)
            return NULL;
        int fd = accept(f->listener, NULL, NULL);
        if (fd < 0)
            continue;
        pthread_mutex_lock(&f->mutex);
        f->connections++;
        pthread_mutex_unlock(&f->mutex);
        serve(f, fd);
    }
}

static void fake_start(struct fake *f, enum ending ending)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof a;
    *f = (struct fake){.ending = ending, .mutex = PTHREAD_MUTEX_INITIALIZER};
    f->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(f->listener, 16), 0);
    assert_int_equal(getsockname(f->listener, (struct sockaddr *)&a, &size), 0);
    snprintf(f->endpoint, sizeof f->endpoint, "127.0.0.1:%d", ntohs(a.sin_port));
    assert_int_equal(pipe(f->stop), 0);
    assert_int_equal(pthread_create(&f->thread, NULL, run, f), 0);
}

static void fake_stop(struct fake *f)
{
    (void)!write(f->stop[1], "", 1);
    pthread_join(f->thread, NULL);
    close(f->listener);
    close(f->stop[0]);
    close(f->stop[1]);
}

struct outcome {
    int err, calls;
    struct cairn_error error;
};

/* One call with so much time. */
static struct outcome write_once(enum ending ending, uint32_t timeout_ms)
{
    struct fake f;
    struct outcome o = {0};
    struct cairn_client *c;
    struct cairn_raw_result *r = NULL;
    fake_start(&f, ending);
    struct cairn_options options = {
        .size = sizeof options, .endpoints = f.endpoint, .command_timeout_ms = timeout_ms};
    assert_int_equal(cairn_open(&options, &c, &o.error), CAIRN_OK);
    o.err = cairn_call(c, "/etcdserverpb.KV/Put", cairn_text(""), false, 0, &r, &o.error);
    assert_null(r);
    cairn_close(c);
    fake_stop(&f);
    o.calls = f.calls;
    return o;
}

static void on_end(struct cairn_raw_result *r, const struct cairn_error *error, void *arg)
{
    cairn_result_free(r);
    *(int *)arg = error->code;
}

/* True if the SDK sends the call a second time; then the test cancels it. */
static bool is_retried(enum ending ending, bool is_read)
{
    struct fake f;
    struct cairn_client *c;
    struct cairn_error e;
    int code = 1, calls = 0;
    fake_start(&f, ending);
    struct cairn_options options = {
        .size = sizeof options, .endpoints = f.endpoint, .command_timeout_ms = 60000};
    assert_int_equal(cairn_open(&options, &c, &e), CAIRN_OK);
    assert_int_equal(cairn_call_async(c, "/etcdserverpb.KV/Put", cairn_text(""), is_read, 0, on_end, &code),
                     CAIRN_OK);
    for (int i = 0; i < 6000 && calls < 2; i++) {
        poll(NULL, 0, 10);
        pthread_mutex_lock(&f.mutex);
        calls = f.calls;
        pthread_mutex_unlock(&f.mutex);
    }
    cairn_close(c);
    fake_stop(&f);
    assert_int_equal(code, CAIRN_CLOSED);
    return calls > 1;
}

/* The result is unknown: the SDK reports that, and never sends it twice. */
static void test_write_cut_off(void **state)
{
    (void)state;
    struct outcome o = write_once(END_CLOSE, 20000);
    assert_int_equal(o.err, CAIRN_UNKNOWN);
    assert_int_equal(o.calls, 1);
    assert_non_null(strstr(o.error.message, "may have been done"));
}

static void test_write_unanswered(void **state)
{
    (void)state;
    struct outcome o = write_once(END_SILENT, 1500);
    assert_int_equal(o.err, CAIRN_UNKNOWN);
    assert_int_equal(o.calls, 1);
}

/* The server announces that it accepted nothing. */
static void test_write_refused(void **state)
{
    (void)state;
    assert_true(is_retried(END_GOAWAY, false));
    assert_true(is_retried(END_RESET, false));
}

static void test_read_cut_off(void **state)
{
    (void)state;
    assert_true(is_retried(END_CLOSE, true));
}

/* The SDK skips a port where no server listens. */
static void test_other_endpoint(void **state)
{
    (void)state;
    struct fake f;
    struct cairn_client *c;
    struct cairn_error e;
    struct cairn_raw_result *r;
    char endpoints[64];
    fake_start(&f, END_CLOSE);
    snprintf(endpoints, sizeof endpoints, "127.0.0.1:1,%s,127.0.0.1:2", f.endpoint);
    struct cairn_options options = {
        .size = sizeof options, .endpoints = endpoints, .command_timeout_ms = 20000};
    assert_int_equal(cairn_open(&options, &c, &e), CAIRN_OK);
    assert_int_equal(cairn_call(c, "/a/b", cairn_text("x"), false, 0, &r, &e), CAIRN_UNKNOWN);
    assert_non_null(strstr(e.message, f.endpoint));
    cairn_close(c);
    fake_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_cut_off),  cmocka_unit_test(test_write_unanswered),
        cmocka_unit_test(test_write_refused),  cmocka_unit_test(test_read_cut_off),
        cmocka_unit_test(test_other_endpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
