/* SPDX-License-Identifier: Apache-2.0
 * Descriptions of administrative requests for the audit trail: audit_describe of audit.h. Pure. */
#include <inttypes.h>

#include "base/text.h"
#include "consensus/audit.h"

/* At most TEXT_SIZE_MAX bytes, and no control characters: a name that a client chose may be anything. */
static struct slice plain_text(struct arena *a, const char *text)
{
    size_t size = strnlen(text, TEXT_SIZE_MAX);
    uint8_t *copy = arena_copy(a, text, size);
    while (size && !utf8_is_valid(slice_of(copy, size)))
        size--;
    for (size_t i = 0; i < size; i++)
        if (copy[i] < 0x20 || copy[i] == 0x7f)
            copy[i] = '?';
    return slice_of(copy, size);
}

static struct slice id_text(struct arena *a, uint64_t id)
{
    return slice_text(arena_printf(a, "%" PRIx64, id));
}

static struct slice url_list(struct arena *a, char **urls, size_t count)
{
    struct buf text = {0};
    for (size_t i = 0; i < count && text.size < TEXT_SIZE_MAX; i++)
        buf_addf(&text, "%s%s", i ? "," : "", urls[i]);
    struct slice list = plain_text(a, buf_text(&text));
    buf_done(&text);
    return list;
}

static void set_change(struct audit_change *c, const char *kind, const char *operation, struct slice name)
{
    *c = (struct audit_change){.kind = kind, .operation = operation, .name = name};
}

#define IS(type)   (m->descriptor == &etcdserverpb__##type##__descriptor)
#define AS(Type)   ((const Etcdserverpb__##Type *)m)
#define TEXT(text) plain_text(a, text)

static bool describe_auth(const ProtobufCMessage *m, struct arena *a, struct audit_change *c)
{
    if (IS(auth_enable_request))
        set_change(c, "auth", "enable", (struct slice){0});
    else if (IS(auth_disable_request))
        set_change(c, "auth", "disable", (struct slice){0});
    else if (IS(authenticate_request))
        set_change(c, "auth", "authenticate", TEXT(AS(AuthenticateRequest)->name));
    else if (IS(auth_user_add_request))
        set_change(c, "user", "add", TEXT(AS(AuthUserAddRequest)->name));
    else if (IS(auth_user_delete_request))
        set_change(c, "user", "delete", TEXT(AS(AuthUserDeleteRequest)->name));
    else if (IS(auth_user_change_password_request))
        set_change(c, "user", "change_password", TEXT(AS(AuthUserChangePasswordRequest)->name));
    else if (IS(auth_user_grant_role_request)) {
        set_change(c, "user", "grant_role", TEXT(AS(AuthUserGrantRoleRequest)->user));
        c->id = TEXT(AS(AuthUserGrantRoleRequest)->role);
    } else if (IS(auth_user_revoke_role_request)) {
        set_change(c, "user", "revoke_role", TEXT(AS(AuthUserRevokeRoleRequest)->name));
        c->id = TEXT(AS(AuthUserRevokeRoleRequest)->role);
    } else if (IS(auth_role_add_request))
        set_change(c, "role", "add", TEXT(AS(AuthRoleAddRequest)->name));
    else if (IS(auth_role_delete_request))
        set_change(c, "role", "delete", TEXT(AS(AuthRoleDeleteRequest)->role));
    else if (IS(auth_role_grant_permission_request))
        set_change(c, "role", "grant_permission", TEXT(AS(AuthRoleGrantPermissionRequest)->name));
    else if (IS(auth_role_revoke_permission_request))
        set_change(c, "role", "revoke_permission", TEXT(AS(AuthRoleRevokePermissionRequest)->role));
    else
        return false;
    return true;
}

/* The prefix of keys is what tells one permission from another: it is a name, not a value. */
static void describe_permission(const ProtobufCMessage *m, struct arena *a, struct audit_change *c)
{
    ProtobufCBinaryData key = {0};
    if (IS(auth_role_grant_permission_request) && AS(AuthRoleGrantPermissionRequest)->perm)
        key = AS(AuthRoleGrantPermissionRequest)->perm->key;
    else if (IS(auth_role_revoke_permission_request))
        key = AS(AuthRoleRevokePermissionRequest)->key;
    if (key.len)
        c->id = plain_text(a, arena_string(a, (const char *)key.data, key.len));
}

