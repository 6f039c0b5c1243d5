/* SPDX-License-Identifier: Apache-2.0
 * What the options say about the other members, put into the forms that the peer port, the start and the
 * store ask for. */
#ifndef SERVER_PEERING_H
#define SERVER_PEERING_H

#include "consensus/node/boot.h"
#include "server/options.h"

struct output_budget;
struct uv_loop_s;

/* The peer port listens from here on. An error with a sentence; nothing is open then. */
MUST_CHECK int peering_open(const struct options *o, struct io *io, struct uv_loop_s *loop,
                            struct output_budget *output, char *error, size_t error_size,
                            struct peers **ret_peers);
/* After SIGHUP: reads --join-token-file anew; a file that is wrong changes nothing (logged). */
void peering_reload(struct options *o, struct peers *peers);
/* One line when members do not have to prove themselves; sharper when users are enabled, whose passwords that
 * port does not ask for. At start, and when users become enabled. */
void peering_warn_unproved(const struct options *o, bool has_users);
/* Borrows from the options. */
void peering_boot_options(const struct options *o, struct io *io, struct peers *peers,
                          struct boot_options *ret_options);

#endif
