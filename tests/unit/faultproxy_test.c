/* SPDX-License-Identifier: Apache-2.0
 * Tests of the fault proxy over plain sockets, and of the transport over its faulty links. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/e2e/proxy/faultproxy.h"
#include "tests/unit/peer_net.h"

#define LOG PEER_STREAM_LOG

static struct proxy *proxy;
static int listening, target, front;

static void command(const char *line, const char *expected)
{
    struct buf answer = {0};
    assert_true(proxy_command(proxy, line, &answer));
    assert_string_equal(buf_text(&answer), expected);
    buf_done(&answer);
}

static void open_raw(void)
{
    proxy = proxy_new(&net_loop);
    listening = raw_listen(&target);
    front = free_port();
    assert_true(proxy_add(proxy, "x", front, target));
}

static void close_raw(void)
{
    proxy_free(proxy);
    close(listening);
    net_run(5);
}

/* Expects `text` at fd, whenever it arrives, and no further bytes; for "" it expects no bytes for so many ms.
 */
static void expect(int fd, const char *text, unsigned ms)
{
    struct buf got = {0};
    bool closed = false;
    uint64_t end = uv_hrtime() + UINT64_C(60000000000);
    while (got.size < strlen(text) && !closed && uv_hrtime() < end)
        raw_read(fd, 1, &got, &closed);
    if (!closed)
        raw_read(fd, *text ? 5 : ms, &got, &closed);
    assert_false(closed);
    assert_string_equal(buf_text(&got), text);
    buf_done(&got);
}

static void expect_end(int fd, const char *text)
{
    struct buf got = {0};
    bool closed;
    raw_read(fd, 60000, &got, &closed);
    assert_true(closed);
    assert_string_equal(buf_text(&got), text);
    buf_done(&got);
}

static void test_pass_and_faults(void **state)
{
    (void)state;
    open_raw();
    int client = raw_connect(front), server = raw_accept(listening);
    raw_send(client, slice_text("one"));
    raw_send(server, slice_text("two"));
    expect(server, "one", 50);
    expect(client, "two", 50);

    command("delay x 1000 10 up", "ok\n");
    raw_send(client, slice_text("slow"));
    raw_send(server, slice_text("quick"));
    expect(client, "quick", 40);
    expect(server, "", 40);
    expect(server, "slow", 250);
    command("heal x", "ok\n");

    command("pause * down", "ok\n");
    raw_send(server, slice_text("waits"));
    raw_send(client, slice_text("passes"));
    expect(client, "", 50);
    expect(server, "passes", 50);
    command("heal *", "ok\n");
    expect(client, "waits", 50);

    command("bandwidth x 200 up", "ok\n");
    char text[201];
    memset(text, 'z', 200);
    text[200] = 0;
    raw_send(client, slice_text(text));
    expect(server, "", 100);
    expect(server, text, 300);
    command("heal x", "ok\n");

    command("flip x 1 up", "ok\n");
    raw_send(client, slice_text("bits"));
    struct buf got = {0};
    bool closed;
    for (uint64_t end = uv_hrtime() + UINT64_C(60000000000); got.size < 4 && uv_hrtime() < end;)
        raw_read(server, 1, &got, &closed);
    int bits = 0;
    for (size_t i = 0; i < 4; i++)
        bits += __builtin_popcount((unsigned)(got.data[i] ^ (uint8_t) "bits"[i]));
    assert_int_equal(got.size, 4);
    assert_int_equal(bits, 1);
    buf_done(&got);
    command("heal x", "ok\n");

    command("halfclose x up", "ok\n");
    expect_end(server, "");
    raw_send(server, slice_text("still there"));
    expect(client, "still there", 50);
    close(server);
    expect_end(client, "");
    close(client);
    close_raw();
}

static void test_ends(void **state)
{
    (void)state;
    open_raw();
    int client = raw_connect(front), server = raw_accept(listening);
    command("blackhole x up", "ok\n");
    raw_send(client, slice_text("lost"));
    raw_send(server, slice_text("not lost"));
    expect(client, "not lost", 50);
    expect(server, "", 50);
    command("heal x", "ok\n"); /* a stream with a hole is invalid */
    expect_end(client, "");
    expect_end(server, "");
    close(client);
    close(server);

    client = raw_connect(front);
    server = raw_accept(listening);
    command("drop x", "ok\n");
    expect_end(client, "");
    expect_end(server, "");
    close(client);
    close(server);

    client = raw_connect(front);
    server = raw_accept(listening);
    command("reset x", "ok\n");
    net_run(20);
    char byte;
    assert_int_equal(recv(client, &byte, 1, 0), -1);
    assert_int_equal(recv(server, &byte, 1, 0), -1);
    close(client);
    close(server);

    command("refuse x", "ok\n");
    client = raw_connect(front);
    expect_end(client, "");
    close(client);
    close_raw();
}

static void test_commands(void **state)
{
    (void)state;
    open_raw();
    command("", "error: not understood\n");
    command("dance x", "error: not understood\n");
    command("delay x", "error: not understood\n");
    command("pause x", "error: not understood\n");
    command("halfclose x both", "error: not understood\n");
    command("drop y", "error: no such link\n");
    command("seed 5", "ok\n");
    struct buf answer = {0};
    assert_true(proxy_command(proxy, "status", &answer));
    assert_non_null(strstr(buf_text(&answer), "x "));
    assert_false(proxy_command(proxy, "quit", &answer));
    buf_done(&answer);
    close_raw();
}

