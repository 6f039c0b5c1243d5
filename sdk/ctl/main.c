/* SPDX-License-Identifier: Apache-2.0
 * Entry of cairnctl: parses the command line, runs one command, returns its exit code. Under the name
 * etcdctl the program has etcdctl's grammar. */
#include "sdk/ctl/rpc.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"

static int stop_writer = -1;

/* The pipe is never read: from the first signal on every waiting call returns. A second signal ends the
 * process at once. */
static void on_signal(int number)
{
    (void)!write(stop_writer, "", 1);
    (void)signal(number, SIG_DFL);
}

static void catch_signals(struct ctl *c)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) {
        perror("cairnctl: pipe");
        exit(CTL_ERROR);
    }
    c->stop_fd = fds[0];
    stop_writer = fds[1];
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

enum ctl_exit ctl_help(struct ctl *c)
{
    /* Runs `help service register` as `service register --help`. */
    const char *argv[8] = {c->line.program};
    int argc = 1;
    for (size_t i = 0; i < c->line.arg_count && argc < 7; i++)
        argv[argc++] = c->line.args[i];
    struct ctl_command_line asked;
    enum ctl_exit how = CTL_DONE;
    argv[argc++] = "--help";
    if (ctl_parse(argc, argv, &asked, &how) == OK) {
        ctl_add_help(&c->out, &asked);
        how = CTL_DONE;
    } else {
        fwrite(asked.error.data, 1, asked.error.size, stderr);
    }
    ctl_command_line_done(&asked);
    return how;
}

enum ctl_exit ctl_man(struct ctl *c)
{
    ctl_add_man(&c->out);
    return CTL_DONE;
}

enum ctl_exit ctl_options(struct ctl *c)
{
    ctl_add_options(&c->out, &c->line);
    return CTL_DONE;
}

enum ctl_exit ctl_completion(struct ctl *c)
{
    bool is_one = c->line.arg_count == 1;
    if (is_one)
        ctl_add_completion(&c->out, c->line.args[0], c->line.is_etcdctl);
    if (c->out.size)
        return CTL_DONE;
    if (!ctl_has_etcd_texts(&c->line))
        return ctl_fail(c, CTL_BAD_ARGS, "give the shell: bash, zsh, fish or powershell");
    return is_one ? ctl_fail(c, CTL_ERROR, "invalid argument \"%s\" for \"%s completion\"", c->line.args[0],
                             c->line.program)
                  : ctl_fail(c, CTL_ERROR, "accepts 1 arg(s), received %zu", c->line.arg_count);
}

enum ctl_exit ctl_version(struct ctl *c)
{
    static const char version[] = "3.7.1"; /* of etcd, whose API this speaks */
    if (ctl_has_etcd_texts(&c->line))
        buf_addf(&c->out, "%s version: %s\nAPI version: 3.7\n", c->line.program, version);
    else
        buf_addf(&c->out, "cairnctl, speaks the API of etcd %s and /api/v1\n", version);
    return CTL_DONE;
}

static enum ctl_exit ctl_main_run(struct ctl *c)
{
    static enum ctl_exit (*const handlers[])(struct ctl *) = {
        NULL,
#define CTL_GROUP(...)
#define CTL_COMMAND(id, ...) ctl_##id,
#define CTL_FLAG(...)
#include "sdk/ctl/command.def"
#undef CTL_GROUP
#undef CTL_COMMAND
#undef CTL_FLAG
    };
    enum ctl_exit how = ctl_open(c);
    if (!how)
        how = handlers[c->line.command](c);
    if (how || !c->refused_form)
        return how;
    buf_clear(&c->out);
    return ctl_fail_form(c, c->refused_form);
}

int main(int argc, char **argv)
{
    struct ctl c = {.has_terminal = isatty(STDOUT_FILENO)};
    const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");
    c.has_colour =
        c.has_terminal && !(no_colour && *no_colour) && !(terminal && strcmp(terminal, "dumb") == 0);
    hash_seed(random_u64());
    enum ctl_exit how;
    if (ctl_parse(argc, (const char *const *)argv, &c.line, &how) != OK) {
        fwrite(c.line.error.data, 1, c.line.error.size, stderr);
    } else if (c.line.wants_help) {
        ctl_add_help(&c.out, &c.line);
        how = CTL_DONE;
    } else {
        catch_signals(&c);
        how = ctl_main_run(&c);
    }
    if (!ctl_flush(&c) && how == CTL_DONE)
        how = CTL_IO;
    ctl_done(&c);
    return (int)how;
}
