/* SPDX-License-Identifier: Apache-2.0
 * Example: a client without a thread in a loop of epoll. It prints the changes of the keys with a prefix until
 * one of them is deleted. Usage: epoll_loop PREFIX [ENDPOINTS]. It prints "watching" when every later change
 * will be delivered. */
#include <cairn.h>
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

struct program {
    struct cairn_client *client;
    const char *prefix;
    struct cairn_watch *watch;
    bool is_over;
    int status;
};

static void on_update(struct cairn_watch *w, const struct cairn_watch_update *u, void *arg)
{
    struct program *p = arg;
    (void)w;
    p->is_over |= u->kind == CAIRN_WATCH_ENDED;
    for (size_t i = 0; i < u->event_count; i++) {
        const struct cairn_kv *kv = &u->events[i].kv;
        p->is_over |= u->events[i].is_delete;
        printf("%s %.*s %.*s\n", u->events[i].is_delete ? "delete" : "put", (int)kv->key.size,
               (const char *)kv->key.data, (int)kv->value.size, (const char *)kv->value.data);
    }
}

/* The first answer: the watch begins after its revision. */
static void on_range(struct cairn_range_result *now, const struct cairn_error *error, void *arg)
{
    struct program *p = arg;
    struct cairn_watch_request request = {.key = cairn_text(p->prefix), .prefix = true};
    struct cairn_error problem = *error;
    if (!problem.code) {
        request.start_revision = now->header.revision + 1;
        cairn_watch_start(p->client, &request, on_update, p, &p->watch, &problem);
    }
    cairn_result_free(now);
    if (problem.code) {
        fprintf(stderr, "%s (%s)\n", problem.message, cairn_error_name(problem.code));
        p->is_over = true;
        p->status = 1;
        return;
    }
    puts("watching");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct program p = {.prefix = argc > 1 ? argv[1] : ""};
    struct cairn_options options = {
        .size = sizeof options, .endpoints = argc > 2 ? argv[2] : NULL, .no_thread = true};
    struct cairn_range_request count = {.key = cairn_text(p.prefix), .prefix = true, .count_only = true};
    struct cairn_error error;
    struct epoll_event event = {.events = EPOLLIN};
    if (cairn_open(&options, &p.client, &error) != CAIRN_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, cairn_fd(p.client), &event) < 0)
        return 1;
    cairn_range_async(p.client, &count, on_range, &p);
    while (!p.is_over) {
        if (epoll_wait(epoll, &event, 1, cairn_timeout_ms(p.client)) < 0 && errno != EINTR)
            break;
        cairn_process(p.client);
    }
    cairn_close(p.client);
    close(epoll);
    return p.status;
}
