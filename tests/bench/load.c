/* SPDX-License-Identifier: Apache-2.0
 * Load generator for an etcd v3 server; it prints one row of results as JSON. The same program drives cairnd
 * and etcd.
 *
 *   load --port 2379 --pid PID --op put --connections 64 --streams 1 --seconds 5
 * --port and --pid may be lists, as 2379,2479,2579: connections are spread over the members of a cluster, and
 * their CPU is added up.
 *
 *   ops: put range srange txn lease delete mixed(20 % put) fill(every key once) keepalive watch spread
 *        publish (a new key and one that is replaced, in one txn) fan
 *   fill --batch 100: so many keys in one txn
 *   beside: --connections x --streams read 10 MiB each, again and again; one client reads single keys, one
 *   after the other: on a connection of its own, or (--shared 1) on the first of theirs. --rate 50 pauses for
 *   1/50 s between two of them: without it a server's quick moments count more than its slow ones. The
 *   latencies are of the single keys; puts_per_s counts the large reads.
 *
 * watch: W watchers of one key, puts by one more connection, paced (--rate) or with --streams puts
 * outstanding; spread: each watcher has a key of its own. keepalive: --keys leases, --streams requests
 * outstanding per connection. fan: W watchers of one key, --changes puts, each when all have the one before;
 * a row of its own, as config_load and stream_load print it. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/bench/h2client.h"
#include "tests/bench/measure.h"

#define SLOTS_MAX (1u << 17)
#define SINGLE    (SLOTS_MAX - 1) /* the tag of a call that beside measures */
#define VALUE_MAX (3u << 19)      /* of a put; in a txn 60,000 */

enum op {
    PUT,
    RANGE,
    SRANGE,
    TXN,
    LEASE,
    DELETE,
    MIXED,
    FILL,
    KEEPALIVE,
    WATCH,
    SPREAD,
    PUBLISH,
    FAN,
    BESIDE,
    OPS
};
static const char *const op_names[OPS] = {"put",    "range",   "srange", "txn",       "lease",
                                          "delete", "mixed",   "fill",   "keepalive", "watch",
                                          "spread", "publish", "fan",    "beside"};

#define MEMBERS_MAX 16

static struct {
    int ports[MEMBERS_MAX], pids[MEMBERS_MAX];
    int port_count, pid_count;
    int connections, streams, seconds, key_size, value_size, watchers, rate, changes, batch, shared;
    uint64_t keys, total;
    enum op op;
} o = {.ports = {2379},
       .port_count = 1,
       .connections = 1,
       .streams = 1,
       .seconds = 5,
       .changes = 10,
       .batch = 1,
       .key_size = 64,
       .value_size = 256,
       .keys = 100000};

static struct h2_client *clients;
static int epoll_fd;
static uint64_t sent_ns[SLOTS_MAX];
static uint64_t done_count, large_count, started_count, event_count, event_bytes;
static bool is_measuring, is_over;
static uint64_t next_single_ns; /* of beside with a rate; 0: one is under way */
static struct histogram histogram;
static uint64_t random_state = 88172645463325252ULL;
static uint64_t next_fill, expected_creates;
static int64_t *lease_ids;
static uint64_t *arrived_ns; /* of a fan's change */

static bool has_watchers(void)
{
    return o.op == WATCH || o.op == SPREAD || o.op == FAN;
}

/* One connection more, for a writer or single reads. */
static bool has_extra(void)
{
    return has_watchers() || (o.op == BESIDE && !o.shared);
}

static struct h2_client *single_client(void)
{
    return &clients[o.shared ? 0 : o.connections];
}

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* --- requests ----------------------------------------------------------------------------------------- */

static size_t make_key(uint8_t *p, uint64_t number)
{
    int n = snprintf((char *)p, 64, "/registry/services/%012llu/",
                     (unsigned long long)(number * 7919 % 1000000000000));
    for (; n < o.key_size; n++)
        p[n] = (uint8_t)('a' + n % 26);
    return (size_t)o.key_size;
}

