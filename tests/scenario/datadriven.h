/* SPDX-License-Identifier: Apache-2.0
 * Scenario files: a command, its input, "----", the expected output. The grammar is that of the Go package
 * cockroachdb/datadriven, so that etcd's files run unchanged:
 *
 *     # comment
 *     command key key=value key=(v1, v2)   \
 *         continued
 *     input lines
 *     ----
 *     expected, up to a blank line; or between two pairs of "----" lines when it holds blank lines itself
 *
 * The reader returns one directive after the other. On demand it writes the file anew with the actual
 * outputs. */
#ifndef TESTS_SCENARIO_DATADRIVEN_H
#define TESTS_SCENARIO_DATADRIVEN_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/mem.h"

#define DIRECTIVE_ARGS_MAX   32
#define DIRECTIVE_VALUES_MAX 32

struct directive_arg {
    const char *key;
    const char *value[DIRECTIVE_VALUES_MAX];
    unsigned count; /* 0 = a bare word */
};

struct directive {
    const char *path;
    unsigned line;
    const char *command;
    struct directive_arg arg[DIRECTIVE_ARGS_MAX];
    unsigned arg_count;
    const char *input; /* trimmed */
    const char *expected;
};

/* NULL when the argument is not there. */
const struct directive_arg *directive_find(const struct directive *d, const char *key);

struct datadriven_result {
    unsigned directives, differences; /* the first few differences are printed */
    bool unreadable;
};

/* run executes one directive and writes its output to out (a missing final newline is added). */
struct datadriven_result datadriven_run(const char *path, bool rewrite,
                                        void (*run)(void *arg, const struct directive *d, struct buf *out),
                                        void *arg);

#endif
