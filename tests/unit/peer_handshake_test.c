/* SPDX-License-Identifier: Apache-2.0
 * Tests of stream openings over real sockets: which streams and bootstrap queries each proof opens, and that
 * forged, replayed and flooding openings get nothing and displace nothing. */
#include "tests/unit/peer_net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/metric.h"

#define LOG   PEER_STREAM_LOG
#define BULK  PEER_STREAM_BULK
#define TOKEN "a token of the tests, of 32 bytes or more"
#define OTHER "another token of the tests, also 32 bytes"

static struct node a, b;

static void open_pair(const char *token, bool requires_proof)
{
    for (int i = 0; i < 2; i++) {
        net_token = token;
        net_requires_proof = requires_proof;
        net_heartbeat_ms = NET_UNHURRIED_MS;
        net_open(i ? &b : &a, (uint64_t)i + 1, 0, "127.0.0.1", NULL);
    }
    net_knows(&a, &b);
    net_knows(&b, &a);
}

static void close_pair(void)
{
    net_close(&a);
    net_close(&b);
}

static struct wire_hello hello_of(uint64_t from, uint64_t number)
{
    return (struct wire_hello){.version = WIRE_VERSION,
                               .cluster_id = CLUSTER,
                               .from = from,
                               .to = 2,
                               .run = 77,
                               .number = number,
                               .nonce = "a nonce of an impostor",
                               .urls = slice_text("http://127.0.0.1:1")};
}

static enum wire_reason reason_of(int fd)
{
    struct wire_frame frame;
    struct wire_reply reply;
    if (!raw_frame(fd, WIRE_AWAIT_REPLY, &frame))
        return WIRE_REASON_COUNT;
    assert_int_equal(wire_read_reply(frame.payload, &reply), OK);
    return reply.reason;
}

static enum wire_reason open_as(struct wire_hello h, const char *token)
{
    int fd = raw_connect(b.port);
    assert_true(raw_open(fd, &h, token, (struct slice){0}));
    enum wire_reason reason = reason_of(fd);
    close(fd);
    return reason;
}

/* The higher of the values of both nodes. */
static double metric(const char *line)
{
    struct buf text = {0};
    double highest = -1;
    metric_print(&text);
    for (const char *at = buf_text(&text); (at = strstr(at, line)) != NULL; at++) {
        double value = strtod(at + strlen(line), NULL);
        highest = value > highest ? value : highest;
    }
    buf_done(&text);
    return highest;
}

/* --- streams ------------------------------------------------------------------------------------------- */
static void test_each_proof_is_enough(void **state)
{
    (void)state;
    static const struct {
        const char *token;
        bool requires;
        const char *line;
    } rows[] = {
        {NULL, false, "cairn_peer_proof{kind=\"dial_back\"} "},
        {TOKEN, false, "cairn_peer_proof{kind=\"token\"} "},
        {TOKEN, true, "cairn_peer_proof{kind=\"token\"} "},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        open_pair(rows[i].token, rows[i].requires);
        WAIT_UNTIL(a.reachable == 2 && b.reachable == 2);
        assert_true(metric(rows[i].line) == 2);
        assert_true(net_send(&a, 2, LOG, 1, 8));
        net_flush(&a);
        WAIT_UNTIL(b.messages[LOG] == 1);
        close_pair();
    }
}

/* A hello with another member's id: refused, and that member's open stream continues. */
static void test_forged_hello(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        open_pair(i ? TOKEN : NULL, i == 2);
        WAIT_UNTIL(a.reachable == 2 && b.reachable == 2);
        for (uint64_t number = 1; number < 5; number++)
            assert_int_equal(open_as(hello_of(1, number), number % 2 ? NULL : OTHER), WIRE_UNPROVED);
        assert_true(metric("cairn_peer_refused_total{reason=\"unproved\"} ") >= 4);
        assert_true(net_send(&a, 2, LOG, 1, 8));
        net_flush(&a);
        WAIT_UNTIL(b.messages[LOG] == 1);
        assert_int_equal(a.unreachable + b.unreachable, 0);
        assert_int_equal(b.last_from, 1);
        close_pair();
    }
}

