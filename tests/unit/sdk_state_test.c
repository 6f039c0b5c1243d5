/* SPDX-License-Identifier: Apache-2.0
 * Tests of the SDK's reports, deadlines and cancels against a server that answers as each case says: it
 * refuses the upgrade or the hello, sends goaway, closes, or answers nothing. */
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sdk/cairn.h"
#include "sdk/ws.h"
#include "tests/unit/unit.h"

struct fake {
    int listener, stop[2];
    char endpoint[32];
    const char *upgrade;     /* the whole answer to the upgrade; NULL = 101 */
    const char *frames[4];   /* texts, after hello */
    const char *close_frame; /* status and text; NULL = the connection stays open */
    size_t close_size;
    bool is_silent; /* reads and answers nothing */
    pthread_t thread;
};

struct seen {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned counts[CAIRN_STATE_COUNT];
    struct cairn_error reasons[CAIRN_STATE_COUNT];
    unsigned lines, errors;
};

static void send_all(int fd, const void *bytes, size_t size)
{
    (void)!send(fd, bytes, size, MSG_NOSIGNAL);
}

static void send_ws(int fd, uint8_t opcode, const char *payload, size_t size)
{
    uint8_t frame[600] = {0x80 | opcode};
    size_t head = size < 126 ? 2 : 4;
    frame[1] = (uint8_t)(size < 126 ? size : 126);
    if (head == 4) {
        frame[2] = (uint8_t)(size >> 8);
        frame[3] = (uint8_t)size;
    }
    assert_true(head + size <= sizeof frame);
    memcpy(frame + head, payload, size);
    send_all(fd, frame, head + size);
}

/* Waits for bytes; false: the connection ended, or the test did. */
static bool receive(const struct fake *f, int fd, char *to, size_t *size, size_t max)
{
    struct pollfd p[] = {{fd, POLLIN, 0}, {f->stop[0], POLLIN, 0}};
    if (poll(p, 2, -1) < 0 || p[1].revents)
        return false;
    ssize_t n = recv(fd, to + *size, max - *size, 0);
    if (n <= 0)
        return false;
    *size += (size_t)n;
    to[*size] = 0;
    return true;
}

static void serve(struct fake *f, int fd)
{
    char in[4097] = "", key[32], accept_key[29], out[300];
    size_t size = 0;
    const char *found;
    while (!strstr(in, "\r\n\r\n") || f->is_silent) {
        if (size == 4096)
            size = 0;
        if (!receive(f, fd, in, &size, 4096))
            return;
    }
    found = strstr(in, "Sec-WebSocket-Key: ");
    if (!found || f->upgrade) {
        const char *answer = f->upgrade ? f->upgrade : "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n";
        send_all(fd, answer, strlen(answer));
        return;
    }
    snprintf(key, sizeof key, "%.24s", found + 19);
    ws_accept(key, accept_key);
    snprintf(out, sizeof out,
             "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Accept: %s\r\n\r\n",
             accept_key);
    size = 0;
    send_all(fd, out, strlen(out));
    if (!receive(f, fd, in, &size, 4096)) /* hello */
        return;
    for (size_t i = 0; i < 4 && f->frames[i]; i++)
        send_ws(fd, 1, f->frames[i], strlen(f->frames[i]));
    if (f->close_frame)
        send_ws(fd, 8, f->close_frame, f->close_size);
    for (size = 0; receive(f, fd, in, &size, 4096);)
        size = 0;
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
        serve(f, fd);
        close(fd);
    }
}

static void fake_start(struct fake *f)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof a;
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
    close(f->stop[1]);
    pthread_join(f->thread, NULL);
    close(f->stop[0]);
    close(f->listener);
}

/* --- what the client reports -------------------------------------------------------------------------- */

static void on_state(struct cairn_client *c, const struct cairn_state_change *change, void *arg)
{
    struct seen *s = arg;
    assert_non_null(c);
    assert_true((unsigned)change->state < CAIRN_STATE_COUNT);
    pthread_mutex_lock(&s->mutex);
    if (!s->counts[change->state]++)
        s->reasons[change->state] = change->reason;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

static void on_log(struct cairn_client *c, enum cairn_log_level level, const char *line, void *arg)
{
    struct seen *s = arg;
    assert_non_null(c);
    assert_null(strchr(line, '\n'));
    pthread_mutex_lock(&s->mutex);
    s->lines++;
    s->errors += level == CAIRN_LOG_ERROR;
    pthread_mutex_unlock(&s->mutex);
}

/* True when the state was reported within 10 s. */
static bool comes(struct seen *s, enum cairn_state state)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 10;
    pthread_mutex_lock(&s->mutex);
    while (!s->counts[state] && pthread_cond_timedwait(&s->changed, &s->mutex, &end) == 0)
        continue;
    bool has_come = s->counts[state] > 0;
    pthread_mutex_unlock(&s->mutex);
    return has_come;
}

