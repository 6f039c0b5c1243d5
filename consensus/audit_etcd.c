/* SPDX-License-Identifier: Apache-2.0
 * Records of administrative changes of etcd's API; see audit_etcd.h. Further: the description of each such
 * request (audit_describe). */
#include "consensus/audit_etcd.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/metric.h"
#include "base/text.h"

enum {
    CHANGES_KEPT_MAX = 4096,
    BATCH = 32,     /* records of one transaction */
    RETRY_MS = 200, /* between two looks at what is recorded */
};

/* A change that was applied. */
struct admin_change {
    struct link link;
    struct arena arena;
    uint64_t index;
    struct author author;
    struct audit_change change;
    bool has_line; /* this member writes it */
};

struct audit_etcd {
    struct audit *audit;
    struct kv *kv;
    struct io *io;
    bool is_recording;
    struct link fresh; /* struct admin_change that no turn has seen yet */
    struct link kept;  /* those without a record */
    size_t kept_count;
    uint64_t next_ms;
    struct io_timer timer;
    /* The transaction under way. */
    bool is_writing;
    uint64_t writing_to; /* the index of its last record */
    struct kv_request request;
    struct txn txn;
    struct arena arena;
};

/* --- descriptions -------------------------------------------------------------------------------------- */

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

/* --- changes from the log ------------------------------------------------------------------------------ */

static void free_change(struct admin_change *c)
{
    list_remove(&c->link);
    arena_done(&c->arena);
    mem_free(c);
}

static void on_applied(void *arg, const struct kv_admin_change *applied)
{
    struct audit_etcd *e = arg;
    struct admin_change *c = mem_new(sizeof *c);
    list_init(&c->link);
    struct author author = applied->author;
    if (applied->is_own)
        author.name = applied->member
                          ? slice_text(arena_printf(&c->arena, "member %" PRIx64, applied->member))
                          : slice_text("leader");
    else if (!author.name.size)
        author.name = slice_text(AUTHOR_ANONYMOUS);
    c->author = author_copy(&c->arena, &author);
    c->index = applied->index;
    c->has_line = applied->member == kv_member_id(e->kv) ||
                  (!applied->member && kv_leader(e->kv) == kv_member_id(e->kv));
    if (audit_describe(applied->message, &c->arena, &c->change))
        list_add_last(&e->fresh, &c->link);
    else
        free_change(c);
}

static struct audit_record record_of(struct admin_change *c)
{
    return (struct audit_record){.author = c->author, .index = c->index, .changes = &c->change, .count = 1};
}

static void take_fresh(struct audit_etcd *e)
{
    for (struct link *l; (l = list_take_first(&e->fresh));) {
        struct admin_change *c = container_of(l, struct admin_change, link);
        const struct audit_record r = record_of(c);
        if (c->has_line)
            audit_line(e->audit, &r);
        if (!e->is_recording) {
            free_change(c);
            continue;
        }
        list_add_last(&e->kept, &c->link);
        e->next_ms = 0;
        if (++e->kept_count > CHANGES_KEPT_MAX) {
            free_change(container_of(e->kept.next, struct admin_change, link));
            e->kept_count--;
            metric_add(METRIC_AUDIT_OMITTED, 1);
        }
    }
}

/* --- records ------------------------------------------------------------------------------------------- */

static void drop_to(struct audit_etcd *e, uint64_t index)
{
    while (!list_is_empty(&e->kept)) {
        struct admin_change *c = container_of(e->kept.next, struct admin_change, link);
        if (c->index > index)
            break;
        free_change(c);
        e->kept_count--;
    }
}

/* The index of the last change with a record, and the revision of the key. An index that this member has not
 * reached is of another log: the store was restored from a backup. */
static int read_at(struct audit_etcd *e, uint64_t *ret_index, int64_t *ret_revision)
{
    static uint8_t key[] = AUDIT_AT;
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct arena a = {0};
    uint64_t term;
    m.key = (ProtobufCBinaryData){sizeof key - 1, key};
    int err = kv_range_page(e->kv, &m, &a, &response);
    *ret_index = 0;
    *ret_revision = 0;
    if (!err && response->n_kvs) {
        const Mvccpb__KeyValue *kv = response->kvs[0];
        char *text = arena_string(&a, (const char *)kv->value.data, kv->value.len);
        *ret_index = strtoull(text, NULL, 10);
        *ret_revision = kv->mod_revision;
    }
    if (*ret_index > kv_applied_index(e->kv, &term))
        *ret_index = 0;
    arena_done(&a);
    return err;
}

