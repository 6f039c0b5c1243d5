/* SPDX-License-Identifier: Apache-2.0
 * A well-behaved client, the server's memory, and plain requests; see rude.h. */
#include "tests/e2e/misuse/rude.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES 200000

/* Results of the well-behaved client, in shared memory. */
struct control {
    volatile bool is_over;
    volatile uint32_t count, failed;
    uint32_t us[SAMPLES];
};

int rude_port, rude_server_pid, rude_slow = 1;
static struct control *control;
static pid_t control_pid;

uint64_t rude_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void rude_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("    FAILED: ", stdout);
    vprintf(format, args);
    fputc('\n', stdout);
    if (control_pid)
        kill(control_pid, SIGKILL);
    exit(1);
}

/* VmRSS or another line of /proc/PID/status, in KiB. */
long rude_memory_kib(const char *name)
{
    char path[64], line[256];
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%d/status", rude_server_pid);
    FILE *f = fopen(path, "r");
    CHECK(f, "the server is gone");
    while (fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0)
            kib = atol(line + strlen(name) + 1);
    fclose(f);
    return kib;
}

long rude_rss_mib(void)
{
    return rude_memory_kib("VmRSS") / 1024;
}

/* --- the well-behaved client -------------------------------------------------------------------------- */

size_t rude_put(uint8_t *p, const char *key, const void *value, size_t size)
{
    size_t n = pb_bytes(p, 1, key, strlen(key));
    return n + pb_bytes(p + n, 2, value, size);
}

/* True: the stream has ended in time. */
static bool await_end(struct wire *w, uint32_t id, int timeout_ms)
{
    struct wire_frame f;
    while (wire_next(w, &f, timeout_ms))
        if (f.id == id && (f.flags & WIRE_END_STREAM) && f.type <= WIRE_HEADERS)
            return true;
    return false;
}

static void control_loop(void)
{
    struct wire w;
    uint8_t message[256];
    if (!wire_open(&w, rude_port, 1 << 30))
        _exit(1);
    while (!control->is_over) {
        size_t n = rude_put(message, "control", "x", 1);
        uint64_t start = rude_now_us();
        uint32_t id = wire_call(&w, RUDE_PUT, message, n, true);
        if (!wire_flush(&w, 30000) || !await_end(&w, id, 30000)) {
            control->failed++;
            break;
        }
        if (control->count < SAMPLES)
            control->us[control->count++] = (uint32_t)(rude_now_us() - start);
        wire_give(&w, id, 64);
        usleep(5000);
    }
    _exit(0);
}

void rude_control_start(void)
{
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fflush(stdout);
    control_pid = fork();
    if (control_pid == 0)
        control_loop();
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The longest the well-behaved client waited must be below max_ms. */
void rude_control_stop(const char *name, int max_ms)
{
    for (int i = 0; i < 200 * rude_slow && control->count < 20 && !control->failed; i++)
        usleep(10000);
    control->is_over = true;
    waitpid(control_pid, NULL, 0);
    control_pid = 0;
    uint32_t n = control->count;
    CHECK(!control->failed && n > 0, "%s: the other client was not served (%u puts)", name, n);
    qsort(control->us, n, sizeof *control->us, by_size);
    printf("    beside it %u puts: p50 %.1f ms, p99 %.1f ms, longest %.1f ms\n", n, control->us[n / 2] / 1e3,
           control->us[(uint64_t)n * 99 / 100] / 1e3, control->us[n - 1] / 1e3);
    CHECK(control->us[n - 1] < (uint32_t)(max_ms * rude_slow) * 1000,
          "%s: another client waited longer than %d ms", name, max_ms * rude_slow);
    munmap(control, sizeof *control);
}

/* --- tools ------------------------------------------------------------------------------------------ */

/* `count` puts of `size` bytes under prefix, up to 256 under way. Keys are numbered, modulo `keys`. */
void rude_put_many(const char *prefix, uint32_t count, uint32_t keys, size_t size)
{
    struct wire w;
    struct wire_frame f;
    uint32_t started = 0, done = 0;
    size_t received = 0;
    char key[64];
    uint8_t *value = calloc(1, size), *message = malloc(size + 128);
    CHECK(wire_open(&w, rude_port, 1 << 30), "cannot connect");
    memset(value, 'v', size);
    while (done < count) {
        while (started < count && started - done < 256 && w.window > (int64_t)size + 100) {
            snprintf(key, sizeof key, "%s%08u", prefix, started % keys);
            wire_call(&w, RUDE_PUT, message, rude_put(message, key, value, size), true);
            started++;
        }
        CHECK(wire_flush(&w, 30000) && wire_next(&w, &f, 30000), "puts stand still at %u of %u", done, count);
        CHECK(f.type <= WIRE_HEADERS, "puts were refused");
        received += f.size;
        if (received > 1 << 20) {
            wire_give(&w, f.id, received);
            received = 0;
        }
        done += f.flags & WIRE_END_STREAM;
    }
    wire_close(&w);
    free(value);
    free(message);
}

/* A unary call's answer, copied; its size, or -1. */
ssize_t rude_ask(const char *path, const uint8_t *message, size_t size, uint8_t *answer, size_t capacity)
{
    struct wire w;
    struct wire_frame f;
    size_t n = 0;
    if (!wire_open(&w, rude_port, 1 << 30))
        return -1;
    uint32_t id = wire_call(&w, path, message, size, true);
    bool is_ended = !wire_flush(&w, 10000);
    while (!is_ended && wire_next(&w, &f, 30000)) {
        if (f.type == WIRE_DATA && n + f.size <= capacity) {
            memcpy(answer + n, f.data, f.size);
            n += f.size;
        }
        is_ended = f.id == id && f.flags & WIRE_END_STREAM;
    }
    wire_close(&w);
    if (!is_ended || n < 5)
        return -1;
    memmove(answer, answer + 5, n - 5);
    return (ssize_t)n - 5;
}

uint64_t rude_number(const uint8_t *data, size_t size, unsigned number)
{
    struct pb_field f;
    for (size_t at = 0; pb_next(data, size, &at, &f);)
        if (f.number == number && !f.data)
            return f.size;
    return 0;
}

size_t rude_watch(uint8_t *p, const char *key, const char *end, uint64_t revision)
{
    uint8_t create[256];
    size_t n = pb_bytes(create, 1, key, strlen(key));
    if (end)
        n += pb_bytes(create + n, 2, end, strlen(end));
    if (revision)
        n += pb_number(create + n, 3, revision);
    return pb_bytes(p, 1, create, n);
}

/* How many keys lie in [key, end). */
uint64_t rude_count_keys(const char *key, const char *end)
{
    uint8_t message[256], answer[4096];
    size_t n = pb_bytes(message, 1, key, strlen(key));
    n += pb_bytes(message + n, 2, end, strlen(end));
    n += pb_number(message + n, 9, 1); /* count_only */
    ssize_t size = rude_ask(RUDE_RANGE, message, n, answer, sizeof answer);
    CHECK(size >= 0, "no answer to a count");
    return rude_number(answer, (size_t)size, 4);
}
