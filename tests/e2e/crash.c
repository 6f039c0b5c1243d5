/* SPDX-License-Identifier: Apache-2.0
 * Test of kill -9 under load, repeated: every acknowledged write is there, an unacknowledged one is there
 * whole or not at all, the revision never goes back, leases stay, and a watch resumes after each crash
 * without a gap or a duplicate.
 *
 *   crash CAIRND DIR PORT CYCLES [SEED]
 *
 * Each slot owns some keys and has one request under way, so after a crash a key holds its last acknowledged
 * state or that of the one request that was pending. The watcher sees the whole prefix; as every revision
 * belongs to it, revisions must be consecutive over all lives of the server. The log of changes is compacted
 * at what the watcher has seen, and what it has seen must still be readable after the crash. Leases of two
 * seconds take their keys along, all or none, never early; each eighth life is long enough for all of them.
 * Prints one line a cycle; exit code 0 only if all held. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/h2client.h"

#define CONNECTIONS   8
#define SLOTS         64
#define KEYS_PER_SLOT 4
#define SLOT_KEYS     (SLOTS * KEYS_PER_SLOT)
#define LEASES        16
#define LEASE_TTL     3600
#define SHORT_LEASES  8 /* their keys come behind the slots' */
#define SHORT_KEYS    3
#define SHORT_TTL     2
#define KEYS          (SLOT_KEYS + SHORT_LEASES * SHORT_KEYS)
#define LONG_LIFE_MS  5000  /* a restart gives each lease its TTL and an election timeout again */
#define LIMIT_MS      60000 /* limit of every condition, for a loaded machine */

struct key_state {
    uint64_t number; /* what was written, 0 = no key */
};

struct slot {
    struct key_state acked[KEYS_PER_SLOT], pending[KEYS_PER_SLOT];
    bool is_pending;
};

static struct slot slots[SLOTS];
static struct key_state seen[KEYS];       /* by the watcher */
static struct key_state stored[KEYS];     /* by the range after a restart */
static uint64_t granted_ms[SHORT_LEASES]; /* 0 = never */
static struct h2_client loaders[CONNECTIONS], watcher, asker, compactor;
static int64_t leases[LEASES];
static uint64_t next_number = 1, acked_writes, pending_applied, watched_events, max_acked_revision,
                watched_revision = 1;
static uint64_t asked_revision;
static uint64_t compacted_revision, compactions, short_expiries;
static bool is_down, has_answer, is_loading, is_compacting;
static const uint8_t *answer_data;
static size_t answer_size;
static int epoll_fd;
static pid_t server;
static uint64_t random_state;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

#define CHECK(condition, ...)                                                                                \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "crash: FAILED: " __VA_ARGS__);                                                  \
            fputc('\n', stderr);                                                                             \
            if (server > 0)                                                                                  \
                kill(server, SIGKILL);                                                                       \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

/* The bytes behind a field are the next field's: strtoull would read on. */
static uint64_t digits(const uint8_t *data, uint64_t size)
{
    uint64_t v = 0;
    for (uint64_t i = 0; i < size && data[i] >= '0' && data[i] <= '9'; i++)
        v = v * 10 + (uint64_t)(data[i] - '0');
    return v;
}

static size_t key_number(const struct pb_field *f)
{
    return f->size == strlen("crash/0000") ? digits(f->data + strlen("crash/"), 4) : KEYS;
}

static uint64_t header_revision(const uint8_t *data, size_t size)
{
    struct pb_field header, f;
    for (size_t at = 0; pb_next(data, size, &at, &header);)
        for (size_t i = 0; header.number == 1 && pb_next(header.data, header.size, &i, &f);)
            if (f.number == 3)
                return f.size;
    return 0;
}

/* --- load ------------------------------------------------------------------------------------------- */

static size_t key_name(uint8_t *p, size_t key)
{
    return (size_t)sprintf((char *)p, "crash/%04zu", key);
}

