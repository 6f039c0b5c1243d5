/* SPDX-License-Identifier: Apache-2.0
 * Whether a whole request is allowed: each key it reads, compares, writes or gives to a lease. Pure but for
 * the leases it looks at. Everything is OK while auth is not enabled; the errors are auth_check_range's. */
#ifndef CONSENSUS_AUTH_CHECK_H
#define CONSENSUS_AUTH_CHECK_H

#include "consensus/auth/auth.h"

struct lease_table;

struct auth_check {
    const struct auth *auth;
    struct lease_table *leases;
    const struct auth_who *who;
};

MUST_CHECK int auth_check_read(const struct auth_check *c, const Etcdserverpb__RangeRequest *m);
MUST_CHECK int auth_check_put(const struct auth_check *c, const Etcdserverpb__PutRequest *m);
MUST_CHECK int auth_check_delete(const struct auth_check *c, const Etcdserverpb__DeleteRangeRequest *m);
/* Both branches, whichever is taken, and what is nested in them. */
MUST_CHECK int auth_check_txn(const struct auth_check *c, const Etcdserverpb__TxnRequest *m);
/* All keys that hang on the lease but `except` (of size 0: all; the same at each call for this lease); a
 * lease that is not there is nobody's. Admins may. Looks at keys that came since the last time only. */
MUST_CHECK int auth_check_lease(const struct auth_check *c, int64_t lease, bool is_write,
                                struct slice except);

#endif
