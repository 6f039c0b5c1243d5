/* SPDX-License-Identifier: Apache-2.0
 * Child processes: an editor, diff, and commands that run for each change or while an instance is
 * registered. They share our terminal and process group, so that Ctrl-C reaches them too. A SIGTERM that
 * only we get is forwarded. */
#include "sdk/ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

extern char **environ;

static _Noreturn void become(const char *const *words, int input_fd, const char *const *variables)
{
    (void)signal(SIGPIPE, SIG_DFL);
    if (input_fd >= 0)
        (void)dup2(input_fd, STDIN_FILENO);
    for (size_t i = 0; variables && variables[i]; i++)
        (void)putenv((char *)(uintptr_t)variables[i]);
    (void)execvp(words[0], (char *const *)(uintptr_t)words);
    _exit(errno == ENOENT ? 127 : 126);
}

/* Writes the child's standard input. The child may end without reading all of it. */
static void feed(struct ctl *c, int fd, struct slice text)
{
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    while (text.size) {
        ssize_t n = write(fd, text.data, text.size);
        if (n > 0) {
            text = slice_of(text.data + n, text.size - (size_t)n);
            continue;
        }
        struct pollfd fds[] = {{fd, POLLOUT, 0}, {c->stop_fd, POLLIN, 0}};
        if ((n < 0 && errno != EAGAIN && errno != EINTR) || (poll(fds, 2, -1) > 0 && fds[1].revents))
            break;
    }
}

enum ctl_exit ctl_child_start(struct ctl *c, const char *const *words, const struct slice *input,
                              const char *const *variables, struct ctl_child *ret_child)
{
    int fds[2] = {-1, -1};
    (void)ctl_flush(c);
    if (input && pipe2(fds, O_CLOEXEC) != 0)
        return ctl_fail(c, CTL_IO, "cannot make a pipe: %s", strerror(errno));
    int pid = fork();
    if (pid == 0)
        become(words, fds[0], variables);
    int why = errno;
    if (fds[0] >= 0)
        close(fds[0]);
    if (pid > 0) {
        *ret_child = (struct ctl_child){pid, (int)syscall(SYS_pidfd_open, pid, 0), 0};
        if (input)
            feed(c, fds[1], *input);
    }
    if (fds[1] >= 0)
        close(fds[1]);
    return pid > 0 ? CTL_DONE : ctl_fail(c, CTL_IO, "cannot start %s: %s", words[0], strerror(why));
}

static bool has_ended(struct ctl_child *child, int flags)
{
    int status;
    pid_t pid = waitpid(child->pid, &status, flags);
    if (pid == 0 || (pid < 0 && errno == EINTR))
        return false;
    int signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    child->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + signal_number;
    if (child->exit_fd >= 0)
        close(child->exit_fd);
    child->exit_fd = -1;
    return true;
}

bool ctl_child_wait(struct ctl *c, struct ctl_child *child, int64_t ms)
{
    uint64_t end = clock_mono_ms() + (uint64_t)ms;
    for (;;) {
        if (has_ended(child, WNOHANG))
            return true;
        uint64_t now = clock_mono_ms();
        if (now >= end)
            return false;
        /* Without pidfds (kernels before 5.3) the child is polled every 100 ms. */
        int wait_ms = child->exit_fd < 0 && end - now > 100 ? 100
                      : end - now > 1 << 30                 ? 1 << 30
                                                            : (int)(end - now);
        struct pollfd fds[] = {{c->stop_fd, POLLIN, 0}, {child->exit_fd, POLLIN, 0}};
        if (poll(fds, 2, wait_ms) > 0 && fds[0].revents) {
            (void)kill(child->pid, SIGTERM);
            while (!has_ended(child, 0))
                ;
            return true;
        }
    }
}

enum ctl_exit ctl_run(struct ctl *c, const char *const *words, const struct slice *input,
                      const char *const *variables, int *ret_status)
{
    struct ctl_child child;
    enum ctl_exit how = ctl_child_start(c, words, input, variables, &child);
    if (how)
        return how;
    while (!ctl_child_wait(c, &child, INT32_MAX))
        ;
    *ret_status = child.status;
    return CTL_DONE;
}
