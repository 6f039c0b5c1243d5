/* SPDX-License-Identifier: Apache-2.0
 * The DNS options as the parameters that server/dns needs. */
#ifndef SERVER_NAMING_H
#define SERVER_NAMING_H

#include "server/auth/identity.h"
#include "server/dns/dns_server.h"
#include "server/options.h"

/* The caller for access checks: an anonymous one. It must live as long as the DNS server. */
struct naming {
    const struct identity *identity;
    const struct registry *registry;
    struct output_budget *output;
};

/* *ret_dns NULL: --listen-dns is empty. Errors as of dns_server_new. */
MUST_CHECK int naming_open(const struct options *o, struct uv_loop_s *loop, struct naming *naming,
                           struct registry *registry, char *error, size_t error_size,
                           struct dns_server **ret_dns);

#endif