/* A recorded good opening does not open again: not at once, not after a restart. */
static void test_replay(void **state)
{
    (void)state;
    open_pair(TOKEN, false);
    WAIT_UNTIL(a.reachable == 2 && b.reachable == 2);
    struct wire_hello h = hello_of(40, 1);
    struct buf proof = {0};
    int fd = raw_connect(b.port);
    assert_true(raw_open(fd, &h, TOKEN, (struct slice){0}));
    assert_int_equal(reason_of(fd), WIRE_WELCOME);
    wire_add_frame(&proof, WIRE_PROOF, slice_of(raw_last_mac, PROOF_MAC_SIZE), (struct slice){0});
    close(fd);
    int port = b.port;
    net_close(&b);
    net_token = TOKEN;
    net_open(&b, 2, port, "127.0.0.1", NULL);
    net_knows(&b, &(struct node){.id = 40, .url_list = {"http://127.0.0.1:1"}});
    for (int i = 0; i < 3; i++) {
        struct wire_frame frame;
        struct buf bytes = {0};
        wire_add_hello(&bytes, &h);
        buf_add_slice(&bytes, buf_slice(&proof));
        fd = raw_connect(b.port);
        raw_send(fd, buf_slice(&bytes));
        assert_true(raw_frame(fd, WIRE_AWAIT_CHALLENGE, &frame));
        assert_int_equal(reason_of(fd), WIRE_UNPROVED);
        close(fd);
        buf_done(&bytes);
    }
    buf_done(&proof);
    close_pair();
}

/* A member that b does not know: its claim has no effect without a token. A known member's list and a
 * dial-back to the listed URL are enough. */
static void test_unknown_member(void **state)
{
    (void)state;
    struct node c;
    open_pair(NULL, false);
    net_open(&c, 3, 0, "127.0.0.1", NULL);
    assert_int_equal(open_as(hello_of(3, 1), NULL), WIRE_UNKNOWN_MEMBER);
    assert_true(b.unconfirmed == 1 && b.last_unconfirmed == 3);
    net_knows(&c, &b);
    unsigned before = b.unconfirmed;
    WAIT_UNTIL(b.unconfirmed > before + 1);
    assert_int_equal(c.reachable, 0);
    b.peers->ops->set_vouched(b.peers, 3, c.url_list, 1);
    assert_int_equal(open_as(hello_of(3, 2), NULL), WIRE_UNPROVED); /* c does not confirm it */
    WAIT_UNTIL(c.reachable == 2);
    assert_true(net_send(&c, 2, LOG, 1, 8));
    net_flush(&c);
    WAIT_UNTIL(b.messages[LOG] == 1);
    assert_int_equal(b.last_from, 3);
    b.peers->ops->remove_member(b.peers, 3);
    b.peers->ops->set_vouched(b.peers, 3, c.url_list, 1); /* an old list: removed is final */
    WAIT_UNTIL(c.removed > 0);
    net_close(&c);
    close_pair();
}

/* A known member at a URL that b does not know yet. */
static void test_moved_member(void **state)
{
    (void)state;
    open_pair(NULL, false);
    b.peers->ops->set_member(b.peers, 1, (const char *[]){"http://127.0.0.1:1"}, 1);
    WAIT_UNTIL(b.unconfirmed > 0 && b.last_unconfirmed == 1);
    unsigned before = a.reachable;
    b.peers->ops->set_vouched(b.peers, 1, a.url_list, 1);
    WAIT_UNTIL(a.reachable >= before + 2 && b.reachable >= 2);
    close_pair();
}