/* --- the transport over bad links ---------------------------------------------------------------------- */
static struct node a, b;
static struct node b_seen; /* b as a sees it: behind the proxy */

/* A link without a fault must not look dead when this process gets no CPU for a while: 5 s at this heartbeat,
 * 250 ms at that of the other tests, which need links that die soon. */
enum { CALM_HEARTBEAT_MS = 200 };

static void open_members(uint64_t heartbeat_ms)
{
    net_heartbeat_ms = heartbeat_ms;
    proxy = proxy_new(&net_loop);
    net_open(&a, 1, 0, "127.0.0.1", NULL);
    net_open(&b, 0xb2, 0, "127.0.0.1", NULL);
    front = free_port();
    assert_true(proxy_add(proxy, "b", front, b.port));
    b_seen = (struct node){.id = b.id};
    snprintf(b_seen.url, sizeof b_seen.url, "http://127.0.0.1:%d", front);
    b_seen.url_list[0] = b_seen.url;
    net_knows(&a, &b_seen);
    net_knows(&b, &a);
    WAIT_UNTIL(a.reachable == 2 && b.reachable == 2);
}

static void close_members(void)
{
    net_close(&a);
    net_close(&b);
    proxy_free(proxy);
    net_run(5);
}

/* a's bytes are lost: both ends see the streams of that direction break, the other direction stays. */
static void test_one_way_partition(void **state)
{
    (void)state;
    open_members(CALM_HEARTBEAT_MS);
    command("blackhole b@1 up", "ok\n");
    WAIT_UNTIL(a.unreachable >= 2);
    assert_int_equal(b.unreachable, 0);
    assert_true(net_send(&b, 1, LOG, 1, 8));
    net_flush(&b);
    WAIT_UNTIL(a.messages[LOG] >= 1);
    assert_false(net_send(&a, b.id, LOG, 1, 8));
    command("heal b", "ok\n");
    WAIT_UNTIL(a.reachable >= 4);
    assert_true(net_send(&a, b.id, LOG, 1, 8));
    net_flush(&a);
    WAIT_UNTIL(b.messages[LOG] == 1);
    close_members();
}

/* The way back is dead: the dialing side receives no pongs and gives up. */
static void test_other_way_partition(void **state)
{
    (void)state;
    open_members(NET_HEARTBEAT_MS);
    command("blackhole b down", "ok\n");
    WAIT_UNTIL(a.unreachable >= 2);
    command("heal *", "ok\n");
    WAIT_UNTIL(a.reachable >= 4);
    close_members();
}

/* Bits flip on the way: connections end, no changed message is ever accepted, and the transport continues. */
static void test_flipped_bits(void **state)
{
    (void)state;
    open_members(NET_HEARTBEAT_MS);
    command("seed 7", "ok\n");
    command("flip b 0.02 up", "ok\n");
    uint64_t number = 0, end = uv_hrtime() + UINT64_C(3000000000);
    while (uv_hrtime() < end) {
        for (int i = 0; i < 20; i++)
            (void)net_send(&a, b.id, LOG, ++number, 300);
        net_flush(&a);
        net_run(1);
    }
    assert_true(a.unreachable > 2);
    assert_true(b.is_ordered);
    assert_true(b.messages[LOG] > 1000);
    command("heal b", "ok\n");
    unsigned lost = a.unreachable;
    WAIT_UNTIL(net_send(&a, b.id, LOG, ++number, 300));
    net_flush(&a);
    WAIT_UNTIL(b.last_number[LOG] == number);
    assert_true(a.unreachable >= lost);
    close_members();
}

/* A distant member is not a dead one, and its round-trip time is measured. */
static void test_delay_is_measured(void **state)
{
    (void)state;
    open_members(CALM_HEARTBEAT_MS);
    struct peer_round_trip rtt;
    command("delay b 60 10", "ok\n");
    net_run(600);
    WAIT_UNTIL(a.peers->ops->round_trips(a.peers, &rtt, 1) == 1 && rtt.last_ns > UINT64_C(115000000) &&
               rtt.last_ns < UINT64_C(400000000));
    assert_int_equal(a.unreachable, 0);
    close_members();
}

/* Ends of every kind, again and again. */
static void test_torn_down_often(void **state)
{
    (void)state;
    static const char *const how[] = {"reset b", "drop b", "halfclose b up", "halfclose b down"};
    open_members(NET_HEARTBEAT_MS);
    uint64_t number = 0;
    for (int round = 0; round < 24; round++) {
        unsigned before = a.reachable;
        for (int i = 0; i < 50; i++)
            (void)net_send(&a, b.id, LOG, ++number, 2000);
        net_flush(&a);
        command(how[round % 4], "ok\n");
        WAIT_UNTIL(a.reachable >= before + 1);
        WAIT_UNTIL(net_send(&a, b.id, LOG, ++number, 100));
    }
    net_flush(&a);
    WAIT_UNTIL(b.last_number[LOG] == number);
    assert_true(b.is_ordered);
    close_members();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pass_and_faults),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_one_way_partition),
        cmocka_unit_test(test_other_way_partition),
        cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_delay_is_measured),
        cmocka_unit_test(test_torn_down_often),
    };
    return cmocka_run_group_tests(tests, net_setup, net_teardown);
}
