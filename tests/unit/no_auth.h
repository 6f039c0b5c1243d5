/* SPDX-License-Identifier: Apache-2.0
 * A fake of kv.h's functions about users, for tests with a store of their own that has no users: auth is
 * off. */
#ifndef TESTS_UNIT_NO_AUTH_H
#define TESTS_UNIT_NO_AUTH_H

#include "consensus/kv.h"

bool kv_auth_is_enabled(const struct kv *kv)
{
    (void)kv;
    return false;
}

uint64_t kv_auth_revision(const struct kv *kv)
{
    (void)kv;
    return 1;
}

uint64_t kv_auth_epoch(const struct kv *kv)
{
    (void)kv;
    return 1;
}

int kv_auth_check_user(const struct kv *kv, const struct auth_who *who)
{
    (void)kv, (void)who;
    return OK;
}

void kv_authenticate(struct kv *kv, struct kv_request *r, const char *user, bool is_simple)
{
    (void)user, (void)is_simple;
    kv_barrier(kv, r);
}

int kv_auth_password(const struct kv *kv, const char *user, struct slice *ret_hash)
{
    (void)kv, (void)user, (void)ret_hash;
    return ERR_AUTH_NOT_ENABLED;
}

int kv_auth_token(struct kv *kv, struct slice token, struct auth_who *ret_who)
{
    (void)kv, (void)token, (void)ret_who;
    return ERR_INVALID_AUTH_TOKEN;
}

void kv_auth_wait(struct kv *kv, struct kv_request *r, struct slice token)
{
    (void)token;
    kv_barrier(kv, r);
}

int kv_auth_check_admin(const struct kv *kv, const struct auth_who *who)
{
    (void)kv, (void)who;
    return OK;
}

int kv_auth_check_range(const struct kv *kv, const struct auth_who *who, struct slice key,
                        struct slice range_end, bool is_write)
{
    (void)kv, (void)who, (void)key, (void)range_end, (void)is_write;
    return OK;
}

int kv_auth_readable(const struct kv *kv, const struct auth_who *who, const struct auth_ranges **ret_ranges)
{
    (void)kv, (void)who;
    *ret_ranges = NULL;
    return OK;
}

int kv_auth_check_lease(const struct kv *kv, const struct auth_who *who, int64_t lease, bool is_write,
                        struct slice except, size_t *ret_count)
{
    (void)kv, (void)who, (void)lease, (void)is_write, (void)except, (void)ret_count;
    return OK;
}

bool kv_auth_prepare_lease(const struct kv *kv, const struct auth_who *who, int64_t lease, bool is_write,
                           struct slice except, int64_t *units)
{
    (void)kv, (void)who, (void)lease, (void)is_write, (void)except, (void)units;
    return true;
}

#endif
