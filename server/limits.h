/* SPDX-License-Identifier: Apache-2.0
 * Limits of all clients together, from the options: unread output and connections, with their metrics. The
 * rules stand in base/net/output.h and base/net/sources.h. */
#ifndef SERVER_LIMITS_H
#define SERVER_LIMITS_H

#include "base/err.h"
#include "base/net/output.h"
#include "base/net/sources.h"

struct options;

struct limits {
    struct output_budget output;
    struct sources sources;
};

/* Raises the limit of descriptors to the hard limit. Returns the number of connections that fit beside our
 * own files. */
size_t limits_raise_files(void);
/* Keeps the pages of this process in RAM (--memory-mlock). ERR_LIMIT: `error` holds one sentence. */
MUST_CHECK int limits_lock_memory(char *error, size_t error_size);
void limits_open(struct limits *l, const struct options *o, size_t connections_max);
void limits_close(struct limits *l);
/* Closes connections that hold too much. Returns true if more must be closed in the next turn. */
bool limits_turn(struct limits *l);

#endif