static bool describe_member(const ProtobufCMessage *m, struct arena *a, struct audit_change *c)
{
    if (IS(member_add_request)) {
        const Etcdserverpb__MemberAddRequest *r = AS(MemberAddRequest);
        set_change(c, "member", "add", url_list(a, r->peerurls, r->n_peerurls));
        return true;
    }
    set_change(c, "member", NULL, (struct slice){0});
    if (IS(member_remove_request)) {
        c->operation = "remove";
        c->id = id_text(a, AS(MemberRemoveRequest)->id);
    } else if (IS(member_promote_request)) {
        c->operation = "promote";
        c->id = id_text(a, AS(MemberPromoteRequest)->id);
    } else if (IS(member_update_request)) {
        const Etcdserverpb__MemberUpdateRequest *r = AS(MemberUpdateRequest);
        c->operation = "update";
        c->name = url_list(a, r->peerurls, r->n_peerurls);
        c->id = id_text(a, r->id);
    } else if (IS(membership_change)) {
        static const char *const operations[] = {"add", "remove", "update", "promote", "replace", "alone"};
        const Etcdserverpb__MembershipChange *r = AS(MembershipChange);
        size_t kind = (size_t)r->kind;
        bool joins = r->kind == ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__ADD && r->promotes_itself;
        c->operation = joins                                           ? "join"
                       : kind < sizeof operations / sizeof *operations ? operations[kind]
                                                                       : "change";
        c->name = url_list(a, r->member->peerurls, r->member->n_peerurls);
        c->id = id_text(a, r->member->id);
    }
    return c->operation != NULL;
}

static bool describe_maintenance(const ProtobufCMessage *m, struct arena *a, struct audit_change *c)
{
    static const char *const actions[] = {NULL, "raise", "disarm"};
    static const char *const alarms[] = {"", "NOSPACE", "CORRUPT"};
    static const char *const downgrades[] = {NULL, "downgrade", "downgrade_cancel"};
    struct slice none = {0};
    if (IS(alarm_request)) {
        const Etcdserverpb__AlarmRequest *r = AS(AlarmRequest);
        size_t action = (size_t)r->action, alarm = (size_t)r->alarm;
        set_change(c, "alarm", action < 3 ? actions[action] : NULL,
                   slice_text(alarm < 3 ? alarms[alarm] : "?"));
        c->id = id_text(a, r->memberid);
        return c->operation != NULL;
    }
    if (IS(compaction_request))
        set_change(c, "maintenance", "compact",
                   slice_text(arena_printf(a, "%" PRId64, AS(CompactionRequest)->revision)));
    else if (IS(snapshot_request))
        set_change(c, "maintenance", "snapshot", none);
    else if (IS(defragment_request))
        set_change(c, "maintenance", "defragment", none);
    else if (IS(move_leader_request)) {
        set_change(c, "maintenance", "move_leader", none);
        c->id = id_text(a, AS(MoveLeaderRequest)->targetid);
    } else if (IS(downgrade_info_set_request)) {
        const Etcdserverpb__DowngradeInfoSetRequest *r = AS(DowngradeInfoSetRequest);
        set_change(c, "maintenance", downgrades[r->enabled ? 1 : 2], TEXT(r->ver));
    } else if (IS(downgrade_request)) {
        size_t action = (size_t)AS(DowngradeRequest)->action;
        set_change(c, "maintenance", action < 3 ? downgrades[action] : NULL,
                   TEXT(AS(DowngradeRequest)->version));
        return c->operation != NULL;
    } else
        return false;
    return true;
}

bool audit_describe(const ProtobufCMessage *m, struct arena *a, struct audit_change *ret)
{
    if (describe_auth(m, a, ret)) {
        describe_permission(m, a, ret);
        return true;
    }
    return describe_member(m, a, ret) || describe_maintenance(m, a, ret);
}
