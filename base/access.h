/* SPDX-License-Identifier: Apache-2.0
 * Names of the permissions that operations require (access.def), and kinds of callers. No checks: each port
 * enforces its own rows (server/rpc/rpc.c, server/auth/guard.c, consensus/auth/). */
#ifndef BASE_ACCESS_H
#define BASE_ACCESS_H

enum access_caller {
    BY_ROOT = 1,    /* a user with the role root */
    BY_GRANTED = 2, /* a user whose roles grant what the operation needs */
    BY_USER = 4,    /* a user without any role */
    BY_ANYBODY = 8, /* a caller without credentials */
    BY_MEMBER = 16, /* a member of the cluster, with proof */
    BY_JOINER = 32, /* a process with proof that it may join */
    BY_PEER = 64,   /* any other peer: unknown, removed, or without proof */
};

enum access {
#define ACCESS(id, title, callers, text) ACCESS_##id,
#include "base/access.def"
#undef ACCESS
    ACCESS_COUNT
};

#endif
