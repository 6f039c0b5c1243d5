/* SPDX-License-Identifier: Apache-2.0
 * Reports of administrative changes: each one that was applied goes to one listener, with its client as the
 * log entry names it. Reads, tokens, and what members do as a routine (automatic compaction, versions, names)
 * are not reported. */
#include "consensus/kv/kv_impl.h"

void kv_on_admin(struct kv *kv, void (*fn)(void *arg, const struct kv_admin_change *change), void *arg)
{
    kv->admin.fn = fn;
    kv->admin.arg = arg;
}

static bool is_administrative(const struct entry *e, const ProtobufCMessage *m)
{
    static const enum entry_op operations[] = {
        ENTRY_AUTH_ENABLE,
        ENTRY_AUTH_DISABLE,
        ENTRY_AUTH_USER_ADD,
        ENTRY_AUTH_USER_DELETE,
        ENTRY_AUTH_USER_CHANGE_PASSWORD,
        ENTRY_AUTH_USER_GRANT_ROLE,
        ENTRY_AUTH_USER_REVOKE_ROLE,
        ENTRY_AUTH_ROLE_ADD,
        ENTRY_AUTH_ROLE_DELETE,
        ENTRY_AUTH_ROLE_GRANT_PERMISSION,
        ENTRY_AUTH_ROLE_REVOKE_PERMISSION,
        ENTRY_DOWNGRADE_INFO,
    };
    if (e->op == ENTRY_PUT || e->op == ENTRY_TXN) /* most entries */
        return false;
    if (e->op == ENTRY_ALARM)
        return ((const Etcdserverpb__AlarmRequest *)m)->action !=
               ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__GET;
    if (e->op == ENTRY_COMPACTION)
        return !e->who.is_own;
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        if (e->op == operations[i])
            return true;
    return false;
}

static void report_membership(struct kv *kv, const struct raft_entry *entry)
{
    const Etcdserverpb__MembershipChange *c = kv_change_of(entry, &kv->arena);
    /* A promotion that another member passed on: that member knows its client. */
    bool is_forwarded = c && c->kind == ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__PROMOTE && c->proposer &&
                        !*c->author && !*c->author_address;
    if (!c || is_forwarded)
        return;
    const struct kv_admin_change change = {
        .index = entry->index,
        .member = c->proposer,
        .is_own = !*c->author && !*c->author_address,
        .author = {.name = slice_text(c->author), .address = slice_text(c->author_address)},
        .message = &c->base,
    };
    kv->admin.fn(kv->admin.arg, &change);
}

void kv_report_admin(struct kv *kv, const struct raft_entry *entry, const struct entry *e,
                     const ProtobufCMessage *m)
{
    if (!kv->admin.fn || (entry->type == RAFT_ENTRY_NORMAL && (!e || !is_administrative(e, m))))
        return;
    if (entry->type != RAFT_ENTRY_NORMAL) {
        report_membership(kv, entry);
        return;
    }
    const struct kv_admin_change change = {
        .index = entry->index,
        .member = e->member,
        .is_own = e->who.is_own,
        .author = {.name = e->who.user.size ? e->who.user : e->who.client_name,
                   .address = e->who.client_address},
        .message = m,
    };
    kv->admin.fn(kv->admin.arg, &change);
}
