/* SPDX-License-Identifier: Apache-2.0
 * Load generator for the config center over HTTP; it prints one row of results as JSON. Raw sockets on epoll
 * in one thread, so that measuring costs little; every status is checked, anything unexpected ends the
 * program with a sentence.
 *
 *   config_load --port 2379 --pid PID --op put --connections 64 --names 10000 --size 1024 --type yaml
 *
 *   put: each request publishes a new content of the next name       get: contents of names at random
 *   cas: one name, each publish on condition of the one before (?if_seq=)
 *   poll: --pollers long polls over --names names; --changes times one name is published, and timed until the
 *         first, the median and the last of its polls are answered. The next change follows when all wait
 *         again, which the server's gauge of listeners says.
 *
 *   polls: --pollers polls of POST /api/v1/polls, each of all --names names; a change is timed as with poll. All wait
 *         when the server is idle
 *
 * --query is added to every GET; --match asks with If-None-Match: what the client has. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/measure.h"

enum { ETAG_MAX = 40, HEAD_MAX = 1024, CONTENT_MAX = 1 << 20, CONNECTING_MAX = 256, WAIT_S = 60 };
enum op { PUT, GET, CAS, POLL, POLLS, OPS };
static const char *const op_names[OPS] = {"put", "get", "cas", "poll", "polls"};

struct answer {
    int status;
    long long revision;
    char etag[ETAG_MAX]; /* quoted; empty = none */
};

struct client {
    int fd;
    unsigned name;        /* of the request under way */
    uint64_t sent_ns;     /* 0 = nothing is under way */
    size_t body_left;     /* of the answer */
    struct answer answer; /* its head */
    char head[HEAD_MAX];  /* of an answer whose head is not whole */
    size_t head_size;
    void (*answered)(struct client *c);
};

static struct {
    int port, pid, connections, names, size, seconds, pollers, changes;
    bool match;
    const char *type, *query;
    enum op op;
} o = {.port = 2379,
       .connections = 64,
       .names = 1000,
       .size = 1024,
       .seconds = 2,
       .pollers = 10000,
       .changes = 10,
       .type = "yaml",
       .query = ""};

static int epoll_fd;
static struct client *clients, writer;
static char (*etags)[ETAG_MAX]; /* of each name, as it was filled */
static uint64_t done_count, received_bytes;
static struct histogram histogram;
static bool is_measuring, is_over;
static uint64_t random_state = 88172645463325252ULL;

static _Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "config: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

static unsigned next_random(unsigned below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state % below);
}

/* --- requests ----------------------------------------------------------------------------------------- */

/* Makes a content like a service's settings: lines of a key and a value, valid as YAML and as properties. Its
 * first line makes each content different. */
static const char *make_content(void)
{
    static char text[CONTENT_MAX + 128];
    static uint64_t stamp;
    static size_t made;
    size_t size = (size_t)o.size;
    if (!made) {
        for (unsigned i = 0; made < size; i++)
            made += (size_t)snprintf(text + made, 128, "server.pool-%u.connection-timeout-%u: %ums\n", i % 7,
                                     i, i * 37 % 9000);
        for (size_t at = size; at-- && text[at] != '\n';)
            text[at] = at + 1 < size && text[at - 1] != '\n' ? 'x' : '#';
        text[size - 1] = '\n';
    }
    stamp = stamp ? stamp + 1 : measure_now_ns();
    char line[32];
    int n = snprintf(line, sizeof line, "stamp: s%016llx\n#", (unsigned long long)stamp);
    memcpy(text, line, (size_t)n);
    return text;
}

