/* SPDX-License-Identifier: Apache-2.0
 * Shared parts of the scenarios: a well-behaved client in a process of its own, whose waits are checked, the
 * server's memory, and plain requests. */
#ifndef TESTS_E2E_MISUSE_RUDE_H
#define TESTS_E2E_MISUSE_RUDE_H

#include <stdint.h>
#include <sys/types.h>

#include "tests/bench/h2client.h"
#include "tests/e2e/misuse/wire.h"

#define RUDE_PUT       "/etcdserverpb.KV/Put"
#define RUDE_RANGE     "/etcdserverpb.KV/Range"
#define RUDE_TXN       "/etcdserverpb.KV/Txn"
#define RUDE_WATCH     "/etcdserverpb.Watch/Watch"
#define RUDE_GRANT     "/etcdserverpb.Lease/LeaseGrant"
#define RUDE_KEEPALIVE "/etcdserverpb.Lease/LeaseKeepAlive"

extern int rude_port, rude_server_pid;
extern int rude_slow; /* bounds of time and memory are multiplied by it */

/* Prints the reason and ends the program, the well-behaved client included. */
_Noreturn void rude_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define CHECK(condition, ...)                                                                                \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            rude_fail(__VA_ARGS__);                                                                          \
    } while (0)

uint64_t rude_now_us(void);
long rude_memory_kib(const char *name); /* VmRSS or another line of /proc/PID/status */
long rude_rss_mib(void);

void rude_control_start(void);
/* The longest the well-behaved client waited must be below max_ms. */
void rude_control_stop(const char *name, int max_ms);

/* Messages; each returns its size. */
size_t rude_put(uint8_t *p, const char *key, const void *value, size_t size);
size_t rude_watch(uint8_t *p, const char *key, const char *end,
                  uint64_t revision);                                    /* end may be NULL, revision 0 */
uint64_t rude_number(const uint8_t *data, size_t size, unsigned number); /* a varint field, 0 when absent */

/* `count` puts of `size` bytes under prefix, up to 256 under way. Keys are numbered, modulo `keys`. */
void rude_put_many(const char *prefix, uint32_t count, uint32_t keys, size_t size);
/* A unary call's answer, copied; its size, or -1. */
ssize_t rude_ask(const char *path, const uint8_t *message, size_t size, uint8_t *answer, size_t capacity);
uint64_t rude_count_keys(const char *key, const char *end);

#endif