static struct cairn_client *open_client(const struct fake *f, struct seen *s)
{
    struct cairn_client *c;
    struct cairn_error error;
    struct cairn_options o = {.size = sizeof o,
                              .endpoints = f->endpoint,
                              .command_timeout_ms = 20000,
                              .dial_timeout_ms = 20000,
                              .on_state = on_state,
                              .on_log = on_log,
                              .arg = s};
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
    assert_int_equal(cairn_open(&o, &c, &error), CAIRN_OK);
    return c;
}

#define WELCOME                                                                                              \
    "{\"type\":\"welcome\",\"cluster_id\":\"7\",\"member\":\"n\",\"revision\":1,\"heartbeat_ms\":5000}"
#define CLOSED(status_text) .close_frame = status_text, .close_size = sizeof status_text - 1

/* The frames of one server, and what the program must be told. */
static const struct {
    const char *name;
    struct fake fake;
    enum cairn_state state;
    int code;
    const char *words;
} cases[] = {
    {"hello refused",
     {.frames = {"{\"type\":\"error\",\"code\":\"invalid\",\"message\":\"labels: too many\"}"},
      CLOSED("\x03\xf0")},
     CAIRN_STATE_REFUSED,
     CAIRN_INVALID,
     "labels: too many"},
    {"hello without permission",
     {.frames = {"{\"type\":\"error\",\"code\":\"forbidden\",\"message\":\"no sessions for you\"}"},
      CLOSED("\x03\xf0")},
     CAIRN_STATE_REFUSED,
     CAIRN_DENIED,
     "no sessions for you"},
    {"hello over a limit",
     {.frames = {"{\"type\":\"error\",\"code\":\"quota\",\"message\":\"no more sessions\"}"},
      CLOSED("\x03\xf0")},
     CAIRN_STATE_LIMITED,
     CAIRN_LIMIT,
     "no more sessions"},
    {"a token that is not valid",
     {.frames = {"{\"type\":\"error\",\"code\":\"invalid_auth_token\",\"message\":\"token is old\"}"}},
     CAIRN_STATE_UNAUTHENTICATED,
     CAIRN_UNAUTHENTICATED,
     "token is old"},
    {"goaway",
     {.frames = {WELCOME, "{\"type\":\"goaway\",\"after_ms\":50}"}},
     CAIRN_STATE_REDIRECTED,
     CAIRN_UNAVAILABLE,
     "another one"},
    {"closed with a text",
     {.frames = {WELCOME}, CLOSED("\x03\xe9good night")},
     CAIRN_STATE_CLOSED,
     CAIRN_UNAVAILABLE,
     "status 1001: good night"},
    {"closed after an error",
     {.frames = {WELCOME, "{\"type\":\"error\",\"code\":\"forbidden\",\"message\":\"the user is gone\"}"},
      CLOSED("\x03\xf0")},
     CAIRN_STATE_CLOSED,
     CAIRN_DENIED,
     "the user is gone"},
    {"a full window",
     {.frames = {WELCOME, "{\"type\":\"error\",\"code\":\"limit\",\"message\":\"the window is full\"}"}},
     CAIRN_STATE_LIMITED,
     CAIRN_LIMIT,
     "window is full"},
    {"a session that ended",
     {.frames = {WELCOME, "{\"type\":\"error\",\"code\":\"session_gone\",\"message\":\"it has ended\"}"}},
     CAIRN_STATE_SESSION_LOST,
     CAIRN_LOST,
     "it has ended"},
    {"a refused subscription",
     {.frames = {WELCOME,
                 "{\"type\":\"error\",\"sid\":1,\"code\":\"forbidden\",\"message\":\"no READ for you\"}"}},
     CAIRN_STATE_REFUSED,
     CAIRN_DENIED,
     "no READ for you"},
    {"the upgrade redirected",
     {.upgrade = "HTTP/1.1 307 There\r\nLocation: https://elsewhere:1/\r\nContent-Length: 0\r\n\r\n"},
     CAIRN_STATE_REDIRECTED,
     CAIRN_UNAVAILABLE,
     "307 to https://elsewhere:1/"},
    {"the upgrade without credentials",
     {.upgrade = "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"},
     CAIRN_STATE_UNAUTHENTICATED,
     CAIRN_UNAUTHENTICATED,
     "401"},
    {"the upgrade forbidden",
     {.upgrade = "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"},
     CAIRN_STATE_REFUSED,
     CAIRN_DENIED,
     "403"},
    {"the upgrade over a limit",
     {.upgrade = "HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n"},
     CAIRN_STATE_LIMITED,
     CAIRN_LIMIT,
     "429"},
    {"a broken answer", {.upgrade = "SSH-2.0-x\r\n\r\n"}, CAIRN_STATE_LOST, CAIRN_UNAVAILABLE, "not HTTP"},
};