static void send_all(struct client *c, const char *data, size_t size)
{
    for (size_t sent = 0; sent < size;) {
        ssize_t n = send(c->fd, data + sent, size - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            die("cannot send: %s", strerror(errno));
        sent += n > 0 ? (size_t)n : 0;
    }
}

static void put(struct client *c, unsigned name, const char *condition)
{
    static char text[CONTENT_MAX + 512];
    int n = snprintf(
        text, 512, "PUT /api/v1/configs/app-%05u?type=%s%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
        name, o.type, condition, o.size);
    memcpy(text + n, make_content(), (size_t)o.size);
    c->name = name;
    c->sent_ns = measure_now_ns();
    send_all(c, text, (size_t)(n + o.size));
}

static void get(struct client *c, unsigned name, const char *query, bool with_match)
{
    char text[512];
    int n = snprintf(text, sizeof text, "GET /api/v1/configs/app-%05u?%s HTTP/1.1\r\nHost: x\r\n%s%s%s\r\n",
                     name, query, with_match ? "If-None-Match: " : "", with_match ? etags[name] : "",
                     with_match ? "\r\n" : "");
    c->name = name;
    c->sent_ns = measure_now_ns();
    send_all(c, text, (size_t)n);
}

/* --- answers ------------------------------------------------------------------------------------------ */

/* The value of a header, NULL if it is absent. The name includes the line end before it and its colon. */
static const char *header(const char *head, size_t size, const char *name)
{
    const char *found = memmem(head, size, name, strlen(name));
    return found ? found + strlen(name) : NULL;
}

static void read_head(struct client *c, const char *head, size_t size)
{
    const char *length = header(head, size, "\r\ncontent-length: "),
               *revision = header(head, size, "\r\nx-cairn-revision: "),
               *etag = header(head, size, "\r\netag: ");
    c->answer.status = atoi(head + 9);
    c->answer.revision = revision ? atoll(revision) : 0;
    c->body_left = length && c->answer.status != 304 ? (size_t)atoll(length) : 0;
    c->answer.etag[0] = 0;
    if (etag)
        snprintf(c->answer.etag, ETAG_MAX, "%.*s", (int)strcspn(etag, "\r"), etag);
}

/* Headers are compared in lower case. */
static void lower(char *s, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (s[i] >= 'A' && s[i] <= 'Z')
            s[i] |= 0x20;
}

/* Returns how many bytes of the input were consumed; the rest is an incomplete head. */
static size_t take(struct client *c, char *in, size_t size)
{
    size_t at = 0;
    while (at < size) {
        if (c->body_left) {
            size_t n = size - at < c->body_left ? size - at : c->body_left;
            c->body_left -= n;
            at += n;
        } else {
            char *end = memmem(in + at, size - at, "\r\n\r\n", 4);
            if (!end)
                return at;
            size_t n = (size_t)(end + 4 - (in + at));
            lower(in + at, n);
            read_head(c, in + at, n);
            at += n;
        }
        if (!c->body_left)
            c->answered(c);
    }
    return at;
}

static void on_readable(struct client *c)
{
    static char in[HEAD_MAX + 65536];
    memcpy(in, c->head, c->head_size);
    ssize_t n = recv(c->fd, in + c->head_size, 65536, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        die("a connection broke: %s", n ? strerror(errno) : "closed");
    if (n < 0)
        return;
    received_bytes += (uint64_t)n;
    size_t size = c->head_size + (size_t)n, taken = take(c, in, size);
    c->head_size = size - taken;
    if (c->head_size > HEAD_MAX)
        die("the head of an answer is too long");
    memcpy(c->head, in + taken, c->head_size);
}

static void turn(int wait_ms)
{
    struct epoll_event events[512];
    int n = epoll_wait(epoll_fd, events, 512, wait_ms);
    for (int i = 0; i < n; i++)
        on_readable(events[i].data.ptr);
}

static void run_until(uint64_t end_ns)
{
    while (measure_now_ns() < end_ns)
        turn(10);
}

static void wait_for(const uint64_t *count, uint64_t wanted, const char *what)
{
    uint64_t end = measure_now_ns() + (uint64_t)WAIT_S * 1000000000;
    while (*count < wanted) {
        if (measure_now_ns() > end)
            die("%llu of %llu: %s", (unsigned long long)*count, (unsigned long long)wanted, what);
        turn(100);
    }
}

static void open_client(struct client *c, void (*answered)(struct client *c))
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o.port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->answered = answered;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof a) != 0)
        die("cannot connect: %s", strerror(errno));
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
}

/* --- puts and gets ------------------------------------------------------------------------------------ */

static void on_put(struct client *c)
{
    if (c->answer.status != 200)
        die("a publish is answered %d", c->answer.status);
    if (is_measuring)
        histogram_add(&histogram, measure_now_ns() - c->sent_ns);
    done_count++;
}

static void put_next(struct client *c)
{
    static unsigned next;
    put(c, next++ % (unsigned)o.names, "");
}

static void on_put_again(struct client *c)
{
    on_put(c);
    if (!is_over)
        put_next(c);
}

