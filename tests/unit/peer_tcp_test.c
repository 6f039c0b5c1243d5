/* SPDX-License-Identifier: Apache-2.0
 * Tests of the TCP transport on loopback: streams, order, loss, refusals, limits, member RPCs. */
#include "tests/unit/peer_net.h"

#include <sys/socket.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/metric.h"
#include "base/net/output.h"

#define LOG  PEER_STREAM_LOG
#define BULK PEER_STREAM_BULK

#define TOKEN "a token of the tests, of 32 bytes or more"

static struct node a, b;

static void open_pair(void)
{
    net_open(&a, 1, 0, "127.0.0.1", NULL);
    net_open(&b, 2, 0, "127.0.0.1", NULL);
    net_knows(&a, &b);
    net_knows(&b, &a);
    WAIT_UNTIL(a.reachable == 2 && b.reachable == 2);
}

static void close_pair(void)
{
    net_close(&a);
    net_close(&b);
}

/* --- messages ------------------------------------------------------------------------------------------ */
static void test_streams_keep_order(void **state)
{
    (void)state;
    open_pair();
    uint64_t sent = 0;
    for (int turn = 0; turn < 20; turn++) {
        for (int i = 0; i < 2000; i++) {
            sent++;
            assert_true(net_send(&a, 2, LOG, sent, 8 + sent % 600));
            assert_true(sent % 3 || net_send(&a, 2, BULK, sent / 3, 1000));
            assert_true(sent % 7 || net_send(&b, 1, LOG, sent / 7, 8));
        }
        net_flush(&a);
        net_flush(&b);
        net_run(1);
    }
    WAIT_UNTIL(b.messages[LOG] == sent && b.messages[BULK] == sent / 3 && a.messages[LOG] == sent / 7);
    assert_true(a.is_ordered && b.is_ordered && b.lost_numbers == 0);
    assert_int_equal(b.last_from, 1);
    assert_int_equal(a.unreachable + b.unreachable, 0);
    close_pair();
}

static void test_largest_message(void **state)
{
    (void)state;
    open_pair();
    assert_false(net_send(&a, 2, BULK, 1, PEER_MESSAGE_MAX + 1));
    assert_true(net_send(&a, 2, BULK, 1, PEER_MESSAGE_MAX));
    assert_false(net_send(&a, 2, BULK, 2, 8)); /* over the bulk stream's limit already */
    assert_true(a.peers->ops->queued(a.peers, 2, BULK) >= PEER_MESSAGE_MAX);
    net_flush(&a);
    WAIT_UNTIL(b.messages[BULK] == 1);
    assert_int_equal(b.last.size, PEER_MESSAGE_MAX);
    assert_true(b.is_ordered);
    assert_int_equal(a.peers->ops->queued(a.peers, 2, BULK), 0);
    assert_true(net_send(&a, 2, BULK, 2, 8));
    assert_true(net_send(&a, 2, LOG, 1, 8));
    net_flush(&a);
    WAIT_UNTIL(b.messages[BULK] == 2 && b.messages[LOG] == 1);
    close_pair();
}

static void test_nothing_to_send_to(void **state)
{
    (void)state;
    open_pair();
    assert_false(net_send(&a, 3, LOG, 1, 8));
    assert_false(net_send(&a, 1, LOG, 1, 8)); /* itself */
    assert_int_equal(a.peers->ops->queued(a.peers, 3, LOG), 0);
    close_pair();
}

/* The other side disconnects and returns: it is reported and dialed again, some messages are lost, none is
 * out of order. */
static void test_reconnect(void **state)
{
    (void)state;
    open_pair();
    uint64_t sent = 0;
    int port = b.port;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 500; i++)
            (void)net_send(&a, 2, LOG, ++sent, 400);
        net_flush(&a);
        unsigned before = a.unreachable;
        uint64_t last = b.last_number[LOG];
        net_close(&b);
        WAIT_UNTIL(a.unreachable > before + 1);
        assert_false(net_send(&a, 2, LOG, ++sent, 8));
        before = a.reachable;
        net_open(&b, 2, port, "127.0.0.1", NULL);
        b.last_number[LOG] = last;
        net_knows(&b, &a);
        WAIT_UNTIL(a.reachable == before + 2);
        assert_true(net_send(&a, 2, LOG, ++sent, 8));
        net_flush(&a);
        WAIT_UNTIL(b.last_number[LOG] == sent);
        assert_true(b.is_ordered);
    }
    close_pair();
}

