/* SPDX-License-Identifier: Apache-2.0
 * Scenarios of clients that misuse a running server: slow, silent, greedy, broken off. Beside each of them a
 * well-behaved client puts every 5 ms in a process of its own, and must not be affected.
 *
 *   clients PORT PID SCENARIO...
 *
 * Each scenario prints one line of figures and fails when the server grows beyond its bound, makes others
 * wait, closes what it should keep or keeps what it should close. The bounds are wide: they are meant for a
 * busy machine and for sanitizer builds (SLOW=4 in the environment multiplies those of time and memory). */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/e2e/misuse/rude.h"

/* --- watches that do not read ----------------------------------------------------------------------- */

/* Follows the events of one stream of WatchResponses. */
struct follower {
    uint8_t *data;
    size_t size, capacity;
    uint64_t revision, events;
};

static void follow(struct follower *w, const uint8_t *data, size_t size)
{
    struct pb_field f, kv, r;
    for (size_t at = 0; pb_next(data, size, &at, &f);) {
        CHECK(f.number != 4, "the watch was canceled");
        for (size_t i = 0; f.number == 11 && pb_next(f.data, f.size, &i, &kv);)
            for (size_t k = 0; kv.number == 2 && pb_next(kv.data, kv.size, &k, &r);)
                if (r.number == 3) {
                    CHECK(r.size > w->revision, "event of revision %llu after %llu",
                          (unsigned long long)r.size, (unsigned long long)w->revision);
                    w->revision = r.size;
                    w->events++;
                }
    }
}

static void follow_bytes(struct follower *w, const uint8_t *data, size_t size)
{
    if (w->size + size > w->capacity) {
        w->capacity = (w->size + size) * 2;
        w->data = realloc(w->data, w->capacity);
    }
    memcpy(w->data + w->size, data, size);
    w->size += size;
    size_t at = 0;
    while (w->size - at >= 5) {
        const uint8_t *p = w->data + at;
        size_t n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
        if (w->size - at < 5 + n)
            break;
        follow(w, p + 5, n);
        at += 5 + n;
    }
    memmove(w->data, w->data + at, w->size - at);
    w->size -= at;
}

static int gateway_watch(const char *body)
{
    char head[512];
    int fd = wire_connect(rude_port);
    int n = snprintf(head, sizeof head, "POST /v3/watch HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n%s",
                     strlen(body), body);
    CHECK(fd >= 0 && send(fd, head, (size_t)n, 0) == n, "cannot connect");
    return fd;
}

/* Reads a gateway watch until `count` events came, each with a higher mod_revision. */
static uint64_t read_gateway(int fd, uint64_t count)
{
    static char text[1 << 20];
    static const char mark[] = "\"mod_revision\":\"";
    size_t size = 0;
    uint64_t revision = 0, events = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (events < count && poll(&p, 1, 10000 * rude_slow) > 0) {
        ssize_t n = recv(fd, text + size, sizeof text - 1 - size, 0);
        if (n <= 0)
            break;
        size += (size_t)n;
        text[size] = 0;
        char *at = text, *next;
        while ((next = memmem(at, size - (size_t)(at - text), mark, sizeof mark - 1))) {
            char *digits = next + sizeof mark - 1, *end;
            if (!memchr(digits, '"', size - (size_t)(digits - text)))
                break;
            uint64_t r = strtoull(digits, &end, 10);
            /* A chunk's border may lie inside of a number: only what rises is asked for. */
            CHECK(r > revision, "gateway: event of revision %llu after %llu", (unsigned long long)r,
                  (unsigned long long)revision);
            revision = r;
            events++;
            at = end;
        }
        size_t keep = next ? size - (size_t)(next - text) : size - (size_t)(at - text);
        if (!next && keep > 64)
            keep = 64;
        memmove(text, text + size - keep, keep);
        size = keep;
    }
    return events;
}

