/* SPDX-License-Identifier: Apache-2.0
 * What was typed, by the table: which command, which flags, which arguments. As Go's pflag reads them: flags
 * may stand anywhere before "--", as --name=value or --name value, -w json, -wjson, booleans bare or =true,
 * =false. Pure. */
#ifndef SDK_CTL_PARSE_H
#define SDK_CTL_PARSE_H

#include "base/buf.h"
#include "base/err.h"
#include "sdk/ctl/table.h"

struct ctl_value {
    const char **list; /* what was given, in order; of a BOOL "true" or "false"; borrowed */
    size_t count;
};

struct ctl_typed {
    bool is_etcdctl;
    const char *program;
    enum ctl_command_id command; /* CTL_COMMAND_global: none was given */
    char group[64];              /* the words of a group alone, as in "snapshot"; or "" */
    struct ctl_value *values;    /* one for each of ctl_flags */
    const char **args;           /* behind the command; borrowed */
    size_t arg_count;
    size_t dash_at; /* how many of them stand before "--"; arg_count without one */
    bool has_dash;
    bool wants_help;
    struct buf error; /* lines for people; of an error */
};

/* argv[0]'s last part, or a first word, says that the grammar is etcdctl's. OK: numbers and durations are
 * ones, and there are as many arguments as the command wants (etcdctl's commands count theirs themselves).
 * ERR_INVALID with error filled: *ret_exit is how the program ends then. */
MUST_CHECK int ctl_parse(int argc, const char *const *argv, struct ctl_typed *t, enum ctl_exit *ret_exit);
void ctl_typed_done(struct ctl_typed *t);

/* The last value given, NULL = none. name is a flag of the command or a global one. */
const char *ctl_given(const struct ctl_typed *t, const char *name);
/* The same, else the default. */
const char *ctl_text(const struct ctl_typed *t, const char *name);
bool ctl_bool(const struct ctl_typed *t, const char *name);
int64_t ctl_int(const struct ctl_typed *t, const char *name);         /* INT and HEX; 0 without default */
int64_t ctl_duration_ms(const struct ctl_typed *t, const char *name); /* rounded up */
const struct ctl_value *ctl_list(const struct ctl_typed *t, const char *name);
/* Gives a flag that was not given: by environment or context. The value is checked as one that was typed:
 * ERR_INVALID. */
MUST_CHECK int ctl_supply(struct ctl_typed *t, const struct ctl_flag *f, const char *value, const char *from);

#endif
