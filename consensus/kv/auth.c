/* SPDX-License-Identifier: Apache-2.0
 * Users, roles and tokens: the entries of the Auth service, the tokens that Authenticate makes through the
 * log, and the checks of requests.
 *
 * A right is checked where a request takes effect, on the state of that moment:
 *   a write            when its entry is applied, the same on every member
 *   a read             when it runs, after its ReadIndex round
 *   a read in slices   before each slice, again
 *
 * An entry names its author. The member that proposed the entry has written it (kv_author_of). Entries of a
 * member itself are not checked. */
#include "base/mutant.h"
#include "consensus/auth/check.h"
#include "consensus/kv/kv_impl.h"

#include <inttypes.h>
#include <stdio.h>

#define SLICE_UNITS 512
#define SLICE_NS    1500000

/* --- requests ------------------------------------------------------------------------------------------ */

static enum entry_op op_of(const ProtobufCMessage *m)
{
    int op = ENTRY_AUTH_ENABLE;
    while (op < ENTRY_AUTH_ROLE_REVOKE_PERMISSION && entry_descriptor((enum entry_op)op) != m->descriptor)
        op++;
    return (enum entry_op)op;
}

void kv_auth(struct kv *kv, struct kv_request *r, const ProtobufCMessage *m)
{
    kv_start_write(kv, r, KV_AUTH, op_of(m), m, OK);
}

/* 16 letters, as etcd's: 91 bits. */
static void make_token_prefix(struct kv *kv, char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    enum { LETTERS = sizeof letters - 1 };
    for (size_t i = 0; i < AUTH_TOKEN_LETTERS; i++) {
        uint64_t random = kv->io->ops->random(kv->io);
        text[i] = letters[(random >> 16) % LETTERS];
    }
    text[AUTH_TOKEN_LETTERS] = 0;
}

void kv_authenticate(struct kv *kv, struct kv_request *r, const char *user, bool is_simple)
{
    Etcdserverpb__InternalAuthenticateRequest m = ETCDSERVERPB__INTERNAL_AUTHENTICATE_REQUEST__INIT;
    char prefix[AUTH_TOKEN_LETTERS + 1];
    m.name = (char *)(uintptr_t)user;
    if (is_simple) {
        make_token_prefix(kv, prefix);
        m.simple_token = prefix;
    }
    kv_start_write(kv, r, KV_AUTH, ENTRY_AUTHENTICATE, &m.base, OK);
}

const struct auth *kv_rights(const struct kv *kv)
{
    return &kv->auth.rights;
}

bool kv_auth_is_enabled(const struct kv *kv)
{
    return kv->auth.rights.is_enabled;
}

uint64_t kv_auth_revision(const struct kv *kv)
{
    return kv->auth.rights.revision;
}

int kv_auth_password(const struct kv *kv, const char *user, struct slice *ret_hash)
{
    if (!kv->auth.rights.is_enabled)
        return ERR_AUTH_NOT_ENABLED;
    const struct auth_user *u = auth_user_find(&kv->auth.rights, slice_text(user));
    if (!u)
        return ERR_AUTH_FAILED;
    if (u->has_no_password)
        return ERR_NO_PASSWORD_USER;
    *ret_hash = u->password;
    return OK;
}

uint64_t kv_auth_epoch(const struct kv *kv)
{
    return kv->auth.epoch;
}

/* The rights of open streams are checked again. */
static void move_epoch(struct kv *kv)
{
    kv->auth.epoch++;
    if (kv->hub)
        watch_recheck_permissions(kv->hub);
}

/* A token without a revision stands for its user as of now. */
int kv_auth_token(struct kv *kv, struct slice token, struct auth_who *ret_who)
{
    const char *user = auth_tokens_use(&kv->auth.tokens, token, kv_now_ms(kv));
    if (user) {
        *ret_who = (struct auth_who){
            .user = slice_text(user), .revision = kv->auth.rights.revision, .is_renewed = true};
        return OK;
    }
    return auth_token_index(token) > store_applied_index(kv->store) ? ERR_NOT_READY : ERR_INVALID_AUTH_TOKEN;
}

