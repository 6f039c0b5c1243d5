/* SPDX-License-Identifier: Apache-2.0
 * Help texts and the manual page, generated from command.def. complete.c generates the completions. Pure. */
#include "sdk/ctl/ctl.h"

#include <stdio.h>

/* --- help ----------------------------------------------------------------------------------------------- */

/* "-o, --output FORM" */
static void add_flag_name(struct buf *out, const struct ctl_flag *f)
{
    if (f->letter)
        buf_addf(out, "-%c, ", f->letter);
    buf_addf(out, "--%s%s%s", f->name, *f->value ? " " : "", f->value);
}

bool ctl_shows_flag(const struct ctl_flag *f, enum ctl_command_id id, bool is_etcdctl)
{
    /* --output hides --write-out. A command's flag hides a global flag of the same name. */
    if (f->command != id || !ctl_has_flag(f, is_etcdctl) || ctl_is_etcdutl_flag(f))
        return false;
    return is_etcdctl || strcmp(f->name, "write-out") != 0;
}

static void add_flags(struct buf *out, enum ctl_command_id id, const struct ctl_command_line *t)
{
    struct buf name = {0};
    for (size_t i = 0; i < ctl_flag_count; i++) {
        const struct ctl_flag *f = &ctl_flags[i];
        bool is_etcdutls = t->is_etcdutl && id == CTL_COMMAND_global && ctl_is_etcdutl_flag(f);
        if (!ctl_shows_flag(f, id, t->is_etcdctl) && !is_etcdutls)
            continue;
        buf_clear(&name);
        add_flag_name(&name, f);
        buf_addf(out, "  %-28s  %s", buf_text(&name), f->help);
        if (f->default_text)
            buf_addf(out, " (%s)", f->default_text);
        buf_add_byte(out, '\n');
    }
    buf_done(&name);
}

static bool has_flags(enum ctl_command_id id, bool is_etcdctl)
{
    for (size_t i = 0; i < ctl_flag_count; i++) {
        if (ctl_shows_flag(&ctl_flags[i], id, is_etcdctl))
            return true;
    }
    return false;
}

static void add_commands(struct buf *out, const struct ctl_command_line *t)
{
    size_t size = strlen(t->group);
    for (int g = 0; g < CTL_GROUP_COUNT; g++) {
        bool is_first = true;
        for (int id = 1; id < CTL_COMMAND_COUNT; id++) {
            const struct ctl_command *command = &ctl_commands[id];
            if (command->group != (enum ctl_group)g ||
                !(t->is_etcdutl ? ctl_is_etcdutl_command((enum ctl_command_id)id)
                                : ctl_has_command((enum ctl_command_id)id, t->is_etcdctl)) ||
                (size && (strncmp(command->words, t->group, size) != 0 || command->words[size] != ' ')))
                continue;
            if (is_first)
                buf_addf(out, "\n%s\n", ctl_group_title((enum ctl_group)g));
            is_first = false;
            buf_addf(out, "  %-22s  %s\n", command->words, command->summary);
        }
    }
}

static void add_overview(struct buf *out, const struct ctl_command_line *t)
{
    if (!*t->group && t->is_etcdutl)
        buf_add_text(out, "etcdutl: tools for snapshot files of etcd v3 and Cairn\n\n");
    else if (!*t->group && !t->is_etcdctl)
        buf_add_text(
            out, "cairnctl: services, configurations, keys and members of a Cairn cluster, or of etcd\n\n");
    else if (!*t->group)
        buf_add_text(out, "etcdctl: a command line client for etcd v3 and Cairn\n\n");
    buf_addf(out, "usage: %s %s%sCOMMAND [ARGUMENTS] [FLAGS]\n", t->program, t->group, *t->group ? " " : "");
    add_commands(out, t);
    buf_addf(out, "\nFlags of all commands\n");
    add_flags(out, CTL_COMMAND_global, t);
    buf_addf(out, "\n\"%s COMMAND --help\" says more about a command. Flags can be given as %s, too.\n",
             t->program,
             t->is_etcdctl ? "ETCDCTL_ENDPOINTS and the like"
                           : "CAIRN_ENDPOINTS, ETCDCTL_ENDPOINTS and the like, or in a context");
}

void ctl_add_help(struct buf *out, const struct ctl_command_line *t)
{
    const struct ctl_command *command = &ctl_commands[t->command];
    if (t->command == CTL_COMMAND_global) {
        add_overview(out, t);
        return;
    }
    buf_addf(out, "%s.\n\nusage: %s %s%s%s [FLAGS]\n", command->summary, t->program, command->words,
             *command->arguments ? " " : "", command->arguments);
    if (has_flags(t->command, t->is_etcdctl)) {
        buf_add_text(out, "\nFlags\n");
        add_flags(out, t->command, t);
    }
    buf_add_text(out, "\nFlags of all commands\n");
    add_flags(out, CTL_COMMAND_global, t);
}

