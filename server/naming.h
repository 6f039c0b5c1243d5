/* SPDX-License-Identifier: Apache-2.0
 * What the options say about DNS, put into the form that server/dns asks for. */
#ifndef SERVER_NAMING_H
#define SERVER_NAMING_H

#include "server/auth/identity.h"
#include "server/dns/dns_server.h"
#include "server/options.h"

/* Whom DNS answers: callers without credentials. Lives as long as the server that it was opened with. */
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