/* Only some members have a token: they still reach each other, until it is required. */
static void test_mixed(void **state)
{
    (void)state;
    for (int requires = 0; requires < 2; requires ++) {
        net_token = TOKEN;
        net_requires_proof = requires;
        net_open(&a, 1, 0, "127.0.0.1", NULL);
        net_token = requires ? OTHER : NULL;
        net_requires_proof = false;
        net_open(&b, 2, 0, "127.0.0.1", NULL);
        net_knows(&a, &b);
        net_knows(&b, &a);
        if (!requires) {
            WAIT_UNTIL(a.reachable == 2 && b.reachable == 2);
        } else {
            WAIT_UNTIL(a.unreachable >= 4 && b.unreachable >= 4);
            assert_int_equal(a.reachable + b.reachable, 0);
            struct proof_tokens tokens = {0};
            char error[200];
            assert_int_equal(proof_tokens_parse(slice_text(OTHER "\n" TOKEN), &tokens, error, sizeof error),
                             OK);
            peer_tcp_set_tokens(a.peers, &tokens);
            proof_tokens_free(&tokens);
            WAIT_UNTIL(a.reachable == 2 && b.reachable == 2);
        }
        close_pair();
    }
}

/* --- dial-backs ---------------------------------------------------------------------------------------- */
static bool confirms(const struct wire_confirm *q)
{
    struct buf bytes = {0};
    struct wire_frame frame;
    int fd = raw_connect(a.port);
    wire_add_hello(&bytes, &(struct wire_hello){.version = WIRE_VERSION, .stream = WIRE_STREAM_CONFIRM});
    wire_add_confirm(&bytes, q);
    raw_send(fd, buf_slice(&bytes));
    bool closed;
    buf_clear(&bytes);
    raw_read(fd, RAW_LIMIT_MS, &bytes, &closed);
    struct slice in = buf_slice(&bytes);
    assert_int_equal(wire_take(&in, WIRE_AWAIT_CONFIRMED, &frame), 1);
    assert_int_equal(frame.kind, WIRE_CONFIRMED);
    bool is_confirmed = frame.payload.size == PROOF_MAC_SIZE;
    buf_done(&bytes);
    close(fd);
    return is_confirmed;
}

/* a confirms the member that it dialed, with its nonce, once. */
static void test_confirms_once(void **state)
{
    (void)state;
    struct node fake = {.id = 2};
    struct wire_frame frame;
    struct wire_hello h;
    int port, listening = raw_listen(&port);
    snprintf(fake.url, sizeof fake.url, "http://127.0.0.1:%d", port);
    fake.url_list[0] = fake.url;
    net_open(&a, 1, 0, "127.0.0.1", NULL);
    net_knows(&a, &fake);
    int fd = raw_accept(listening);
    struct buf in = {0}, out = {0};
    bool closed;
    struct slice rest = {0};
    while (wire_take(&rest, WIRE_AWAIT_HELLO, &frame) != 1) {
        raw_await(fd, &in, &closed);
        assert_false(closed);
        rest = buf_slice(&in);
    }
    assert_int_equal(wire_read_hello(frame.payload, &h), OK);
    struct wire_challenge challenge = {.version = WIRE_VERSION, .nonce = "a nonce of the dialed side"};
    struct proof_handshake o = {.version = h.version,
                                .stream = h.stream,
                                .cluster_id = h.cluster_id,
                                .from = h.from,
                                .to = h.to,
                                .run = h.run,
                                .number = h.number,
                                .dialer_nonce = h.nonce,
                                .dialed_nonce = challenge.nonce,
                                .urls = h.urls};
    struct wire_confirm q = {.stream = h.stream,
                             .cluster_id = h.cluster_id,
                             .from = h.from,
                             .to = h.to,
                             .run = h.run,
                             .number = h.number};
    proof_mac(slice_of(h.nonce, sizeof h.nonce), PROOF_CONFIRM_REQUEST, &o, q.tag);
    assert_false(confirms(&q)); /* no challenge was answered yet */
    wire_add_challenge(&out, &challenge);
    raw_send(fd, buf_slice(&out));
    raw_await(fd, &in, &closed); /* its proof */
    struct wire_confirm wrong[6];
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        wrong[i] = q;
    wrong[0].tag[31] ^= 1;
    wrong[1].number++;
    wrong[2].run++;
    wrong[3].to++;
    wrong[4].stream = h.stream == LOG ? BULK : LOG;
    wrong[5].cluster_id++;
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_false(confirms(&wrong[i]));
    assert_true(confirms(&q));
    assert_false(confirms(&q));
    close(fd);
    buf_done(&in);
    buf_done(&out);
    close(listening);
    net_close(&a);
}