void kv_auth_wait(struct kv *kv, struct kv_request *r, struct slice token)
{
    kv_start_read(kv, r, KV_BARRIER, NULL, true);
    if (r->state == KV_READY)
        r->index = auth_token_index(token);
}

int kv_auth_check_admin(const struct kv *kv, const struct auth_who *who)
{
    return auth_check_admin(&kv->auth.rights, who);
}

int kv_auth_check_user(const struct kv *kv, const struct auth_who *who)
{
    return auth_check_user(&kv->auth.rights, who);
}

int kv_auth_check_range(const struct kv *kv, const struct auth_who *who, struct slice key,
                        struct slice range_end, bool is_write)
{
    return auth_check_range(&kv->auth.rights, who, key, range_end, is_write);
}

int kv_auth_readable(const struct kv *kv, const struct auth_who *who, const struct auth_ranges **ret_ranges)
{
    return auth_readable(&kv->auth.rights, who, ret_ranges);
}

int kv_auth_check_lease(const struct kv *kv, const struct auth_who *who, int64_t lease, bool is_write,
                        struct slice except, size_t *ret_count)
{
    const struct auth_check c = {&kv->auth.rights, kv->leases, who};
    if (ret_count)
        *ret_count = 0;
    if (!lease_exists(kv->leases, lease))
        return ERR_LEASE_NOT_FOUND;
    if (ret_count)
        *ret_count = lease_key_count(kv->leases, lease) - lease_has_key(kv->leases, lease, except);
    return auth_check_lease(&c, lease, is_write, except);
}

bool kv_auth_prepare_lease(const struct kv *kv, const struct auth_who *who, int64_t lease, bool is_write,
                           struct slice except, int64_t *units)
{
    const struct auth_check c = {&kv->auth.rights, kv->leases, who};
    return auth_prepare_lease(&c, lease, is_write, except, units);
}

/* --- entries ------------------------------------------------------------------------------------------- */

/* A client's entry names its user, or no user. Whether that is allowed is checked when the entry is
 * applied. */
struct entry_who kv_author_of(const struct kv *kv, const struct kv_request *r)
{
    if (!r->who)
        return (struct entry_who){.is_own = true};
    /* Without a user nothing is allowed once auth is enabled. A role without a user (a certificate) writes
     * nothing. */
    static const struct auth_needs none;
    bool is_nobody = r->who->is_role || !r->who->revision;
    const struct auth_needs *needs = r->needs && is_nobody ? &none : r->needs;
    struct author client = r->author ? *r->author : (struct author){0};
    if (r->who->user.size)
        client.name = (struct slice){0}; /* the entry names the user */
    if (r->who->is_role)
        return (struct entry_who){.needs = needs};
    /* With needs the entry carries the revision of the credential: unrelated changes do not make it old. */
    bool is_now =
        r->who->is_renewed && !r->needs && auth_check_user(&kv->auth.rights, r->who) != ERR_AUTH_OLD_REVISION;
    uint64_t revision = is_now ? kv->auth.rights.revision : r->who->revision;
    return (struct entry_who){.user = r->who->user,
                              .auth_revision = revision,
                              .needs = needs,
                              .client_name = client.name,
                              .client_address = client.address};
}

static struct auth_who who_of(const struct entry *e)
{
    return (struct auth_who){.user = e->who.user, .revision = e->who.auth_revision};
}

/* Of a write of the native API: the ranges that its entry names. Rights are those of now; the revision is
 * that of the credential. */
static int check_needs(struct kv *kv, const struct entry *e)
{
    struct auth_who who = who_of(e);
    struct slice rest = e->needs;
    struct auth_need need;
    who.is_renewed = true;
    int err = MUTANT(AUTH_NEEDS_UNCHECKED) ? OK : auth_check_user(&kv->auth.rights, &who);
    while (!err && !MUTANT(AUTH_NEEDS_UNCHECKED)) {
        err = entry_next_need(&rest, &need);
        if (err == ERR_NOT_FOUND)
            return OK;
        if (err)
            return ERR_PERMISSION_DENIED;
        err = auth_check_range(&kv->auth.rights, &who, need.key, need.range_end, need.is_write);
    }
    return err;
}