static size_t make_put(uint8_t *p, uint64_t key)
{
    static uint8_t value[VALUE_MAX];
    uint8_t name[256];
    for (int i = 0; i < 32 && i + 8 <= o.value_size; i += 8) {
        uint64_t r = next_random();
        memcpy(value + i, &r, 8);
    }
    uint64_t stamp = measure_now_ns();
    memcpy(value, &stamp, 8);
    size_t n = pb_bytes(p, 1, name, make_key(name, key));
    return n + pb_bytes(p + n, 2, value, (size_t)o.value_size);
}

static size_t make_range(uint8_t *p, uint64_t key, bool is_serializable)
{
    uint8_t name[256];
    size_t n = pb_bytes(p, 1, name, make_key(name, key));
    if (is_serializable) {
        p[n++] = 7 << 3;
        p[n++] = 1;
    }
    return n;
}

/* All keys, as many as 10 MiB hold. */
static size_t make_large_range(uint8_t *p)
{
    static const char begin[] = "/registry/services/", end[] = "/registry/services0";
    size_t n = pb_bytes(p, 1, begin, sizeof begin - 1);
    n += pb_bytes(p + n, 2, end, sizeof end - 1);
    return n + pb_number(p + n, 3, (10u << 20) / (uint64_t)(o.key_size + o.value_size + 16));
}

/* If the key was never written: put, else: get. */
static size_t make_txn(uint8_t *p, uint64_t key)
{
    uint8_t name[256], inner[70000], op[70000];
    size_t name_size = make_key(name, key), n = 0, m = 0;
    inner[m++] = 2 << 3; /* target MOD */
    inner[m++] = 2;
    m += pb_bytes(inner + m, 3, name, name_size);
    inner[m++] = 6 << 3; /* mod_revision 0 */
    inner[m++] = 0;
    n += pb_bytes(p + n, 1, inner, m);
    m = make_put(inner, key);
    n += pb_bytes(p + n, 2, op, pb_bytes(op, 2, inner, m));
    m = make_range(inner, key, false);
    n += pb_bytes(p + n, 3, op, pb_bytes(op, 1, inner, m));
    return n;
}

/* Writes the same as a publish, as a client of etcd would do it: a transaction compares and replaces a small
 * head, and puts a document under a key of its own. */
static size_t make_publish(uint8_t *p, uint64_t key)
{
    static const uint8_t head[256] = "{}";
    static uint64_t seq;
    uint8_t name[256], inner[70000], op[70000];
    size_t name_size = make_key(name, key), n = 0, m = 0;
    inner[m++] = 2 << 3; /* target MOD, below 2^62: always so */
    inner[m++] = 2;
    inner[m++] = 1 << 3;
    inner[m++] = 2;
    m += pb_bytes(inner + m, 3, name, name_size);
    inner[m++] = 6 << 3;
    m += pb_varint(inner + m, 1ULL << 62);
    n += pb_bytes(p + n, 1, inner, m);
    m = make_put(inner, o.keys + seq++);
    n += pb_bytes(p + n, 2, op, pb_bytes(op, 2, inner, m));
    m = pb_bytes(inner, 1, name, name_size);
    m += pb_bytes(inner + m, 2, head, sizeof head);
    return n + pb_bytes(p + n, 2, op, pb_bytes(op, 2, inner, m));
}

/* The next keys to be filled, all in one. */
static size_t make_batch(uint8_t *p, uint64_t key)
{
    uint8_t inner[70000], op[70000];
    size_t n = 0;
    for (int i = 0; i < o.batch && key < o.keys; i++, key++) {
        size_t m = make_put(inner, key);
        n += pb_bytes(p + n, 2, op, pb_bytes(op, 2, inner, m));
    }
    return n;
}

/* --- unary load ------------------------------------------------------------------------------------- */

static const char *path_of(enum op op)
{
    switch (op) {
    case RANGE:
    case SRANGE:
    case BESIDE:
        return "/etcdserverpb.KV/Range";
    case TXN:
    case PUBLISH:
        return "/etcdserverpb.KV/Txn";
    case LEASE:
        return "/etcdserverpb.Lease/LeaseGrant";
    case DELETE:
        return "/etcdserverpb.KV/DeleteRange";
    case FILL:
        return o.batch > 1 ? "/etcdserverpb.KV/Txn" : "/etcdserverpb.KV/Put";
    case PUT:
    case MIXED:
    case KEEPALIVE:
    case WATCH:
    case SPREAD:
    case FAN:
    case OPS:
        break;
    }
    return "/etcdserverpb.KV/Put";
}

