/* SPDX-License-Identifier: Apache-2.0
 * A client without a thread: the program's own loop waits for cairn_fd and calls cairn_process.
 *
 * A turn is a round of libuv's loop, and then once more what a client does before it sleeps: the round's last
 * callbacks may have left work. libuv registers a new socket in the descriptor (its epoll) only in the next round,
 * and says so by a timeout of 0.
 *
 * The thread of a client blocks SIGPIPE. Here the program's thread writes, so it is blocked during the work, and
 * one that came is taken from the queue. */
#include <signal.h>

#include "base/clock.h"
#include "sdk/private.h"

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

void loop_enter(struct cairn_client *c)
{
    struct sigpipe_guard g = loop_block_sigpipe();
    c->is_processing = true;
    c->is_due = false;
    uv_run(&c->loop, UV_RUN_NOWAIT);
    client_before_sleep(c);
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
