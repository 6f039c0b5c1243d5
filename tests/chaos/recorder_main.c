/* SPDX-License-Identifier: Apache-2.0
 * The recording client: recorder [options] HISTORY ENDPOINT... It sends traffic to all members of a cluster
 * with an empty store, everything recorded into HISTORY (NDJSON for check-history).
 *
 *   --seconds N        ends by itself (default: SIGTERM ends it)
 *   --clients N        on each member (3)        --watchers N  on each member (2)
 *   --keys N           few, so that they collide (12)
 *   --think MS         mean pause of a client (8)   --limit MS  for an answer (2000)
 *   --compact MS KEEP  every so often, all but the last KEEP revisions (0 = never)
 *   --patience S       at the end, for each of watchers and hashes (60)
 *   --status FILE      counters, rewritten five times a second
 *
 * The first SIGUSR1 marks the begin of the fault, the second its end. At the end all watchers must reach the
 * last revision in time, and all members must have the same hash of the store there. The last line has the
 * counters. Exit 0; 1: watchers or hashes are wrong, or the cluster does not serve any more; 2: wrong
 * words. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "proto/rpc.pb-c.h"
#include "tests/chaos/ask.h"
#include "tests/chaos/recorder.h"

enum { TICK_MS = 4, STATUS_EVERY_MS = 200 };

struct recorder recorder = {.keys = 12,
                            .clients_per_endpoint = 3,
                            .watchers = 2,
                            .think_ms = 8,
                            .op_limit_ms = 2000,
                            .patience_s = 60,
                            .compact_keep = 500};

static volatile sig_atomic_t is_told_to_end, phase_signals;

static void on_signal(int number)
{
    if (number == SIGUSR1)
        phase_signals = phase_signals + 1;
    else
        is_told_to_end = 1;
}

uint64_t random_below(uint64_t n)
{
    uint64_t *s = &recorder.random_state;
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s % n;
}

bool chance(unsigned percent)
{
    return random_below(100) < percent;
}

void saw_revision(int64_t revision)
{
    if (revision > recorder.revision)
        recorder.revision = revision;
}

/* --- the end ----------------------------------------------------------------------------------- */

/* The cluster's revision, by a linearizable read of the first member that answers. 0 = none does. */
static int64_t ask_revision(void)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    char text[160];
    m.key = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "x"};
    for (uint64_t until = client_now_ms() + recorder.patience_s * 1000; client_now_ms() < until;
         client_wait(50)) {
        for (size_t i = 0; i < recorder.endpoint_count; i++) {
            struct buf answer = {0};
            if (!ask(&recorder.endpoints[i], "/etcdserverpb.KV/Range", &m.base, &answer, text))
                continue;
            Etcdserverpb__RangeResponse *r =
                etcdserverpb__range_response__unpack(NULL, answer.size, answer.data);
            int64_t revision = r && r->header ? r->header->revision : 0;
            etcdserverpb__range_response__free_unpacked(r, NULL);
            buf_done(&answer);
            if (revision)
                return revision;
        }
    }
    return 0;
}

static bool ask_hash(size_t member, int64_t revision, uint32_t *ret_hash, int64_t *ret_compacted,
                     char text[160])
{
    Etcdserverpb__HashKVRequest m = ETCDSERVERPB__HASH_KVREQUEST__INIT;
    struct buf answer = {0};
    m.revision = revision;
    if (!ask(&recorder.endpoints[member], "/etcdserverpb.Maintenance/HashKV", &m.base, &answer, text))
        return false;
    Etcdserverpb__HashKVResponse *r = etcdserverpb__hash_kvresponse__unpack(NULL, answer.size, answer.data);
    buf_done(&answer);
    if (!r)
        return false;
    *ret_hash = r->hash;
    *ret_compacted = r->compact_revision;
    etcdserverpb__hash_kvresponse__free_unpacked(r, NULL);
    return true;
}

/* Compares the hashes of all members; a member that lags, or is still compacting, is queried again. */
static bool hashes_are_equal(int64_t revision)
{
    uint32_t hash[ENDPOINTS_MAX];
    int64_t compacted[ENDPOINTS_MAX];
    char text[160] = "";
    uint64_t until = client_now_ms() + recorder.patience_s * 1000;
    do {
        size_t i = 0;
        bool is_equal = true;
        for (; i < recorder.endpoint_count && ask_hash(i, revision, &hash[i], &compacted[i], text); i++)
            is_equal = is_equal && hash[i] == hash[0] && compacted[i] == compacted[0];
        if (i == recorder.endpoint_count && is_equal) {
            printf("hash of revision %" PRId64 " on all %zu members: %08" PRIx32 "\n", revision, i, hash[0]);
            return true;
        }
        if (i < recorder.endpoint_count)
            snprintf(text + strlen(text), sizeof text - strlen(text), " (member %zu)", i);
        client_wait(100);
    } while (client_now_ms() < until);
    printf("hashes of revision %" PRId64 " differ or are not told: %s\n", revision, text);
    for (size_t i = 0; i < recorder.endpoint_count; i++)
        if (ask_hash(i, revision, &hash[i], &compacted[i], text))
            printf("  member %zu: %08" PRIx32 ", compacted at %" PRId64 "\n", i, hash[i], compacted[i]);
    return false;
}

/* --- the run ---------------------------------------------------------------------------------- */