static void start_call(struct h2_client *c, uint32_t tag)
{
    static uint8_t message[8 << 20];
    static const uint8_t grant[] = {1 << 3, 0xe8, 0x07}; /* TTL 1000 */
    enum op op = o.op;
    uint64_t key = next_random() % o.keys;
    size_t size = 0;
    if (op == FILL) {
        if (next_fill >= o.keys)
            return;
        key = next_fill;
        next_fill += (uint64_t)o.batch;
    }
    if (o.total && started_count >= o.total)
        return;
    if (op == MIXED)
        op = next_random() % 5 ? RANGE : PUT;
    if (op == FILL && o.batch > 1)
        size = make_batch(message, key);
    else if (op == PUT || op == FILL || op == WATCH || op == SPREAD || op == FAN)
        size = make_put(message, op == WATCH || op == FAN ? 0
                                 : op == SPREAD           ? next_random() % (uint64_t)o.watchers
                                                          : key);
    else if (op == BESIDE && tag != SINGLE)
        size = make_large_range(message);
    else if (op == RANGE || op == SRANGE || op == DELETE || op == BESIDE)
        size = make_range(message, key, op == SRANGE);
    else if (op == TXN)
        size = make_txn(message, key);
    else if (op == PUBLISH)
        size = make_publish(message, key);
    else
        memcpy(message, grant, size = sizeof grant);
    started_count++;
    sent_ns[tag] = measure_now_ns();
    h2_call(c, path_of(op), tag, message, size, true);
}

static void on_unary_message(struct h2_client *c, uint32_t tag, const uint8_t *data, size_t size)
{
    (void)c, (void)tag, (void)data, (void)size;
}

static void on_unary_end(struct h2_client *c, uint32_t tag)
{
    bool is_single = o.op != BESIDE || tag == SINGLE;
    done_count += o.op == FILL ? (uint64_t)o.batch : is_single;
    large_count += !is_single;
    if (is_measuring && is_single && !has_watchers())
        histogram_add(&histogram, measure_now_ns() - sent_ns[tag]);
    if (o.op == BESIDE && o.rate && is_single)
        next_single_ns = measure_now_ns() + 1000000000ULL / (uint64_t)o.rate;
    else if (!is_over && (!o.rate || o.op == BESIDE) && o.op != FAN)
        start_call(c, tag);
}

/* --- keep-alives ------------------------------------------------------------------------------------ */

static void send_keepalive(struct h2_client *c, uint32_t tag, bool is_first)
{
    static uint32_t stream_ids[SLOTS_MAX];
    uint8_t message[16] = {1 << 3};
    size_t size = 1 + pb_varint(message + 1, (uint64_t)lease_ids[next_random() % o.keys]);
    sent_ns[tag] = measure_now_ns();
    if (is_first)
        stream_ids[tag] = h2_call(c, "/etcdserverpb.Lease/LeaseKeepAlive", tag, message, size, false);
    else
        h2_send(c, stream_ids[tag], message, size);
}

static void on_keepalive(struct h2_client *c, uint32_t tag, const uint8_t *data, size_t size)
{
    (void)data, (void)size;
    done_count++;
    if (is_measuring)
        histogram_add(&histogram, measure_now_ns() - sent_ns[tag]);
    if (!is_over)
        send_keepalive(c, tag, false);
}

static void on_grant(struct h2_client *c, uint32_t tag, const uint8_t *data, size_t size)
{
    (void)c, (void)tag;
    struct pb_field f;
    for (size_t at = 0; pb_next(data, size, &at, &f);)
        if (f.number == 2)
            lease_ids[done_count] = (int64_t)f.size;
}

/* --- watches ---------------------------------------------------------------------------------------- */

