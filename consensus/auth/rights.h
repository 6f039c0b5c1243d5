/* SPDX-License-Identifier: Apache-2.0
 * Private to auth.c: effective rights of users and roles, merged after a change. See rights.c. */
#ifndef CONSENSUS_AUTH_RIGHTS_H
#define CONSENSUS_AUTH_RIGHTS_H

#include "consensus/auth/auth.h"

/* The number of a new change, of a role or of a user's role list. */
uint64_t auth_rights_changed(void);
void auth_rights_done(struct auth_rights *rights);
void auth_role_forget_ranges(struct auth_role *r);

/* Valid until the role changes. */
const struct auth_ranges *auth_role_ranges(struct auth_role *r, bool is_write);
/* Valid until the user or one of its roles changes. Made at once, however many ranges there are. */
const struct auth_ranges *auth_user_ranges(const struct auth *a, struct auth_user *u, bool is_write);
bool auth_user_is_allowed(const struct auth *a, struct auth_user *u, struct slice key, struct slice range_end,
                          bool is_write);
bool auth_user_prepare(const struct auth *a, struct auth_user *u, bool is_write, int64_t *units);

#endif
