/* SPDX-License-Identifier: Apache-2.0
 * The client and its thread: options, the inbox for other threads, timers, closing.
 *
 * A turn of the loop:
 *
 * 1. Callbacks of sockets and the inbox queue work.
 * 2. Timers run.
 * 3. channel_turn opens and closes connections and writes.
 * 4. The loop sleeps. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "sdk/stream.h"

/* --- timers --------------------------------------------------------------------------------------------- */
static void on_clock(uv_timer_t *clock);

static void set_clock(struct cairn_client *c)
{
    struct heap_node *first = heap_first(&c->timers);
    uint64_t now = clock_mono_ms();
    if (!first) {
        uv_timer_stop(&c->clock);
        return;
    }
    uv_update_time(&c->loop);
    uv_timer_start(&c->clock, on_clock, first->key > now ? first->key - now : 0, 0);
}

static void on_clock(uv_timer_t *clock)
{
    struct cairn_client *c = clock->data;
    uint64_t now = clock_mono_ms();
    for (struct heap_node *n; (n = heap_first(&c->timers)) && n->key <= now;) {
        heap_remove(&c->timers, n);
        struct timer *t = container_of(n, struct timer, node);
        t->run(t);
    }
}

void timer_start(struct cairn_client *c, struct timer *t, uint64_t delay_ms)
{
    uint64_t at = clock_mono_ms() + delay_ms;
    if (heap_contains(&t->node))
        heap_move(&c->timers, &t->node, at);
    else
        heap_add(&c->timers, &t->node, at);
}

void timer_stop(struct cairn_client *c, struct timer *t)
{
    heap_remove(&c->timers, &t->node);
}

/* --- the inbox ------------------------------------------------------------------------------------------ */
int client_post(struct cairn_client *c, struct post *p)
{
    int err = CAIRN_OK;
    if (!client_is_own_process(c))
        return CAIRN_CLOSED; /* the thread and perhaps the mutex's owner stayed in the parent */
    pthread_mutex_lock(&c->mutex);
    if (c->is_closing)
        err = CAIRN_CLOSED;
    else
        list_add_last(&c->inbox, &p->link);
    pthread_mutex_unlock(&c->mutex);
    if (!err)
        uv_async_send(&c->wake);
    return err;
}

static void run_post(void *arg)
{
    struct post *p = arg;
    p->run(p);
}

int client_start(struct cairn_client *c, struct post *p)
{
    if (!client_is_own_thread(c))
        return client_post(c, p);
    pthread_mutex_lock(&c->mutex);
    bool is_closing = c->is_closing;
    pthread_mutex_unlock(&c->mutex);
    if (is_closing)
        return CAIRN_CLOSED;
    loop_run_here(c, run_post, p);
    return CAIRN_OK;
}

bool client_is_own_process(const struct cairn_client *c)
{
    return c->pid == getpid();
}

bool client_is_own_thread(const struct cairn_client *c)
{
    return client_is_own_process(c) && pthread_equal(c->thread, pthread_self());
}

struct thread_call {
    struct post post;
    void (*run)(void *arg);
    void *arg;
    struct waiter waiter;
};

static void run_on_thread(struct post *p)
{
    struct thread_call *e = container_of(p, struct thread_call, post);
    struct cairn_error none = {0};
    e->run(e->arg);
    waiter_end(&e->waiter, NULL, &none);
}

int client_run(struct cairn_client *c, void (*run)(void *arg), void *arg)
{
    struct thread_call e = {.post.run = run_on_thread, .run = run, .arg = arg};
    if (!client_is_own_thread(c))
        return waiter_run(&e.waiter, c, &e.post, NULL, NULL);
    loop_run_here(c, run, arg);
    return CAIRN_OK;
}