static size_t put_leased(uint8_t *p, size_t key, uint64_t number, int64_t lease)
{
    uint8_t name[32], value[64];
    size_t n = pb_bytes(p, 1, name, key_name(name, key));
    n += pb_bytes(p + n, 2, value, (size_t)sprintf((char *)value, "%llu", (unsigned long long)number));
    if (lease)
        n += pb_number(p + n, 3, (uint64_t)lease);
    return n;
}

static size_t put_message(uint8_t *p, size_t key, uint64_t number)
{
    return put_leased(p, key, number, key % 5 == 0 ? leases[key % LEASES] : 0);
}

/* Of a Range or a DeleteRange. */
static size_t range_message(uint8_t *p, size_t first, size_t count)
{
    uint8_t name[32];
    size_t n = pb_bytes(p, 1, name, key_name(name, first));
    return n + pb_bytes(p + n, 2, name, key_name(name, first + count));
}

/* Puts the first two, deletes the others by a range, and reads all before and after: one revision. */
static size_t txn_with_ranges(uint8_t *p, struct slot *s, size_t first)
{
    uint8_t op[256], inner[256];
    size_t n = 0;
    n += pb_bytes(p + n, 2, op, pb_bytes(op, 1, inner, range_message(inner, first, KEYS_PER_SLOT)));
    for (size_t k = 0; k < 2; k++) {
        s->pending[k].number = next_number++;
        size_t m = put_message(inner, first + k, s->pending[k].number);
        n += pb_bytes(p + n, 2, op, pb_bytes(op, 2, inner, m));
        s->pending[2 + k].number = 0;
    }
    n += pb_bytes(p + n, 2, op, pb_bytes(op, 3, inner, range_message(inner, first + 2, KEYS_PER_SLOT - 2)));
    return n + pb_bytes(p + n, 2, op, pb_bytes(op, 1, inner, range_message(inner, first, KEYS_PER_SLOT)));
}

static void start_write(struct h2_client *c, uint32_t tag)
{
    uint8_t message[1024], op[256], inner[256], name[32];
    struct slot *s = &slots[tag];
    size_t first = tag * KEYS_PER_SLOT, k = next_random() % KEYS_PER_SLOT, n;
    uint64_t dice = next_random() % 20;
    memcpy(s->pending, s->acked, sizeof s->pending);
    s->is_pending = true;
    if (dice < 2 && s->acked[k].number) { /* a delete of nothing would make no revision */
        n = pb_bytes(message, 1, name, key_name(name, first + k));
        s->pending[k].number = 0;
        h2_call(c, "/etcdserverpb.KV/DeleteRange", tag, message, n, true);
    } else if (dice == 2) {
        memset(s->pending, 0, sizeof s->pending);
        n = range_message(message, first, KEYS_PER_SLOT);
        h2_call(c, "/etcdserverpb.KV/DeleteRange", tag, message, n, true);
    } else if (dice == 3) {
        n = txn_with_ranges(message, s, first);
        h2_call(c, "/etcdserverpb.KV/Txn", tag, message, n, true);
    } else if (dice < 7) {
        size_t other = (k + 1) % KEYS_PER_SLOT;
        s->pending[k].number = next_number++;
        s->pending[other].number = next_number++;
        n = pb_bytes(op, 2, inner, put_message(inner, first + k, s->pending[k].number));
        size_t size = pb_bytes(message, 2, op, n);
        n = pb_bytes(op, 2, inner, put_message(inner, first + other, s->pending[other].number));
        size += pb_bytes(message + size, 2, op, n);
        h2_call(c, "/etcdserverpb.KV/Txn", tag, message, size, true);
    } else {
        s->pending[k].number = next_number++;
        n = put_message(message, first + k, s->pending[k].number);
        h2_call(c, "/etcdserverpb.KV/Put", tag, message, n, true);
    }
}