/* A name of its own, which was never published on this server: its seqs count from 1. */
static void cas_next(struct client *c)
{
    enum { CAS_NAME = 99999 };
    static unsigned long long seq;
    char condition[64];
    snprintf(condition, sizeof condition, "&if_seq=%llu", seq++);
    put(c, CAS_NAME, condition);
}

static void on_cas(struct client *c)
{
    on_put(c);
    if (!is_over)
        cas_next(c);
}

static void get_next(struct client *c)
{
    get(c, next_random((unsigned)o.names), o.query, o.match);
}

static void on_get(struct client *c)
{
    if (c->answer.status != (o.match ? 304 : 200))
        die("a read is answered %d", c->answer.status);
    if (is_measuring)
        histogram_add(&histogram, measure_now_ns() - c->sent_ns);
    done_count++;
    if (!is_over)
        get_next(c);
}

static void on_learned(struct client *c)
{
    if (c->answer.status != 200 || !c->answer.etag[0])
        die("a read is answered %d", c->answer.status);
    strcpy(etags[c->name], c->answer.etag);
    done_count++;
}

/* Every name has a content, whose ETag is known. */
static void fill(void)
{
    done_count = 0;
    open_client(&writer, on_put);
    for (unsigned i = 0; i < (unsigned)o.names; i++) {
        writer.answered = on_put;
        put(&writer, i, "");
        wait_for(&done_count, 2 * i + 1, "publishes are answered");
        writer.answered = on_learned;
        get(&writer, i, "consistency=local", false);
        wait_for(&done_count, 2 * i + 2, "reads are answered");
    }
}

static void run_load(void)
{
    static void (*const answered[])(struct client *
                                    c) = {[PUT] = on_put_again, [GET] = on_get, [CAS] = on_cas};
    static void (*const next[])(struct client * c) = {[PUT] = put_next, [GET] = get_next, [CAS] = cas_next};
    if (o.op == GET)
        fill();
    for (int i = 0; i < o.connections; i++)
        open_client(&clients[i], answered[o.op]);
    for (int i = 0; i < o.connections; i++)
        next[o.op](&clients[i]);
    run_until(measure_now_ns() + 300000000); /* warm up */
    uint64_t start = measure_now_ns(), before = done_count, bytes = received_bytes;
    double cpu = measure_cpu_s(o.pid);
    is_measuring = true;
    run_until(start + (uint64_t)o.seconds * 1000000000);
    wait_for(&done_count, before + 1, "anything is answered"); /* on a machine that is very busy */
    double seconds = (double)(measure_now_ns() - start) / 1e9, count = (double)(done_count - before);
    cpu = measure_cpu_s(o.pid) - cpu;
    printf("{\"op\":\"%s\",\"ops_per_s\":%.0f,\"server_cpu_us\":%.2f,\"p50_us\":%.0f,\"p99_us\":%.0f,"
           "\"bytes\":%.0f}\n",
           op_names[o.op], count / seconds, cpu * 1e6 / count, histogram_percentile_us(&histogram, 0.5),
           histogram_percentile_us(&histogram, 0.99), (double)(received_bytes - bytes) / count);
}

/* --- long polls --------------------------------------------------------------------------------------- */

static uint64_t *times; /* of this change, in the order of arrival */
static uint64_t seen;

static void poll_from(struct client *c, long long revision)
{
    char query[128];
    snprintf(query, sizeof query, "wait_revision=%lld&timeout=5m&%s", revision, o.query);
    get(c, c->name, query, false);
}

static void on_polled(struct client *c)
{
    if (c->answer.status != 200)
        die("a long poll is answered %d", c->answer.status);
    c->sent_ns = 0;
    times[seen++] = measure_now_ns();
}

static void on_metrics(struct client *c)
{
    if (c->answer.status != 200)
        die("metrics are answered %d", c->answer.status);
    done_count++;
}

/* Only this request reads the body, which holds the gauge, so it has a connection of its own. */
static int listeners(void)
{
    static const char ask[] = "GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n",
                      name[] = "\ncairn_config_listeners ";
    static char text[1 << 20];
    struct client c = {0};
    size_t size = 0;
    ssize_t n;
    open_client(&c, on_metrics);
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, c.fd, NULL);
    fcntl(c.fd, F_SETFL, 0);
    send_all(&c, ask, sizeof ask - 1);
    while (size < sizeof text - 1 && (n = recv(c.fd, text + size, sizeof text - 1 - size, 0)) > 0)
        size += (size_t)n;
    close(c.fd);
    const char *found = memmem(text, size, name, sizeof name - 1);
    if (!found)
        die("the server has no gauge of listeners");
    return atoi(found + sizeof name - 1);
}