static int connect_from(const char *address, int port)
{
    struct sockaddr_in from = {.sin_family = AF_INET},
                       to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, address, &from.sin_addr);
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* More connections than the limit, from other hosts: a connection from a member's address stays. */
static void test_flood_from_elsewhere(void **state)
{
    (void)state;
    enum { MANY = 200 };
    int fds[MANY];
    struct buf answer = {0};
    bool closed;
    open_pair(NULL, false);
    WAIT_UNTIL(a.reachable == 2 && b.reachable == 2);
    int ours = connect_from("127.0.0.1", b.port);
    for (int i = 0; i < MANY; i++) {
        fds[i] = connect_from(i % 3 ? "127.0.0.3" : "127.0.0.2", b.port);
        net_run(0);
    }
    raw_read(fds[1], RAW_LIMIT_MS, &answer, &closed);
    assert_true(closed);
    raw_read(ours, 20, &answer, &closed);
    assert_false(closed);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    close(ours);
    assert_int_equal(a.unreachable + b.unreachable, 0);
    close_pair();
}

/* Forged hellos that all wait for a dial-back do not block the member itself. */
static void test_flood_of_forged(void **state)
{
    (void)state;
    enum { MANY = 50 };
    int fds[MANY];
    open_pair(NULL, false);
    WAIT_UNTIL(a.reachable == 2 && b.reachable == 2);
    b.peers->ops->set_member(b.peers, 1, (const char *[]){"http://127.0.0.1:1", a.url}, 2);
    for (uint64_t i = 0; i < MANY; i++) {
        struct wire_hello h = hello_of(1, i + 1);
        h.stream = (uint8_t)(i % 2);
        fds[i] = connect_from(i % 2 ? "127.0.0.1" : "127.0.0.2", b.port);
        assert_true(raw_open(fds[i], &h, NULL, (struct slice){0}));
    }
    int port = a.port;
    net_close(&a);
    net_open(&a, 1, port, "127.0.0.1", NULL);
    net_knows(&a, &b);
    WAIT_UNTIL(a.reachable >= 2);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(reason_of(fds[i]) == WIRE_WELCOME, 0);
        close(fds[i]);
    }
    close_pair();
}

/* --- bootstrap queries --------------------------------------------------------------------------------- */
static struct {
    unsigned count;
    int err;
    bool is_confirmed;
    unsigned confirms;
} told;

static void on_notified(void *arg, int err, struct slice answer)
{
    (void)arg, (void)answer;
    told.count++;
    told.err = err;
}

static void on_confirmed(void *arg, bool is_confirmed)
{
    (void)arg;
    told.confirms++;
    told.is_confirmed = is_confirmed;
}

