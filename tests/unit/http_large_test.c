/* SPDX-License-Identifier: Apache-2.0
 * Tests of large messages of the JSON gateway, which workers convert, and of connections that wait for a
 * turn of the loop. Both keep the order, lose nothing, and end with their client. */
#include "tests/unit/http_fake.h"

#include "base/turn_queue.h"
#include "server/http/conn.h"

enum { LARGE = 150 * 1000 }; /* of base64 */

/* {"key":"QUFB...","prev_kv":true}: the answer has the key as well. */
static struct buf large_put(size_t size)
{
    struct buf b = {0};
    buf_add_text(&b, "{\"prev_kv\":true,\"key\":\"");
    for (size_t i = 0; i < size; i += 4)
        buf_add_text(&b, "QUFB");
    buf_add_text(&b, "\"}");
    return b;
}

static void send_post(struct client *c, const char *path, struct slice body)
{
    char head[200];
    snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", path,
             body.size);
    send_text(c, head);
    send_bytes(c, body.data, body.size);
}

static size_t place(struct client *c, const char *text)
{
    const uint8_t *at = memmem(c->in.data, c->in.size, text, strlen(text));
    assert_non_null(at);
    return (size_t)(at - c->in.data);
}

static void test_unary(void **state)
{
    (void)state;
    struct client c = connect_client();
    struct buf put = large_put(LARGE);
    send_post(&c, "/v3/kv/put", buf_slice(&put));
    send_text(&c, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n"); /* after it, answered after it */
    expect(&c, "etcdserver\":");
    assert_true(place(&c, "\"prev_kv\":{\"key\":\"QUFBQUFB") < place(&c, "etcdserver\":"));
    assert_true(has(&c, "Content-Type: application/json\r\n"));
    assert_true(has(&c, "QUFBQUFB\"}}HTTP/1.1 200 OK"));
    assert_int_equal(rpc.messages, 1);
    assert_int_equal(count(&c, "HTTP/1.1 200 OK"), 2);
    assert_true(c.in.size > LARGE);
    buf_clear(&c.in);
    /* An error in it is reported as in a small one. */
    put.data[put.size - 1] = '#';
    send_post(&c, "/v3/kv/put", buf_slice(&put));
    expect(&c, "HTTP/1.1 400 Bad Request");
    expect(&c, "{\"code\":3,\"message\":\"proto: syntax error (line 1:");
    assert_int_equal(rpc.canceled, 1);
    buf_done(&put);
    done(&c);
}

static void test_many_at_once(void **state)
{
    (void)state;
    enum { CLIENTS = 12 };
    struct client c[CLIENTS];
    struct buf put = large_put(LARGE);
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = connect_client();
        send_post(&c[i], "/v3/kv/put", buf_slice(&put));
    }
    for (int i = 0; i < CLIENTS; i++) {
        expect(&c[i], "QUFBQUFB\"}}");
        done(&c[i]);
    }
    assert_int_equal(rpc.messages, CLIENTS);
    buf_done(&put);
}

/* Conversions that wait, that run, and that are done and not delivered; none has a client. */
static void test_clients_that_go(void **state)
{
    (void)state;
    enum { CLIENTS = 30 };
    struct buf put = large_put(3 * LARGE);
    for (int i = 0; i < CLIENTS; i++) {
        struct client c = connect_client();
        send_post(&c, "/v3/kv/put", buf_slice(&put));
        for (int k = 0; k < i % 4; k++)
            pump(&c);
        close(c.fd);
        buf_done(&c.in);
    }
    uint64_t end = clock_mono_ms() + WAIT_MS;
    while (http_server_connections(server) && clock_mono_ms() < end)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(http_server_connections(server), 0);
    assert_int_equal(rpc.started, CLIENTS);
    assert_true(rpc.finished <= rpc.messages); /* the cancel of a finished one has no effect */
    assert_true(rpc.canceled + rpc.finished >= CLIENTS);
    buf_done(&put);
}

static void test_stop_meanwhile(void **state)
{
    (void)state;
    struct client c[3];
    struct buf put = large_put(3 * LARGE);
    for (int i = 0; i < 3; i++) {
        c[i] = connect_client();
        send_post(&c[i], "/v3/kv/put", buf_slice(&put));
    }
    stop_server(NULL);
    for (int i = 0; i < 3; i++) {
        close(c[i].fd);
        buf_done(&c[i].in);
    }
    buf_done(&put);
    start_server(NULL);
}

