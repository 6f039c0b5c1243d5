/* SPDX-License-Identifier: Apache-2.0
 * What the options say about the other members, put into the forms that the peer port, the start and the
 * store ask for. */
#ifndef SERVER_PEERING_H
#define SERVER_PEERING_H

#include "consensus/node/boot.h"
#include "server/options.h"

struct uv_loop_s;

/* The peer port listens from here on. An error with a sentence; nothing is open then. */
MUST_CHECK int peering_open(const struct options *o, struct io *io, struct uv_loop_s *loop, char *error,
                            size_t error_size, struct peers **ret_peers);
/* Borrows from the options. */
void peering_boot_options(const struct options *o, struct io *io, struct peers *peers,
                          struct boot_options *ret_options);

#endif