static void silent_watches(void)
{
    enum { COUNT = 150000, KEYS = 1000, STREAMS = 20 };
    struct wire readers[STREAMS];
    struct follower followers[STREAMS] = {0};
    struct wire_frame f;
    uint8_t message[256];
    rude_put_many("silent/", KEYS, KEYS, 1024);
    long before = rude_rss_mib();
    for (int i = 0; i < STREAMS; i++) {
        CHECK(wire_open(&readers[i], rude_port, i % 2 ? 65535 : 1 << 28), "cannot connect");
        wire_call(&readers[i], RUDE_WATCH, message, rude_watch(message, "silent/", "silent0", 0), false);
        CHECK(wire_flush(&readers[i], 5000) && wire_next(&readers[i], &f, 5000), "no watch");
        while (!(f.type == WIRE_DATA)) /* created */
            CHECK(wire_next(&readers[i], &f, 5000), "no watch");
    }
    int gateway =
        gateway_watch("{\"create_request\":{\"key\":\"c2lsZW50Lw==\",\"range_end\":\"c2lsZW50MA==\"}}");
    usleep(200000);
    rude_control_start();
    uint64_t start = rude_now_us();
    rude_put_many("silent/", COUNT, KEYS, 1024);
    double seconds = (double)(rude_now_us() - start) / 1e6;
    long after = rude_rss_mib();
    printf("  %d puts of 1 KiB in %.1f s past %d silent watches: RSS %ld -> %ld MiB\n", COUNT, seconds,
           STREAMS + 1, before, after);
    for (int i = 0; i < STREAMS; i++) {
        struct follower *w = &followers[i];
        while (w->events < COUNT) {
            CHECK(wire_next(&readers[i], &f, 20000 * rude_slow), "stream %d stands still at event %llu", i,
                  (unsigned long long)w->events);
            CHECK(f.type == WIRE_DATA, "stream %d ended", i);
            follow_bytes(w, f.data, f.size);
            wire_give(&readers[i], f.id, f.size);
            wire_flush(&readers[i], 5000);
        }
        CHECK(w->events == COUNT, "stream %d: %llu events", i, (unsigned long long)w->events);
        free(w->data);
        wire_close(&readers[i]);
    }
    uint64_t events = read_gateway(gateway, COUNT);
    CHECK(events == COUNT, "gateway: %llu of %d events", (unsigned long long)events, COUNT);
    close(gateway);
    rude_control_stop("silent watches", 1000);
    printf("    all read later, each event once, in order; RSS now %ld MiB\n", rude_rss_mib());
    /* Each stream may hold 4 MiB in the hub and 4 MiB on its connection; the store's own growth is beside it.
     */
    CHECK(after - before < (STREAMS + 1) * 9 * rude_slow + 200, "the server grew by %ld MiB", after - before);
}

/* Thousands of watches that do not read share the output budget; each gets all events when it reads again. */
static void silent_crowd(void)
{
    enum { CLIENTS = 3000, COUNT = 60, SIZE = 16384 };
    static struct wire w[CLIENTS];
    static struct follower followers[CLIENTS];
    struct wire_frame f;
    uint8_t message[256];
    for (int i = 0; i < CLIENTS; i++) {
        CHECK(wire_open(&w[i], rude_port, 65535), "connection %d: %s", i, strerror(errno));
        wire_call(&w[i], RUDE_WATCH, message, rude_watch(message, "crowd/", "crowd0", 0), false);
        CHECK(wire_flush(&w[i], 5000), "connection %d was closed", i);
        do
            CHECK(wire_next(&w[i], &f, 10000 * rude_slow), "connection %d: no watch", i);
        while (f.type != WIRE_DATA);
    }
    long before = rude_rss_mib();
    rude_control_start();
    rude_put_many("crowd/", COUNT, COUNT, SIZE);
    sleep(1);
    long after = rude_rss_mib();
    printf("  %d puts of %d KiB past %d silent watches: RSS %ld -> %ld MiB\n", COUNT, SIZE / 1024, CLIENTS,
           before, after);
    for (int i = 0; i < CLIENTS; i++) {
        struct follower *r = &followers[i];
        while (r->events < COUNT) {
            CHECK(wire_next(&w[i], &f, 20000 * rude_slow), "stream %d stands still at event %llu", i,
                  (unsigned long long)r->events);
            CHECK(f.type == WIRE_DATA, "stream %d ended", i);
            follow_bytes(r, f.data, f.size);
            wire_give(&w[i], f.id, f.size);
            wire_flush(&w[i], 5000);
        }
        CHECK(r->events == COUNT, "stream %d: %llu events", i, (unsigned long long)r->events);
        free(r->data);
        wire_close(&w[i]);
    }
    rude_control_stop("a silent crowd", 1000);
    /* 256 MiB on the connections, whose memory may have grown to twice of that, and the same in the hub. */
    CHECK(after - before < 700 * rude_slow, "the server grew by %ld MiB", after - before);
}

