/* SPDX-License-Identifier: Apache-2.0
 * Author of a request, as every authorization check gets it. */
#ifndef CONSENSUS_AUTH_WHO_H
#define CONSENSUS_AUTH_WHO_H

#include "base/buf.h"

/* Of a certificate: a changed password does not make it invalid. */
#define AUTH_REVISION_ANY UINT64_MAX

/* A user as of an auth revision. Zeroed: no user, without permissions once auth is enabled.
 *
 * The revision is that of the credential: of the moment in which a token, a password or a certificate proved
 * the user. Later the user's password may change, or the user may be deleted and created again. Then the
 * author is invalid: each check answers ERR_AUTH_OLD_REVISION. */
struct auth_who {
    struct slice user; /* borrowed */
    uint64_t revision; /* 0 = no user */
    bool is_renewed;   /* its present permissions are used; else any change of users or roles makes it old */
    bool is_role;      /* user names a role (AUTH_ANONYMOUS) and revision is 0: it may only read */
};

/* One range of keys that an author must be allowed to read or write. */
struct auth_need {
    struct slice key, range_end;
    bool is_write;
};

/* Replaces the keys that a write names: all of them must be allowed. None: the author must be valid. */
struct auth_needs {
    const struct auth_need *list;
    size_t count;
};

/* The role whose READ permissions callers without credentials have, on surfaces that allow such callers. */
#define AUTH_ANONYMOUS "anonymous"

#endif