/* WatchResponse.events = 11, Event.kv = 2, KeyValue.value = 5, which begins with the time it was sent. */
static void on_watch_message(struct h2_client *c, uint32_t tag, const uint8_t *data, size_t size)
{
    (void)c, (void)tag;
    struct pb_field event, kv, value;
    uint64_t now = measure_now_ns();
    bool has_event = false;
    for (size_t at = 0; pb_next(data, size, &at, &event);) {
        if (event.number != 11)
            continue;
        has_event = true;
        if (o.op == FAN && event_count < (uint64_t)o.watchers)
            arrived_ns[event_count] = now;
        event_bytes += size + 14; /* the heads of a frame and of a message */
        event_count++;
        for (size_t i = 0; is_measuring && pb_next(event.data, event.size, &i, &kv);)
            for (size_t k = 0; kv.number == 2 && pb_next(kv.data, kv.size, &k, &value);)
                if (value.number == 5 && value.size >= 8) {
                    uint64_t stamp;
                    memcpy(&stamp, value.data, 8);
                    histogram_add(&histogram, now - stamp);
                }
    }
    if (!has_event && expected_creates)
        expected_creates--;
}

static void on_watch_end(struct h2_client *c, uint32_t tag)
{
    (void)c;
    h2_die("watch %u ended", tag);
}

/* --- the loop --------------------------------------------------------------------------------------- */

static void serve(int timeout_ms)
{
    struct epoll_event events[256];
    int n = epoll_wait(epoll_fd, events, 256, timeout_ms);
    for (int i = 0; i < n; i++) {
        struct h2_client *c = events[i].data.ptr;
        h2_read(c);
        h2_flush(c);
        if (h2_wants_write(c)) {
            struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
            epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
        } else if (events[i].events & EPOLLOUT) {
            struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
            epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
        }
    }
}

static void open_client(struct h2_client *c)
{
    h2_open(c, "127.0.0.1", o.ports[(c - clients) % o.port_count]);
    c->on_message = on_unary_message;
    c->on_end = on_unary_end;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
}

static double server_cpu_s(void)
{
    double all = 0;
    for (int i = 0; i < o.pid_count; i++)
        all += measure_cpu_s(o.pids[i]);
    return all;
}

static void prepare_leases(void)
{
    enum op op = o.op;
    lease_ids = calloc(o.keys + SLOTS_MAX, sizeof *lease_ids);
    o.op = LEASE;
    o.total = o.keys;
    clients[0].on_message = on_grant;
    for (uint32_t i = 0; i < 16; i++)
        start_call(&clients[0], i);
    h2_flush(&clients[0]);
    while (done_count < o.keys)
        serve(1000);
    o.op = op;
    o.total = 0;
    done_count = started_count = 0;
}

static void prepare_watches(int from)
{
    expected_creates = (uint64_t)o.watchers;
    for (int i = 0; i < o.watchers; i++) {
        uint8_t create[300], request[400], name[256];
        struct h2_client *c = &clients[from + i % (o.connections)];
        size_t n = pb_bytes(create, 1, name, make_key(name, o.op == SPREAD ? (uint64_t)i : 0));
        n = pb_bytes(request, 1, create, n);
        c->on_message = on_watch_message;
        c->on_end = on_watch_end;
        h2_call(c, "/etcdserverpb.Watch/Watch", (uint32_t)i, request, n, false);
        h2_flush(c);
        if (i % 64 == 63)
            serve(0);
    }
    while (expected_creates)
        serve(1000);
}

static void start_load(int writer)
{
    if (o.op == KEEPALIVE) {
        for (int i = 0; i < o.connections; i++)
            clients[i].on_message = on_keepalive;
        for (uint32_t i = 0; i < (uint32_t)(o.connections * o.streams); i++)
            send_keepalive(&clients[i % (uint32_t)o.connections], i, true);
    } else if (writer >= 0) {
        for (uint32_t i = 0; !o.rate && i < (uint32_t)o.streams; i++)
            start_call(&clients[writer], i);
    } else {
        for (uint32_t i = 0; i < (uint32_t)(o.connections * o.streams); i++)
            start_call(&clients[i % (uint32_t)o.connections], i);
        if (o.op == BESIDE)
            start_call(single_client(), SINGLE);
    }
    for (int i = 0; i < o.connections + has_extra(); i++)
        h2_flush(&clients[i]);
}