static void wait_until_all_wait(void)
{
    uint64_t end = measure_now_ns() + (uint64_t)WAIT_S * 1000000000;
    while (listeners() < o.pollers) {
        if (measure_now_ns() > end)
            die("only %d polls wait", listeners());
        run_until(measure_now_ns() + 2000000);
    }
}

/* Whether it uses less than a fiftieth of a core for a while. */
static void wait_until_idle(void)
{
    uint64_t end = measure_now_ns() + (uint64_t)WAIT_S * 1000000000;
    for (double before = -1, now; (now = measure_cpu_s(o.pid)) - before > 0.01; before = now) {
        if (measure_now_ns() > end)
            die("the server is not idle");
        run_until(measure_now_ns() + 500000000);
    }
}

static char *polls_text; /* the request of all, with the releases that are live */
static size_t polls_size;
static unsigned *seqs;

static void write_polls(void)
{
    enum { EACH = 48, HEAD = 256 };
    char *body = malloc((size_t)o.names * EACH + HEAD);
    size_t size = (size_t)sprintf(body, "{\"configs\":[");
    for (int i = 0; i < o.names; i++)
        size +=
            (size_t)sprintf(body + size, "%s{\"name\":\"app-%05d\",\"seq\":%u}", i ? "," : "", i, seqs[i]);
    size += (size_t)sprintf(body + size, "]}");
    free(polls_text);
    polls_text = malloc(size + HEAD);
    polls_size = (size_t)sprintf(polls_text,
                                 "POST /api/v1/polls?timeout=5m HTTP/1.1\r\nHost: x\r\nContent-Type: "
                                 "application/json\r\nContent-Length: "
                                 "%zu\r\n\r\n%s",
                                 size, body);
    free(body);
}

/* The server bounds the bytes of requests that it has not read yet: a poll every so often, by its names. */
static void send_polls(struct client *c)
{
    enum { NS_A_NAME = 4000 };
    c->sent_ns = measure_now_ns();
    send_all(c, polls_text, polls_size);
    run_until(c->sent_ns + (uint64_t)o.names * NS_A_NAME);
}

static void open_polls(void)
{
    seen = 0;
    if (o.op == POLLS)
        write_polls();
    for (int i = 0; i < o.pollers; i++) {
        open_client(&clients[i], on_polled);
        clients[i].name = (unsigned)(i % o.names);
        if (o.op == POLLS)
            send_polls(&clients[i]);
        else
            poll_from(&clients[i], writer.answer.revision);
        if (i % CONNECTING_MAX == CONNECTING_MAX - 1)
            turn(0);
    }
    if (o.op == POLLS)
        wait_until_idle();
    else
        wait_until_all_wait();
    if (seen)
        die("%llu polls were answered before anything changed", (unsigned long long)seen);
}

static int polls_of(int name)
{
    return o.pollers / o.names + (name < o.pollers % o.names);
}

