/* SPDX-License-Identifier: Apache-2.0
 * Command lines, parsed by the command table: command, flags, arguments, as Go's pflag reads them. Flags
 * may stand anywhere before "--", as --name=value or --name value, -w json, -wjson. Booleans are bare or
 * =true, =false. Pure. */
#ifndef SDK_CTL_PARSE_H
#define SDK_CTL_PARSE_H

#include "base/buf.h"
#include "base/err.h"
#include "sdk/ctl/table.h"

struct ctl_value {
    const char **list; /* the given values in order; of a BOOL "true" or "false"; borrowed */
    size_t count;
};

struct ctl_command_line {
    bool is_etcdctl;
    bool is_etcdutl; /* cairnctl's grammar with etcdutl's commands, outputs and error texts */
    const char *program;
    enum ctl_command_id command; /* CTL_COMMAND_global: no command was given */
    char group[64];              /* the words of a group without a command, as "snapshot"; or "" */
    struct ctl_value *values;    /* one for each row of ctl_flags */
    const char **args;           /* after the command; borrowed */
    size_t arg_count;
    size_t dash_at; /* number of args before "--"; arg_count without one */
    bool has_dash;
    bool wants_help;
    struct buf error; /* the error message, one or more lines */
};

/* Parses a command line. The last part of argv[0], or a first word, selects etcdctl's or etcdutl's grammar. OK: numbers
 * and durations are valid, and the number of arguments is right (etcdctl's commands check theirs
 * themselves). ERR_INVALID with error filled: *ret_exit is the exit code. */
MUST_CHECK int ctl_parse(int argc, const char *const *argv, struct ctl_command_line *t,
                         enum ctl_exit *ret_exit);
/* Errors and outputs are those of etcdctl or etcdutl. */
static inline bool ctl_has_etcd_texts(const struct ctl_command_line *t)
{
    return t->is_etcdctl || t->is_etcdutl;
}

void ctl_command_line_done(struct ctl_command_line *t);

/* The last given value, NULL = none. name is a flag of the command or a global one. */
const char *ctl_flag_value(const struct ctl_command_line *t, const char *name);
/* The last given value, else the default. */
const char *ctl_text(const struct ctl_command_line *t, const char *name);
bool ctl_bool(const struct ctl_command_line *t, const char *name);
int64_t ctl_int(const struct ctl_command_line *t, const char *name); /* INT and HEX; 0 without default */
uint64_t ctl_uint(const struct ctl_command_line *t, const char *name);
int64_t ctl_duration_ms(const struct ctl_command_line *t, const char *name); /* rounded up */
const struct ctl_value *ctl_list(const struct ctl_command_line *t, const char *name);
/* Sets a flag that the command line does not have, from environment or context. The value is checked like
 * one of the command line: ERR_INVALID. */
MUST_CHECK int ctl_supply(struct ctl_command_line *t, const struct ctl_flag *f, const char *value,
                          const char *from);

#endif