/* A member that waits for its next attempt dials at once when the other side dials it. */
static uint64_t redial_ns(void)
{
    int port = free_port();
    net_open(&a, 1, 0, "127.0.0.1", NULL);
    b = (struct node){.id = 2};
    snprintf(b.url, sizeof b.url, "http://127.0.0.1:%d", port);
    b.url_list[0] = b.url;
    net_knows(&a, &b);
    WAIT_UNTIL(a.unreachable >= 12); /* both streams wait up to 2 s now */
    net_open(&b, 2, port, "127.0.0.1", NULL);
    net_knows(&b, &a);
    WAIT_UNTIL(b.reachable == 2);
    uint64_t since = uv_hrtime();
    WAIT_UNTIL(a.reachable == 2);
    uint64_t ns = uv_hrtime() - since;
    close_pair();
    return ns;
}

/* Its next attempt is due in 1 to 2 s. A starved process can be slower than that once, not each time. */
static void test_hurries_back(void **state)
{
    (void)state;
    int tries = 1;
    while (redial_ns() >= UINT64_C(400000000))
        assert_true(++tries <= 5);
}

static void remove_sender(struct node *n)
{
    n->peers->ops->remove_member(n->peers, n->last_from);
}

/* A callback may call any function, also one that closes the connection that calls it. */
static void test_remove_in_callback(void **state)
{
    (void)state;
    open_pair();
    b.hook = remove_sender;
    for (uint64_t i = 1; i <= 10; i++)
        assert_true(net_send(&a, 2, LOG, i, 100));
    net_flush(&a);
    WAIT_UNTIL(a.removed > 0);
    assert_int_equal(b.messages[LOG], 1);
    assert_int_equal(a.removed_by, 2);
    close_pair();
}

/* --- authentication --------------------------------------------------------------------------------- */
static void test_refusals(void **state)
{
    (void)state;
    open_pair();
    struct node foreign, wrong, early;
    net_open(&foreign, 0, 0, "127.0.0.1", NULL);
    foreign.peers->ops->set_identity(foreign.peers, CLUSTER + 1, 9);
    net_knows(&foreign, &b); /* another cluster */
    struct node not_b = b;
    not_b.id = 5;
    net_open(&wrong, 4, 0, "127.0.0.1", NULL);
    net_knows(&wrong, &not_b); /* dials member 5 where member 2 is */
    WAIT_UNTIL(foreign.unreachable >= 4 && wrong.unreachable >= 4);
    assert_int_equal(foreign.reachable + wrong.reachable + foreign.removed + wrong.removed, 0);
    assert_false(net_send(&foreign, 2, LOG, 1, 8));

    /* Not a member yet: refused, until it is. */
    net_open(&early, 0, 0, "127.0.0.1", NULL);
    early.id = 6;
    net_knows(&a, &early);
    net_knows(&early, &a);
    net_run(100);
    assert_int_equal(a.reachable, 2);
    early.peers->ops->set_identity(early.peers, CLUSTER, 6);
    WAIT_UNTIL(a.reachable == 4);
    net_close(&early);
    net_close(&wrong);
    net_close(&foreign);
    close_pair();
}

/* A removed member gets the notice, again and again; it believes only its own cluster. */
static void test_removed(void **state)
{
    (void)state;
    open_pair();
    b.peers->ops->remove_member(b.peers, 1);
    assert_false(net_send(&b, 1, LOG, 1, 8));
    WAIT_UNTIL(a.removed >= 2);
    assert_int_equal(a.removed_by, 2);
    /* A member of another cluster at its address: no proof. */
    int port = b.port;
    net_close(&b);
    WAIT_UNTIL(a.unreachable > 4);
    unsigned before = a.removed;
    net_open(&b, 0, port, "127.0.0.1", NULL);
    b.peers->ops->set_identity(b.peers, CLUSTER + 1, 2);
    b.peers->ops->remove_member(b.peers, 1);
    unsigned lost = a.unreachable;
    WAIT_UNTIL(a.unreachable > lost + 2);
    assert_int_equal(a.removed, before);
    close_pair();
}

