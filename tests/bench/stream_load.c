/* SPDX-License-Identifier: Apache-2.0
 * Fan-out of the stream: many WebSocket subscribers of one service, one instance of it changed again and
 * again, or of one configuration (--kind config), published again and again; one line of figures as JSON. Raw
 * sockets on epoll in one thread, so that measuring costs little.
 *
 *   stream_load --port 2379 --pid PID --subscribers 10000 --changes 20 [--kind config [--size 1024]]
 * [--deflate] [--pause_ms 20]
 *
 * Each change is timed from the moment it is sent until the first, the median and the last subscriber have
 * it; the next one follows when all have, and have acknowledged. Memory is the server's resident set, before
 * and with all subscribers. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/measure.h"

#define CONNECTING_MAX 256 /* at a time */
#define WAIT_MS        60000

enum { STORED_HEAD = 5, LETTER_AT = 9 };
enum frame_kind { FRAME_OTHER, FRAME_SNAPSHOT, FRAME_DELTA, FRAME_RESULT, FRAME_PING, FRAME_CLOSE };

struct subscriber {
    int fd;
    enum frame_kind kind; /* of the frame under way */
    size_t skip;          /* remaining bytes of a frame */
    uint8_t part[4096];   /* of a frame whose end is not there */
    size_t part_size;
    bool is_upgraded;
};

static struct {
    int port, pid, subscribers, changes, pause_ms, size;
    bool deflate, is_config;
} o = {.port = 2379, .subscribers = 10000, .changes = 20, .pause_ms = 20, .size = 1024};

static struct subscriber *all, writer;
static int epoll_fd;
static uint64_t received_bytes;
static size_t ready, seen, results;
static uint64_t *times; /* of this change, in the order of arrival */
static uint64_t sent_at;
static bool is_timing;

static _Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "stream: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

/* --- frames --------------------------------------------------------------------------------------- */

static void say(struct subscriber *s, const char *text)
{
    static uint8_t frame[65536 + 8] = {0x81};
    size_t n = strlen(text), at = 2;
    if (n < 126) {
        frame[1] = (uint8_t)(0x80 | n);
    } else {
        frame[1] = 0x80 | 126;
        frame[2] = (uint8_t)(n >> 8);
        frame[3] = (uint8_t)n;
        at = 4;
    }
    memset(frame + at, 0, 4); /* a mask that changes nothing */
    memcpy(frame + at + 4, text, n);
    if (send(s->fd, frame, at + 4 + n, MSG_NOSIGNAL) != (ssize_t)(at + 4 + n))
        die("cannot send: %s", strerror(errno));
}

static void on_frame(struct subscriber *s, enum frame_kind kind)
{
    static const uint8_t pong[] = {0x8a, 0x80, 0, 0, 0, 0};
    if (kind == FRAME_CLOSE)
        die("the server closes a stream");
    if (kind == FRAME_PING && send(s->fd, pong, sizeof pong, MSG_NOSIGNAL) != sizeof pong)
        die("cannot send: %s", strerror(errno));
    if (kind == FRAME_RESULT)
        results++;
    else if (kind == FRAME_SNAPSHOT)
        ready++;
    else if (kind == FRAME_DELTA && is_timing)
        times[seen++] = measure_now_ns();
}

/* The first frame, as soon as its kind is known. 0: more bytes are needed. */
static size_t frame_size(const uint8_t *in, size_t size, enum frame_kind *ret_kind)
{
    if (size < 2)
        return 0;
    uint64_t n = in[1] & 0x7f;
    size_t head = n == 126 ? 4 : n == 127 ? 10 : 2;
    if (size < head)
        return 0;
    if (n >= 126) {
        n = 0;
        for (size_t i = 2; i < head; i++)
            n = n << 8 | in[i];
    }
    /* {"type":"d...; a compressed frame begins with these bytes in a stored block. */
    size_t letter_at = head + (in[0] & 0x40 ? STORED_HEAD : 0) + LETTER_AT;
    if (head + n > letter_at && size <= letter_at)
        return 0;
    uint8_t opcode = in[0] & 0x0f, letter = head + n > letter_at ? in[letter_at] : 0;
    *ret_kind = opcode == 9     ? FRAME_PING
                : opcode == 8   ? FRAME_CLOSE
                : letter == 'd' ? FRAME_DELTA
                : letter == 's' ? FRAME_SNAPSHOT
                : letter == 'r' ? FRAME_RESULT
                                : FRAME_OTHER;
    return head + (size_t)n;
}

