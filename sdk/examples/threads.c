/* SPDX-License-Identifier: Apache-2.0
 * Example: one client in several plain threads. Four threads count to 20 together in a key that a lock protects.
 * Usage: threads [ENDPOINTS]. */
#include <cairn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4, ROUNDS = 5 };

static int fail(const char *what, const struct cairn_error *error)
{
    fprintf(stderr, "%s: %s (%s)\n", what, error->message, cairn_error_name(error->code));
    exit(1);
}

static long read_counter(struct cairn_client *client)
{
    struct cairn_range_request get = {.key = cairn_text("threads/counter")};
    struct cairn_range_result *now;
    struct cairn_error error;
    if (cairn_range(client, &get, &now, &error) != CAIRN_OK)
        fail("range", &error);
    char text[32] = "0";
    if (now->kv_count)
        snprintf(text, sizeof text, "%.*s", (int)now->kvs[0].value.size,
                 (const char *)now->kvs[0].value.data);
    cairn_result_free(now);
    return strtol(text, NULL, 10);
}

static void *count(void *arg)
{
    struct cairn_client *client = arg;
    struct cairn_lock_request wanted = {.name = cairn_text("threads/lock"), .timeout_ms = 60000};
    struct cairn_error error;
    for (int i = 0; i < ROUNDS; i++) {
        struct cairn_lock *lock;
        char text[32];
        if (cairn_lock_acquire(client, &wanted, NULL, NULL, &lock, &error) != CAIRN_OK)
            fail("lock", &error);
        snprintf(text, sizeof text, "%ld", read_counter(client) + 1);
        struct cairn_put_request put = {.key = cairn_text("threads/counter"), .value = cairn_text(text)};
        if (cairn_put(client, &put, NULL, &error) != CAIRN_OK)
            fail("put", &error);
        if (cairn_lock_release(lock, &error) != CAIRN_OK)
            fail("unlock", &error);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct cairn_options options = {.size = sizeof options, .endpoints = argc > 1 ? argv[1] : NULL};
    struct cairn_client *client;
    struct cairn_error error;
    pthread_t threads[THREADS];
    if (cairn_open(&options, &client, &error) != CAIRN_OK)
        fail("open", &error);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, count, client) != 0)
            return 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("counted to %ld\n", read_counter(client));
    cairn_close(client);
    return 0;
}