static uint64_t progress(void)
{
    return has_watchers() ? event_count : done_count;
}

/* Runs until the time is over or everything was done; paced puts go out when their time comes. */
static void run(uint64_t until_ns, int writer)
{
    uint64_t next_put = measure_now_ns();
    static uint32_t tag;
    while (measure_now_ns() < until_ns && !(o.op == FILL && done_count >= o.keys)) {
        while (o.rate && writer >= 0 && measure_now_ns() >= next_put) {
            start_call(&clients[writer], tag++ % 1024);
            h2_flush(&clients[writer]);
            next_put += 1000000000ULL / (uint64_t)o.rate;
        }
        if (next_single_ns && measure_now_ns() >= next_single_ns) {
            next_single_ns = 0;
            start_call(single_client(), SINGLE);
            h2_flush(single_client());
        }
        serve(o.rate ? 1 : 100);
    }
}

static void run_fan(struct h2_client *writer, size_t before_kib)
{
    size_t count = (size_t)o.changes, all = (size_t)o.watchers;
    uint64_t *first = calloc(count, 8), *middle = calloc(count, 8), *last = calloc(count, 8);
    size_t with_kib = measure_resident_kib(o.pids[0]);
    uint64_t bytes = 0, worst = 0;
    double cpu = 0;
    arrived_ns = calloc(all, 8);
    for (size_t i = 0; i < count; i++) {
        double cpu_before = server_cpu_s();
        uint64_t start = measure_now_ns();
        event_count = done_count = event_bytes = 0;
        start_call(writer, 0);
        h2_flush(writer);
        while (event_count < all || !done_count)
            serve(1000);
        cpu += server_cpu_s() - cpu_before;
        bytes += event_bytes;
        first[i] = arrived_ns[0] - start;
        middle[i] = arrived_ns[all / 2] - start;
        last[i] = arrived_ns[all - 1] - start;
        worst = last[i] > worst ? last[i] : worst;
        for (uint64_t end = measure_now_ns() + 20000000; measure_now_ns() < end;)
            serve(1);
    }
    printf("{\"op\":\"fan\",\"watchers\":%zu,\"first_ms\":%.1f,\"median_ms\":%.1f,\"last_ms\":%.1f,"
           "\"worst_ms\":%.1f,\"bytes_per_subscriber\":%.0f,\"server_cpu_us_per_delivery\":%.2f,\"rss_before_"
           "kib\":%zu,"
           "\"rss_with_kib\":%zu,\"bytes_per_idle_subscriber\":%.0f}\n",
           all, measure_median_ms(first, count), measure_median_ms(middle, count),
           measure_median_ms(last, count), (double)worst / 1e6, (double)bytes / (double)count / (double)all,
           cpu * 1e6 / (double)count / (double)all, before_kib, with_kib,
           ((double)with_kib - (double)before_kib) * 1024 / (double)all);
    free(first), free(middle), free(last);
    free(arrived_ns);
}

static int parse_list(const char *text, int list[MEMBERS_MAX])
{
    int count = 0;
    while (count < MEMBERS_MAX && *text) {
        char *end;
        list[count++] = (int)strtol(text, &end, 10);
        text = *end ? end + 1 : end;
    }
    return count;
}

