/* SPDX-License-Identifier: Apache-2.0
 * Permissions: what an operation of any port needs, as the tables of operations name it (access.def). This
 * is the vocabulary only; each surface enforces its own rows (server/rpc/rpc.c, server/auth/guard.c,
 * consensus/auth/). */
#ifndef BASE_ACCESS_H
#define BASE_ACCESS_H

enum access_caller {
    BY_ROOT = 1,    /* a user with the role root */
    BY_GRANTED = 2, /* a user whose roles grant what the operation needs */
    BY_USER = 4,    /* a user without any role */
    BY_ANYBODY = 8, /* a caller without credentials */
    BY_MEMBER = 16, /* a member of the cluster that has proved it */
    BY_JOINER = 32, /* not a member, with proof that it may join */
    BY_PEER = 64,   /* neither: an unknown peer, a removed member, a member without proof */
};

enum access {
#define ACCESS(id, title, callers, text) ACCESS_##id,
#include "base/access.def"
#undef ACCESS
    ACCESS_COUNT
};

#endif
