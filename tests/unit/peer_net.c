/* SPDX-License-Identifier: Apache-2.0
 * Members on loopback for the tests of the TCP transport; see peer_net.h. */
#include "tests/unit/peer_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

const char *net_token;
bool net_requires_proof;
struct output_budget *net_output;
uv_loop_t net_loop;
struct io *net_io;
uint64_t net_heartbeat_ms = NET_HEARTBEAT_MS;
static uv_timer_t waker;

static void on_wake(uv_timer_t *t)
{
    (void)t;
}

int net_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* as the server does: a write to a closed socket returns an error */
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
    /* After a failed test its members still dial: that must end. */
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
static void on_message(void *arg, uint64_t from, enum peer_stream stream, struct slice message)
{
    struct node *n = arg;
    n->messages[stream]++;
    n->bytes += message.size;
    n->last_from = from;
    if (message.size >= 8) {
        uint64_t number = get_le64(message.data);
        if (number <= n->last_number[stream])
            n->is_ordered = false;
        n->lost_numbers += number - n->last_number[stream] - 1;
        n->last_number[stream] = number;
        for (size_t i = 8; i < message.size; i += 511)
            if (message.data[i] != (uint8_t)number)
                n->is_ordered = false;
    }
    buf_clear(&n->last);
    buf_add_slice(&n->last, message);
    if (n->hook)
        n->hook(n);
}

static void on_unreachable(void *arg, uint64_t id, enum peer_stream stream)
{
    struct node *n = arg;
    (void)id;
    (void)stream;
    n->unreachable++;
}

static void on_reachable(void *arg, uint64_t id, enum peer_stream stream)
{
    struct node *n = arg;
    (void)id;
    (void)stream;
    n->reachable++;
}

static void on_query(void *arg, struct peer_served_query *q, const struct peer_query_sender *asker,
                     struct slice text)
{
    struct node *n = arg;
    n->last_proof = asker->proof;
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

static void on_unconfirmed(void *arg, uint64_t id)
{
    struct node *n = arg;
    n->unconfirmed++;
    n->last_unconfirmed = id;
}

static const struct peer_events events = {.on_message = on_message,
                                          .on_unreachable = on_unreachable,
                                          .on_reachable = on_reachable,
                                          .on_query = on_query,
                                          .on_unconfirmed = on_unconfirmed,
                                          .on_removed = on_removed};

enum { PORTS_IN_BLOCK = 64 };

/* A block of ports that only this process uses as long as it lives, by a locked file. The ports are above
 * those that tests/shell/ports.sh assigns. */
static int port_block(void)
{
    enum { FIRST = 30000, BLOCKS = 42 };
    const char *folder = getenv("TMPDIR");
    for (int i = 0; i < BLOCKS; i++) {
        int block = (getpid() + i) % BLOCKS;
        char path[600];
        snprintf(path, sizeof path, "%s/cairn-unit-ports.%u.%d", folder && *folder ? folder : "/tmp",
                 (unsigned)getuid(), block);
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            return FIRST + block * PORTS_IN_BLOCK; /* the descriptor stays open */
        if (fd >= 0)
            close(fd);
    }
    fail_msg("no block of ports is free: %d test programs use them", BLOCKS);
    return 0;
}

int free_port(void)
{
    static int first, given;
    if (!first)
        first = port_block();
    for (int tries = 0; tries < PORTS_IN_BLOCK; tries++) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1, port = first + given++ % PORTS_IN_BLOCK;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        a.sin_port = htons((uint16_t)port);
        int rc = bind(fd, (struct sockaddr *)&a, sizeof a);
        close(fd);
        if (rc == 0)
            return port;
    }
    fail_msg("no port of %d to %d is free", first, first + PORTS_IN_BLOCK - 1);
    return 0;
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
                                 .heartbeat_ms = net_heartbeat_ms};
    struct proof_tokens tokens = {0};
    if (net_token && proof_tokens_parse(slice_text(net_token), &tokens, error, sizeof error) != OK)
        fail_msg("%s", error);
    o.tokens = &tokens;
    o.requires_proof = net_requires_proof;
    o.output = net_output;
    if (tls)
        o.tls = *tls;
    if (peer_tcp_new(&o, error, sizeof error, &n->peers) != OK)
        fail_msg("%s", error);
    proof_tokens_free(&tokens);
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
    net_heartbeat_ms = NET_HEARTBEAT_MS;
    net_token = NULL;
    net_requires_proof = false;
    net_output = NULL;
    buf_done(&n->last);
}

