/* SPDX-License-Identifier: Apache-2.0
 * The process: opens log, store and front ends in order, runs the loop, closes in the opposite order. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "server/options.h"

/* Returns the exit code: 0 after SIGTERM or SIGINT, 1 when it could not start or listen. */
int server_run(struct options *o);

#endif
