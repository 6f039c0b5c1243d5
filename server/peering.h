/* SPDX-License-Identifier: Apache-2.0
 * The options about other members, as the parameters of the peer port, the bootstrap and the store. */
#ifndef SERVER_PEERING_H
#define SERVER_PEERING_H

#include "consensus/node/boot.h"
#include "server/options.h"

struct output_budget;
struct uv_loop_s;

/* Opens the peer port. On an error, with a sentence, nothing is open. */
MUST_CHECK int peering_open(const struct options *o, struct io *io, struct uv_loop_s *loop,
                            struct output_budget *output, char *error, size_t error_size,
                            struct peers **ret_peers);
/* Reads --join-token-file again after SIGHUP. A wrong file changes nothing and is logged. */
void peering_reload(struct options *o, struct peers *peers);
/* Logs one line when members do not need to prove themselves. The line is stronger when users are enabled:
 * the peer port does not check passwords. Call it at start and when users become enabled. */
void peering_warn_unproved(const struct options *o, bool has_users);
/* The result borrows from the options. */
void peering_boot_options(const struct options *o, struct io *io, struct peers *peers,
                          struct boot_options *ret_options);

#endif
