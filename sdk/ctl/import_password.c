/* SPDX-License-Identifier: Apache-2.0
 * bcrypt with libxcrypt. See import_password.h. */
#include "sdk/ctl/import_password.h"

#include <crypt.h>
#include <stddef.h>
#include <string.h>

enum { COST = 10, HASH_MAX = 128 };

const char *import_password_hash(const char *password, const uint8_t salt[IMPORT_SALT_SIZE])
{
    static _Thread_local char hash[HASH_MAX];
    static _Thread_local struct crypt_data data;
    char setting[HASH_MAX];
    const char *from =
        crypt_gensalt_rn("$2a$", COST, (const char *)salt, IMPORT_SALT_SIZE, setting, sizeof setting);
    const char *result = from ? crypt_r(password, from, &data) : NULL;
    if (!result || result[0] != '$' || strlen(result) >= sizeof hash)
        return NULL;
    strcpy(hash, result);
    explicit_bzero(&data, sizeof data);
    return hash;
}