/* --- flooding with requests, reading no answers ----------------------------------------------------- */

/* Sends what make() gives, on stream `id` or (if path is given) a call each, as the server's windows allow,
 * until they stay shut for a second, the stream ends, or `limit` are sent. */
static uint32_t flood(struct wire *w, uint32_t id, size_t (*make)(uint8_t *p, uint32_t i), uint32_t limit,
                      const char *path)
{
    static uint8_t message[4096];
    struct wire_frame f;
    uint32_t i = 0;
    while (i < limit) {
        for (int waits = 0; w->window < 65536 || (id && w->stream_window < 65536);) {
            bool has_frame = wire_next(w, &f, 20); /* windows are counted inside */
            if (has_frame && (f.type == WIRE_GOAWAY || (f.id == id && f.flags & WIRE_END_STREAM)))
                return i;
            if (!has_frame && ++waits > 50)
                return i;
        }
        for (int k = 0; k < 64 && i < limit; k++, i++) {
            size_t n = make(message, i);
            if (path)
                wire_call(w, path, message, n, true);
            else
                wire_message(w, id, message, n, false);
        }
        if (!wire_flush(w, 1500))
            break;
    }
    return i;
}

static size_t make_progress(uint8_t *p, uint32_t i)
{
    (void)i;
    return pb_bytes(p, 3, "", 0);
}

static size_t make_bad_create(uint8_t *p, uint32_t i)
{
    (void)i;
    uint8_t create[64];
    size_t n = pb_bytes(create, 1, "z", 1);
    n += pb_bytes(create + n, 2, "a", 1); /* an empty range: refused by created + canceled */
    return pb_bytes(p, 1, create, n);
}

static size_t make_create_cancel(uint8_t *p, uint32_t i)
{
    uint8_t cancel[16];
    if (i % 2 == 0)
        return rude_watch(p, "flood", NULL, 0);
    return pb_bytes(p, 2, cancel, pb_number(cancel, 1, i / 2));
}

static size_t make_keepalive(uint8_t *p, uint32_t i)
{
    return pb_number(p, 1, i + 1);
}

/* A client of one stream with an endless window for its requests, as the server gives it back, that reads
 * nothing. */
static void flood_stream(const char *name, const char *path, size_t (*make)(uint8_t *, uint32_t))
{
    struct wire w;
    long before = rude_rss_mib();
    CHECK(wire_open(&w, rude_port, 0), "cannot connect"); /* nothing may be sent to us */
    rude_control_start();
    struct wire_frame f;
    while (w.initial_window == 65535 && wire_next(&w, &f, 10)) /* the server's SETTINGS */
        ;
    uint32_t id = wire_headers(&w, path, false);
    uint32_t sent = flood(&w, id, make, 3000000, NULL);
    long after = rude_rss_mib();
    wire_close(&w);
    printf("  %s: took %u requests of a client that reads nothing: RSS %ld -> %ld MiB\n", name, sent, before,
           after);
    rude_control_stop(name, 500);
    CHECK(after - before < 64 * rude_slow, "%s: the server grew by %ld MiB", name, after - before);
}

static void watch_floods(void)
{
    flood_stream("progress requests", RUDE_WATCH, make_progress);
    flood_stream("refused watches", RUDE_WATCH, make_bad_create);
    flood_stream("watches made and canceled", RUDE_WATCH, make_create_cancel);
}

