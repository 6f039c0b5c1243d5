/* SPDX-License-Identifier: Apache-2.0
 * What all clients together may hold of this process: unread output and connections, as options say it, with
 * their metrics. The rules are base/net/output.h's and base/net/sources.h's. */
#ifndef SERVER_LIMITS_H
#define SERVER_LIMITS_H

#include "base/net/output.h"
#include "base/net/sources.h"

struct options;

struct limits {
    struct output_budget output;
    struct sources sources;
};

/* Descriptors up to the hard limit; returns how many connections there may be beside our own files. */
size_t limits_raise_files(void);
void limits_open(struct limits *l, const struct options *o, size_t connections_max);
void limits_close(struct limits *l);
/* Closes connections that hold too much; true: there may be more to close at once. */
bool limits_turn(struct limits *l);

#endif
