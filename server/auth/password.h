/* SPDX-License-Identifier: Apache-2.0
 * Password hashing with bcrypt, on a thread of its own: at cost 10 it takes about 50 ms, too long for the
 * loop. The thread starts with the first password. Passwords are overwritten in memory when they are not
 * needed any more.
 *
 * Every client can try passwords, and each try takes the thread for 50 ms. So the parties (a client's
 * address and the user that it names) are served round-robin: a party with many passwords waiting delays
 * another party by one password. When PASSWORD_WAITING_MAX are waiting, the party with the most loses its
 * last one to a party with fewer. */
#ifndef SERVER_AUTH_PASSWORD_H
#define SERVER_AUTH_PASSWORD_H

#include "base/buf.h"
#include "base/err.h"

struct uv_loop_s;
struct passwords;
struct password_job;

enum {
    PASSWORD_BYTES_MAX = 72,    /* bcrypt ignores further bytes, and Go rejects a longer password */
    PASSWORD_WAITING_MAX = 256, /* beyond: ERR_TOO_MANY_REQUESTS */
    PASSWORD_COST_MIN = 4,      /* bcrypt's own bounds */
    PASSWORD_COST_MAX = 31,
    PASSWORD_COST = 10,
};

struct passwords *passwords_new(struct uv_loop_s *loop, unsigned cost);
void passwords_free(struct passwords *p); /* waits for the thread; run the loop after */

/* Hashes a password in etcd's stored form; done(arg, err, hash) follows from the loop. NULL: nothing was
 * started, *ret_err says why (ERR_PASSWORD_TOO_LONG, ERR_TOO_MANY_REQUESTS). done's err is
 * ERR_TOO_MANY_REQUESTS when the job lost its place to another party's. password_forget cancels the job
 * until done is called. */
struct password_job *password_hash(struct passwords *p, const char *password,
                                   void (*done)(void *arg, int err, const char *hash), void *arg,
                                   int *ret_err);
/* Compares a password with a hash. done's err is ERR_AUTH_FAILED if they do not match. password_hash is
 * party 0. */
struct password_job *password_compare(struct passwords *p, uint64_t party, const char *password,
                                      struct slice hash, void (*done)(void *arg, int err, const char *hash),
                                      void *arg, int *ret_err);
/* Cancels a job: done is not called, and a job that has not begun is not computed. NULL is fine. */
void password_forget(struct password_job *job);

#endif