static void keepalive_flood(void)
{
    flood_stream("keep-alives", RUDE_KEEPALIVE, make_keepalive);
}

static size_t make_big_range(uint8_t *p, uint32_t i)
{
    (void)i;
    size_t n = pb_bytes(p, 1, "big/", 4);
    return n + pb_bytes(p + n, 2, "big0", 4);
}

/* Ranges of 10 MiB each, thousands of them, answers unread; from several connections. */
static void unread_answers(void)
{
    enum { CLIENTS = 5 };
    struct wire w[CLIENTS];
    rude_put_many("big/", 1000, 1000, 10240);
    long before = rude_rss_mib();
    rude_control_start();
    uint32_t sent = 0;
    for (int i = 0; i < CLIENTS; i++) {
        CHECK(wire_open(&w[i], rude_port, i % 2 ? 65535 : 1 << 30), "cannot connect");
        sent += flood(&w[i], 0, make_big_range, 2000, RUDE_RANGE);
    }
    long after = rude_rss_mib();
    usleep(500000);
    printf("  %d clients asked %u times for 10 MiB and read nothing: RSS %ld -> %ld MiB\n", CLIENTS, sent,
           before, after);
    for (int i = 0; i < CLIENTS; i++)
        wire_close(&w[i]);
    rude_control_stop("unread answers", 1000);
    usleep(200000);
    printf("    after they left: RSS %ld MiB\n", rude_rss_mib());
    CHECK(after - before < CLIENTS * 70 * rude_slow + 50, "the server grew by %ld MiB", after - before);
}

/* --- streams and frames ----------------------------------------------------------------------------- */

static void many_streams(void)
{
    struct wire w;
    struct wire_frame f;
    uint32_t refused = 0;
    long before = rude_rss_mib();
    CHECK(wire_open(&w, rude_port, 65535), "cannot connect");
    rude_control_start();
    for (int i = 0; i < 12000; i++) {
        wire_headers(&w, i % 2 ? RUDE_WATCH : RUDE_RANGE, false);
        if (i % 100 == 99)
            CHECK(wire_flush(&w, 5000), "12,000 streams: the connection was closed");
    }
    while (wire_next(&w, &f, 1000))
        refused += f.type == WIRE_RST;
    long after = rude_rss_mib();
    printf("  12,000 streams opened on a connection: %u refused, RSS %ld -> %ld MiB\n", refused, before,
           after);
    wire_close(&w);
    rude_control_stop("many streams", 500);
    CHECK(after - before < 64 * rude_slow, "the server grew by %ld MiB", after - before);
}

static void rapid_reset(void)
{
    struct wire w;
    struct wire_frame f;
    uint8_t message[64], code[4] = {0, 0, 0, 8};
    size_t n = make_big_range(message, 0);
    bool is_closed = false;
    long before = rude_rss_mib();
    CHECK(wire_open(&w, rude_port, 65535), "cannot connect");
    rude_control_start();
    uint32_t sent = 0;
    for (; sent < 200000 && !is_closed; sent += 100) {
        for (int i = 0; i < 100; i++)
            wire_frame(&w, WIRE_RST, 0, wire_call(&w, RUDE_RANGE, message, n, true), code, 4);
        is_closed = !wire_flush(&w, 3000);
        while (!is_closed && wire_next(&w, &f, 0))
            is_closed = f.type == WIRE_GOAWAY;
    }
    is_closed = is_closed || wire_wait_closed(&w, 2000);
    printf("  rapid reset: %s after %u streams, RSS %ld -> %ld MiB\n", is_closed ? "closed" : "not closed",
           sent, before, rude_rss_mib());
    wire_close(&w);
    rude_control_stop("rapid reset", 500);
    CHECK(is_closed, "rapid reset: 200,000 resets were taken");
}