static void on_write_message(struct h2_client *c, uint32_t tag, const uint8_t *data, size_t size)
{
    (void)c, (void)tag;
    uint64_t revision = header_revision(data, size);
    if (revision > max_acked_revision)
        max_acked_revision = revision;
}

static void on_write_end(struct h2_client *c, uint32_t tag)
{
    struct slot *s = &slots[tag];
    memcpy(s->acked, s->pending, sizeof s->acked);
    s->is_pending = false;
    acked_writes++;
    if (is_loading)
        start_write(c, tag);
}

static void on_close(struct h2_client *c)
{
    (void)c;
    is_down = true;
}

/* --- the watcher ------------------------------------------------------------------------------------ */

static void on_event(const uint8_t *data, size_t size)
{
    struct pb_field f, kv = {0};
    bool is_delete = false;
    uint64_t revision = 0, number = 0;
    size_t key = KEYS;
    for (size_t at = 0; pb_next(data, size, &at, &f);) {
        if (f.number == 1)
            is_delete = f.size == 1;
        else if (f.number == 2)
            kv = f;
    }
    for (size_t at = 0; pb_next(kv.data, kv.size, &at, &f);) {
        if (f.number == 1)
            key = key_number(&f);
        else if (f.number == 3)
            revision = f.size;
        else if (f.number == 5)
            number = digits(f.data, f.size);
    }
    CHECK(key < KEYS, "an event for a key that was never written");
    CHECK(revision == watched_revision || revision == watched_revision + 1,
          "the watch jumped from revision %llu to %llu", (unsigned long long)watched_revision,
          (unsigned long long)revision);
    CHECK(revision > watched_revision || number != seen[key].number || is_delete, "an event came twice");
    CHECK(!is_delete || seen[key].number, "a key was deleted that was not there");
    if (key >= SLOT_KEYS && is_delete) {
        uint64_t age_ms = now_ms() - granted_ms[(key - SLOT_KEYS) / SHORT_KEYS];
        CHECK(age_ms >= SHORT_TTL * 1000, "a lease of %d s ended after %llu ms", SHORT_TTL,
              (unsigned long long)age_ms);
        short_expiries++;
    }
    watched_revision = revision;
    seen[key].number = is_delete ? 0 : number;
    watched_events++;
}

static void on_watch_message(struct h2_client *c, uint32_t tag, const uint8_t *data, size_t size)
{
    (void)c, (void)tag;
    struct pb_field f;
    for (size_t at = 0; pb_next(data, size, &at, &f);) {
        CHECK(f.number != 4, "the watch was canceled");
        if (f.number == 11)
            on_event(f.data, f.size);
    }
}

static void start_watch(void)
{
    uint8_t create[64], request[80];
    size_t n = pb_bytes(create, 1, "crash/", 6);
    n += pb_bytes(create + n, 2, "crash0", 6);
    n += pb_number(create + n, 3, watched_revision + 1);
    n = pb_bytes(request, 1, create, n);
    h2_call(&watcher, "/etcdserverpb.Watch/Watch", 0, request, n, false);
    h2_flush(&watcher);
}

/* --- the server and questions to it ----------------------------------------------------------------- */

static void serve(int timeout_ms)
{
    struct epoll_event events[64];
    int n = epoll_wait(epoll_fd, events, 64, timeout_ms);
    for (int i = 0; i < n; i++) {
        struct h2_client *c = events[i].data.ptr;
        if (c->is_closed)
            continue;
        h2_read(c);
        if (!c->is_closed)
            h2_flush(c);
    }
}

static void on_answer(struct h2_client *c, uint32_t tag, const uint8_t *data, size_t size)
{
    (void)c, (void)tag;
    static uint8_t *copy;
    copy = realloc(copy, size + 1);
    memcpy(copy, data, size);
    answer_data = copy;
    answer_size = size;
}

static void on_answer_end(struct h2_client *c, uint32_t tag)
{
    (void)c, (void)tag;
    has_answer = true;
}

