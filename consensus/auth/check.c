/* SPDX-License-Identifier: Apache-2.0
 * Authorization of whole requests: takes them apart into the ranges they touch; see check.h. The order of the
 * checks, and so the error of a request with several faults, is etcd's. */
#include "consensus/auth/check.h"

#include "base/mutant.h"
#include "consensus/store/lease.h"

static struct slice bytes(ProtobufCBinaryData b)
{
    return slice_of(b.data, b.len);
}

static int check_read_range(const struct auth_check *c, ProtobufCBinaryData key,
                            ProtobufCBinaryData range_end)
{
    return auth_check_range(c->auth, c->who, bytes(key), bytes(range_end), false);
}

static int check_write_range(const struct auth_check *c, ProtobufCBinaryData key,
                             ProtobufCBinaryData range_end)
{
    return auth_check_range(c->auth, c->who, bytes(key), bytes(range_end), true);
}

struct key_check {
    const struct auth_check *of;
    struct slice except;
    bool is_write;
};

static int check_key(void *arg, struct slice key)
{
    const struct key_check *k = arg;
    if (k->except.size && slice_equal(key, k->except))
        return OK;
    return auth_check_range(k->of->auth, k->of->who, key, (struct slice){0}, k->is_write);
}

/* Any change of a user, a role or a permission is a new revision. The author itself is checked each time. */
static struct lease_key_check lease_check_of(const struct auth_check *c, bool is_write, struct slice except)
{
    const void *author = c->who->is_role ? (const void *)auth_role_find(c->auth, c->who->user)
                                         : (const void *)auth_user_find(c->auth, c->who->user);
    return (struct lease_key_check){author, c->auth->revision, is_write, except.size};
}

int auth_check_lease(const struct auth_check *c, int64_t lease, bool is_write, struct slice except)
{
    struct key_check k = {c, except, is_write};
    if (auth_check_admin(c->auth, c->who) == OK)
        return OK;
    struct lease_key_check q = lease_check_of(c, is_write, except);
    return lease_check_keys(c->leases, lease, &q, check_key, &k);
}

bool auth_check_lease_some(const struct auth_check *c, int64_t lease, bool is_write, struct slice except,
                           int64_t *units, int *ret_err)
{
    struct key_check k = {c, except, is_write};
    *ret_err = OK;
    if (!lease_exists(c->leases, lease) || auth_check_admin(c->auth, c->who) == OK)
        return true;
    if (!auth_prepare(c->auth, c->who, is_write, units))
        return false;
    struct lease_key_check q = lease_check_of(c, is_write, except);
    if (!lease_check_some(c->leases, lease, &q, check_key, &k, units))
        return false;
    *ret_err = lease_check_keys(c->leases, lease, &q, check_key, &k);
    return true;
}

bool auth_prepare_lease(const struct auth_check *c, int64_t lease, bool is_write, struct slice except,
                        int64_t *units)
{
    int err;
    return auth_check_lease_some(c, lease, is_write, except, units, &err);
}

int auth_check_read(const struct auth_check *c, const Etcdserverpb__RangeRequest *m)
{
    return check_read_range(c, m->key, m->range_end);
}

/* The lease: an author that may not write all of its keys could end them by it, or keep them alive. */
int auth_check_put(const struct auth_check *c, const Etcdserverpb__PutRequest *m)
{
    int err = check_write_range(c, m->key, (ProtobufCBinaryData){0});
    if (!err)
        err = auth_check_lease(c, m->lease, true, (struct slice){0});
    if (!err && m->prev_kv)
        err = check_read_range(c, m->key, (ProtobufCBinaryData){0});
    return err;
}

int auth_check_delete(const struct auth_check *c, const Etcdserverpb__DeleteRangeRequest *m)
{
    int err = check_write_range(c, m->key, m->range_end);
    if (!err && m->prev_kv)
        err = check_read_range(c, m->key, m->range_end);
    return err;
}

/* store_check_txn has limited the depth. */
static int check_ops(const struct auth_check *c, Etcdserverpb__RequestOp *const *ops, size_t count)
{
    int err = OK;
    for (size_t i = 0; i < count && !err; i++) {
        const Etcdserverpb__RequestOp *op = ops[i];
        switch (op->request_case) {
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
            err = auth_check_read(c, op->request_range);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
            err = auth_check_put(c, op->request_put);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
            err = auth_check_delete(c, op->request_delete_range);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
            err = auth_check_txn(c, op->request_txn);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST__NOT_SET:
        case _ETCDSERVERPB__REQUEST_OP__REQUEST__CASE_IS_INT_SIZE:
        default:
            break;
        }
    }
    return err;
}

int auth_check_txn(const struct auth_check *c, const Etcdserverpb__TxnRequest *m)
{
    int err = OK;
    for (size_t i = 0; i < m->n_compare && !err; i++)
        err = check_read_range(c, m->compare[i]->key, m->compare[i]->range_end);
    if (!err)
        err = check_ops(c, m->success, m->n_success);
    if (!err && !MUTANT(AUTH_TXN_BY_BRANCH))
        err = check_ops(c, m->failure, m->n_failure);
    return err;
}

/* --- preparation of a request's leases ----------------------------------------------------------------- */

static bool prepare_ops(const struct auth_check *c, Etcdserverpb__RequestOp *const *ops, size_t count,
                        int64_t *units)
{
    bool is_ready = true;
    for (size_t i = 0; i < count && is_ready; i++) {
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT)
            is_ready = auth_prepare_put(c, ops[i]->request_put, units);
        else if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            is_ready = auth_prepare_txn(c, ops[i]->request_txn, units);
    }
    return is_ready;
}

bool auth_prepare_put(const struct auth_check *c, const Etcdserverpb__PutRequest *m, int64_t *units)
{
    return !m->lease || auth_prepare_lease(c, m->lease, true, (struct slice){0}, units);
}

bool auth_prepare_txn(const struct auth_check *c, const Etcdserverpb__TxnRequest *m, int64_t *units)
{
    return prepare_ops(c, m->success, m->n_success, units) && prepare_ops(c, m->failure, m->n_failure, units);
}
