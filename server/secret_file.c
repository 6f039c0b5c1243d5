/* SPDX-License-Identifier: Apache-2.0
 * Reads files with secrets and runs commands that print secrets; see secret_file.h. */
#include "server/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"

void secret_text_done(struct buf *text)
{
    if (text->capacity)
        secret_clear(text->data, text->capacity);
    buf_done(text);
}

/* --- files ---------------------------------------------------------------------------------------------- */

static int secret_file_read_all(int fd, size_t size_max, struct buf *ret_text)
{
    uint8_t *at = buf_reserve(ret_text, size_max + 1); /* once: a secret is not left behind by a move */
    for (;;) {
        ssize_t n = read(fd, at + ret_text->size, size_max + 1 - ret_text->size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || ret_text->size > size_max)
            return n < 0 ? ERR_IO : OK;
        ret_text->size += (size_t)n;
    }
}

/* A file of another user, readable through a group of this process, is accepted: orchestrators mount
 * secrets so. */
static void warn_of_mode(int fd, const char *option, const char *path)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return;
    bool is_own = st.st_uid == geteuid();
    if ((st.st_mode & S_IRWXO) || (is_own && (st.st_mode & S_IRWXG)))
        log_warn("a file with secrets can be read by other users of this machine: give it the mode 0600",
                 F_STR("option", option), F_STR("path", path));
}

int secret_file_read(const char *option, const char *path, size_t size_max, struct buf *ret_text, char *error,
                     size_t error_size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int err = fd < 0 ? ERR_IO : secret_file_read_all(fd, size_max, ret_text);
    if (err)
        snprintf(error, error_size, "%s: cannot read %.400s: %s", option, path, strerror(errno));
    else
        warn_of_mode(fd, option, path);
    if (fd >= 0)
        close(fd);
    return err ? ERR_INVALID : OK;
}

/* --- commands ------------------------------------------------------------------------------------------- */

static _Noreturn void become_shell(const char *command, int out)
{
    int null = open("/dev/null", O_RDONLY);
    (void)setpgid(0, 0);
    (void)signal(SIGPIPE, SIG_DFL);
    if (null >= 0)
        (void)dup2(null, STDIN_FILENO);
    (void)dup2(out, STDOUT_FILENO);
    (void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

/* Reads until the end; NULL, or what is wrong. */
static const char *take_output(int fd, uint64_t end_ms, size_t size_max, struct buf *ret_text)
{
    uint8_t *at = buf_reserve(ret_text, size_max + 1);
    for (;;) {
        uint64_t now_ms = clock_mono_ms();
        struct pollfd p = {fd, POLLIN, 0};
        if (now_ms >= end_ms)
            return "takes too long";
        int ready = poll(&p, 1, (int)(end_ms - now_ms));
        ssize_t n = ready > 0 ? read(fd, at + ret_text->size, size_max + 1 - ret_text->size) : -1;
        if (n == 0)
            return NULL;
        if (n > 0)
            ret_text->size += (size_t)n;
        else if (ready > 0 && errno != EINTR)
            return "cannot be read";
        if (ret_text->size > size_max)
            return "prints too much";
    }
}

/* Its output has ended; it may still run. NULL, or what is wrong. */
static const char *take_status(pid_t pid, uint64_t end_ms)
{
    int status = 0;
    for (;;) {
        pid_t ended = waitpid(pid, &status, WNOHANG);
        if (ended == pid)
            break;
        if (ended < 0 && errno != EINTR)
            return "cannot be waited for";
        if (clock_mono_ms() >= end_ms)
            return "takes too long";
        (void)poll(NULL, 0, 10);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? NULL : "has failed; its standard error says why";
}

int secret_command_run(const char *option, const char *command, int timeout_ms, size_t size_max,
                       struct buf *ret_text, char *error, size_t error_size)
{
    uint64_t end_ms = clock_mono_ms() + (uint64_t)timeout_ms;
    const char *wrong = "cannot be started";
    int fds[2] = {-1, -1};
    pid_t pid = pipe2(fds, O_CLOEXEC) == 0 ? fork() : -1;
    if (pid == 0)
        become_shell(command, fds[1]);
    if (fds[1] >= 0)
        close(fds[1]);
    if (pid > 0) {
        (void)setpgid(pid, pid); /* the child does it too: whichever is first */
        wrong = take_output(fds[0], end_ms, size_max, ret_text);
        if (!wrong)
            wrong = take_status(pid, end_ms);
        (void)kill(-pid, SIGKILL); /* what it left behind */
        while (wrong && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (fds[0] >= 0)
        close(fds[0]);
    if (wrong)
        snprintf(error, error_size, "%s: the command %s", option, wrong);
    return wrong ? ERR_INVALID : OK;
}