static void take(struct subscriber *s, const uint8_t *in, size_t size)
{
    while (size) {
        if (s->skip) {
            size_t n = size < s->skip ? size : s->skip;
            s->skip -= n;
            in += n;
            size -= n;
            if (s->skip == 0)
                on_frame(s, s->kind);
            continue;
        }
        size_t whole = frame_size(in, size, &s->kind);
        if (whole == 0) {
            memcpy(s->part, in, size);
            s->part_size = size;
            return;
        }
        size_t n = whole < size ? whole : size;
        s->skip = whole - n;
        in += n;
        size -= n;
        if (s->skip == 0)
            on_frame(s, s->kind);
    }
}

static void on_readable(struct subscriber *s)
{
    static uint8_t in[4096 + 65536];
    memcpy(in, s->part, s->part_size);
    ssize_t n = recv(s->fd, in + s->part_size, 65536, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        die("a stream broke: %s", n ? strerror(errno) : "closed");
    if (n < 0)
        return;
    received_bytes += (uint64_t)n;
    size_t size = s->part_size + (size_t)n;
    uint8_t *at = in;
    s->part_size = 0;
    if (!s->is_upgraded) {
        uint8_t *end = memmem(in, size, "\r\n\r\n", 4);
        if (!end) {
            memcpy(s->part, in, size);
            s->part_size = size;
            return;
        }
        if (memcmp(in, "HTTP/1.1 101", 12) != 0)
            die("no upgrade: %.80s", (char *)in);
        s->is_upgraded = true;
        size -= (size_t)(end + 4 - in);
        at = end + 4;
    }
    take(s, at, size);
}

static void turn(int wait_ms)
{
    struct epoll_event events[512];
    int n = epoll_wait(epoll_fd, events, 512, wait_ms);
    for (int i = 0; i < n; i++)
        on_readable(events[i].data.ptr);
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

/* --- the run ------------------------------------------------------------------------------------------ */

static void open_stream(struct subscriber *s, const char *subscribe)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o.port)};
    char text[512];
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&a, sizeof a) != 0)
        die("cannot connect: %s", strerror(errno));
    fcntl(s->fd, F_SETFL, O_NONBLOCK);
    int n = snprintf(text, sizeof text,
                     "GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
                     o.deflate ? "Sec-WebSocket-Extensions: permessage-deflate\r\n" : "");
    if (send(s->fd, text, (size_t)n, MSG_NOSIGNAL) != n)
        die("cannot send: %s", strerror(errno));
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, s->fd, &e);
    say(s, "{\"type\":\"hello\",\"client_id\":\"bench\",\"labels\":{\"zone\":\"b\"}}");
    if (subscribe)
        say(s, subscribe);
}

/* Its lines are escaped on the way, as those of a real one. */
static void publish(int number)
{
    static char text[65536];
    int n = snprintf(text, sizeof text,
                     "{\"type\":\"publish\",\"rid\":%d,\"name\":\"app.yaml\",\"content\":\"change: %d\\n",
                     number, number),
        end = n + o.size;
    for (int i = 0; n < end; i++)
        n += snprintf(text + n, 128, "pool-%d.connection-timeout: %dms\\n", i, i * 37 % 9000);
    snprintf(text + n, 8, "\"}");
    say(&writer, text);
}

static void register_instance(int port)
{
    char text[512];
    snprintf(text, sizeof text,
             "{\"type\":\"register\",\"rid\":%d,\"name\":\"orders\",\"id\":\"o1\",\"instance\":{\"host\":"
             "\"10.0.0.5\","
             "\"port\":%d,\"zone\":\"a\",\"version\":\"1.2.3\",\"ttl\":3600,\"metadata\":{\"commit\":"
             "\"0123456789abcdef\","
             "\"team\":\"payments\"}}}",
             port, port);
    say(&writer, text);
}

static void change(int number)
{
    if (o.is_config)
        publish(number);
    else
        register_instance(number);
}