static void run_polls(void)
{
    size_t count = (size_t)o.changes;
    uint64_t *first = calloc(count, 8), *middle = calloc(count, 8), *last = calloc(count, 8), worst = 0;
    double cpu = 0, cpu_again = 0, answered = 0;
    fill();
    uint64_t bytes = 0;
    size_t before = measure_resident_kib(o.pid);
    open_polls();
    size_t with = measure_resident_kib(o.pid);
    writer.answered = on_put;
    for (size_t i = 0; i < count; i++) {
        int name = (int)(i % (size_t)o.names), all = o.op == POLLS ? o.pollers : polls_of(name);
        uint64_t bytes_before = received_bytes;
        double cpu_before = measure_cpu_s(o.pid);
        seen = done_count = 0;
        put(&writer, (unsigned)name, "");
        wait_for(&seen, (uint64_t)all, "polls are answered");
        wait_for(&done_count, 1, "publishes are answered");
        double cpu_after = measure_cpu_s(o.pid);
        cpu += cpu_after - cpu_before;
        bytes += received_bytes - bytes_before;
        answered += all;
        first[i] = times[0] - writer.sent_ns;
        middle[i] = times[all / 2] - writer.sent_ns;
        last[i] = times[all - 1] - writer.sent_ns;
        worst = last[i] > worst ? last[i] : worst;
        seqs[name]++;
        if (o.op == POLLS) {
            write_polls();
            for (int k = 0; k < o.pollers; k++)
                send_polls(&clients[k]);
            wait_until_idle();
        } else {
            for (int k = name; k < o.pollers; k += o.names)
                if (!clients[k].sent_ns)
                    poll_from(&clients[k], clients[k].answer.revision);
            wait_until_all_wait();
        }
        cpu_again += measure_cpu_s(o.pid) - cpu_after;
    }
    printf("{\"op\":\"%s\",\"pollers\":%d,\"names\":%d,\"first_ms\":%.1f,\"median_ms\":%.1f,\"last_ms\":%.1f,"
           "\"worst_ms\":%.1f,\"bytes_per_subscriber\":%.0f,\"server_cpu_us_per_delivery\":%.2f,"
           "\"server_cpu_ms_per_change\":%.2f,\"server_cpu_us_to_ask_again\":%.2f,\"rss_before_kib\":%zu,"
           "\"rss_with_kib\":%zu,\"rss_after_kib\":%zu,\"bytes_per_idle_subscriber\":%.0f}\n",
           op_names[o.op], o.pollers, o.names, measure_median_ms(first, count),
           measure_median_ms(middle, count), measure_median_ms(last, count), (double)worst / 1e6,
           (double)bytes / answered, cpu * 1e6 / answered, cpu * 1e3 / (double)count,
           cpu_again * 1e6 / answered, before, with, measure_resident_kib(o.pid),
           ((double)with - (double)before) * 1024 / o.pollers);
    free(first), free(middle), free(last);
}

/* --- the whole ---------------------------------------------------------------------------------------- */

static void read_options(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", 1, 0, 'p'},
        {"pid", 1, 0, 'P'},
        {"connections", 1, 0, 'c'},
        {"names", 1, 0, 'n'},
        {"size", 1, 0, 'z'},
        {"seconds", 1, 0, 's'},
        {"pollers", 1, 0, 'w'},
        {"changes", 1, 0, 'C'},
        {"type", 1, 0, 't'},
        {"query", 1, 0, 'q'},
        {"match", 0, 0, 'm'},
        {"op", 1, 0, 'o'},
        {0},
    };
    int *numbers[128] = {['p'] = &o.port, ['P'] = &o.pid,     ['c'] = &o.connections, ['n'] = &o.names,
                         ['z'] = &o.size, ['s'] = &o.seconds, ['w'] = &o.pollers,     ['C'] = &o.changes};
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 't') {
            o.type = optarg;
        } else if (c == 'q') {
            o.query = optarg;
        } else if (c == 'm') {
            o.match = true;
        } else if (c == 'o') {
            for (o.op = 0; o.op < OPS && strcmp(op_names[o.op], optarg) != 0;)
                o.op++;
        } else if (c < 128 && numbers[c]) {
            *numbers[c] = atoi(optarg);
        } else {
            exit(2);
        }
    }
    if (o.op == OPS || o.size < 64 || o.size > CONTENT_MAX || o.names < 1 ||
        (o.op == POLL && o.pollers < o.names) || o.changes < 1 || o.connections < 1)
        die("this cannot be asked for");
    if (o.op == CAS)
        o.connections = 1;
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    bool is_poll = o.op == POLL || o.op == POLLS;
    size_t count = (size_t)(is_poll ? o.pollers : o.connections);
    if (!measure_allow_descriptors(count + 32))
        die("too few descriptors may be open");
    clients = calloc(count, sizeof *clients);
    times = calloc(count, sizeof *times);
    etags = calloc((size_t)o.names, sizeof *etags);
    seqs = calloc((size_t)o.names, sizeof *seqs);
    for (int i = 0; seqs && i < o.names; i++)
        seqs[i] = 1; /* fill publishes each once */
    if (!clients || !times || !etags || !seqs)
        die("no memory");
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (is_poll)
        run_polls();
    else
        run_load();
    free(clients);
    free(times);
    free(etags);
    free(seqs);
    free(polls_text);
    return 0;
}