/* The notice "You were removed" from another cluster, or from another member than the intended one. */
static void test_removed_by_other_clusters(void **state)
{
    (void)state;
    static const struct wire_reply says[] = {
        {WIRE_VERSION, WIRE_REMOVED, 0, CLUSTER + 1, 2},
        {WIRE_VERSION, WIRE_REMOVED, 0, CLUSTER, 3},
        {WIRE_VERSION, WIRE_REMOVED, 0, CLUSTER, 2},
    };
    struct node fake = {.id = 2};
    int port, listening = raw_listen(&port);
    snprintf(fake.url, sizeof fake.url, "http://127.0.0.1:%d", port);
    fake.url_list[0] = fake.url;
    net_open(&a, 1, 0, "127.0.0.1", NULL);
    net_knows(&a, &fake);
    for (size_t i = 0; i < COUNT_OF(says); i++) {
        struct buf bytes = {0};
        unsigned before = a.unreachable;
        if (i != 1)
            wire_add_challenge(&bytes, &(struct wire_challenge){.version = WIRE_VERSION});
        wire_add_reply(&bytes, &says[i]);
        int fd = raw_accept(listening);
        raw_send(fd, buf_slice(&bytes));
        WAIT_UNTIL(a.unreachable > before);
        assert_int_equal(a.removed, i == 2);
        close(fd);
        buf_done(&bytes);
    }
    close(listening);
    net_close(&a);
}

/* b does not know a yet, but a has b's token: a listens, and b can answer. */
static void test_learns_from_hello(void **state)
{
    (void)state;
    net_token = TOKEN;
    net_open(&a, 1, 0, "127.0.0.1", NULL);
    net_open(&b, 2, 0, "127.0.0.1", NULL);
    net_knows(&a, &b);
    WAIT_UNTIL(a.reachable == 2 && b.reachable == 2);
    assert_true(net_send(&a, 2, LOG, 1, 8) && net_send(&b, 1, LOG, 1, 8));
    net_flush(&a);
    net_flush(&b);
    WAIT_UNTIL(a.messages[LOG] == 1 && b.messages[LOG] == 1);
    net_knows(&b, &a);
    assert_int_equal(b.unreachable, 0);
    close_pair();
}

/* New URLs are dialed at once; an open stream is reported as lost. */
static void test_urls_change(void **state)
{
    (void)state;
    open_pair();
    struct node c;
    net_open(&c, 2, 0, "127.0.0.1", NULL); /* b at a new place */
    net_knows(&c, &a);
    net_knows(&a, &c);
    WAIT_UNTIL(a.unreachable == 2 && a.reachable == 4);
    assert_true(net_send(&a, 2, LOG, 1, 8));
    net_flush(&a);
    WAIT_UNTIL(c.messages[LOG] == 1);
    net_knows(&a, &c); /* the same: no effect */
    net_run(20);
    assert_int_equal(a.unreachable, 2);
    a.peers->ops->set_member(a.peers, 2, NULL, 0);
    WAIT_UNTIL(a.unreachable == 4);
    assert_false(net_send(&a, 2, LOG, 2, 8));
    net_knows(&a, &c);
    WAIT_UNTIL(a.reachable == 6);
    net_close(&c);
    close_pair();
}

/* The dialed side's answers to an opening. */
static enum wire_reason reason_of(int fd)
{
    struct wire_frame frame;
    struct wire_reply reply;
    if (!raw_frame(fd, WIRE_AWAIT_REPLY, &frame))
        return WIRE_REASON_COUNT;
    assert_int_equal(wire_read_reply(frame.payload, &reply), OK);
    return reply.reason;
}

/* --- invalid peers ---------------------------------------------------------------------------------- */
static struct wire_hello hello_of(uint64_t from, uint64_t to)
{
    return (struct wire_hello){
        .version = WIRE_VERSION, .cluster_id = CLUSTER, .from = from, .to = to, .run = 77, .number = 1};
}

/* Sends bytes to b and reads its answer until b closes the connection. */
static void exchange_raw(struct slice bytes, struct buf *answer, bool *closed)
{
    int fd = raw_connect(b.port);
    raw_send(fd, bytes);
    raw_read(fd, RAW_LIMIT_MS, answer, closed);
    close(fd);
}

