/* SPDX-License-Identifier: Apache-2.0
 * Fan-out of event streams: many subscribers of one service by Server-Sent Events, as streams of one HTTP/2
 * connection or as a connection of HTTP/1.1 each; one instance of the service changes again and again. One line of
 * figures as JSON, as stream_load prints it.
 *
 *   sse_load --port 2379 --pid PID --subscribers 1000 --changes 20 [--http1]
 *
 * Each change is timed from the moment it is sent until the first, the median and the last subscriber have it; the
 * next one follows when all have it. Cleartext; one thread. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/measure.h"

#define TARGET         "/api/v1/stream?kind=service&name=orders"
#define BEGINNING      "event: "
#define CONNECTING_MAX 256 /* connections at a time */
#define WAIT_MS        60000
#define PAUSE_MS       20
#define FRAME_HEAD     9
#define FRAME_MAX      16384

enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

struct subscriber {
    int fd;         /* HTTP/1.1 */
    size_t matched; /* bytes of BEGINNING that have come last */
};

static struct {
    int port, pid, subscribers, changes;
    bool is_http1;
} o = {.port = 2379, .subscribers = 1000, .changes = 20};

static struct subscriber *all;
static int epoll_fd, writer, shared; /* shared: the connection of HTTP/2 */
static uint8_t in[1 << 20];          /* of the connection of HTTP/2 */
static size_t in_size;
static uint64_t received_bytes, *times; /* times of this change, in the order of arrival */
static size_t ready, seen;
static bool is_timing;

static _Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "sse_load: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

static int connected(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o.port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
        die("cannot connect: %s", strerror(errno));
    return fd;
}

static void send_all(int fd, const void *bytes, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t n = send(fd, (const char *)bytes + at, size - at, MSG_NOSIGNAL);
        if (n < 0)
            die("cannot send: %s", strerror(errno));
        at += (size_t)n;
    }
}

/* The letter after BEGINNING says which event it is: snapshot, delta. */
static void take_events(struct subscriber *s, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (s->matched == sizeof BEGINNING - 1) {
            s->matched = 0;
            if (bytes[i] == 's')
                ready++;
            else if (bytes[i] == 'd' && is_timing)
                times[seen++] = measure_now_ns();
        } else if (bytes[i] == (uint8_t)BEGINNING[s->matched]) {
            s->matched++;
        } else {
            s->matched = bytes[i] == (uint8_t)BEGINNING[0];
        }
    }
}

/* --- HTTP/2 ---------------------------------------------------------------------------------------- */

static size_t frame(uint8_t *p, uint8_t kind, uint8_t flags, uint32_t stream, const void *payload,
                    size_t size)
{
    const uint8_t head[FRAME_HEAD] = {
        (uint8_t)(size >> 16),   (uint8_t)(size >> 8),    (uint8_t)size,          kind,           flags,
        (uint8_t)(stream >> 24), (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream};
    memcpy(p, head, sizeof head);
    memcpy(p + sizeof head, payload, size);
    return sizeof head + size;
}

/* The server may send 1 GiB before a window closes: more than a run needs. */
static void open_shared(void)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static const uint8_t windows[] = {0, 4, 0x40, 0, 0, 0}, more[] = {0x40, 0, 0, 0};
    uint8_t out[128];
    size_t n = sizeof preface - 1;
    memcpy(out, preface, n);
    n += frame(out + n, SETTINGS, 0, 0, windows, sizeof windows);
    n += frame(out + n, WINDOW_UPDATE, 0, 0, more, sizeof more);
    shared = connected();
    send_all(shared, out, n);
}

/* GET of TARGET: fields of the static table, and literals that no table remembers. */
static void ask_shared(uint32_t stream)
{
    static const char block[] = "\x82\x86\x01\x01x\x04";
    uint8_t fields[128], out[sizeof fields + FRAME_HEAD];
    size_t n = sizeof block - 1;
    memcpy(fields, block, n);
    fields[n++] = sizeof TARGET - 1;
    memcpy(fields + n, TARGET, sizeof TARGET - 1);
    n = frame(out, HEADERS, END_HEADERS | END_STREAM, stream, fields, n + sizeof TARGET - 1);
    send_all(shared, out, n);
}

