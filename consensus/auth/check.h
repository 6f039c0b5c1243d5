/* SPDX-License-Identifier: Apache-2.0
 * Authorization of a whole request: each key that it reads, compares, writes or attaches to a lease. Pure,
 * except that it reads the leases. Everything is OK while auth is not enabled. The errors are
 * auth_check_range's. */
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
/* Both branches, whichever is taken, and all nested transactions. */
MUST_CHECK int auth_check_txn(const struct auth_check *c, const Etcdserverpb__TxnRequest *m);
/* Checks all keys of the lease but `except` (size 0: all; the same at each call for this lease). A missing
 * lease has no keys. Admins have every permission. Only keys that came since the last call are checked. */
MUST_CHECK int auth_check_lease(const struct auth_check *c, int64_t lease, bool is_write,
                                struct slice except);

/* Does the long part of a check in slices: rights of very many ranges, leases of very many keys. Subtracts its
 * work from *units. False: there is more to do. True: the check of the same name takes little time now. It
 * gives the same result whether it was prepared or not. */
MUST_CHECK bool auth_prepare_lease(const struct auth_check *c, int64_t lease, bool is_write,
                                   struct slice except, int64_t *units);
/* Both together. *ret_err is set when it returns true. */
MUST_CHECK bool auth_check_lease_some(const struct auth_check *c, int64_t lease, bool is_write,
                                      struct slice except, int64_t *units, int *ret_err);
MUST_CHECK bool auth_prepare_put(const struct auth_check *c, const Etcdserverpb__PutRequest *m,
                                 int64_t *units);
MUST_CHECK bool auth_prepare_txn(const struct auth_check *c, const Etcdserverpb__TxnRequest *m,
                                 int64_t *units);

#endif