struct author_check {
    const struct raft_entry *raw;
    const struct entry *entry;
    struct auth_who who;
};

/* Runs a step for about SLICE_NS; false: there is more to do. */
static bool in_slices(struct kv *kv, bool (*step)(struct kv *kv, const void *arg, int64_t *units),
                      const void *arg)
{
    uint64_t begin = kv->io->ops->mono_ns(kv->io);
    for (;;) {
        int64_t units = kv->settings.slice_units ? kv->settings.slice_units : SLICE_UNITS;
        if (step(kv, arg, &units))
            return true;
        if (kv->settings.slice_units || kv->io->ops->mono_ns(kv->io) - begin >= SLICE_NS)
            return false;
    }
}

/* Rights of very many ranges, then leases of very many keys. */
static bool prepare_some(struct kv *kv, const void *arg, int64_t *units)
{
    const struct author_check *c = arg;
    return auth_prepare(&kv->auth.rights, &c->who, true, units) &&
           kv_prepare_leases(kv, c->raw, c->entry, &c->who, units);
}

/* Keep-alives need merged rights, too. */
static bool merge_some(struct kv *kv, const void *arg, int64_t *units)
{
    (void)arg;
    return auth_merge_some(&kv->auth.rights, units) && kv_pass_keep_alives(kv, units);
}

/* Changes no state: each member prepares when it likes. */
bool kv_prepare_author(struct kv *kv, const struct raft_entry *entry)
{
    struct entry e;
    if (entry_decode(blob_slice(entry->data), &e) != OK || e.who.is_own)
        return true;
    struct author_check c = {entry, &e, who_of(&e)};
    c.who.is_renewed = e.has_needs;
    return in_slices(kv, prepare_some, &c);
}

bool kv_auth_turn(struct kv *kv)
{
    return !in_slices(kv, merge_some, NULL);
}

/* Operations that are not named here were checked where they came in, as in etcd, or by auth_apply.c. */
int kv_check_entry(struct kv *kv, const struct entry *e, const ProtobufCMessage *m)
{
    struct auth_who who = who_of(e);
    const struct auth_check c = {&kv->auth.rights, kv->leases, &who};
    if (e->has_needs)
        return check_needs(kv, e);
    if (e->op == ENTRY_PUT)
        return auth_check_put(&c, (const Etcdserverpb__PutRequest *)m);
    if (e->op == ENTRY_DELETE_RANGE)
        return auth_check_delete(&c, (const Etcdserverpb__DeleteRangeRequest *)m);
    if (e->op == ENTRY_TXN)
        return auth_check_txn(&c, (const Etcdserverpb__TxnRequest *)m);
    if (e->op == ENTRY_LEASE_REVOKE)
        return auth_check_lease(&c, ((const Etcdserverpb__LeaseRevokeRequest *)m)->id, true,
                                (struct slice){0});
    return OK;
}

/* The password was right at an auth revision that the caller compares; here the user need only exist. */
static int authenticate(struct kv *kv, const Etcdserverpb__InternalAuthenticateRequest *m,
                        Etcdserverpb__AuthenticateResponse *response)
{
    const struct auth_user *u = auth_user_find(&kv->auth.rights, slice_text(m->name));
    if (!kv->auth.rights.is_enabled)
        return ERR_AUTH_NOT_ENABLED;
    if (!u || u->has_no_password)
        return ERR_AUTH_FAILED;
    if (!*m->simple_token)
        return OK;
    uint64_t index = store_applied_index(kv->store) + 1;
    response->token = arena_printf(&kv->arena, "%s.%" PRIu64, m->simple_token, index);
    auth_tokens_add(&kv->auth.tokens, slice_text(response->token), u->name, kv_now_ms(kv));
    return OK;
}

