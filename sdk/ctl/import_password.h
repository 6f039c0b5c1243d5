/* SPDX-License-Identifier: Apache-2.0
 * bcrypt for the entries of etcd 3.4, whose log has passwords as text. */
#ifndef SDK_CTL_IMPORT_PASSWORD_H
#define SDK_CTL_IMPORT_PASSWORD_H

#include <stdint.h>

enum { IMPORT_SALT_SIZE = 16 };

/* The hash with etcd's default cost, at most 72 bytes of the password; NULL: it failed. It lives until the next call
 * of this thread. */
const char *import_password_hash(const char *password, const uint8_t salt[IMPORT_SALT_SIZE]);

#endif