static void print_counters(FILE *f, const char *end)
{
    const struct recorder *r = &recorder;
    fprintf(f,
            "phase=%d writes=%" PRIu64 "/%" PRIu64 "/%" PRIu64 " reads=%" PRIu64 "/%" PRIu64 "/%" PRIu64
            " unknown=%" PRIu64 " failed=%" PRIu64 " events=%" PRIu64 " resumed=%" PRIu64 " revision=%" PRId64
            " replayed=%" PRId64 " gap_ms=%" PRId64 "%s",
            (int)r->phase, r->writes[0], r->writes[1], r->writes[2], r->reads[0], r->reads[1], r->reads[2],
            r->unknown, r->failed, r->events, r->resumed, r->revision, r->replayed,
            r->longest_gap_ns / 1000000, end);
}

static void write_status(const char *path)
{
    char name[512];
    if (!path)
        return;
    snprintf(name, sizeof name, "%s.new", path);
    FILE *f = fopen(name, "w");
    if (!f)
        return;
    print_counters(f, "\n");
    fclose(f);
    rename(name, path);
}

static void turn(void)
{
    recorder.phase = phase_signals >= 2 ? PHASE_AFTER : phase_signals == 1 ? PHASE_FAULT : PHASE_BEFORE;
    client_wait(TICK_MS);
    traffic_tick();
    watching_tick();
}

static void run(uint64_t run_ms, const char *status)
{
    uint64_t until = client_now_ms() + run_ms, next_status = 0;
    while (!is_told_to_end && (!run_ms || client_now_ms() < until)) {
        turn();
        if (client_now_ms() >= next_status) {
            write_status(status);
            next_status = client_now_ms() + STATUS_EVERY_MS;
        }
    }
}

/* True when all watchers reached the last revision and all hashes are equal. */
static bool finish(void)
{
    bool is_good = true;
    uint64_t until = client_now_ms() + recorder.op_limit_ms + 200;
    recorder.is_ending = true;
    while (!traffic_is_idle() && client_now_ms() < until)
        turn();
    traffic_give_up();
    int64_t revision = ask_revision();
    if (!revision) {
        printf("no member answers a linearizable read\n");
        return false;
    }
    /* Leases expire meanwhile: their deletes come after this revision and are not awaited. */
    for (until = client_now_ms() + recorder.patience_s * 1000; !watching_is_complete(revision); turn()) {
        if (client_now_ms() > until) {
            printf("watchers do not come up to the last revision\n");
            is_good = false;
            break;
        }
    }
    watching_finish(revision);
    return hashes_are_equal(revision) && is_good;
}

static bool write_history(const char *path)
{
    struct buf text = {0};
    FILE *f = fopen(path, "w");
    history_write(&recorder.history, &text);
    bool is_good = f && fwrite(text.data, 1, text.size, f) == text.size;
    if (f && fclose(f) != 0)
        is_good = false;
    buf_done(&text);
    return is_good;
}

static int usage(const char *why)
{
    fprintf(stderr, "recorder: %s\nusage: recorder [options] HISTORY ENDPOINT...\n", why);
    return 2;
}

/* The number of words used; 0 = no option. */
static int take_option(int left, char **words, uint64_t *run_ms, const char **status)
{
    static const struct {
        const char *name;
        unsigned *value;
    } numbers[] = {{"--clients", &recorder.clients_per_endpoint},
                   {"--watchers", &recorder.watchers},
                   {"--keys", &recorder.keys},
                   {"--think", &recorder.think_ms},
                   {"--limit", &recorder.op_limit_ms},
                   {"--patience", &recorder.patience_s}};
    for (size_t i = 0; left > 1 && i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(words[0], numbers[i].name) == 0) {
            *numbers[i].value = (unsigned)strtoul(words[1], NULL, 10);
            return 2;
        }
    }
    if (left > 1 && strcmp(words[0], "--seconds") == 0) {
        *run_ms = strtoul(words[1], NULL, 10) * 1000;
        return 2;
    }
    if (left > 1 && strcmp(words[0], "--status") == 0) {
        *status = words[1];
        return 2;
    }
    if (left > 2 && strcmp(words[0], "--compact") == 0) {
        recorder.compact_every_ms = (unsigned)strtoul(words[1], NULL, 10);
        recorder.compact_keep = (unsigned)strtoul(words[2], NULL, 10);
        return 3;
    }
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t run_ms = 0;
    const char *status = NULL;
    int at = 1, used;
    while ((used = take_option(argc - at, argv + at, &run_ms, &status)))
        at += used;
    if (argc - at < 2 || argc - at - 1 > ENDPOINTS_MAX)
        return usage("a file and one to 16 endpoints are wanted");
    if (recorder.keys == 0 || recorder.keys > 100)
        return usage("1 to 100 keys");
    const char *history = argv[at++];
    for (; at < argc; at++)
        if (!endpoint_parse(argv[at], &recorder.endpoints[recorder.endpoint_count++]))
            return usage("an endpoint is IP:PORT");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    signal(SIGUSR1, on_signal);
    recorder.random_state = random_u64() | 1;
    hash_seed(random_u64());
    client_init();
    traffic_start();
    watching_start();
    run(run_ms, status);
    bool is_good = finish();
    write_status(status);
    print_counters(stdout, "\n");
    if (!write_history(history)) {
        fprintf(stderr, "recorder: %s cannot be written\n", history);
        is_good = false;
    }
    return is_good ? 0 : 1;
}