static void ask(const char *path, const uint8_t *message, size_t size)
{
    has_answer = false;
    h2_call(&asker, path, 0, message, size, true);
    h2_flush(&asker);
    uint64_t start = now_ms();
    while (!has_answer) {
        serve(100);
        CHECK(!is_down, "the server went away while it was asked");
        CHECK(now_ms() - start < LIMIT_MS, "no answer to %s in time", path);
    }
}

static bool open_client(struct h2_client *c, int port)
{
    if (!h2_open(c, "127.0.0.1", port)) {
        h2_close(c);
        return false;
    }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
    return true;
}

static void start_server(const char *binary, const char *dir, int port)
{
    char url[64], peer[64], cluster[80], data[512], log_path[600];
    snprintf(url, sizeof url, "http://127.0.0.1:%d", port);
    snprintf(peer, sizeof peer, "http://127.0.0.1:%d", port + 1);
    snprintf(cluster, sizeof cluster, "default=%s", peer);
    snprintf(data, sizeof data, "%s/data", dir);
    snprintf(log_path, sizeof log_path, "%s/log", dir);
    server = fork();
    if (server == 0) {
        int fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        execl(binary, binary, "--data-dir", data, "--listen-client-urls", url, "--advertise-client-urls", url,
              "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster,
              (char *)NULL);
        _exit(127);
    }
    is_down = false;
    uint64_t start = now_ms();
    while (!open_client(&asker, port)) {
        CHECK(waitpid(server, NULL, WNOHANG) == 0, "the server ended at start; see %s", log_path);
        CHECK(now_ms() - start < LIMIT_MS, "the server does not listen in time; see %s", log_path);
        usleep(10000);
    }
    is_down = false;
    open_client(&watcher, port);
    open_client(&compactor, port);
    for (int i = 0; i < CONNECTIONS; i++)
        open_client(&loaders[i], port);
}

static void stop_server(int how)
{
    kill(server, how);
    waitpid(server, NULL, 0);
    h2_close(&asker);
    h2_close(&watcher);
    h2_close(&compactor);
    is_compacting = false;
    for (int i = 0; i < CONNECTIONS; i++)
        h2_close(&loaders[i]);
}

/* --- checks after a restart ------------------------------------------------------------------------- */

/* As of a revision; 0 = now. */
static void read_all(uint64_t revision)
{
    uint8_t message[64];
    struct pb_field kv, f;
    size_t n = pb_bytes(message, 1, "crash/", 6);
    n += pb_bytes(message + n, 2, "crash0", 6);
    if (revision)
        n += pb_number(message + n, 4, revision);
    ask("/etcdserverpb.KV/Range", message, n);
    memset(stored, 0, sizeof stored);
    asked_revision = header_revision(answer_data, answer_size);
    for (size_t at = 0; pb_next(answer_data, answer_size, &at, &kv);) {
        size_t key = KEYS;
        uint64_t number = 0;
        if (kv.number != 2)
            continue;
        for (size_t i = 0; pb_next(kv.data, kv.size, &i, &f);) {
            if (f.number == 1)
                key = key_number(&f);
            if (f.number == 5)
                number = digits(f.data, f.size);
        }
        CHECK(key < KEYS, "a key that was never written");
        stored[key].number = number;
    }
    CHECK(asked_revision >= max_acked_revision, "revision %llu after %llu was acknowledged",
          (unsigned long long)asked_revision, (unsigned long long)max_acked_revision);
}