/* --- the thread ----------------------------------------------------------------------------------------- */
static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void end_all(struct cairn_client *c)
{
    for (struct link *l; (l = list_take_first(&c->objects));) {
        struct object *o = container_of(l, struct object, link);
        o->stop(o);
    }
    stream_free(c);
    channel_end(c);
    client_report(c, CAIRN_LINK_CALLS, CAIRN_STATE_STOPPED, "", NULL);
    client_deliver_reports(c);
    uv_close((uv_handle_t *)&c->wake, NULL);
    uv_close((uv_handle_t *)&c->clock, NULL);
    uv_close((uv_handle_t *)&c->before_sleep, NULL);
}

static void on_wake(uv_async_t *wake)
{
    struct cairn_client *c = wake->data;
    struct link taken;
    list_init(&taken);
    pthread_mutex_lock(&c->mutex);
    list_move_all(&taken, &c->inbox);
    bool is_closing = c->is_closing;
    pthread_mutex_unlock(&c->mutex);
    for (struct link *l; (l = list_take_first(&taken));) {
        struct post *p = container_of(l, struct post, link);
        p->run(p);
    }
    if (is_closing)
        end_all(c);
}

void client_before_sleep(struct cairn_client *c)
{
    client_deliver_reports(c);
    channel_turn(c);
    set_clock(c);
}

static void on_before_sleep(uv_prepare_t *prepare)
{
    client_before_sleep(prepare->data);
}