/* Three messages of a stream, of which the first is large, and the end of the body; once in one piece, once
 * in many. */
static void test_stream_in_order(void **state)
{
    (void)state;
    struct buf body = {0};
    buf_add_text(&body, "{\"create_request\":{\"key\":\"");
    for (size_t i = 0; i < LARGE; i += 4)
        buf_add_text(&body, "QUFB");
    buf_add_text(&body, "\"}} {\"progress_request\":{}} {\"create_request\":{\"key\":\"YQ==\"}}");
    for (int round = 0; round < 2; round++) {
        struct client c = connect_client();
        memset(&rpc, 0, sizeof rpc);
        if (round == 0) {
            send_post(&c, "/v3/watch", buf_slice(&body));
        } else {
            send_text(&c, "POST /v3/watch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
            for (size_t at = 0; at < body.size; at += 1000) {
                size_t n = body.size - at < 1000 ? body.size - at : 1000;
                char head[24];
                snprintf(head, sizeof head, "%zx\r\n", n);
                send_text(&c, head);
                send_bytes(&c, body.data + at, n);
                send_text(&c, "\r\n");
            }
            send_text(&c, "0\r\n\r\n");
        }
        expect(&c, "{\"result\":{\"watch_id\":\"3\",\"created\":true}}\n");
        assert_true(place(&c, "{\"watch_id\":\"1\",\"created\":true}") < place(&c, "{\"watch_id\":\"2\"}"));
        assert_true(place(&c, "{\"watch_id\":\"2\"}") < place(&c, "{\"watch_id\":\"3\""));
        expect(&c, "0\r\n\r\n");
        assert_int_equal(rpc.messages, 3);
        assert_int_equal(rpc.half_closed, 1);
        done(&c);
    }
    buf_done(&body);
}

/* Small messages between them do not overtake them. */
static void test_large_answers_of_a_stream(void **state)
{
    (void)state;
    enum { MESSAGES = 20 };
    struct client c = connect_client();
    rpc.flood = MESSAGES;
    rpc.flood_bytes = 100 * 1000;
    send_post(&c, "/v3/maintenance/snapshot", slice_text("{}"));
    expect(&c, "\r\n0\r\n\r\n");
    assert_int_equal(count(&c, "{\"result\":{"), MESSAGES);
    assert_int_equal(place(&c, "HTTP/1.1 200 OK\r\n"), 0);
    assert_true(c.in.size > MESSAGES / 2 * (rpc.flood_bytes + 32 * 1024) / 3 * 4);
    size_t last = 0;
    for (int i = MESSAGES - 1; i > 0; i--) { /* 0 is left out in JSON */
        char text[60];
        snprintf(text, sizeof text, "{\"result\":{\"remaining_bytes\":\"%d\"", i);
        size_t at = place(&c, text);
        assert_true(at > last || i == MESSAGES - 1);
        last = at;
    }
    done(&c);
}

/* --- bodies that are held, answers that are not read ------------------------------------------------ */

static uv_sem_t gate;

static void wait_at_gate(struct worker_job *job)
{
    (void)job;
    uv_sem_wait(&gate);
}

static void gate_passed(struct worker_job *job)
{
    (void)job;
}

static int start_gated(void **state)
{
    return uv_sem_init(&gate, 0) || start_server(state);
}

/* Also for a test that failed before it posted. */
static int stop_gated(void **state)
{
    uv_sem_post(&gate);
    int rc = stop_server(state);
    uv_sem_destroy(&gate);
    return rc;
}

/* The worker of large messages does nothing until the gate is posted. */
static void stop_worker(struct worker_job *job)
{
    struct client c = connect_client();
    struct buf put = large_put(LARGE);
    send_post(&c, "/v3/kv/put", buf_slice(&put)); /* it has a thread from then on */
    expect(&c, "QUFBQUFB\"}}");
    done(&c);
    buf_done(&put);
    memset(&rpc, 0, sizeof rpc);
    *job = (struct worker_job){.run = wait_at_gate, .done = gate_passed};
    worker_submit(server->conversions.threads[0].worker, job);
}

/* The number of requests that are accepted while the client reads nothing; the server has time for all of
 * them. */
static size_t send_unread(struct client *c, struct slice body)
{
    size_t sent = 0;
    for (unsigned idle = 0; idle < 500; idle++) {
        ssize_t n = sent < body.size ? send(c->fd, body.data + sent, body.size - sent, MSG_NOSIGNAL) : 0;
        if (n > 0) {
            sent += (size_t)n;
            idle = 0;
        } else {
            usleep(100);
        }
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    return sent;
}

/* A request whose body comes in chunks: no limit is on the whole of it. */
static struct buf chunked(struct buf *body)
{
    struct buf b = {0};
    buf_add_text(&b, "POST /v3/watch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0, n; at < body->size; at += n) {
        n = body->size - at < 16384 ? body->size - at : 16384;
        buf_addf(&b, "%zx\r\n", n);
        buf_add_slice(&b, slice_of(body->data + at, n));
        buf_add_text(&b, "\r\n");
    }
    buf_add_text(&b, "0\r\n\r\n");
    buf_done(body);
    return b;
}

static void add_large_create(struct buf *b)
{
    buf_add_text(b, "{\"create_request\":{\"key\":\"");
    for (size_t i = 0; i < LARGE; i += 4)
        buf_add_text(b, "QUFB");
    buf_add_text(b, "\"}}");
}

/* While a message is converted its connection is not read. Later input may be many times the limit of one
 * message; all of it is answered, in order. */
static void test_body_is_held(void **state)
{
    (void)state;
    enum { SMALL = 3000, SMALL_BYTES = 1000 };
    struct worker_job job;
    struct buf body = {0};
    stop_worker(&job);
    add_large_create(&body);
    for (int i = 0; i < SMALL; i++)
        buf_addf(&body, "%*s", SMALL_BYTES, "{\"progress_request\":{}}");
    struct client c = connect_client();
    body = chunked(&body);
    size_t sent = send_unread(&c, buf_slice(&body));
    assert_true(sent >= LARGE);
    assert_int_equal(rpc.messages, 0);
    assert_int_equal(rpc.canceled, 0);
    uv_sem_post(&gate);
    send_bytes(&c, body.data + sent, body.size - sent);
    expect(&c, "\r\n0\r\n\r\n");
    assert_int_equal(rpc.messages, SMALL + 1);
    assert_int_equal(count(&c, "{\"result\":{\"watch_id\":"), SMALL + 1);
    assert_int_equal(count(&c, "{\"result\":{\"watch_id\":\"1\",\"created\":true}}"), 1);
    buf_done(&body);
    done(&c);
}

/* The message is invalid: the call is answered while its body is held. The rest of the body is skipped, and
 * the next request of the connection is answered. */
static void test_answer_while_held(void **state)
{
    (void)state;
    struct worker_job job;
    struct buf body = {0};
    stop_worker(&job);
    add_large_create(&body);
    body.data[body.size / 2] = '#';
    for (int i = 0; i < 1000; i++)
        buf_add_text(&body, " {\"progress_request\":{}}");
    struct client c = connect_client();
    body = chunked(&body);
    buf_add_text(&body, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(send_unread(&c, buf_slice(&body)), body.size);
    assert_int_equal(rpc.canceled, 0);
    uv_sem_post(&gate);
    expect(&c, "\"error\":{\"code\":3");
    expect(&c, "etcdserver\":");
    assert_int_equal(rpc.messages, 0);
    assert_int_equal(rpc.canceled, 1);
    buf_done(&body);
    done(&c);
}

/* The server does not read from a client that reads no answers; when the client reads, everything continues.
 */
static void test_unread_answers_stop_requests(void **state)
{
    (void)state;
    enum { MESSAGES = 250000 };
    struct buf body = {0};
    for (int i = 0; i < MESSAGES; i++)
        buf_add_text(&body, "{\"create_request\":{}}");
    struct client c = connect_client();
    body = chunked(&body);
    size_t sent = send_unread(&c, buf_slice(&body));
    assert_in_range(rpc.messages, 1, MESSAGES / 2);
    unsigned before = rpc.messages;
    (void)send_unread(&c, slice_of(body.data + sent, 0));
    assert_int_equal(rpc.messages, before);
    send_bytes(&c, body.data + sent, body.size - sent);
    uint64_t until = clock_mono_ms() + WAIT_MS;
    while ((c.in.size < 7 || memcmp(c.in.data + c.in.size - 7, "\r\n0\r\n\r\n", 7)) &&
           clock_mono_ms() < until)
        pump(&c);
    assert_int_equal(rpc.messages, MESSAGES);
    buf_done(&body);
    done(&c);
}

/* --- waiting for a turn ----------------------------------------------------------------------------- */

static uint64_t slow_ns;

/* Each reading of the clock takes half of the share of input. */
static uint64_t slow_clock(void)
{
    return slow_ns += TURN_INPUT_NS / 2;
}

static void run_turns(unsigned turns)
{
    struct turn_result r;
    for (unsigned i = 0; i < turns; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        turn_enter(TURN_OTHER);
        turn_queue_run();
        turn_end(&r);
    }
}

static void take(struct client *c)
{
    uint8_t *at = buf_reserve(&c->in, 65536);
    ssize_t n = recv(c->fd, at, 65536, 0);
    c->in.size += n > 0 ? (size_t)n : 0;
}

/* A turn has time for about one request. The first client sends the most, and the others have their answers
 * long before it has all of its own; at the end nothing is missing. */
static void test_turns_go_round(void **state)
{
    (void)state;
    enum { CLIENTS = 8, GREEDY = 400, OTHERS = 5 };
    static const char request[] = "GET /version HTTP/1.1\r\nHost: x\r\n\r\n";
    struct client c[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        c[i] = connect_client();
    for (int i = 0; i < CLIENTS; i++)
        for (int n = 0; n < (i == 0 ? GREEDY : OTHERS); n++)
            assert_int_equal(send(c[i].fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
    turn_start(slow_clock, NULL, NULL);
    turn_enter(TURN_OTHER);
    unsigned turns = 0, others = 0;
    uint64_t end = clock_mono_ms() + WAIT_MS;
    while (others < (CLIENTS - 1) * OTHERS && clock_mono_ms() < end) {
        run_turns(1);
        turns++;
        others = 0;
        for (int i = 0; i < CLIENTS; i++) {
            take(&c[i]);
            others += i ? count(&c[i], "etcdserver\":") : 0;
        }
    }
    assert_int_equal(others, (CLIENTS - 1) * OTHERS);
    assert_true(count(&c[0], "etcdserver\":") < GREEDY / 2);
    while (count(&c[0], "etcdserver\":") < GREEDY && clock_mono_ms() < end) {
        run_turns(1);
        take(&c[0]);
    }
    assert_int_equal(count(&c[0], "etcdserver\":"), GREEDY);
    turn_start(NULL, NULL, NULL);
    for (int i = 0; i < CLIENTS; i++)
        done(&c[i]);
}

/* A waiting client that disconnects or is stopped leaves the queue. */
static void test_waiting_clients_go(void **state)
{
    (void)state;
    enum { CLIENTS = 6 };
    static const char request[] = "GET /version HTTP/1.1\r\nHost: x\r\n\r\n";
    struct client c[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = connect_client();
        for (int n = 0; n < 20; n++)
            assert_int_equal(send(c[i].fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
    }
    turn_start(slow_clock, NULL, NULL);
    turn_enter(TURN_OTHER);
    run_turns(3);
    assert_true(turn_queue_is_waiting());
    for (int i = 0; i < CLIENTS / 2; i++)
        close(c[i].fd);
    run_turns(20);
    stop_server(NULL);
    assert_false(turn_queue_is_waiting());
    turn_start(NULL, NULL, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        if (i >= CLIENTS / 2)
            close(c[i].fd);
        buf_done(&c[i].in);
    }
    start_server(NULL);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    cmocka_set_test_filter(getenv("ONLY"));
#define TEST(name)  cmocka_unit_test_setup_teardown(name, start_server, stop_server)
#define GATED(name) cmocka_unit_test_setup_teardown(name, start_gated, stop_gated)
    const struct CMUnitTest tests[] = {
        TEST(test_unary),
        TEST(test_many_at_once),
        TEST(test_clients_that_go),
        TEST(test_stop_meanwhile),
        TEST(test_stream_in_order),
        TEST(test_large_answers_of_a_stream),
        TEST(test_turns_go_round),
        TEST(test_waiting_clients_go),
        GATED(test_body_is_held),
        GATED(test_answer_while_held),
        TEST(test_unread_answers_stop_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