static void check_slots(void)
{
    for (size_t i = 0; i < SLOTS; i++) {
        struct slot *s = &slots[i];
        const struct key_state *found = &stored[i * KEYS_PER_SLOT];
        bool is_acked = memcmp(found, s->acked, sizeof s->acked) == 0;
        bool is_pending = s->is_pending && memcmp(found, s->pending, sizeof s->pending) == 0;
        CHECK(is_acked || is_pending,
              "slot %zu holds %llu %llu %llu %llu, acknowledged was %llu %llu %llu %llu", i,
              (unsigned long long)found[0].number, (unsigned long long)found[1].number,
              (unsigned long long)found[2].number, (unsigned long long)found[3].number,
              (unsigned long long)s->acked[0].number, (unsigned long long)s->acked[1].number,
              (unsigned long long)s->acked[2].number, (unsigned long long)s->acked[3].number);
        pending_applied += is_pending && !is_acked;
        memcpy(s->acked, found, sizeof s->acked);
        s->is_pending = false;
    }
}

static void check_watch(void)
{
    uint64_t start = now_ms();
    while (watched_revision < asked_revision) {
        serve(100);
        CHECK(now_ms() - start < LIMIT_MS, "the watch stands at revision %llu of %llu",
              (unsigned long long)watched_revision, (unsigned long long)asked_revision);
    }
    CHECK(memcmp(seen, stored, sizeof seen) == 0, "the watch and the range do not agree");
}

static void check_leases(void)
{
    uint8_t message[32];
    struct pb_field f;
    for (size_t i = 0; i < LEASES; i++) {
        if (!leases[i]) {
            ask("/etcdserverpb.Lease/LeaseGrant", message, pb_number(message, 1, LEASE_TTL));
            for (size_t at = 0; pb_next(answer_data, answer_size, &at, &f);)
                if (f.number == 2)
                    leases[i] = (int64_t)f.size;
            continue;
        }
        ask("/etcdserverpb.Lease/LeaseTimeToLive", message, pb_number(message, 1, (uint64_t)leases[i]));
        int64_t ttl = -1, granted = 0;
        for (size_t at = 0; pb_next(answer_data, answer_size, &at, &f);) {
            ttl = f.number == 3 ? (int64_t)f.size : ttl;
            granted = f.number == 4 ? (int64_t)f.size : granted;
        }
        CHECK(granted == LEASE_TTL && ttl > LEASE_TTL / 2, "lease %zu has %lld of %lld s left", i,
              (long long)ttl, (long long)granted);
    }
}

/* The past that no compaction has reached is as the watcher saw it. */
static void check_past(void)
{
    read_all(watched_revision);
    CHECK(memcmp(seen, stored, sizeof seen) == 0, "revision %llu reads differently than it was watched",
          (unsigned long long)watched_revision);
}

/* A lease took its keys all or none; those that have none get new ones. */
static void renew_short_leases(void)
{
    uint8_t message[128];
    struct pb_field f;
    for (size_t i = 0; i < SHORT_LEASES; i++) {
        const struct key_state *keys = &stored[SLOT_KEYS + i * SHORT_KEYS];
        size_t count = 0;
        for (size_t k = 0; k < SHORT_KEYS; k++)
            count += keys[k].number != 0;
        CHECK(count == 0 || count == SHORT_KEYS, "lease %zu left %zu of %d keys", i, count, SHORT_KEYS);
        CHECK(count || !granted_ms[i] || now_ms() - granted_ms[i] >= SHORT_TTL * 1000,
              "lease %zu ended early", i);
        if (count)
            continue;
        int64_t id = 0;
        granted_ms[i] = now_ms();
        ask("/etcdserverpb.Lease/LeaseGrant", message, pb_number(message, 1, SHORT_TTL));
        for (size_t at = 0; pb_next(answer_data, answer_size, &at, &f);)
            if (f.number == 2)
                id = (int64_t)f.size;
        for (size_t k = 0; k < SHORT_KEYS; k++)
            ask("/etcdserverpb.KV/Put", message,
                put_leased(message, SLOT_KEYS + i * SHORT_KEYS + k, next_number++, id));
        max_acked_revision = header_revision(answer_data, answer_size);
    }
}

