/* SPDX-License-Identifier: Apache-2.0
 * Example: a client without a thread in a loop of libuv. It registers an instance, waits until it finds it,
 * and leaves. Usage: libuv_loop [ENDPOINTS]. */
#include <cairn.h>
#include <stdio.h>
#include <uv.h>

struct program {
    struct cairn_client *client;
    uv_poll_t readable;   /* cairn_fd */
    uv_timer_t timer;     /* cairn_timeout_ms */
    uv_prepare_t prepare; /* sets the timer before each wait */
    struct cairn_registration *registration;
    struct cairn_discovery *discovery;
    bool is_over;
};

/* A turn of the client; its callbacks run in here. When all is done the loop gets no more events. */
static void turn(struct program *p)
{
    cairn_process(p->client);
    if (!p->is_over)
        return;
    uv_close((uv_handle_t *)&p->readable, NULL);
    uv_close((uv_handle_t *)&p->timer, NULL);
    uv_close((uv_handle_t *)&p->prepare, NULL);
}

static void on_readable(uv_poll_t *handle, int status, int events)
{
    (void)status;
    (void)events;
    turn(handle->data);
}

static void on_timer(uv_timer_t *handle)
{
    turn(handle->data);
}

static void on_prepare(uv_prepare_t *handle)
{
    struct program *p = handle->data;
    int ms = cairn_timeout_ms(p->client);
    if (ms < 0)
        uv_timer_stop(&p->timer);
    else
        uv_timer_start(&p->timer, on_timer, (uint64_t)ms, 0);
}

static void on_registration(struct cairn_registration *r, enum cairn_registration_state state,
                            const struct cairn_error *error, void *arg)
{
    struct program *p = arg;
    (void)r;
    if (state == CAIRN_REGISTRATION_REFUSED) {
        fprintf(stderr, "%s\n", error->message);
        p->is_over = true;
    }
}

static void on_instances(struct cairn_discovery *d, const struct cairn_instances *now, void *arg)
{
    struct program *p = arg;
    (void)d;
    if (p->is_over || !now->count)
        return;
    printf("%s at %s:%d is %s\n", now->list[0].id, now->list[0].host, now->list[0].port, now->list[0].state);
    p->is_over = true;
}

int main(int argc, char **argv)
{
    struct program p = {.is_over = false};
    struct cairn_options options = {
        .size = sizeof options, .endpoints = argc > 1 ? argv[1] : NULL, .no_thread = true};
    struct cairn_register_request self = {.service = "loops", .id = "l1", .host = "10.0.0.7", .port = 80};
    struct cairn_discover_request wanted = {.service = "loops"};
    struct cairn_error error;
    uv_loop_t *loop = uv_default_loop();
    if (cairn_open(&options, &p.client, &error) != CAIRN_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    uv_poll_init(loop, &p.readable, cairn_fd(p.client));
    uv_timer_init(loop, &p.timer);
    uv_prepare_init(loop, &p.prepare);
    p.readable.data = p.timer.data = p.prepare.data = &p;
    uv_poll_start(&p.readable, UV_READABLE, on_readable);
    uv_prepare_start(&p.prepare, on_prepare);
    cairn_discover_start(p.client, &wanted, on_instances, &p, &p.discovery, &error);
    cairn_register_start(p.client, &self, on_registration, &p, &p.registration, &error);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_loop_close(loop);
    cairn_close(p.client);
    return 0;
}