void ctl_add_options(struct buf *out, const struct ctl_command_line *t)
{
    buf_add_text(out, "The following options can be passed to any command:\n\n");
    add_flags(out, CTL_COMMAND_global, t);
}

/* --- the manual page ------------------------------------------------------------------------------------ */

/* Appends a line of text for troff: it begins with no command and has no escapes. */
static void add_troff(struct buf *out, const char *text)
{
    if (*text == '.' || *text == '\'')
        buf_add_text(out, "\\&");
    for (; *text; text++) {
        if (*text == '\\')
            buf_add_text(out, "\\e");
        else if (*text == '-')
            buf_add_text(out, "\\-");
        else
            buf_add_byte(out, (uint8_t)*text);
    }
}

static void add_man_flags(struct buf *out, enum ctl_command_id id)
{
    struct buf name = {0};
    for (size_t i = 0; i < ctl_flag_count; i++) {
        const struct ctl_flag *f = &ctl_flags[i];
        if (!ctl_shows_flag(f, id, false))
            continue;
        buf_clear(&name);
        add_flag_name(&name, f);
        buf_add_text(out, ".TP\n.B ");
        add_troff(out, buf_text(&name));
        buf_add_byte(out, '\n');
        add_troff(out, f->help);
        if (f->default_text) {
            buf_add_text(out, " (");
            add_troff(out, f->default_text);
            buf_add_byte(out, ')');
        }
        buf_add_byte(out, '\n');
    }
    buf_done(&name);
}

static void add_man_commands(struct buf *out)
{
    for (int g = 0; g < CTL_GROUP_COUNT; g++) {
        buf_addf(out, ".SH %s\n", ctl_group_title((enum ctl_group)g));
        for (int id = 1; id < CTL_COMMAND_COUNT; id++) {
            const struct ctl_command *command = &ctl_commands[id];
            if (command->group != (enum ctl_group)g || !ctl_has_command((enum ctl_command_id)id, false))
                continue;
            buf_add_text(out, ".SS ");
            add_troff(out, command->words);
            buf_add_byte(out, ' ');
            add_troff(out, command->arguments);
            buf_add_byte(out, '\n');
            add_troff(out, command->summary);
            buf_add_text(out, ".\n");
            add_man_flags(out, (enum ctl_command_id)id);
        }
    }
}

void ctl_add_man(struct buf *out)
{
    buf_add_text(out, ".TH CAIRNCTL 1 \"\" \"cairnctl\" \"Cairn\"\n.SH NAME\ncairnctl \\- services, "
                      "configurations, keys and members of "
                      "a Cairn cluster\n"
                      ".SH SYNOPSIS\n.B cairnctl\n.I COMMAND\n[ARGUMENTS] [FLAGS]\n"
                      ".SH DESCRIPTION\nAsks a cluster of cairnd, or of etcd, and changes it. Under the name "
                      "etcdctl, or as\n"
                      ".BR \"cairnctl etcdctl\" ,\nit has the commands, flags and outputs of etcdctl;\n"
                      "under the name etcdutl those of etcdutl.\n");
    add_man_commands(out);
    buf_add_text(out, ".SH FLAGS OF ALL COMMANDS\n");
    add_man_flags(out, CTL_COMMAND_global);
    buf_add_text(out,
                 ".SH ENVIRONMENT\nEvery flag of all commands can be given as CAIRN_NAME or ETCDCTL_NAME, in "
                 "upper case with _ for \\-.\n"
                 "A flag wins over CAIRN_NAME, that over ETCDCTL_NAME, that over the context.\n"
                 "NO_COLOR turns colours off. VISUAL and EDITOR are for \\(lqconfig edit\\(rq.\n"
                 ".SH FILES\n.TP\n~/.config/cairn/config.yaml\ncontexts; CAIRN_CONFIG names another file\n"
                 ".SH EXIT STATUS\n0 done; 1 an error, or a difference; 2 no connection; 3 invalid input; 4 "
                 "not supported;\n"
                 "5 interrupted, a bad problem (doctor), or a member that does not answer (cluster status, "
                 "endpoint health); "
                 "6 files; 128 wrong arguments.\n"
                 ".SH SEE ALSO\n.BR cairnd (1)\n");
}
