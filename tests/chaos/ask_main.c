/* SPDX-License-Identifier: Apache-2.0
 * Small queries for scripts: ask WHAT [SECONDS] ENDPOINT... Waits until the condition holds, at most SECONDS
 * (10).
 *
 *   leader      the place (0, 1, ...) of the endpoint that leads, as it and most of the others say
 *   ready       until every endpoint answers a linearizable read
 *   status      a line for each endpoint, at once
 *
 * Exits with 0, or with 1 when the time is up. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "proto/rpc.pb-c.h"
#include "tests/chaos/ask.h"

enum { ENDPOINTS_MAX = 16, AGAIN_MS = 50 };

static struct endpoint endpoints[ENDPOINTS_MAX];
static size_t count;

static bool find_leader(void)
{
    struct member_status s[ENDPOINTS_MAX];
    bool is_there[ENDPOINTS_MAX];
    for (size_t i = 0; i < count; i++)
        is_there[i] = ask_status(&endpoints[i], &s[i]);
    for (size_t i = 0; i < count; i++) {
        size_t votes = 0;
        for (size_t j = 0; j < count && is_there[i] && s[i].leader == s[i].member_id; j++)
            votes += is_there[j] && s[j].leader == s[i].member_id && s[j].term == s[i].term;
        if (votes > count / 2) {
            printf("%zu\n", i);
            return true;
        }
    }
    return false;
}

static bool all_serve(void)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    char text[160];
    m.key = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "x"};
    for (size_t i = 0; i < count; i++) {
        struct buf answer = {0};
        if (!ask(&endpoints[i], "/etcdserverpb.KV/Range", &m.base, &answer, text))
            return false;
        buf_done(&answer);
    }
    return true;
}

static bool print_status(void)
{
    struct member_status s;
    for (size_t i = 0; i < count; i++) {
        if (ask_status(&endpoints[i], &s))
            printf("%s: id %" PRIx64 " leader %" PRIx64 " term %" PRIu64 " index %" PRIu64 " applied %" PRIu64
                   " revision %" PRId64 "%s\n",
                   endpoints[i].name, s.member_id, s.leader, s.term, s.index, s.applied, s.revision,
                   s.is_learner ? " learner" : "");
        else
            printf("%s: no answer\n", endpoints[i].name);
    }
    return true;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        bool (*fn)(void);
    } questions[] = {{"leader", find_leader}, {"ready", all_serve}, {"status", print_status}};
    uint64_t seconds = 10;
    bool (*fn)(void) = NULL;
    for (size_t i = 0; argc > 1 && i < sizeof questions / sizeof *questions; i++)
        if (strcmp(argv[1], questions[i].name) == 0)
            fn = questions[i].fn;
    for (int i = 2; i < argc; i++) {
        if (!strchr(argv[i], ':'))
            seconds = strtoul(argv[i], NULL, 10);
        else if (count == ENDPOINTS_MAX || !endpoint_parse(argv[i], &endpoints[count++]))
            fn = NULL;
    }
    if (!fn || !count) {
        fprintf(stderr, "usage: ask leader|ready|status [SECONDS] IP:PORT...\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    hash_seed(random_u64());
    client_init();
    uint64_t until = client_now_ms() + seconds * 1000;
    while (!fn()) {
        if (client_now_ms() >= until)
            return 1;
        client_wait(AGAIN_MS);
    }
    return 0;
}
