/* SPDX-License-Identifier: Apache-2.0
 * Load generator for DNS over UDP on loopback: as many queries as a window allows; it prints one row of
 * results as JSON.
 *
 *   dns_load PORT PID SECONDS NAME TYPE [SOCKETS [WINDOW]]        TYPE: A, AAAA, SRV, TXT or a number
 *
 * Every socket keeps WINDOW queries pending (16 sockets of 8). A query without a response within a second
 * counts as lost and is sent again. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/bench/measure.h"

enum { SOCKETS_MAX = 256, WINDOW_MAX = 256, SAMPLES_MAX = 1 << 22, LOST_NS = 1000000000, NAME_AT = 12 };

struct stream {
    int fd;
    uint64_t sent_ns[WINDOW_MAX]; /* of question i: its id is i */
};

static struct stream streams[SOCKETS_MAX];
static unsigned stream_count = 16, window = 8;
static uint8_t question[512];
static size_t question_size;
static uint64_t answers, lost, bad, bytes;
static float *samples_us;
static size_t sample_count;

static void make_question(const char *name, const char *type)
{
    static const struct {
        const char *name;
        uint8_t value;
    } types[] = {{"A", 1}, {"AAAA", 28}, {"SRV", 33}, {"TXT", 16}};
    int value = atoi(type);
    if (value < 0 || value > UINT16_MAX)
        value = 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, type) == 0)
            value = types[i].value;
    memcpy(question, "\0\0\1\0\0\1\0\0\0\0\0\1", NAME_AT);
    uint8_t *at = question + NAME_AT;
    while (*name && at < question + 300) {
        size_t n = strcspn(name, ".");
        *at++ = (uint8_t)n;
        memcpy(at, name, n);
        at += n;
        name += n + (name[n] == '.');
    }
    uint8_t rest[] = {0, (uint8_t)(value >> 8), (uint8_t)value, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0};
    memcpy(at, rest, sizeof rest); /* EDNS, 1232 bytes */
    question_size = (size_t)(at - question) + sizeof rest;
}

static void ask(struct stream *l, unsigned i)
{
    question[0] = (uint8_t)(i >> 8);
    question[1] = (uint8_t)i;
    l->sent_ns[i] = measure_now_ns();
    (void)!send(l->fd, question, question_size, MSG_DONTWAIT); /* a lost query is sent again */
}

static void take_answers(struct stream *l)
{
    uint8_t answer[4096];
    for (;;) {
        ssize_t n = recv(l->fd, answer, sizeof answer, MSG_DONTWAIT);
        if (n < NAME_AT)
            return;
        unsigned i = (unsigned)(answer[0] << 8 | answer[1]);
        if (i >= window)
            continue;
        bad += (answer[3] & 0xf) != 0 || (answer[6] | answer[7]) == 0;
        answers++;
        bytes += (uint64_t)n;
        if (sample_count < SAMPLES_MAX)
            samples_us[sample_count++] = (float)(measure_now_ns() - l->sent_ns[i]) / 1000;
        ask(l, i);
    }
}

static void run_until(uint64_t end)
{
    struct pollfd polls[SOCKETS_MAX];
    uint64_t next_look = measure_now_ns() + LOST_NS;
    for (uint64_t now = measure_now_ns(); now < end; now = measure_now_ns()) {
        for (unsigned i = 0; i < stream_count; i++)
            polls[i] = (struct pollfd){.fd = streams[i].fd, .events = POLLIN};
        if (poll(polls, stream_count, 100) > 0)
            for (unsigned i = 0; i < stream_count; i++)
                if (polls[i].revents)
                    take_answers(&streams[i]);
        if (now < next_look)
            continue;
        now = measure_now_ns(); /* lost queries have been sent again since */
        next_look = now + LOST_NS;
        for (unsigned i = 0; i < stream_count; i++)
            for (unsigned k = 0; k < window; k++)
                if (now - streams[i].sent_ns[k] > LOST_NS) {
                    lost++;
                    ask(&streams[i], k);
                }
    }
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(double p)
{
    return sample_count ? (double)samples_us[(size_t)(p * (double)(sample_count - 1))] : 0;
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "dns_load PORT PID SECONDS NAME TYPE [SOCKETS [WINDOW]]\n");
        return 2;
    }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    int pid = atoi(argv[2]), seconds = atoi(argv[3]);
    make_question(argv[4], argv[5]);
    stream_count = argc > 6 ? (unsigned)atoi(argv[6]) : stream_count;
    window = argc > 7 ? (unsigned)atoi(argv[7]) : window;
    if (stream_count < 1 || stream_count > SOCKETS_MAX || window < 1 || window > WINDOW_MAX)
        return 2;
    samples_us = malloc(SAMPLES_MAX * sizeof *samples_us);
    for (unsigned i = 0; i < stream_count; i++) {
        streams[i].fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (!samples_us || streams[i].fd < 0 ||
            connect(streams[i].fd, (struct sockaddr *)&to, sizeof to) != 0) {
            perror("dns_load");
            return 1;
        }
        for (unsigned k = 0; k < window; k++)
            ask(&streams[i], k);
    }
    run_until(measure_now_ns() + 300000000); /* warm up */
    answers = lost = bad = bytes = 0;
    sample_count = 0;
    uint64_t start = measure_now_ns();
    double cpu = measure_cpu_s(pid);
    run_until(start + (uint64_t)seconds * 1000000000u);
    double took = (double)(measure_now_ns() - start) / 1e9;
    cpu = measure_cpu_s(pid) - cpu;
    qsort(samples_us, sample_count, sizeof *samples_us, compare);
    double count = answers ? (double)answers : 1;
    printf("{\"ops_per_s\":%.0f,\"p50_us\":%.0f,\"p99_us\":%.0f,\"server_cpu_us\":%.2f,\"lost\":%llu,"
           "\"without_records\":%llu,\"bytes\":%.0f}\n",
           (double)answers / took, percentile(0.5), percentile(0.99), cpu * 1e6 / count,
           (unsigned long long)lost, (unsigned long long)bad, (double)bytes / count);
    return answers == 0;
}
