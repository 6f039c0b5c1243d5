/* SPDX-License-Identifier: Apache-2.0
 * A client without a thread: the program's own loop waits for cairn_fd and calls cairn_process.
 *
 * The descriptor is libuv's epoll. libuv registers a new socket there only when its loop polls again. So a turn
 * runs the loop until a whole round did nothing: then all sockets are registered, and all timers are known.
 *
 * The thread of a client blocks SIGPIPE. Here the program's thread writes, so it is blocked during the work, and
 * one that came is taken from the queue. */
#include <signal.h>

#include "base/clock.h"
#include "sdk/private.h"

enum { ROUNDS_MAX = 16 };

struct sigpipe_guard loop_block_sigpipe(void)
{
    struct sigpipe_guard g = {0};
    sigset_t pipes, pending;
    sigemptyset(&pipes);
    sigaddset(&pipes, SIGPIPE);
    sigpending(&pending);
    g.was_pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipes, &g.before);
    return g;
}

void loop_restore_sigpipe(const struct sigpipe_guard *g)
{
    static const struct timespec at_once;
    sigset_t pipes, pending;
    sigemptyset(&pipes);
    sigaddset(&pipes, SIGPIPE);
    sigpending(&pending);
    if (!g->was_pending && sigismember(&pending, SIGPIPE) == 1)
        (void)sigtimedwait(&pipes, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, &g->before, NULL);
}

/* Runs the loop without waiting. */
static void loop_run(struct cairn_client *c)
{
    unsigned rounds = 0;
    uint64_t before;
    do {
        before = c->work;
        uv_run(&c->loop, UV_RUN_NOWAIT);
    } while (c->work != before && ++rounds < ROUNDS_MAX);
    c->is_due = rounds == ROUNDS_MAX;
}

void loop_enter(struct cairn_client *c)
{
    struct sigpipe_guard g = loop_block_sigpipe();
    c->is_processing = true;
    loop_run(c);
    c->is_processing = false;
    loop_restore_sigpipe(&g);
}

void loop_close(struct cairn_client *c)
{
    struct sigpipe_guard g = loop_block_sigpipe();
    c->is_processing = true;
    uv_run(&c->loop, UV_RUN_DEFAULT);
    loop_restore_sigpipe(&g);
}

void loop_run_here(struct cairn_client *c, void (*run)(void *arg), void *arg)
{
    if (!c->is_threadless || c->is_processing) {
        run(arg);
        return;
    }
    struct sigpipe_guard g = loop_block_sigpipe();
    run(arg);
    loop_restore_sigpipe(&g);
    c->is_due = true;
    uv_async_send(&c->wake); /* also for a loop that sleeps on the descriptor alone */
}

int cairn_fd(struct cairn_client *c)
{
    return c->is_threadless && client_is_own_process(c) ? uv_backend_fd(&c->loop) : -1;
}

int cairn_timeout_ms(struct cairn_client *c)
{
    if (!c->is_threadless || !client_is_own_thread(c))
        return -1;
    if (c->is_due || uv_backend_timeout(&c->loop) == 0)
        return 0;
    const struct heap_node *first = heap_first(&c->timers);
    uint64_t now = clock_mono_ms();
    if (!first)
        return -1;
    uint64_t ms = first->key > now ? first->key - now : 0;
    return ms < INT32_MAX ? (int)ms : INT32_MAX;
}

int cairn_process(struct cairn_client *c)
{
    if (!client_is_own_process(c))
        return CAIRN_CLOSED;
    if (!c->is_threadless || !client_is_own_thread(c) || c->is_processing)
        return CAIRN_INVALID;
    loop_enter(c);
    return CAIRN_OK;
}