static void each_refusal_is_reported(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fake f = cases[i].fake;
        struct seen s = {0};
        struct cairn_discover_request q = {.service = "carts"};
        struct cairn_discovery *d;
        struct cairn_error error;
        fake_start(&f);
        struct cairn_client *c = open_client(&f, &s);
        assert_int_equal(cairn_discover_start(c, &q, NULL, NULL, &d, &error), CAIRN_OK);
        if (!comes(&s, cases[i].state))
            fail_msg("%s: no %s", cases[i].name, cairn_state_name(cases[i].state));
        const struct cairn_error *e = &s.reasons[cases[i].state];
        if (e->code != cases[i].code || !strstr(e->message, cases[i].words))
            fail_msg("%s: %s \"%s\"", cases[i].name, cairn_error_name(e->code), e->message);
        assert_true(comes(&s, CAIRN_STATE_CONNECTING));
        cairn_close(c);
        assert_int_equal(s.counts[CAIRN_STATE_STOPPED], 1);
        assert_true(s.lines >= 3);
        fake_stop(&f);
    }
}

static void states_have_names(void **state)
{
    (void)state;
    assert_string_equal(cairn_state_name(CAIRN_STATE_LIMITED), "CAIRN_STATE_LIMITED");
    assert_string_equal(cairn_state_name((enum cairn_state)99), "?");
    assert_non_null(strstr(cairn_state_text(CAIRN_STATE_CLOSED), "closed"));
}

/* --- deadlines and cancels ------------------------------------------------------------------------------ */

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void a_call_has_its_own_deadline(void **state)
{
    (void)state;
    struct fake f = {.is_silent = true};
    struct seen s = {0};
    fake_start(&f);
    struct cairn_client *c = open_client(&f, &s);
    struct cairn_call_options o = {.size = sizeof o, .timeout_ms = 100};
    struct cairn_put_request put = {.key = cairn_text("k")};
    struct cairn_http_request get = {.method = "GET", .path = "/version"};
    struct cairn_error error;
    uint64_t begin = now_ms();
    assert_int_equal(cairn_put_with(c, &put, &o, NULL, &error), CAIRN_UNAVAILABLE);
    assert_int_equal(cairn_http_with(c, &get, &o, NULL, &error), CAIRN_TIMEOUT);
    assert_int_equal(cairn_call_with(c, "/a.B/C", (struct cairn_bytes){"", 0}, true, &o, NULL, &error),
                     CAIRN_UNAVAILABLE);
    assert_true(now_ms() - begin < 5000); /* the client's own timeouts are 20 s */
    o.size = 0;
    assert_int_equal(cairn_put_with(c, &put, &o, NULL, &error), CAIRN_INVALID);
    cairn_close(c);
    fake_stop(&f);
}

struct late {
    struct cairn_cancel *cancel;
    unsigned ms;
};

static void *cancel_later(void *arg)
{
    const struct late *l = arg;
    usleep(l->ms * 1000);
    cairn_cancel_now(l->cancel);
    return NULL;
}

static void on_put(struct cairn_put_result *result, const struct cairn_error *error, void *arg)
{
    assert_null(result);
    *(int *)arg = error->code;
}

static void on_http(struct cairn_http_result *result, const struct cairn_error *error, void *arg)
{
    assert_null(result);
    *(int *)arg = error->code;
}