static void test_query_proofs(void **state)
{
    (void)state;
    static const struct {
        const char *ours, *theirs;
        enum peer_proof proof;
    } rows[] = {{NULL, NULL, PEER_PROOF_NONE},
                {TOKEN, NULL, PEER_PROOF_NONE},
                {NULL, TOKEN, PEER_PROOF_NONE},
                {OTHER, TOKEN, PEER_PROOF_NONE},
                {TOKEN, OTHER "\n" TOKEN, PEER_PROOF_TOKEN}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        told.count = 0;
        net_token = rows[i].ours;
        net_open(&a, 0, 0, "127.0.0.1", NULL);
        net_token = rows[i].theirs;
        net_open(&b, 2, 0, "127.0.0.1", NULL);
        a.peers->ops->query(a.peers, b.url, slice_text("query"), RAW_LIMIT_MS, on_notified, NULL);
        WAIT_UNTIL(told.count == 1);
        assert_int_equal(told.err, OK);
        assert_int_equal(b.last_proof, rows[i].proof);
        close_pair();
    }
    told.count = 0; /* a query wants a proof of the other side, too */
    net_token = TOKEN;
    net_requires_proof = true;
    net_open(&a, 0, 0, "127.0.0.1", NULL);
    net_token = NULL;
    net_requires_proof = false;
    net_open(&b, 2, 0, "127.0.0.1", NULL);
    a.peers->ops->query(a.peers, b.url, slice_text("query"), RAW_LIMIT_MS, on_notified, NULL);
    WAIT_UNTIL(told.count == 1);
    assert_true(told.err != OK && b.questions == 0);
    close_pair();
}

/* The process at a recorded URL confirms its own query; another process does not, and a dead URL is skipped.
 */
static void test_query_dial_back(void **state)
{
    (void)state;
    struct node c;
    open_pair(NULL, false);
    net_open(&c, 0, 0, "127.0.0.1", NULL);
    b.is_echoing = false;
    static const bool expected[] = {true, true, false, false};
    const char *urls[][2] = {
        {a.url, a.url}, {"http://127.0.0.1:1", a.url}, {c.url, c.url}, {"http://127.0.0.1:1", "nonsense"}};
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        b.held = NULL;
        told.count = told.confirms = 0;
        a.peers->ops->query(a.peers, b.url, slice_text("query"), RAW_LIMIT_MS, on_notified, NULL);
        WAIT_UNTIL(b.held);
        b.peers->ops->confirm(b.peers, b.held, urls[i], 2, on_confirmed, NULL);
        assert_int_equal(told.confirms, 0);
        WAIT_UNTIL(told.confirms == 1);
        assert_int_equal(told.is_confirmed, expected[i]);
        if (i == 0) { /* once */
            b.peers->ops->confirm(b.peers, b.held, urls[i], 1, on_confirmed, NULL);
            WAIT_UNTIL(told.confirms == 2);
            assert_false(told.is_confirmed);
        }
        b.peers->ops->answer(b.peers, b.held, slice_text("answer"));
        WAIT_UNTIL(told.count == 1);
    }
    net_close(&c);
    /* Answered, or closed, during the dial-back: no callback runs. */
    for (int i = 0; i < 2; i++) {
        b.held = NULL;
        told.confirms = 0;
        a.peers->ops->query(a.peers, b.url, slice_text("query"), RAW_LIMIT_MS, on_notified, NULL);
        WAIT_UNTIL(b.held);
        b.peers->ops->confirm(b.peers, b.held, urls[0], 1, on_confirmed, NULL);
        if (i == 0)
            b.peers->ops->answer(b.peers, b.held, slice_text("answer"));
        else
            net_close(&b);
        net_run(50);
        assert_int_equal(told.confirms, 0);
    }
    net_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_proof_is_enough),
        cmocka_unit_test(test_forged_hello),
        cmocka_unit_test(test_replay),
        cmocka_unit_test(test_unknown_member),
        cmocka_unit_test(test_moved_member),
        cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_confirms_once),
        cmocka_unit_test(test_flood_from_elsewhere),
        cmocka_unit_test(test_flood_of_forged),
        cmocka_unit_test(test_query_proofs),
        cmocka_unit_test(test_query_dial_back),
    };
    return cmocka_run_group_tests(tests, net_setup, net_teardown);
}