static void *run_thread(void *arg)
{
    struct cairn_client *c = arg;
    uv_run(&c->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* Starts the thread with all signals blocked: signals belong to the program. */
static int start_thread(struct cairn_client *c, struct cairn_error *error)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&c->thread, NULL, run_thread, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc ? set_error(error, CAIRN_LIMIT, "cannot start a thread: %s", strerror(rc)) : CAIRN_OK;
}

static int open_loop(struct cairn_client *c, struct cairn_error *error)
{
    int rc = uv_loop_init(&c->loop);
    if (rc)
        return set_error(error, CAIRN_LIMIT, "cannot make an event loop: %s", uv_strerror(rc));
    rc = uv_async_init(&c->loop, &c->wake, on_wake);
    if (rc) {
        uv_loop_close(&c->loop);
        return set_error(error, CAIRN_LIMIT, "cannot make an event loop: %s", uv_strerror(rc));
    }
    uv_timer_init(&c->loop, &c->clock);
    uv_prepare_init(&c->loop, &c->before_sleep);
    uv_prepare_start(&c->before_sleep, on_before_sleep);
    c->wake.data = c->clock.data = c->before_sleep.data = c;
    return CAIRN_OK;
}

static void close_loop(struct cairn_client *c)
{
    uv_walk(&c->loop, close_handle, NULL);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    uv_loop_close(&c->loop);
}

/* --- options -------------------------------------------------------------------------------------------- */
static char *client_copy(const char *text)
{
    return text && *text ? mem_string(text) : NULL;
}

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

static int make_tls(struct cairn_client *c, const struct cairn_options *o, struct cairn_error *error)
{
    struct tls_options tls = {.cert_file = o->cert_file,
                              .key_file = o->key_file,
                              .ca_file = o->insecure_skip_verify ? NULL : o->ca_file,
                              .use_system_ca = !o->ca_file && !o->insecure_skip_verify,
                              .alpn = "h2"};
    char why[400] = "";
    if (!c->endpoints.is_tls && !o->ca_file && !o->cert_file && !o->key_file)
        return CAIRN_OK;
    if (!o->cert_file != !o->key_file)
        return set_error(error, CAIRN_INVALID, "cert_file and key_file belong together");
    int err = tls_context_new(&tls, why, sizeof why, &c->tls);
    tls.alpn = "http/1.1";
    if (!err)
        err = tls_context_new(&tls, why, sizeof why, &c->tls_http);
    return err ? set_error(error, CAIRN_INVALID, "%s", why) : CAIRN_OK;
}

static int take_options(struct cairn_client *c, const struct cairn_options *o, struct cairn_error *error)
{
    int err = endpoints_parse(o->endpoints && *o->endpoints ? o->endpoints : "127.0.0.1:2379", &c->endpoints,
                              error);
    if (!err)
        err = make_tls(c, o, error);
    c->user = client_copy(o->user);
    c->password = client_copy(o->password);
    c->client_id = client_copy(o->client_id);
    c->labels = client_copy(o->labels);
    c->cache_dir = client_copy(o->cache_dir);
    c->dial_timeout_ms = or_default(o->dial_timeout_ms, 5000);
    c->command_timeout_ms = or_default(o->command_timeout_ms, 5000);
    c->keepalive_interval_ms = or_default(o->keepalive_interval_ms, 10000);
    c->on_state = o->on_state;
    c->on_log = o->on_log;
    c->report_arg = o->arg;
    c->is_threadless = o->no_thread;
    c->token_lifetime_ms = o->token_lifetime_ms;
    c->keepalive_timeout_ms = or_default(o->keepalive_timeout_ms, 5000);
    return err;
}

/* --- open and close ------------------------------------------------------------------------------------- */
static void client_free(struct cairn_client *c)
{
    if (c->password)
        explicit_bzero(c->password, strlen(c->password));
    tls_context_free(c->tls);
    tls_context_free(c->tls_http);
    mem_free(c->endpoints.list);
    mem_free(c->user);
    mem_free(c->password);
    mem_free(c->client_id);
    mem_free(c->labels);
    mem_free(c->cache_dir);
    token_drop(c);
    heap_done(&c->timers);
    pthread_mutex_destroy(&c->mutex);
    mem_free(c);
}

int cairn_open(const struct cairn_options *options, struct cairn_client **ret_client,
               struct cairn_error *error)
{
    struct cairn_options o = {.size = sizeof o};
    if (options) {
        if (!options->size || options->size > 4096)
            return set_error(error, CAIRN_INVALID, "options.size is not sizeof(struct cairn_options)");
        memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    }
    struct cairn_client *c = mem_new(sizeof *c);
    pthread_mutex_init(&c->mutex, NULL);
    c->pid = getpid();
    struct link *lists[] = {&c->inbox, &c->h2s, &c->waiting, &c->paused, &c->objects, &c->reports};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        list_init(lists[i]);
    int err = take_options(c, &o, error);
    if (!err)
        err = open_loop(c, error);
    if (err) {
        client_free(c);
        return err;
    }
    c->next_endpoint = random_u64() % c->endpoints.count;
    c->thread = pthread_self();
    err = c->is_threadless ? CAIRN_OK : start_thread(c, error);
    if (c->is_threadless)
        loop_enter(c);
    if (err) {
        close_loop(c);
        client_free(c);
        return err;
    }
    *ret_client = c;
    return CAIRN_OK;
}

int cairn_close(struct cairn_client *c)
{
    if (!c)
        return CAIRN_OK;
    if (client_is_own_thread(c) ? !c->is_threadless || c->is_processing : c->is_threadless)
        return client_is_own_process(c) ? CAIRN_INVALID : CAIRN_CLOSED;
    if (!client_is_own_process(c))
        return CAIRN_CLOSED;
    pthread_mutex_lock(&c->mutex);
    c->is_closing = true;
    pthread_mutex_unlock(&c->mutex);
    uv_async_send(&c->wake);
    if (c->is_threadless)
        loop_close(c);
    else
        pthread_join(c->thread, NULL);
    uv_loop_close(&c->loop);
    client_free(c);
    return CAIRN_OK;
}

void cairn_endpoint(struct cairn_client *c, char *ret, size_t size)
{
    if (!size)
        return;
    ret[0] = 0;
    if (!client_is_own_process(c))
        return;
    pthread_mutex_lock(&c->mutex);
    snprintf(ret, size, "%s", c->connected);
    pthread_mutex_unlock(&c->mutex);
}

void object_add(struct cairn_client *c, struct object *o)
{
    list_add_last(&c->objects, &o->link);
}

static void stop_object(void *arg)
{
    struct object *o = arg;
    o->stop(o);
}

void object_stop(struct cairn_client *c, struct object *o)
{
    (void)client_run(c, stop_object, o); /* on failure: a closing client stops all its objects */
}