static void test_hostile_bytes(void **state)
{
    (void)state;
    open_pair();
    struct buf bytes = {0}, answer = {0};
    uint8_t big[4096] = {0};
    bool closed;
    exchange_raw(slice_text("GET /version HTTP/1.1\r\nHost: x\r\n\r\n"), &answer, &closed);
    assert_true(closed && answer.size == 0);
    /* A hello with a false large size. */
    wire_add_frame(&bytes, WIRE_HELLO, slice_of(big, sizeof big), (struct slice){0});
    exchange_raw(buf_slice(&bytes), &answer, &closed);
    assert_true(closed && answer.size == 0);
    /* A message without a hello. */
    buf_clear(&bytes);
    wire_add_frame(&bytes, WIRE_MESSAGE, slice_text("x"), (struct slice){0});
    exchange_raw(buf_slice(&bytes), &answer, &closed);
    assert_true(closed && answer.size == 0);
    /* Another version: refused with a reason. */
    buf_clear(&bytes);
    struct wire_hello h = hello_of(1, 2);
    h.version = WIRE_VERSION + 1;
    wire_add_hello(&bytes, &h);
    exchange_raw(buf_slice(&bytes), &answer, &closed);
    struct wire_frame frame;
    struct wire_reply reply;
    struct slice in = buf_slice(&answer);
    assert_int_equal(wire_take(&in, WIRE_AWAIT_REPLY, &frame), 1);
    assert_int_equal(wire_read_reply(frame.payload, &reply), OK);
    assert_int_equal(reply.reason, WIRE_VERSION_UNKNOWN);
    assert_true(closed);
    assert_int_equal(b.messages[LOG], 0);
    buf_done(&bytes);
    buf_done(&answer);
    close_pair();
}

/* The listening side refuses another cluster by itself: it does not rely on the dialing side. */
static void test_other_cluster_is_refused(void **state)
{
    (void)state;
    open_pair();
    struct wire_hello h = hello_of(1, 2);
    h.cluster_id = CLUSTER + 1;
    int fd = raw_connect(b.port);
    assert_true(raw_open(fd, &h, NULL, (struct slice){0}));
    assert_int_equal(reason_of(fd), WIRE_WRONG_CLUSTER);
    close(fd);
    close_pair();
}

/* A stream by hand: a damaged byte ends it, and nothing of that frame or after it is accepted. */
static void test_damaged_frame(void **state)
{
    (void)state;
    net_token = TOKEN;
    open_pair();
    for (int what = 0; what < 2; what++) {
        struct buf bytes = {0}, answer = {0};
        bool closed;
        struct wire_hello h = hello_of(40, 2);
        h.number = (uint64_t)what + 1;
        for (uint64_t i = 1; i <= 3; i++) {
            uint8_t number[16];
            memset(number, (int)i, sizeof number);
            put_le64(number, i + (what ? 2 : 0));
            wire_add_frame(&bytes, WIRE_MESSAGE, slice_of(number, sizeof number), (struct slice){0});
        }
        size_t frame = WIRE_HEADER_SIZE + 16;
        bytes.data[bytes.size - frame - 3] ^= what ? 0 : 1;        /* in the second payload */
        bytes.data[bytes.size - 2 * frame + 1] ^= what ? 0x40 : 0; /* in the second length */
        size_t before = b.messages[LOG];
        int fd = raw_connect(b.port);
        assert_true(raw_open(fd, &h, TOKEN, buf_slice(&bytes)));
        raw_read(fd, RAW_LIMIT_MS, &answer, &closed);
        close(fd);
        assert_true(closed);
        assert_int_equal(b.messages[LOG], before + 1);
        buf_done(&bytes);
        buf_done(&answer);
    }
    close_pair();
}