static void frame_flood(const char *name, uint8_t type, const void *data, size_t size)
{
    struct wire w;
    long before = rude_rss_mib();
    CHECK(wire_open(&w, rude_port, 65535), "cannot connect");
    bool is_open = true;
    uint32_t sent = 0;
    for (; sent < 300000 && is_open; sent += 1000) {
        for (int i = 0; i < 1000; i++)
            wire_frame(&w, type, 0, 0, data, size);
        is_open = wire_flush(&w, 1000);
    }
    printf("  %s flood: %s after %u, RSS %ld -> %ld MiB\n", name, is_open ? "taken" : "closed or held back",
           sent, before, rude_rss_mib());
    CHECK(rude_rss_mib() - before < 32 * rude_slow, "%s flood: the server grew", name);
    wire_close(&w);
}

static void floods(void)
{
    rude_control_start();
    frame_flood("PING", WIRE_PING, "12345678", 8);
    frame_flood("SETTINGS", WIRE_SETTINGS, "\0\4\0\0\xff\xff", 6);
    frame_flood("unknown frame", 77, "nothing", 7);
    rude_control_stop("frame floods", 500);
}

/* --- connections that stop half-way ----------------------------------------------------------------- */

static bool closes_within(int fd, int ms)
{
    char waste[4096];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint64_t until = rude_now_us() + (uint64_t)ms * 1000;
    while (rude_now_us() < until) {
        int n = poll(&p, 1, (int)((until - rude_now_us()) / 1000) + 1);
        if (n > 0 && recv(fd, waste, sizeof waste, 0) <= 0)
            return true;
    }
    return false;
}

struct half {
    const char *name, *bytes;
    size_t size;
    int closed_within_s; /* 0 = it may stay */
};

#define HALF(name, bytes, s)                                                                                 \
    {                                                                                                        \
        name, bytes, sizeof bytes - 1, s                                                                     \
    }
#define HELLO "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"

/* Connections that send these bytes, then nothing, and the seconds after which the server closes them. 0: it
 * keeps them, because they have finished their preface. */
static const struct half halves[] = {
    HALF("nothing at all", "", 15),
    HALF("half a preface", "PRI * HTTP/2.0\r\n", 15),
    HALF("a preface without SETTINGS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 15),
    HALF("half a TLS hello", "\x16\x03\x01\x02\x00\x01\x00", 15),
    HALF("half a request line", "GET /hea", 15),
    HALF("half a head", "GET /health HTTP/1.1\r\nHost: a\r\n", 15),
    HALF("half a body", "POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{\"key\"", 90),
    HALF("half a chunk", "POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
         90),
    HALF("half a HEADERS frame", HELLO "\0\0\x40\1\4\0\0\0\1\x83\x86", 0),
    HALF("half a DATA frame", HELLO "\0\0\x01\1\4\0\0\0\1\x83\0\1\0\0\0\0\0\0\1\0\0", 0),
};

static void half_way(void)
{
    enum { EACH = 50, KINDS = sizeof halves / sizeof *halves };
    static int fds[KINDS][EACH];
    long before = rude_rss_mib();
    rude_control_start();
    for (size_t k = 0; k < KINDS; k++)
        for (size_t i = 0; i < EACH; i++) {
            fds[k][i] = wire_connect(rude_port);
            CHECK(fds[k][i] >= 0, "%s: cannot connect", halves[k].name);
            CHECK(send(fds[k][i], halves[k].bytes, halves[k].size, MSG_NOSIGNAL) >= 0, "cannot send");
        }
    uint64_t start = rude_now_us();
    for (size_t k = 0; k < KINDS; k++) {
        int limit_ms = halves[k].closed_within_s * 1000 * rude_slow;
        for (size_t i = 0; i < EACH && limit_ms; i++) {
            int left = limit_ms - (int)((rude_now_us() - start) / 1000);
            CHECK(closes_within(fds[k][i], left > 0 ? left : 1), "%s: still open after %d s", halves[k].name,
                  limit_ms / 1000);
        }
        printf("  %s: %s", halves[k].name, limit_ms ? "all closed" : "left open");
        printf(" (%.1f s)\n", (double)(rude_now_us() - start) / 1e6);
    }
    for (size_t k = 0; k < KINDS; k++)
        for (size_t i = 0; i < EACH; i++)
            close(fds[k][i]);
    printf("    RSS %ld -> %ld MiB\n", before, rude_rss_mib());
    rude_control_stop("half-way connections", 500);
}

/* Single bytes do not keep a connection open for ever: head and body have deadlines of their own. */
static void drip(void)
{
    enum { CLIENTS = 200 };
    static int fds[CLIENTS];
    static const char head[] = "GET /health HTTP/1.1\r\nHost: a\r\nX-Long: ";
    static const char body[] = "POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    int open_count = CLIENTS;
    rude_control_start();
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = wire_connect(rude_port);
        CHECK(fds[i] >= 0, "cannot connect");
        CHECK(send(fds[i], i % 2 ? head : body, strlen(i % 2 ? head : body), MSG_NOSIGNAL) > 0,
              "cannot send");
    }
    uint64_t start = rude_now_us();
    while (open_count && rude_now_us() - start < 90000000ULL * (uint64_t)rude_slow) {
        usleep(250000);
        for (int i = 0; i < CLIENTS; i++) {
            char waste[512];
            if (fds[i] < 0)
                continue;
            ssize_t n = send(fds[i], "a", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n <= 0 || recv(fds[i], waste, sizeof waste, MSG_DONTWAIT) == 0) {
                close(fds[i]);
                fds[i] = -1;
                open_count--;
            }
        }
    }
    printf("  %d clients dripping bytes: %d left after %.0f s\n", CLIENTS, open_count,
           (double)(rude_now_us() - start) / 1e6);
    rude_control_stop("dripping clients", 500);
    CHECK(open_count == 0, "slow heads and bodies are never ended");
}

