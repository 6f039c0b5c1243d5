/* SPDX-License-Identifier: Apache-2.0
 * bcrypt on a thread of its own: some 50 ms a password at cost 10, which the loop does not have. The thread
 * starts with the first password. Texts are wiped as soon as they are not needed.
 *
 * Anybody may try passwords, and each try takes the thread for 50 ms. So the parties (a client's address and
 * the user that it names) take turns: a party with many passwords waiting delays another one by one password.
 * When PASSWORD_WAITING_MAX are waiting, a party with fewer than the largest one gets the place of its last.
 */
#ifndef SERVER_AUTH_PASSWORD_H
#define SERVER_AUTH_PASSWORD_H

#include "base/buf.h"
#include "base/err.h"

struct uv_loop_s;
struct passwords;
struct password_job;

enum {
    PASSWORD_BYTES_MAX = 72,    /* more of it bcrypt does not see, and Go refuses to hash */
    PASSWORD_WAITING_MAX = 256, /* beyond: ERR_TOO_MANY_REQUESTS */
    PASSWORD_COST_MIN = 4,      /* bcrypt's own bounds */
    PASSWORD_COST_MAX = 31,
    PASSWORD_COST = 10,
};

struct passwords *passwords_new(struct uv_loop_s *loop, unsigned cost);
void passwords_free(struct passwords *p); /* waits for the thread; run the loop after */

/* done(arg, err, hash): the hash, as etcd stores it. ERR_PASSWORD_TOO_LONG. NULL and *ret_err: nothing was
 * started. Until done comes the job may be forgotten. done's err is ERR_TOO_MANY_REQUESTS when the job lost
 * its place to another party's. */
struct password_job *password_hash(struct passwords *p, const char *password,
                                   void (*done)(void *arg, int err, const char *hash), void *arg,
                                   int *ret_err);
/* done's err is ERR_AUTH_FAILED if the password is not the hash's. Hashing is a party of its own, 0. */
struct password_job *password_compare(struct passwords *p, uint64_t party, const char *password,
                                      struct slice hash, void (*done)(void *arg, int err, const char *hash),
                                      void *arg, int *ret_err);
/* done will not come; what has not begun is not computed. NULL is fine. */
void password_forget(struct password_job *job);

#endif