static void parse(int argc, char **argv)
{
    static const struct option names[] = {
        {"port", 1, 0, 'p'},       {"pid", 1, 0, 'P'},     {"connections", 1, 0, 'c'},
        {"streams", 1, 0, 'm'},    {"seconds", 1, 0, 's'}, {"key-size", 1, 0, 'k'},
        {"value-size", 1, 0, 'v'}, {"keys", 1, 0, 'n'},    {"watchers", 1, 0, 'w'},
        {"rate", 1, 0, 'r'},       {"op", 1, 0, 'o'},      {"changes", 1, 0, 'C'},
        {"batch", 1, 0, 'b'},      {"shared", 1, 0, 'S'},  {0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        int *numbers[128] = {
            ['c'] = &o.connections, ['m'] = &o.streams,    ['s'] = &o.seconds, ['k'] = &o.key_size,
            ['b'] = &o.batch,       ['v'] = &o.value_size, ['C'] = &o.changes, ['w'] = &o.watchers,
            ['r'] = &o.rate,        ['S'] = &o.shared};
        if (c == 'p') {
            o.port_count = parse_list(optarg, o.ports);
        } else if (c == 'P') {
            o.pid_count = parse_list(optarg, o.pids);
        } else if (c == 'n') {
            o.keys = strtoull(optarg, NULL, 10);
        } else if (c == 'o') {
            for (o.op = 0; o.op < OPS && strcmp(op_names[o.op], optarg) != 0;)
                o.op++;
            if (o.op == OPS)
                h2_die("unknown op %s", optarg);
        } else if (c < 128 && numbers[c]) {
            *numbers[c] = atoi(optarg);
        } else {
            exit(2);
        }
    }
    if (!o.port_count || o.connections * o.streams >= (int)SLOTS_MAX || o.key_size > 200 ||
        o.value_size > (o.op == PUT || (o.op == FILL && o.batch == 1) ? (int)VALUE_MAX : 60000) ||
        o.batch < 1 || (size_t)o.batch * (size_t)(o.value_size + o.key_size + 40) > 8 << 20)
        h2_die("too much asked for");
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    if (!measure_allow_descriptors((size_t)o.connections + 32))
        h2_die("too few descriptors may be open");
    bool has_writer = has_watchers();
    int writer = has_writer ? o.connections : -1;
    epoll_fd = epoll_create1(0);
    clients = calloc((size_t)o.connections + 1, sizeof *clients);
    for (int i = 0; i < o.connections + has_extra(); i++)
        open_client(&clients[i]);
    if (o.op == KEEPALIVE)
        prepare_leases();
    size_t before_kib = measure_resident_kib(o.pids[0]);
    if (has_writer)
        prepare_watches(0);
    if (o.op == FAN) {
        run_fan(&clients[writer], before_kib);
        return 0;
    }
    start_load(writer);
    if (o.op != FILL)
        run(measure_now_ns() + 500000000ULL, writer); /* warm up */
    uint64_t before = o.op == FILL ? 0 : progress(), large_before = large_count, puts_before = done_count,
             start = measure_now_ns();
    double cpu = server_cpu_s();
    struct rusage own_before, own;
    getrusage(RUSAGE_SELF, &own_before);
    is_measuring = true;
    run(o.op == FILL ? UINT64_MAX : start + (uint64_t)o.seconds * 1000000000ULL, writer);
    double seconds = (double)(measure_now_ns() - start) / 1e9;
    cpu = server_cpu_s() - cpu;
    getrusage(RUSAGE_SELF, &own);
    double count = (double)(progress() - before);
    double own_cpu = (double)(own.ru_utime.tv_sec - own_before.ru_utime.tv_sec + own.ru_stime.tv_sec -
                              own_before.ru_stime.tv_sec) +
                     (double)(own.ru_utime.tv_usec - own_before.ru_utime.tv_usec + own.ru_stime.tv_usec -
                              own_before.ru_stime.tv_usec) /
                         1e6;
    printf("{\"op\":\"%s\",\"connections\":%d,\"streams\":%d,\"ops_per_s\":%.0f,\"puts_per_s\":%.0f,\"p50_"
           "us\":%.0f,\"p95_us\":%.0f,"
           "\"p99_us\":%.0f,\"p999_us\":%.0f,\"max_us\":%.0f,\"server_cpu_us\":%.2f,\"client_cpu\":%.2f,"
           "\"seconds\":%.2f}\n",
           op_names[o.op], o.connections, o.streams, count / seconds,
           (double)(o.op == BESIDE ? large_count - large_before : done_count - puts_before) / seconds,
           histogram_percentile_us(&histogram, 0.5), histogram_percentile_us(&histogram, 0.95),
           histogram_percentile_us(&histogram, 0.99), histogram_percentile_us(&histogram, 0.999),
           (double)histogram.slowest_ns / 1000, count > 0 ? cpu * 1e6 / count : 0, own_cpu / seconds,
           seconds);
    return 0;
}