/* At what has been watched, so that the watch can go on after a crash. */
static void compact_now_and_then(void)
{
    uint8_t message[32];
    if (is_compacting || is_down || watched_revision <= compacted_revision || next_random() % 8)
        return;
    compacted_revision = watched_revision;
    size_t n = pb_number(message, 1, compacted_revision);
    if (next_random() % 2)
        n += pb_number(message + n, 2, 1); /* physical: answered when it is done */
    is_compacting = true;
    compactions++;
    h2_call(&compactor, "/etcdserverpb.KV/Compact", 0, message, n, true);
    h2_flush(&compactor);
}

static void on_compacted(struct h2_client *c, uint32_t tag)
{
    (void)c, (void)tag;
    is_compacting = false;
}

static bool has_short_keys(void)
{
    for (size_t i = SLOT_KEYS; i < KEYS; i++)
        if (seen[i].number)
            return true;
    return false;
}

static void cycle(const char *binary, const char *dir, int port, int number)
{
    uint64_t begin = now_ms(), writes = acked_writes;
    start_server(binary, dir, port);
    check_past();
    start_watch();
    read_all(0);
    check_slots();
    check_watch();
    check_leases();
    renew_short_leases();
    uint64_t ready = now_ms() - begin;
    is_loading = true;
    for (uint32_t i = 0; i < SLOTS; i++)
        start_write(&loaders[i % CONNECTIONS], i);
    for (int i = 0; i < CONNECTIONS; i++)
        h2_flush(&loaders[i]);
    bool is_long = number % 8 == 0;
    uint64_t until = now_ms() + (is_long ? LONG_LIFE_MS : 20 + next_random() % 400);
    while (now_ms() < until || (is_long && has_short_keys() && !is_down)) {
        serve(5);
        compact_now_and_then();
        CHECK(now_ms() < until + LIMIT_MS, "keys outlive their leases");
    }
    is_loading = false;
    CHECK(!is_down, "the server went away by itself");
    stop_server(next_random() % 8 ? SIGKILL : SIGTERM);
    printf("cycle %3d: up and checked in %llu ms, %llu writes acknowledged, revision %llu\n", number,
           (unsigned long long)ready, (unsigned long long)(acked_writes - writes),
           (unsigned long long)max_acked_revision);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: crash CAIRND DIR PORT CYCLES [SEED]\n");
        return 2;
    }
    int port = atoi(argv[3]), cycles = atoi(argv[4]);
    random_state = argc > 5 ? strtoull(argv[5], NULL, 10) : now_ms() * 2654435761u + 1;
    printf("crash: seed %llu\n", (unsigned long long)random_state);
    epoll_fd = epoll_create1(0);
    for (int i = 0; i < CONNECTIONS; i++) {
        loaders[i].on_message = on_write_message;
        loaders[i].on_end = on_write_end;
        loaders[i].on_close = on_close;
    }
    watcher.on_message = on_watch_message;
    watcher.on_end = on_answer_end;
    watcher.on_close = on_close;
    asker.on_message = on_answer;
    asker.on_end = on_answer_end;
    asker.on_close = on_close;
    compactor.on_message = on_answer;
    compactor.on_end = on_compacted;
    compactor.on_close = on_close;
    /* More of them where the machine is so busy that hardly anything was written. */
    for (int i = 0; i < cycles || (i < 4 * cycles && acked_writes <= (uint64_t)cycles * 100); i++)
        cycle(argv[1], argv[2], port, i + 1);
    CHECK(acked_writes > (uint64_t)cycles * 100, "only %llu writes: this run proves nothing",
          (unsigned long long)acked_writes);
    printf("crash: %d cycles, %llu writes acknowledged and found, %llu pending ones found applied, %llu "
           "events in order\n",
           cycles, (unsigned long long)acked_writes, (unsigned long long)pending_applied,
           (unsigned long long)watched_events);
    printf("crash: %llu compactions, %llu keys gone with their leases\n", (unsigned long long)compactions,
           (unsigned long long)short_expiries);
    return 0;
}