/* --- many ------------------------------------------------------------------------------------------- */

static void many_connections(void)
{
    enum { CLIENTS = 5000 };
    const double clients = CLIENTS; /* no arithmetic of an enumeration with a float: clang 19 */
    static struct wire w[CLIENTS];
    uint8_t message[128];
    struct wire_frame f;
    long before = rude_memory_kib("VmRSS");
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < CLIENTS; i++) {
            CHECK(wire_open(&w[i], rude_port, 65535), "connection %d: %s", i, strerror(errno));
            wire_call(&w[i], RUDE_PUT, message, rude_put(message, "many", "x", 1), true);
            wire_call(&w[i], RUDE_WATCH, message, rude_watch(message, "other", NULL, 0), false);
            CHECK(wire_flush(&w[i], 5000), "connection %d was closed", i);
        }
        for (int i = 0; i < CLIENTS; i++)
            CHECK(wire_next(&w[i], &f, 10000 * rude_slow), "connection %d: no answer", i);
        long up = rude_memory_kib("VmRSS");
        for (int i = 0; i < CLIENTS; i++)
            wire_close(&w[i]);
        sleep(13); /* memory goes back to the system in a quiet second, every ten */
        printf("  %d connections with a watch each: RSS %.1f -> %.1f MiB (%.1f KiB each), after they left "
               "%.1f MiB\n",
               CLIENTS, (double)before / 1024, (double)up / 1024, (double)(up - before) / clients,
               (double)rude_memory_kib("VmRSS") / 1024);
    }
    CHECK(rude_memory_kib("VmRSS") - before < 48 * 1024 * rude_slow, "%ld KiB stay",
          rude_memory_kib("VmRSS") - before);
}