static void acknowledge_all(void)
{
    for (int i = 0; i < o.subscribers; i++)
        say(&all[i], "{\"type\":\"ack\",\"revision\":9007199254740991}");
}

static void run(void)
{
    uint64_t *first = calloc((size_t)o.changes, 8), *middle = calloc((size_t)o.changes, 8),
             *last = calloc((size_t)o.changes, 8), worst = 0;
    size_t before = measure_resident_kib(o.pid);
    uint64_t began = measure_now_ns();
    for (int i = 0; i < o.subscribers; i++) {
        open_stream(&all[i],
                    o.is_config
                        ? "{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"config\",\"name\":\"app.yaml\"}"
                        : "{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"service\",\"name\":\"orders\"}");
        while ((size_t)i + 1 - ready >= CONNECTING_MAX)
            turn(10);
    }
    wait_for(&ready, (size_t)o.subscribers, "subscribers have their snapshot");
    double opened_ms = (double)(measure_now_ns() - began) / 1e6;
    sleep(1);
    size_t with = measure_resident_kib(o.pid);
    double cpu = 0;
    uint64_t bytes = 0;
    for (int i = 0; i < o.changes; i++) {
        seen = 0;
        is_timing = true;
        uint64_t bytes_before = received_bytes;
        double cpu_before = measure_cpu_s(o.pid);
        sent_at = measure_now_ns();
        change(i + 2);
        wait_for(&seen, (size_t)o.subscribers, "subscribers have the change");
        is_timing = false;
        cpu += measure_cpu_s(o.pid) - cpu_before;
        bytes += received_bytes - bytes_before;
        first[i] = times[0] - sent_at;
        middle[i] = times[o.subscribers / 2] - sent_at;
        last[i] = times[o.subscribers - 1] - sent_at;
        worst = last[i] > worst ? last[i] : worst;
        acknowledge_all();
        uint64_t end = measure_now_ns() + (uint64_t)o.pause_ms * 1000000;
        while (measure_now_ns() < end)
            turn(1);
    }
    size_t after = measure_resident_kib(o.pid);
    printf("{\"subscribers\":%d,\"changes\":%d,\"opened_ms\":%.0f,\"first_ms\":%.1f,\"median_ms\":%.1f,"
           "\"last_ms\":%.1f,"
           "\"worst_ms\":%.1f,\"bytes_per_subscriber\":%.0f,\"server_cpu_us_per_delivery\":%.2f,\"rss_before_"
           "kib\":%zu,"
           "\"rss_with_kib\":%zu,\"rss_after_kib\":%zu,\"bytes_per_idle_subscriber\":%.0f}\n",
           o.subscribers, o.changes, opened_ms, measure_median_ms(first, (size_t)o.changes),
           measure_median_ms(middle, (size_t)o.changes), measure_median_ms(last, (size_t)o.changes),
           (double)worst / 1e6, (double)bytes / o.changes / o.subscribers,
           cpu * 1e6 / o.changes / o.subscribers, before, with, after,
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
        {"pause_ms", required_argument, NULL, 'w'},
        {"deflate", no_argument, NULL, 'd'},
        {"kind", required_argument, NULL, 'k'},
        {"size", required_argument, NULL, 'z'},
        {0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'p':
            o.port = atoi(optarg);
            break;
        case 'i':
            o.pid = atoi(optarg);
            break;
        case 's':
            o.subscribers = atoi(optarg);
            break;
        case 'c':
            o.changes = atoi(optarg);
            break;
        case 'w':
            o.pause_ms = atoi(optarg);
            break;
        case 'd':
            o.deflate = true;
            break;
        case 'k':
            o.is_config = strcmp(optarg, "config") == 0;
            break;
        case 'z':
            o.size = atoi(optarg);
            break;
        default:
            exit(2);
        }
    }
    if (o.subscribers < 1 || o.changes < 1 || o.size < 1 || o.size > 60000)
        die("at least one subscriber and one change, and contents of at most 60,000 bytes");
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
    open_stream(&writer, NULL);
    change(1);
    wait_for(&results, 1, "the first change is made");
    run();
    free(all);
    free(times);
    return 0;
}
