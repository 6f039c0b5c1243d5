/* SPDX-License-Identifier: Apache-2.0
 * Who asks, as everything that looks at permissions is told it. */
#ifndef CONSENSUS_AUTH_WHO_H
#define CONSENSUS_AUTH_WHO_H

#include "base/buf.h"

/* Who asks: a user as of an auth revision. Zeroed: nobody, who may do nothing once auth is enabled. */
struct auth_who {
    struct slice user; /* borrowed */
    uint64_t revision; /* 0 = nobody */
    bool is_renewed;   /* of a token without a revision in it: as of now, whenever it is looked at */
};

#endif