static void any_call_is_canceled(void **state)
{
    (void)state;
    struct fake f = {.is_silent = true};
    struct seen s = {0};
    struct cairn_cancel *x, *other;
    struct cairn_error error;
    pthread_t thread;
    fake_start(&f);
    struct cairn_client *c = open_client(&f, &s), *c2;
    assert_int_equal(cairn_cancel_new(c, &x), CAIRN_OK);
    struct cairn_call_options o = {.size = sizeof o, .cancel = x};
    struct cairn_put_request put = {.key = cairn_text("k")};
    struct cairn_http_request get = {.method = "GET", .path = "/version"};
    struct cairn_http_request post = {.method = "POST", .path = "/api/v1/sessions"};
    int code[3] = {0};
    assert_int_equal(cairn_put_async_with(c, &put, &o, on_put, &code[0]), CAIRN_OK);
    assert_int_equal(cairn_http_async(c, &get, &o, on_http, &code[1]), CAIRN_OK);
    assert_int_equal(cairn_http_async(c, &post, &o, on_http, &code[2]), CAIRN_OK);
    struct late l = {x, 300};
    pthread_create(&thread, NULL, cancel_later, &l);
    uint64_t begin = now_ms();
    assert_int_equal(
        cairn_range_with(c, &(struct cairn_range_request){.key = cairn_text("k")}, &o, NULL, &error),
        CAIRN_CANCELED);
    pthread_join(thread, NULL);
    assert_true(now_ms() - begin < 10000);
    /* Later calls end at once, and a freed cancel stays with its calls. */
    assert_int_equal(cairn_http_with(c, &get, &o, NULL, &error), CAIRN_CANCELED);
    assert_int_equal(cairn_put_with(c, &put, &o, NULL, &error), CAIRN_CANCELED);
    assert_int_equal(cairn_open(&(struct cairn_options){.size = sizeof(struct cairn_options)}, &c2, &error),
                     0);
    assert_int_equal(cairn_cancel_new(c2, &other), CAIRN_OK);
    o.cancel = other;
    assert_int_equal(cairn_put_with(c, &put, &o, NULL, &error), CAIRN_INVALID);
    cairn_cancel_free(other);
    cairn_cancel_free(x);
    cairn_close(c2);
    cairn_close(c);
    assert_int_equal(code[0], CAIRN_CANCELED);
    assert_int_equal(code[1], CAIRN_CANCELED);
    assert_int_equal(code[2], CAIRN_UNKNOWN); /* it was sent */
    fake_stop(&f);
}

/* A child cannot use its parent's client, and does not disturb it; it may open its own. */
static void a_child_made_by_fork_is_refused(void **state)
{
    (void)state;
    struct fake f = {.frames = {WELCOME}};
    struct seen s = {0};
    fake_start(&f);
    struct cairn_client *c = open_client(&f, &s), *own;
    struct cairn_discover_request q = {.service = "carts"};
    struct cairn_discovery *d;
    struct cairn_instances *now;
    struct cairn_error error;
    struct cairn_put_request put = {.key = cairn_text("k")};
    int status;
    assert_int_equal(cairn_discover_start(c, &q, NULL, NULL, &d, &error), CAIRN_OK);
    assert_true(comes(&s, CAIRN_STATE_CONNECTED));
    pid_t pid = fork();
    if (!pid) {
        char name[300];
        alarm(20);
        cairn_endpoint(c, name, sizeof name);
        bool is_refused = cairn_put(c, &put, NULL, &error) == CAIRN_CLOSED && !name[0] &&
                          cairn_put_async(c, &put, on_put, NULL) == CAIRN_CLOSED &&
                          cairn_discover_now(d, &now) == CAIRN_CLOSED && cairn_close(c) == CAIRN_CLOSED;
        cairn_discover_stop(d);
        struct cairn_options o = {.size = sizeof o, .endpoints = "127.0.0.1:1", .command_timeout_ms = 100};
        bool has_own = cairn_open(&o, &own, &error) == CAIRN_OK &&
                       cairn_put(own, &put, NULL, &error) == CAIRN_UNAVAILABLE &&
                       cairn_close(own) == CAIRN_OK;
        _exit(!is_refused + 2 * !has_own);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(cairn_discover_now(d, &now), CAIRN_OK); /* the parent's goes on */
    cairn_result_free(now);
    assert_int_equal(s.counts[CAIRN_STATE_LOST], 0);
    cairn_close(c);
    fake_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_have_names),
        cmocka_unit_test(each_refusal_is_reported),
        cmocka_unit_test(a_call_has_its_own_deadline),
        cmocka_unit_test(any_call_is_canceled),
        cmocka_unit_test(a_child_made_by_fork_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