static void many_watches(void)
{
    enum { COUNT = 100000 };
    struct wire w;
    struct wire_frame f;
    uint8_t message[256];
    char key[32];
    long before = rude_rss_mib();
    uint64_t start = rude_now_us(), bytes = 0;
    CHECK(wire_open(&w, rude_port, 1 << 30), "cannot connect");
    rude_control_start();
    uint32_t id = wire_headers(&w, RUDE_WATCH, false);
    for (int i = 0; i < COUNT; i++) {
        snprintf(key, sizeof key, "watched/%d", i);
        wire_message(&w, id, message, rude_watch(message, key, NULL, 0), false);
        if (i % 1000 == 999) {
            CHECK(wire_flush(&w, 5000), "the watch stream was closed");
            while (wire_next(&w, &f, 0)) {
                CHECK(f.type <= WIRE_HEADERS && !(f.flags & WIRE_END_STREAM), "the watch stream ended at %d",
                      i);
                bytes += f.size;
            }
        }
    }
    while (wire_next(&w, &f, 500))
        bytes += f.size;
    printf("  %d watches on one stream in %.1f s: RSS %ld -> %ld MiB\n", COUNT,
           (double)(rude_now_us() - start) / 1e6, before, rude_rss_mib());
    rude_put_many("watched/", 1000, 1000, 10);
    start = rude_now_us();
    wire_close(&w);
    rude_put_many("other/", 1, 1, 10);
    printf("    the stream closed: next put answered after %.1f ms\n", (double)(rude_now_us() - start) / 1e3);
    rude_control_stop("many watches", 500);
    CHECK(bytes > COUNT * 10, "only %llu bytes of answers", (unsigned long long)bytes);
}

static void lease_storm(void)
{
    enum { LEASES = 10000, KEYS = 10, TTL = 5 };
    struct wire w;
    struct wire_frame f;
    uint8_t message[256];
    char key[64];
    CHECK(wire_open(&w, rude_port, 1 << 30), "cannot connect");
    uint64_t start = rude_now_us();
    for (uint32_t i = 0, done = 0; done < LEASES * (KEYS + 1);) {
        for (; i < LEASES * (KEYS + 1) && i - done < 500; i++) {
            if (i < LEASES) {
                size_t n = pb_number(message, 1, TTL);
                wire_call(&w, RUDE_GRANT, message, n + pb_number(message + n, 2, i + 1), true);
                continue;
            }
            if (i - done > 1 && done < LEASES)
                break;
            snprintf(key, sizeof key, "leased/%08u", i);
            size_t n = rude_put(message, key, "x", 1);
            wire_call(&w, RUDE_PUT, message, n + pb_number(message + n, 3, i % LEASES + 1), true);
        }
        CHECK(wire_flush(&w, 5000) && wire_next(&w, &f, 10000), "no answer to grants and puts");
        done += f.flags & WIRE_END_STREAM;
    }
    uint64_t count = rude_count_keys("leased/", "leased0");
    printf("  %d leases of %d s with %llu keys in %.1f s\n", LEASES, TTL, (unsigned long long)count,
           (double)(rude_now_us() - start) / 1e6);
    CHECK(count == LEASES * KEYS || rude_now_us() - start > TTL * 1000000, "%llu keys",
          (unsigned long long)count);
    rude_control_start();
    while ((count = rude_count_keys("leased/", "leased0")) > 0) {
        CHECK(rude_now_us() - start < (TTL + 60ULL * (uint64_t)rude_slow) * 1000000,
              "%llu keys are still there", (unsigned long long)count);
        usleep(50000);
    }
    printf("    all gone %.1f s after the first grant\n", (double)(rude_now_us() - start) / 1e6);
    rude_control_stop("lease storm", 500);
    wire_close(&w);
}

/* --- large requests --------------------------------------------------------------------------------- */

static void large_requests(void)
{
    enum { OPS = 128, VALUE = 10240, BIG = 1500000 };
    uint8_t *message = malloc(OPS * (VALUE + 200)), *op = malloc(VALUE + 200), *inner = malloc(VALUE + 200);
    uint8_t *value = calloc(1, BIG), *answer = malloc(1 << 20);
    char key[32];
    size_t n = 0;
    for (int i = 0; i < OPS; i++) {
        snprintf(key, sizeof key, "txn/%d", i);
        size_t m = rude_put(inner, key, value, VALUE);
        n += pb_bytes(message + n, 2, op, pb_bytes(op, 2, inner, m));
    }
    rude_control_start();
    uint64_t start = rude_now_us();
    for (int i = 0; i < 50; i++)
        CHECK(rude_ask(RUDE_TXN, message, n, answer, 1 << 20) > 0, "a txn of %d x %d bytes was refused", OPS,
              VALUE);
    printf("  50 txns of %d x %d bytes: %.1f ms each\n", OPS, VALUE, (double)(rude_now_us() - start) / 50e3);
    uint8_t *put = malloc(BIG + 100);
    n = rude_put(put, "big-value", value, BIG);
    start = rude_now_us();
    for (int i = 0; i < 50; i++)
        CHECK(rude_ask(RUDE_PUT, put, n, answer, 1 << 20) > 0, "a value of %d bytes was refused", BIG);
    printf("  50 values of %d bytes: %.1f ms each\n", BIG, (double)(rude_now_us() - start) / 50e3);
    rude_control_stop("large requests", 500);
    free(message), free(op), free(inner), free(value), free(answer), free(put);
}