static void on_recorded(struct kv_request *r, int err, const ProtobufCMessage *message)
{
    struct audit_etcd *e = container_of(r, struct audit_etcd, request);
    const Etcdserverpb__TxnResponse *response = (const void *)message;
    bool is_recorded = !err && response->succeeded;
    e->is_writing = false;
    if (is_recorded) {
        size_t before = e->kept_count;
        drop_to(e, e->writing_to);
        metric_add(METRIC_AUDIT_RECORDS, (double)(before - e->kept_count));
    }
    arena_done(&e->arena);
    e->next_ms = is_recorded ? 0 : e->io->ops->mono_ns(e->io) / 1000000 + RETRY_MS;
}

static void write_records(struct audit_etcd *e, int64_t revision)
{
    unsigned count = 0;
    txn_init(&e->txn, &e->arena);
    txn_if_revision(&e->txn, slice_text(AUDIT_AT), revision);
    LIST_FOR_EACH (l, &e->kept) {
        struct admin_change *c = container_of(l, struct admin_change, link);
        const struct audit_record r = record_of(c);
        (void)audit_add(e->audit, &e->txn, TXN_THEN, &r);
        e->writing_to = c->index;
        if (++count == BATCH)
            break;
    }
    if (!e->txn.message.n_success) { /* the store is nearly full: audit_add has counted them */
        drop_to(e, e->writing_to);
        arena_done(&e->arena);
        return;
    }
    txn_put(&e->txn, slice_text(AUDIT_AT), slice_text(arena_printf(&e->arena, "%" PRIu64, e->writing_to)), 0);
    e->request = (struct kv_request){.done = on_recorded, .extra_ops = BATCH + 2};
    e->is_writing = true;
    kv_txn(e->kv, &e->request, &e->txn.message);
    e->io->ops->timer_start(e->io, &e->timer, 0); /* wakes the loop: kv_turn sends it */
}

void audit_etcd_turn(struct audit_etcd *e)
{
    uint64_t index, now = e->io->ops->mono_ns(e->io) / 1000000;
    int64_t revision;
    take_fresh(e);
    if (list_is_empty(&e->kept) || e->is_writing || now < e->next_ms)
        return;
    e->next_ms = now + RETRY_MS;
    e->io->ops->timer_start(e->io, &e->timer, RETRY_MS);
    if (read_at(e, &index, &revision) != OK)
        return;
    drop_to(e, index);
    if (!list_is_empty(&e->kept) && kv_leader(e->kv) == kv_member_id(e->kv))
        write_records(e, revision);
}

/* --- life ---------------------------------------------------------------------------------------------- */

static void etcd_on_timer(struct io_timer *timer)
{
    (void)timer; /* audit_etcd_turn runs next */
}

struct audit_etcd *audit_etcd_new(struct audit *a, struct kv *kv, bool is_recording)
{
    struct audit_etcd *e = mem_new(sizeof *e);
    e->audit = a;
    e->kv = kv;
    e->io = kv_io(kv);
    e->is_recording = is_recording;
    list_init(&e->fresh);
    list_init(&e->kept);
    e->timer.fire = etcd_on_timer;
    kv_on_admin(kv, on_applied, e);
    return e;
}

void audit_etcd_free(struct audit_etcd *e)
{
    kv_on_admin(e->kv, NULL, NULL);
    e->io->ops->timer_stop(e->io, &e->timer);
    if (e->is_writing)
        kv_cancel(e->kv, &e->request);
    LIST_FOR_EACH_SAFE (l, &e->fresh)
        free_change(container_of(l, struct admin_change, link));
    LIST_FOR_EACH_SAFE (l, &e->kept)
        free_change(container_of(l, struct admin_change, link));
    arena_done(&e->arena);
    mem_free(e);
}
