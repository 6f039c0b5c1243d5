/* SPDX-License-Identifier: Apache-2.0
 * The addresses that health checks may connect to. Pure.
 *
 * A client chooses the address that a member connects to, so a check must not reach what only the member's
 * machine can reach (server-side request forgery). Refused: the machine itself, its link, the metadata
 * services of clouds, multicast, reserved addresses, and IPv6 forms that stand for an IPv4 address. Private
 * networks are allowed: instances are there. --registry-check-allow names networks that are allowed in
 * spite of this. */
#ifndef REGISTRY_CHECK_ADDRESS_H
#define REGISTRY_CHECK_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define CHECK_NETWORKS_MAX 64

struct check_network {
    bool is_v6;
    uint8_t bits; /* of the prefix */
    uint8_t bytes[16];
};
struct check_networks {
    struct check_network list[CHECK_NETWORKS_MAX];
    size_t count;
};

/* "10.0.0.0/8,::1/128", or empty. ERR_INVALID with a sentence. */
MUST_CHECK int check_networks_parse(struct slice text, struct check_networks *ret, char *error,
                                    size_t error_size);

/* bytes: 4, or 16 with is_v6, in network order. NULL: allowed; else what the address is, as in "loopback". */
const char *check_address_refusal(const struct check_networks *allowed, bool is_v6, const uint8_t *bytes);

#endif