/* A million keys; then everything at once, while another client puts. Its longest wait is the longest stall of
 * the loop. */
static void large_range(void)
{
    enum { KEYS = 1000000 };
    uint8_t message[64];
    struct wire w;
    struct wire_frame f;
    uint64_t start = rude_now_us(), bytes = 0;
    rude_put_many("many/", KEYS, KEYS, 64);
    printf("  1M keys in %.1f s, RSS %ld MiB\n", (double)(rude_now_us() - start) / 1e6, rude_rss_mib());
    start = rude_now_us();
    CHECK(rude_count_keys("many/", "many0") == KEYS, "keys are missing");
    printf("    counted in %.0f ms\n", (double)(rude_now_us() - start) / 1e3);
    size_t n = pb_bytes(message, 1, "many/", 5);
    n += pb_bytes(message + n, 2, "many0", 5);
    static const char *const paths[] = {RUDE_RANGE, "/etcdserverpb.KV/RangeStream",
                                        "/etcdserverpb.Maintenance/HashKV",
                                        "/etcdserverpb.Maintenance/Snapshot"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        CHECK(wire_open(&w, rude_port, 1 << 30), "cannot connect");
        rude_control_start();
        usleep(100000);
        start = rude_now_us();
        wire_call(&w, paths[i], message, i < 2 ? n : 0, true);
        CHECK(wire_flush(&w, 5000), "cannot send");
        bool is_ended = false;
        for (bytes = 0; !is_ended && wire_next(&w, &f, 30000 * rude_slow); bytes += f.size) {
            is_ended = f.flags & WIRE_END_STREAM;
            if (f.type == WIRE_DATA) {
                wire_give(&w, f.id, f.size);
                CHECK(wire_flush(&w, 5000), "cannot send");
            }
        }
        CHECK(is_ended, "%s: no end", paths[i]);
        printf("  %s: %llu MiB in %.0f ms, RSS %ld MiB\n", strrchr(paths[i], '/') + 1,
               (unsigned long long)bytes >> 20, (double)(rude_now_us() - start) / 1e3, rude_rss_mib());
        wire_close(&w);
        rude_control_stop(paths[i], 3000);
    }
}

/* --- the list --------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
    {"silent_watches", silent_watches},
    {"silent_crowd", silent_crowd},
    {"watch_floods", watch_floods},
    {"keepalive_flood", keepalive_flood},
    {"unread_answers", unread_answers},
    {"many_streams", many_streams},
    {"rapid_reset", rapid_reset},
    {"floods", floods},
    {"half_way", half_way},
    {"drip", drip},
    {"many_watches", many_watches},
    {"many_connections", many_connections},
    {"lease_storm", lease_storm},
    {"large_requests", large_requests},
    {"large_range", large_range},
};

int main(int argc, char **argv)
{
    if (argc < 4) {
        fputs("usage: clients PORT PID SCENARIO...\n", stderr);
        return 2;
    }
    rude_port = atoi(argv[1]);
    rude_server_pid = atoi(argv[2]);
    rude_slow = getenv("SLOW") ? atoi(getenv("SLOW")) : 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 3; i < argc; i++) {
        size_t k = 0;
        while (k < sizeof scenarios / sizeof *scenarios && strcmp(scenarios[k].name, argv[i]) != 0)
            k++;
        if (k == sizeof scenarios / sizeof *scenarios) {
            fprintf(stderr, "no scenario %s\n", argv[i]);
            return 2;
        }
        scenarios[k].run();
    }
    return 0;
}