static void take_frame(uint8_t kind, uint8_t flags, uint32_t stream, const uint8_t *payload, size_t size)
{
    uint8_t out[FRAME_HEAD + 8];
    if (kind == DATA && stream / 2 < (uint32_t)o.subscribers)
        take_events(&all[stream / 2], payload, size);
    else if (kind == SETTINGS && !(flags & ACK))
        send_all(shared, out, frame(out, SETTINGS, ACK, 0, payload, 0));
    else if (kind == PING && !(flags & ACK))
        send_all(shared, out, frame(out, PING, ACK, 0, payload, 8));
    else if (kind == GOAWAY || kind == RST_STREAM || (flags & END_STREAM && kind == HEADERS))
        die("the server ends stream %u, frame %d", stream, kind);
}

static void read_shared(void)
{
    ssize_t n = recv(shared, in + in_size, sizeof in - in_size, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        die("the connection broke: %s", n ? strerror(errno) : "closed");
    if (n < 0)
        return;
    received_bytes += (uint64_t)n;
    in_size += (size_t)n;
    size_t at = 0;
    while (in_size - at >= FRAME_HEAD) {
        const uint8_t *p = in + at;
        size_t size = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        if (size > FRAME_MAX)
            die("a frame of %zu bytes", size);
        if (in_size - at < FRAME_HEAD + size)
            break;
        uint32_t stream = (uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8];
        take_frame(p[3], p[4], stream, p + FRAME_HEAD, size);
        at += FRAME_HEAD + size;
    }
    memmove(in, in + at, in_size - at);
    in_size -= at;
}

/* --- HTTP/1.1 -------------------------------------------------------------------------------------- */

static void open_own(struct subscriber *s)
{
    static const char request[] = "GET " TARGET " HTTP/1.1\r\nHost: x\r\n\r\n";
    s->fd = connected();
    send_all(s->fd, request, sizeof request - 1);
}

static void read_own(struct subscriber *s)
{
    static uint8_t bytes[65536];
    ssize_t n = recv(s->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        die("a stream broke: %s", n ? strerror(errno) : "closed");
    if (n < 0)
        return;
    received_bytes += (uint64_t)n;
    take_events(s, bytes, (size_t)n);
}

/* --- the run ------------------------------------------------------------------------------------------ */

static void turn(int wait_ms)
{
    struct epoll_event events[512];
    int n = epoll_wait(epoll_fd, events, 512, wait_ms);
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr)
            read_own(events[i].data.ptr);
        else
            read_shared();
    }
}

static void wait_for(const size_t *count, size_t wanted, const char *what)
{
    uint64_t end = measure_now_ns() + (uint64_t)WAIT_MS * 1000000;
    while (*count < wanted) {
        if (measure_now_ns() > end)
            die("%zu of %zu: %s", *count, wanted, what);
        turn(100);
    }
}

/* Sent at once; the response is read before the next one. */
static void change(int number)
{
    char body[512], text[1024];
    int n = snprintf(body, sizeof body,
                     "{\"host\":\"10.0.0.5\",\"port\":%d,\"zone\":\"a\",\"version\":\"1.2.3\",\"metadata\":"
                     "{\"commit\":\"0123456789abcdef\",\"team\":\"payments\"}}",
                     1024 + number);
    n = snprintf(
        text, sizeof text,
        "PUT /api/v1/services/orders/instances/o1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        "Content-Length: %d\r\n\r\n%s",
        n, body);
    send_all(writer, text, (size_t)n);
}