/* Tokens of a user that is gone, or whose password is another, are none any more. */
static void drop_tokens(struct kv *kv, enum entry_op op, const ProtobufCMessage *m)
{
    if (op == ENTRY_AUTH_USER_DELETE)
        auth_tokens_drop_user(&kv->auth.tokens, ((const Etcdserverpb__AuthUserDeleteRequest *)m)->name);
    else if (op == ENTRY_AUTH_USER_CHANGE_PASSWORD)
        auth_tokens_drop_user(&kv->auth.tokens,
                              ((const Etcdserverpb__AuthUserChangePasswordRequest *)m)->name);
    else if (op == ENTRY_AUTH_DISABLE)
        auth_tokens_clear(&kv->auth.tokens);
}

struct kv_outcome kv_apply_auth(struct kv *kv, const struct entry *e, const ProtobufCMessage *m)
{
    ProtobufCMessage *response = NULL;
    struct auth_who who = who_of(e);
    uint64_t revision = kv->auth.rights.revision;
    bool was_enabled = kv->auth.rights.is_enabled;
    int err;
    if (e->op == ENTRY_AUTHENTICATE) {
        Etcdserverpb__AuthenticateResponse *r = arena_alloc(&kv->arena, sizeof *r);
        etcdserverpb__authenticate_response__init(r);
        response = &r->base;
        err = authenticate(kv, (const Etcdserverpb__InternalAuthenticateRequest *)m, r);
    } else {
        err = auth_apply(&kv->auth.rights, kv->store, (int)e->op, m, &who, &kv->arena, &response);
    }
    if (err)
        return (struct kv_outcome){.err = err};
    drop_tokens(kv, e->op, m);
    if (kv->auth.rights.revision != revision || kv->auth.rights.is_enabled != was_enabled)
        move_epoch(kv);
    /* All of them begin with their header. */
    Etcdserverpb__ResponseHeader *header = arena_alloc(&kv->arena, sizeof *header);
    etcdserverpb__response_header__init(header);
    ((Etcdserverpb__AuthEnableResponse *)response)->header = header;
    return (struct kv_outcome){OK, response, header};
}

/* --- reads --------------------------------------------------------------------------------------------- */

static int check_leases(const struct kv *kv, const struct auth_check *c)
{
    int64_t *ids;
    int err = OK;
    if (auth_check_admin(c->auth, c->who) == OK)
        return OK;
    size_t count = lease_list(kv->leases, &ids);
    for (size_t i = 0; i < count && !err; i++)
        err = auth_check_lease(c, ids[i], false, (struct slice){0});
    mem_free(ids);
    return err;
}

int kv_check_read(struct kv *kv, const struct kv_request *r)
{
    const struct auth_check c = {&kv->auth.rights, kv->leases, r->who};
    for (size_t i = 0; r->needs && i < r->needs->count; i++) {
        const struct auth_need *n = &r->needs->list[i];
        int err = auth_check_range(&kv->auth.rights, r->who, n->key, n->range_end, n->is_write);
        if (err)
            return err;
    }
    if (r->needs)
        return OK;
    if (r->kind == KV_RANGE)
        return auth_check_read(&c, (const Etcdserverpb__RangeRequest *)r->message);
    if (r->kind == KV_TXN_READ)
        return auth_check_txn(&c, (const Etcdserverpb__TxnRequest *)r->message);
    if (r->kind == KV_LEASE_LEASES && !kv_lease_scan_is_needed(kv, r) && !r->slices)
        return check_leases(kv, &c); /* else each part of the list is checked */
    return OK;
}

/* --- a store ------------------------------------------------------------------------------------------- */

/* A snapshot does not say which tokens it made void: all of them are dropped. */
int kv_auth_load(struct kv *kv)
{
    auth_tokens_clear(&kv->auth.tokens);
    auth_done(&kv->auth.rights);
    move_epoch(kv);
    return auth_load(&kv->auth.rights, kv->store);
}

void kv_auth_init(struct kv_auth *a, uint64_t token_ttl_ms)
{
    auth_tokens_init(&a->tokens, token_ttl_ms);
}

void kv_auth_done(struct kv_auth *a)
{
    auth_done(&a->rights);
    auth_tokens_clear(&a->tokens);
}

void kv_auth_tick(struct kv *kv)
{
    auth_tokens_expire(&kv->auth.tokens, kv_now_ms(kv));
}
