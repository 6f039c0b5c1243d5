/* SPDX-License-Identifier: Apache-2.0
 * Example: prints the changes of the keys with a prefix until one of them is deleted. Usage: watch PREFIX
 * [ENDPOINTS]. It prints "watching" when every later change will be delivered. */
#include <cairn.h>
#include <pthread.h>
#include <stdio.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool is_over;

static void on_update(struct cairn_watch *w, const struct cairn_watch_update *u, void *arg)
{
    (void)w;
    (void)arg;
    bool ends = u->kind == CAIRN_WATCH_ENDED;
    if (ends)
        fprintf(stderr, "%s\n", u->error.message);
    if (u->kind == CAIRN_WATCH_RESYNC)
        printf("all keys at revision %lld:\n", (long long)u->revision);
    for (size_t i = 0; i < u->event_count; i++) {
        const struct cairn_kv *kv = &u->events[i].kv;
        ends |= u->events[i].is_delete;
        printf("%s %.*s %.*s\n", u->events[i].is_delete ? "delete" : "put", (int)kv->key.size,
               (const char *)kv->key.data, (int)kv->value.size, (const char *)kv->value.data);
    }
    pthread_mutex_lock(&mutex);
    is_over |= ends;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&mutex);
}

int main(int argc, char **argv)
{
    struct cairn_options options = {.size = sizeof options, .endpoints = argc > 2 ? argv[2] : NULL};
    struct cairn_range_request now = {
        .key = cairn_text(argc > 1 ? argv[1] : ""), .prefix = true, .count_only = true};
    struct cairn_range_result *found;
    struct cairn_watch_request request = {.key = now.key, .prefix = true};
    struct cairn_client *client;
    struct cairn_watch *watch;
    struct cairn_error error;
    int err = cairn_open(&options, &client, &error);
    if (!err)
        err = cairn_range(client, &now, &found, &error);
    if (!err) {
        request.start_revision = found->header.revision + 1;
        cairn_result_free(found);
        err = cairn_watch_start(client, &request, on_update, NULL, &watch, &error);
    }
    if (err) {
        fprintf(stderr, "%s (%s)\n", error.message, cairn_error_name(err));
        return 1;
    }
    puts("watching");
    fflush(stdout);
    pthread_mutex_lock(&mutex);
    while (!is_over)
        pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
    cairn_close(client);
    return 0;
}