/* The newest connection of a stream counts, also when an older one's hello comes after it. */
static void test_newest_counts(void **state)
{
    (void)state;
    net_heartbeat_ms = NET_UNHURRIED_MS; /* the raw streams send no pings */
    net_token = TOKEN;
    open_pair();
    struct buf bytes = {0};
    struct wire_hello h = hello_of(40, 2);
    h.number = 5;
    int newer = raw_connect(b.port), older = raw_connect(b.port);
    assert_true(raw_open(newer, &h, TOKEN, (struct slice){0}));
    assert_int_equal(reason_of(newer), WIRE_WELCOME);
    h.number = 4;
    assert_true(raw_open(older, &h, TOKEN, (struct slice){0}));
    assert_int_equal(reason_of(older), WIRE_REASON_COUNT); /* closed */
    wire_add_frame(&bytes, WIRE_MESSAGE, slice_text("still"), (struct slice){0});
    raw_send(newer, buf_slice(&bytes));
    WAIT_UNTIL(b.messages[LOG] == 1);
    close(newer);
    close(older);
    buf_done(&bytes);
    close_pair();
}

static int dial_as(uint64_t from, enum wire_reason expected)
{
    struct wire_hello h = hello_of(from, 2);
    int fd = raw_connect(b.port);
    assert_true(raw_open(fd, &h, TOKEN, (struct slice){0}));
    assert_int_equal(reason_of(fd), expected);
    return fd;
}

/* Members that only their own hello vouches for: their number is limited, and they count only while
 * connected. */
static void test_many_unknown_peers(void **state)
{
    (void)state;
    enum { MANY = 64 };
    int fds[MANY];
    net_heartbeat_ms =
        NET_UNHURRIED_MS; /* they send no pings, and none may end while the others are dialed */
    net_token = TOKEN;
    net_open(&b, 2, 0, "127.0.0.1", NULL);
    for (uint64_t i = 0; i < MANY; i++)
        fds[i] = dial_as(100 + i, WIRE_WELCOME);
    close(dial_as(99, WIRE_TOO_MANY));
    struct peer_round_trip list[MANY + 8];
    assert_int_equal(b.peers->ops->round_trips(b.peers, list, MANY + 8), MANY);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    WAIT_UNTIL(b.peers->ops->round_trips(b.peers, list, MANY + 8) == 0);
    close(dial_as(99, WIRE_WELCOME));
    net_close(&b);
}

/* More silent connections than the limit: the oldest are closed, members are still accepted. */
static void test_many_unauthenticated(void **state)
{
    (void)state;
    enum { MANY = 200 };
    int fds[MANY];
    net_open(&b, 2, 0, "127.0.0.1", NULL);
    for (int i = 0; i < MANY; i++) {
        fds[i] = raw_connect(b.port);
        net_run(0);
    }
    struct buf answer = {0};
    bool closed;
    raw_read(fds[0], RAW_LIMIT_MS, &answer, &closed);
    assert_true(closed);
    raw_read(fds[MANY - 1], 20, &answer, &closed);
    assert_false(closed);
    net_open(&a, 1, 0, "127.0.0.1", NULL);
    net_knows(&a, &b);
    net_knows(&b, &a);
    WAIT_UNTIL(a.reachable == 2 && b.reachable == 2);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    buf_done(&answer);
    close_pair();
}

static void test_silent_unauthenticated(void **state)
{
    (void)state;
    net_open(&b, 2, 0, "127.0.0.1", NULL);
    struct buf answer = {0};
    bool closed;
    uint64_t since = uv_hrtime();
    exchange_raw(slice_of("\0", 1), &answer, &closed);
    assert_true(closed);
    assert_true(uv_hrtime() - since > UINT64_C(4000000000));
    net_close(&b);
}

/* --- half-dead links ----------------------------------------------------------------------------------- */
/* A member that accepts and sends nothing; then one that sends WELCOME and no more. */
static void test_silent_member(void **state)
{
    (void)state;
    struct node silent = {.id = 2};
    int port, listening = raw_listen(&port);
    snprintf(silent.url, sizeof silent.url, "http://127.0.0.1:%d", port);
    silent.url_list[0] = silent.url;
    net_open(&a, 1, 0, "127.0.0.1", NULL);
    net_knows(&a, &silent);
    int fd = raw_accept(listening), other = raw_accept(listening);
    WAIT_UNTIL(a.unreachable == 2); /* both streams, after 3 s */
    assert_int_equal(a.reachable, 0);
    close(fd);
    close(other);

    struct buf bytes = {0};
    raw_welcome(&bytes, &(struct wire_reply){WIRE_VERSION, WIRE_WELCOME, 0, CLUSTER, 2});
    uint64_t ns = UINT64_MAX;
    for (int tries = 0; tries < 5 && ns >= UINT64_C(1500000000); tries++) { /* it is silent for 250 ms */
        unsigned before = a.reachable;
        fd = raw_accept(listening);
        raw_send(fd, buf_slice(&bytes));
        WAIT_UNTIL(a.reachable > before);
        uint64_t since = uv_hrtime();
        before = a.unreachable;
        WAIT_UNTIL(a.unreachable > before);
        ns = uv_hrtime() - since;
        close(fd);
    }
    assert_true(ns < UINT64_C(1500000000));
    close(listening);
    buf_done(&bytes);
    net_close(&a);
}

