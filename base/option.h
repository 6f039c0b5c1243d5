/* SPDX-License-Identifier: Apache-2.0
 * Options: a table that fills a struct from flags, environment and YAML, and prints --help. One entry is
 * one option; server/options.def is the daemon's list. The rules are etcd's:
 *
 * - -name and --name, =value or the next word, bare booleans.
 * - An option that is given by flag and by environment is an error.
 * - With --config-file every other flag and variable is ignored.
 * - An unknown flag is an error; an unknown variable only causes a warning. */
#ifndef BASE_OPTION_H
#define BASE_OPTION_H

#include "base/buf.h"
#include "base/err.h"

enum option_kind {
    OPTION_STRING,   /* char * owned by the struct */
    OPTION_BOOL,     /* bool */
    OPTION_INT,      /* int64_t */
    OPTION_UINT,     /* uint64_t */
    OPTION_DURATION, /* int64_t nanoseconds; Go syntax in flags, integer nanoseconds or Go syntax in YAML */
};

enum option_effect {
    OPTION_WORKS,    /* has its effect */
    OPTION_ACCEPTED, /* parsed without effect: a warning when given */
    OPTION_IGNORED,  /* accepted without a warning, as etcd does */
};

struct option {
    const char *name;
    enum option_kind kind;
    enum option_effect effect;
    size_t offset; /* of the field in the target struct; for OPTION_WORKS */
    const char *default_text;
    int64_t min, max; /* for numbers and durations; both 0 = any */
    const char *yaml; /* "section.key", or NULL = same as name */
    /* lines; a first line "# Member" begins a group in --help. name NULL: the group's heading alone */
    const char *help;
};

struct option_set {
    const struct option *options;
    size_t count;
    const char *env_prefix; /* "ETCD_" */
    const char *program;
    /* Filled while parsing. */
    bool *given;         /* count entries */
    struct buf warnings; /* one line each */
    char error[512];     /* one sentence: what, where, what to do */
};

void option_init(struct option_set *set, void *target);
/* All return ERR_INVALID with a sentence in set->error. environ_list is a NULL-terminated list of "K=V". */
MUST_CHECK int option_parse_args(struct option_set *set, void *target, int argc, char **argv);
MUST_CHECK int option_parse_env(struct option_set *set, void *target, char *const *environ_list);
MUST_CHECK int option_parse_yaml(struct option_set *set, void *target, struct slice text, const char *file);
bool option_is_given(const struct option_set *set, const char *name);
void option_print_help(const struct option_set *set, struct buf *out);
void option_done(struct option_set *set, void *target);

#endif