static void read_response(void)
{
    char text[4096];
    ssize_t n = recv(writer, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    if (strncmp(text, "HTTP/1.1 20", 11) != 0)
        die("the change is not made: %s", text);
}

static void subscribe_all(void)
{
    struct epoll_event e = {.events = EPOLLIN};
    if (!o.is_http1) {
        open_shared();
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, shared, &e);
    }
    for (int i = 0; i < o.subscribers; i++) {
        if (o.is_http1) {
            open_own(&all[i]);
            e.data.ptr = &all[i];
            epoll_ctl(epoll_fd, EPOLL_CTL_ADD, all[i].fd, &e);
        } else {
            ask_shared((uint32_t)i * 2 + 1);
        }
        while ((size_t)i + 1 - ready >= CONNECTING_MAX)
            turn(10);
    }
    wait_for(&ready, (size_t)o.subscribers, "subscribers have their snapshot");
}

static void run(void)
{
    uint64_t *first = calloc((size_t)o.changes, 8), *middle = calloc((size_t)o.changes, 8),
             *last = calloc((size_t)o.changes, 8), worst = 0, bytes = 0;
    size_t before = measure_resident_kib(o.pid);
    uint64_t began = measure_now_ns();
    subscribe_all();
    double opened_ms = (double)(measure_now_ns() - began) / 1e6, cpu = 0;
    sleep(1);
    size_t with = measure_resident_kib(o.pid);
    for (int i = 0; i < o.changes; i++) {
        uint64_t bytes_before = received_bytes, end;
        double cpu_before = measure_cpu_s(o.pid);
        seen = 0;
        is_timing = true;
        uint64_t sent_at = measure_now_ns();
        change(i + 2);
        wait_for(&seen, (size_t)o.subscribers, "subscribers have the change");
        is_timing = false;
        cpu += measure_cpu_s(o.pid) - cpu_before;
        bytes += received_bytes - bytes_before;
        first[i] = times[0] - sent_at;
        middle[i] = times[o.subscribers / 2] - sent_at;
        last[i] = times[o.subscribers - 1] - sent_at;
        worst = last[i] > worst ? last[i] : worst;
        read_response();
        for (end = measure_now_ns() + (uint64_t)PAUSE_MS * 1000000; measure_now_ns() < end;)
            turn(1);
    }
    printf("{\"subscribers\":%d,\"changes\":%d,\"opened_ms\":%.0f,\"first_ms\":%.1f,\"median_ms\":%.1f,"
           "\"last_ms\":%.1f,\"worst_ms\":%.1f,\"bytes_per_subscriber\":%.0f,"
           "\"server_cpu_us_per_delivery\":%.2f,\"rss_before_kib\":%zu,\"rss_with_kib\":%zu,"
           "\"bytes_per_idle_subscriber\":%.0f}\n",
           o.subscribers, o.changes, opened_ms, measure_median_ms(first, (size_t)o.changes),
           measure_median_ms(middle, (size_t)o.changes), measure_median_ms(last, (size_t)o.changes),
           (double)worst / 1e6, (double)bytes / o.changes / o.subscribers,
           cpu * 1e6 / o.changes / o.subscribers, before, with,
           ((double)with - (double)before) * 1024 / o.subscribers);
    free(first), free(middle), free(last);
}

static void read_options(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},
        {"pid", required_argument, NULL, 'i'},
        {"subscribers", required_argument, NULL, 's'},
        {"changes", required_argument, NULL, 'c'},
        {"http1", no_argument, NULL, '1'},
        {0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'p')
            o.port = atoi(optarg);
        else if (c == 'i')
            o.pid = atoi(optarg);
        else if (c == 's')
            o.subscribers = atoi(optarg);
        else if (c == 'c')
            o.changes = atoi(optarg);
        else if (c == '1')
            o.is_http1 = true;
        else
            exit(2);
    }
    if (o.subscribers < 1 || o.changes < 1)
        die("at least one subscriber and one change");
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    if (!measure_allow_descriptors((size_t)o.subscribers + 32))
        die("too few descriptors may be open");
    all = calloc((size_t)o.subscribers, sizeof *all);
    times = calloc((size_t)o.subscribers + 1, sizeof *times);
    if (!all || !times)
        die("no memory");
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    writer = connected();
    change(1);
    read_response();
    run();
    free(all);
    free(times);
    return 0;
}