/* A peer that reads nothing: the queue is bounded, further messages are dropped and reported. The queue
 * counts in the total of all connections. That total does not close the stream: the peer's own silence ends
 * it. */
static void test_queue_is_bounded(void **state)
{
    (void)state;
    struct output_budget output;
    output_budget_init(&output, 1 << 20, 60000);
    net_output = &output;
    struct node deaf = {.id = 2};
    int port, listening = raw_listen(&port), small = 4096;
    setsockopt(listening, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    snprintf(deaf.url, sizeof deaf.url, "http://127.0.0.1:%d", port);
    deaf.url_list[0] = deaf.url;
    net_open(&a, 1, 0, "127.0.0.1", NULL);
    net_knows(&a, &deaf);
    struct buf bytes = {0};
    raw_welcome(&bytes, &(struct wire_reply){WIRE_VERSION, WIRE_WELCOME, 0, CLUSTER, 2});
    int log = raw_accept(listening);
    raw_send(log, buf_slice(&bytes));
    WAIT_UNTIL(a.reachable == 1);
    bool is_log = net_send(&a, 2, LOG, 1, 8);
    size_t taken = 0;
    enum peer_stream stream = is_log ? LOG : BULK;
    while (net_send(&a, 2, stream, taken + 2, 100000)) {
        taken++;
        if (taken % 10 == 0)
            net_flush(&a);
    }
    size_t queued = a.peers->ops->queued(a.peers, 2, stream);
    assert_true(queued <= (is_log ? 32u << 20 : 4u << 20));
    assert_true(queued > (is_log ? 31u << 20 : 3u << 20));
    net_flush(&a);
    assert_int_equal(a.peers->ops->queued(a.peers, 2, stream), output.bytes);
    assert_int_equal(output.bytes, output.exempt_bytes);
    unsigned before = a.unreachable;
    (void)output_budget_turn(&output, clock_mono_ms() + 70000);
    assert_int_equal(0, output.closed[OUTPUT_TOTAL] + output.closed[OUTPUT_STALLED]);
    assert_int_equal(before, a.unreachable);
    assert_true(output.bytes > 3u << 20);
    WAIT_UNTIL(a.unreachable > 0); /* and it is closed soon */
    close(log);
    close(listening);
    buf_done(&bytes);
    net_close(&a);
    assert_int_equal(0, output.bytes);
    assert_int_equal(0, output.exempt_bytes);
    output_budget_done(&output);
}

/* A long turn of this member does not count as the others' silence. */
static void test_slow_turn(void **state)
{
    (void)state;
    open_pair();
    net_run(100);
    usleep(600000); /* ping 50 ms, dead after 250 ms */
    net_run(200);
    assert_int_equal(a.unreachable + b.unreachable, 0);
    struct peer_round_trip list[4];
    WAIT_UNTIL(a.peers->ops->round_trips(a.peers, list, 4) == 1 && list[0].last_ns > 0);
    assert_int_equal(list[0].id, 2);
    assert_true(list[0].active_since_ms > 0);
    struct buf text = {0};
    metric_print(&text);
    assert_non_null(strstr(buf_text(&text), "etcd_network_active_peers{Local=\"1\",Remote=\"2\"} 1\n"));
    assert_non_null(strstr(buf_text(&text), "etcd_network_peer_round_trip_time_seconds_bucket{To=\"2\",le="));
    assert_non_null(strstr(buf_text(&text), "etcd_network_peer_sent_bytes_total{To=\"2\"} "));
    assert_null(strstr(buf_text(&text), "etcd_network_peer_sent_bytes_total{To=\"2\"} 0\n"));
    buf_done(&text);
    close_pair();
}

/* Two hours of a busy bulk stream in small: pings wait after it, and the stream is not reported as dead. */
static void test_busy_stream_stays_open(void **state)
{
    (void)state;
    open_pair();
    uint64_t number = 0, end = uv_hrtime() + UINT64_C(700000000);
    while (uv_hrtime() < end) {
        while (net_send(&a, 2, BULK, number + 1, 200000))
            number++;
        net_flush(&a);
        net_run(1);
    }
    WAIT_UNTIL(b.messages[BULK] == number);
    assert_int_equal(a.unreachable, 0);
    close_pair();
}

/* --- member RPCs ------------------------------------------------------------------------------------ */
static struct {
    unsigned count;
    int err;
    struct buf text;
} told;

static void on_notified(void *arg, int err, struct slice answer)
{
    assert_ptr_equal(arg, &told);
    told.count++;
    told.err = err;
    buf_clear(&told.text);
    buf_add_slice(&told.text, answer);
}

static uint64_t ask(const char *url, struct slice text, uint64_t timeout_ms)
{
    told.count = 0;
    uint64_t n = a.peers->ops->query(a.peers, url, text, timeout_ms, on_notified, &told);
    assert_true(n != 0 && told.count == 0);
    return n;
}

static void test_questions(void **state)
{
    (void)state;
    char url[64];
    net_open(&a, 0, 0, "127.0.0.1", NULL); /* before any identity */
    net_open(&b, 0, 0, "localhost", NULL);
    ask(b.url, slice_text("who are you?"), RAW_LIMIT_MS);
    WAIT_UNTIL(told.count == 1);
    assert_int_equal(told.err, OK);
    assert_true(slice_equal(buf_slice(&told.text), slice_text("who are you?")));
    ask(b.url, (struct slice){0}, RAW_LIMIT_MS);
    WAIT_UNTIL(told.count == 1);
    assert_true(told.err == OK && told.text.size == 0);

    struct buf large = {0};
    memset(buf_reserve(&large, PEER_QUERY_MAX + 1), 7, PEER_QUERY_MAX + 1);
    large.size = PEER_QUERY_MAX + 1;
    ask(b.url, buf_slice(&large), RAW_LIMIT_MS);
    WAIT_UNTIL(told.count == 1);
    assert_int_equal(told.err, ERR_LIMIT);
    large.size--;
    ask(b.url, buf_slice(&large), RAW_LIMIT_MS);
    WAIT_UNTIL(told.count == 1);
    assert_true(told.err == OK && slice_equal(buf_slice(&told.text), buf_slice(&large)));
    buf_done(&large);

    b.is_echoing = false;
    while (!b.held) { /* a starved process can miss 100 ms before the query has arrived */
        ask(b.url, slice_text("and?"), 100);
        WAIT_UNTIL(told.count == 1);
        assert_int_equal(told.err, ERR_TIMEOUT);
    }
    b.peers->ops->answer(b.peers, b.held, slice_text("too late")); /* the caller is closed */
    uint64_t n = ask(b.url, slice_text("never mind"), RAW_LIMIT_MS);
    unsigned before = b.questions;
    WAIT_UNTIL(b.questions > before);
    a.peers->ops->cancel(a.peers, n);
    net_run(50);
    assert_int_equal(told.count, 0); /* b still holds it: freed when b is closed */

    snprintf(url, sizeof url, "http://127.0.0.1:%d", free_port());
    const char *dead[] = {url, "http://no-such-name.invalid:2380", "https://127.0.0.1:1", "nonsense"};
    for (size_t i = 0; i < COUNT_OF(dead); i++) {
        ask(dead[i], slice_text("anybody?"), RAW_LIMIT_MS);
        WAIT_UNTIL(told.count == 1);
        assert_int_equal(told.err, ERR_CLOSED);
    }
    buf_done(&told.text);
    close_pair();
}

/* Half a query and silence, and an invalid query. */
static void test_bad_questions(void **state)
{
    (void)state;
    net_open(&b, 2, 0, "127.0.0.1", NULL);
    struct buf bytes = {0}, answer = {0};
    bool closed;
    struct wire_hello h = {.version = WIRE_VERSION, .stream = WIRE_STREAM_QUERY};
    uint8_t mac[PROOF_MAC_SIZE] = {0};
    wire_add_hello(&bytes, &h);
    wire_add_frame(&bytes, WIRE_MESSAGE, slice_text("not a question"), (struct slice){0});
    exchange_raw(buf_slice(&bytes), &answer, &closed);
    assert_true(closed && b.questions == 0);
    buf_clear(&bytes);
    wire_add_hello(&bytes, &h);
    wire_add_frame(&bytes, WIRE_QUERY, slice_text("shorter than a MAC"), (struct slice){0});
    exchange_raw(buf_slice(&bytes), &answer, &closed);
    assert_true(closed && b.questions == 0);
    buf_clear(&bytes);
    wire_add_hello(&bytes, &h);
    wire_add_frame(&bytes, WIRE_QUERY, slice_of(mac, sizeof mac), slice_text("one"));
    wire_add_frame(&bytes, WIRE_QUERY, slice_of(mac, sizeof mac), slice_text("two"));
    exchange_raw(buf_slice(&bytes), &answer, &closed);
    assert_true(closed);
    assert_int_equal(b.questions, 1);
    buf_done(&bytes);
    buf_done(&answer);
    net_close(&b);
}

/* --- the end ------------------------------------------------------------------------------------------- */
static void test_close_in_the_middle(void **state)
{
    (void)state;
    open_pair();
    b.is_echoing = false;
    a.peers->ops->query(a.peers, b.url, slice_text("?"), 5000, on_notified, &told);
    a.peers->ops->query(a.peers, "http://no-such-name.invalid:1", slice_text("?"), 5000, on_notified, &told);
    struct node nowhere = {.id = 8, .url_list = {"http://another.invalid:1"}};
    net_knows(&a, &nowhere);
    WAIT_UNTIL(b.held);
    told.count = 0;
    for (uint64_t i = 1; i < 200; i++)
        (void)net_send(&a, 2, LOG, i, 100000);
    net_flush(&a);
    close_pair();
    net_run(20);
    assert_int_equal(told.count, 0);
}

static void test_bad_options(void **state)
{
    (void)state;
    char error[300];
    struct peers *p;
    const char *bad[] = {"http://example.com:2380", "https://127.0.0.1:2380", "unixs:///tmp/x",
                         "unix:///no/such/folder/x", "gibberish"};
    struct peer_tcp_options o = {.io = net_io, .loop = &net_loop, .listen_url_count = 1};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        error[0] = 0;
        o.listen_urls = &bad[i];
        assert_int_equal(peer_tcp_new(&o, error, sizeof error, &p), ERR_INVALID);
        assert_non_null(strstr(error, bad[i]));
    }
    net_open(&b, 2, 0, "127.0.0.1", NULL);
    const char *taken = b.url;
    o.listen_urls = &taken;
    assert_int_equal(peer_tcp_new(&o, error, sizeof error, &p), ERR_EXISTS);
    assert_non_null(strstr(error, " (peer_tcp_test) uses port "));
    assert_non_null(strstr(error, "--listen-peer-urls"));
    net_run(10);
    net_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams_keep_order),
        cmocka_unit_test(test_largest_message),
        cmocka_unit_test(test_nothing_to_send_to),
        cmocka_unit_test(test_reconnect),
        cmocka_unit_test(test_hurries_back),
        cmocka_unit_test(test_remove_in_callback),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_removed),
        cmocka_unit_test(test_removed_by_other_clusters),
        cmocka_unit_test(test_learns_from_hello),
        cmocka_unit_test(test_urls_change),
        cmocka_unit_test(test_hostile_bytes),
        cmocka_unit_test(test_other_cluster_is_refused),
        cmocka_unit_test(test_damaged_frame),
        cmocka_unit_test(test_newest_counts),
        cmocka_unit_test(test_many_unknown_peers),
        cmocka_unit_test(test_many_unauthenticated),
        cmocka_unit_test(test_silent_unauthenticated),
        cmocka_unit_test(test_silent_member),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_slow_turn),
        cmocka_unit_test(test_busy_stream_stays_open),
        cmocka_unit_test(test_questions),
        cmocka_unit_test(test_bad_questions),
        cmocka_unit_test(test_close_in_the_middle),
        cmocka_unit_test(test_bad_options),
    };
    return cmocka_run_group_tests(tests, net_setup, net_teardown);
}
