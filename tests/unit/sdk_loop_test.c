/* SPDX-License-Identifier: Apache-2.0
 * Tests of a client without a thread: after each turn the descriptor shows every socket that the client waits
 * for, and SIGPIPE neither ends the program nor is lost. */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sdk/private.h"
#include "tests/unit/unit.h"

/* libuv's queue of sockets that are not registered yet; its first word points to its first element. */
static bool all_are_registered(struct cairn_client *c)
{
    void *first;
    memcpy(&first, &c->loop.watcher_queue, sizeof first);
    return first == &c->loop.watcher_queue;
}

static void turn(struct cairn_client *c)
{
    struct pollfd fd = {cairn_fd(c), POLLIN, 0};
    assert_true(poll(&fd, 1, cairn_timeout_ms(c)) >= 0);
    assert_int_equal(cairn_process(c), CAIRN_OK);
    /* It would sleep now: then every socket is registered, and every call is on its way or waits for one. */
    if (cairn_timeout_ms(c) == 0 || poll(&fd, 1, 0) != 0)
        return;
    assert_true(all_are_registered(c));
    assert_true(list_is_empty(&c->waiting) || c->state == CHANNEL_DIALING || c->state == CHANNEL_PAUSED);
    assert_true(list_is_empty(&c->reports));
}

static int listen_here(char *endpoint, size_t size)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    snprintf(endpoint, size, "127.0.0.1:%d", ntohs(a.sin_port));
    return fd;
}

static void on_put(struct cairn_put_result *r, const struct cairn_error *error, void *arg)
{
    assert_null(r);
    *(int *)arg = error->code;
}

static struct cairn_client *open_client(const char *endpoint)
{
    struct cairn_client *c;
    struct cairn_error error;
    struct cairn_options o = {.size = sizeof o, .endpoints = endpoint, .no_thread = true};
    o.dial_timeout_ms = o.command_timeout_ms = 300;
    assert_int_equal(cairn_open(&o, &c, &error), CAIRN_OK);
    return c;
}

/* The server accepts the connection and is silent. */
static void each_turn_registers_its_sockets(void **state)
{
    (void)state;
    char endpoint[32];
    int listener = listen_here(endpoint, sizeof endpoint), code = 0;
    struct cairn_client *c = open_client(endpoint);
    struct cairn_put_request put = {.key = cairn_text("k")};
    struct cairn_discover_request q = {.service = "s"};
    struct cairn_discovery *d;
    struct cairn_error error;
    assert_int_equal(cairn_timeout_ms(c), -1); /* there is nothing to do */
    assert_int_equal(cairn_put_async(c, &put, on_put, &code), CAIRN_OK);
    assert_int_equal(cairn_discover_start(c, &q, NULL, NULL, &d, &error), CAIRN_OK);
    assert_int_equal(cairn_timeout_ms(c), 0);
    while (!code)
        turn(c);
    assert_int_equal(code, CAIRN_UNAVAILABLE);
    assert_int_equal(cairn_close(c), CAIRN_OK);
    close(listener);
}

/* The peer resets the connection while the client writes. */
static void sigpipe_is_the_programs_own(void **state)
{
    (void)state;
    struct sigpipe_guard g = loop_block_sigpipe();
    raise(SIGPIPE);
    loop_restore_sigpipe(&g); /* else it would end the test */
    sigset_t pipes, before, pending;
    sigemptyset(&pipes);
    sigaddset(&pipes, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipes, &before);
    raise(SIGPIPE); /* the program's: it stays pending */
    g = loop_block_sigpipe();
    loop_restore_sigpipe(&g);
    sigpending(&pending);
    assert_int_equal(sigismember(&pending, SIGPIPE), 1);
    int signal_number;
    assert_int_equal(sigwait(&pipes, &signal_number), 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* A child cannot use it, and the parent's goes on. */
static void a_child_made_by_fork_is_refused(void **state)
{
    (void)state;
    int code = 0, status;
    struct cairn_client *c = open_client("127.0.0.1:1");
    struct cairn_put_request put = {.key = cairn_text("k")};
    pid_t pid = fork();
    if (!pid) {
        alarm(20);
        bool is_refused =
            cairn_process(c) == CAIRN_CLOSED && cairn_fd(c) == -1 && cairn_timeout_ms(c) == -1 &&
            cairn_put_async(c, &put, on_put, &code) == CAIRN_CLOSED && cairn_close(c) == CAIRN_CLOSED;
        _exit(!is_refused);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(cairn_put_async(c, &put, on_put, &code), CAIRN_OK);
    while (!code)
        turn(c);
    assert_int_equal(code, CAIRN_UNAVAILABLE);
    assert_int_equal(cairn_close(c), CAIRN_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_turn_registers_its_sockets),
        cmocka_unit_test(sigpipe_is_the_programs_own),
        cmocka_unit_test(a_child_made_by_fork_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