void net_knows(struct node *n, const struct node *other)
{
    n->peers->ops->set_member(n->peers, other->id, other->url_list, 1);
}

bool net_send(struct node *n, uint64_t to, enum peer_stream stream, uint64_t number, size_t size)
{
    uint8_t head[8], *body = mem_alloc(size);
    put_le64(head, number);
    memset(body, (uint8_t)number, size);
    bool ok = n->peers->ops->send(n->peers, to, stream, slice_of(head, 8), slice_of(body, size - 8));
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
            return; /* the other side has closed */
        bytes = slice_of(bytes.data + n, bytes.size - (size_t)n);
    }
}

static void read_until(int fd, unsigned ms, bool is_some_enough, struct buf *ret_bytes, bool *ret_closed)
{
    uint64_t end = uv_hrtime() + ms * UINT64_C(1000000);
    size_t before = ret_bytes->size;
    uint8_t b[4096];
    *ret_closed = false;
    while (uv_hrtime() < end && !*ret_closed && !(is_some_enough && ret_bytes->size > before)) {
        ssize_t n = recv(fd, b, sizeof b, 0);
        if (n > 0)
            buf_add(ret_bytes, b, (size_t)n);
        else if (n == 0 || errno != EAGAIN)
            *ret_closed = true;
        else
            net_run(1);
    }
}

void raw_read(int fd, unsigned ms, struct buf *ret_bytes, bool *ret_closed)
{
    read_until(fd, ms, false, ret_bytes, ret_closed);
}

void raw_await(int fd, struct buf *ret_bytes, bool *ret_closed)
{
    read_until(fd, RAW_LIMIT_MS, true, ret_bytes, ret_closed);
}

bool raw_frame(int fd, enum wire_stage stage, struct wire_frame *ret_frame)
{
    static struct buf in[1024]; /* bytes that arrived and were not read, by descriptor */
    static size_t used[1024];
    struct buf *b = &in[fd];
    bool closed = false;
    if (stage == WIRE_AWAIT_CHALLENGE) {
        buf_clear(b);
        used[fd] = 0;
    }
    buf_consume(b, used[fd]);
    used[fd] = 0;
    for (;;) {
        struct slice rest = buf_slice(b);
        int n = wire_take(&rest, stage, ret_frame);
        if (n == 1) {
            used[fd] = b->size - rest.size;
            return true;
        }
        if (n < 0 || closed) {
            buf_done(b);
            return false;
        }
        raw_await(fd, b, &closed);
    }
}

uint8_t raw_last_mac[PROOF_MAC_SIZE];

bool raw_open(int fd, const struct wire_hello *hello, const char *token, struct slice after)
{
    struct buf bytes = {0};
    struct wire_frame frame;
    struct wire_challenge challenge;
    uint8_t mac[PROOF_MAC_SIZE] = {0};
    wire_add_hello(&bytes, hello);
    raw_send(fd, buf_slice(&bytes));
    buf_clear(&bytes);
    if (!raw_frame(fd, WIRE_AWAIT_CHALLENGE, &frame) || frame.kind != WIRE_CHALLENGE) {
        buf_done(&bytes);
        return false;
    }
    assert_int_equal(wire_read_challenge(frame.payload, &challenge), OK);
    struct proof_handshake o = {.version = hello->version,
                                .stream = hello->stream,
                                .cluster_id = hello->cluster_id,
                                .from = hello->from,
                                .to = hello->to,
                                .run = hello->run,
                                .number = hello->number,
                                .dialer_nonce = hello->nonce,
                                .dialed_nonce = challenge.nonce,
                                .urls = hello->urls};
    if (token)
        proof_mac(slice_text(token), PROOF_DIALER, &o, mac);
    memcpy(raw_last_mac, mac, sizeof mac);
    wire_add_frame(&bytes, WIRE_PROOF, slice_of(mac, sizeof mac), (struct slice){0});
    buf_add_slice(&bytes, after);
    raw_send(fd, buf_slice(&bytes));
    buf_done(&bytes);
    return true;
}

void raw_welcome(struct buf *out, const struct wire_reply *reply)
{
    wire_add_challenge(out, &(struct wire_challenge){.version = WIRE_VERSION});
    wire_add_reply(out, reply);
}
