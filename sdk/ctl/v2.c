/* SPDX-License-Identifier: Apache-2.0
 * Words of etcd's API v2 in old scripts: set, mk, update, rm, ls, mkdir, setdir, updatedir, rmdir, cluster-health and
 * backup. Each says on standard error what is used instead; outputs and exit codes are those of the v2 tool.
 *
 * Keys are taken as they are written. A folder KEY is all keys that begin with KEY/; the key KEY/ itself, with an empty
 * value, marks a folder that may be empty. Exit codes: 4 = the server refuses (v2's codes 100 to 108), 5 = not
 * healthy. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "sdk/ctl/member.h"

/* Exit codes of the v2 tool; the names are those of the same numbers here. */
#define V2_REFUSED     CTL_BAD_FEATURE /* 4 */
#define V2_NOT_HEALTHY CTL_INTERRUPTED /* 5 */

enum { PAGE = 1000, HEALTH_MS = 10000, VALUE_MAX = 512 << 20 };

static void note(struct ctl *c, const char *used)
{
    ctl_note(c, "note: \"%s\" is a word of etcd's API v2; \"%s\" is used",
             ctl_commands[c->line.command].words, used);
}

static enum ctl_exit needs_key(struct ctl *c)
{
    return c->line.arg_count ? CTL_DONE : ctl_fail(c, CTL_ERROR, "key required");
}

/* "KEY/" */
static char *folder_of(struct ctl *c, const char *key)
{
    size_t size = strlen(key);
    return size && key[size - 1] != '/' ? arena_printf(&c->arena, "%s/", key)
                                        : arena_string(&c->arena, key, size);
}

/* --- transactions ------------------------------------------------------------------------------------ */

struct v2_txn {
    Etcdserverpb__Compare compares[3], *compare_list[3];
    Etcdserverpb__RequestOp ops[2], *op_list[2];
    Etcdserverpb__PutRequest put;
    Etcdserverpb__DeleteRangeRequest deletes[2];
    size_t compare_count, op_count, delete_count;
};

static Etcdserverpb__Compare *add_compare(struct v2_txn *t, const char *key,
                                          Etcdserverpb__Compare__CompareTarget target)
{
    Etcdserverpb__Compare *compare = &t->compares[t->compare_count];
    etcdserverpb__compare__init(compare);
    compare->key = ctl_bytes(key);
    compare->target = target;
    t->compare_list[t->compare_count++] = compare;
    return compare;
}

/* The key exists, or is absent. */
static Etcdserverpb__Compare *add_presence(struct v2_txn *t, const char *key, bool exists)
{
    Etcdserverpb__Compare *compare = add_compare(t, key, ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE);
    compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
    compare->result = exists ? ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER
                             : ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL;
    return compare;
}

/* The conditions of --swap-with-... and --with-... */
static void add_conditions(struct v2_txn *t, const char *key, const char *value, int64_t revision)
{
    if (value) {
        Etcdserverpb__Compare *compare = add_compare(t, key, ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE);
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
        compare->value = ctl_bytes(value);
    }
    if (revision > 0) {
        Etcdserverpb__Compare *compare = add_compare(t, key, ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD);
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
        compare->mod_revision = revision;
    }
}

static void add_put(struct v2_txn *t, const char *key, ProtobufCBinaryData value, int64_t lease)
{
    Etcdserverpb__RequestOp *op = &t->ops[t->op_count];
    etcdserverpb__request_op__init(op);
    etcdserverpb__put_request__init(&t->put);
    t->put.key = ctl_bytes(key);
    t->put.value = value;
    t->put.lease = lease;
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    op->request_put = &t->put;
    t->op_list[t->op_count++] = op;
}

static void add_delete(struct ctl *c, struct v2_txn *t, const char *key, bool is_prefix)
{
    Etcdserverpb__RequestOp *op = &t->ops[t->op_count];
    Etcdserverpb__DeleteRangeRequest *request = &t->deletes[t->delete_count++];
    etcdserverpb__request_op__init(op);
    etcdserverpb__delete_range_request__init(request);
    request->key = ctl_bytes(key);
    request->prev_kv = !is_prefix;
    if (is_prefix)
        ctl_prefix_range(c, &request->key, &request->range_end);
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    op->request_delete_range = request;
    t->op_list[t->op_count++] = op;
}

static enum ctl_exit run_txn(struct ctl *c, struct v2_txn *t, Etcdserverpb__TxnResponse **ret)
{
    Etcdserverpb__TxnRequest request = ETCDSERVERPB__TXN_REQUEST__INIT;
    struct ctl_rpc rpc = {
        .path = "/v3/kv/txn", .request = &request.base, .answer = &etcdserverpb__txn_response__descriptor};
    request.n_compare = t->compare_count;
    request.compare = t->compare_list;
    request.n_success = t->op_count;
    request.success = t->op_list;
    return ctl_rpc(c, &rpc, ret);
}

static enum ctl_exit refuse(struct ctl *c, const char *why, const char *key,
                            const Etcdserverpb__TxnResponse *r)
{
    return ctl_fail(c, V2_REFUSED, "%s (%s) [%" PRId64 "]", why, key, r->header ? r->header->revision : 0);
}

static uint64_t deleted_by(const Etcdserverpb__TxnResponse *r)
{
    uint64_t count = 0;
    for (size_t i = 0; i < r->n_responses; i++) {
        if (r->responses[i]->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE)
            count += (uint64_t)r->responses[i]->response_delete_range->deleted;
    }
    return count;
}

/* --- set, mk, update --------------------------------------------------------------------------------- */

/* Grants the lease of --ttl; 0 = none. */
static enum ctl_exit grant_ttl(struct ctl *c, int64_t *ret_lease)
{
    Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    Etcdserverpb__LeaseGrantResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/lease/grant",
                          .request = &request.base,
                          .answer = &etcdserverpb__lease_grant_response__descriptor};
    request.ttl = ctl_int(&c->line, "ttl");
    *ret_lease = 0;
    if (request.ttl <= 0)
        return CTL_DONE;
    enum ctl_exit how = ctl_rpc(c, &rpc, &r);
    if (!how)
        *ret_lease = r->id;
    return how;
}

/* Puts the value under the conditions in t, and prints it. */
static enum ctl_exit store_value(struct ctl *c, struct v2_txn *t, const char *refusal)
{
    const char *key = c->line.args[0];
    Etcdserverpb__TxnResponse *r;
    struct buf input = {0};
    int64_t lease;
    enum ctl_exit how = CTL_DONE;
    if (c->line.arg_count > 1)
        buf_add_text(&input, c->line.args[1]);
    else
        how = ctl_read_file(c, "-", VALUE_MAX, &input);
    if (!how && c->line.arg_count < 2 && input.size == 0)
        how = ctl_fail(c, CTL_ERROR, "value required");
    if (!how)
        how = grant_ttl(c, &lease);
    if (!how) {
        add_put(t, key, (ProtobufCBinaryData){input.size, input.data}, lease);
        how = run_txn(c, t, &r);
    }
    if (!how && !r->succeeded)
        how = refuse(c, refusal, key, r);
    if (!how) {
        buf_add_slice(&c->out, buf_slice(&input));
        buf_add_byte(&c->out, '\n');
    }
    buf_done(&input);
    return how;
}

enum ctl_exit ctl_v2_set(struct ctl *c)
{
    struct v2_txn t = {.op_count = 0};
    enum ctl_exit how = needs_key(c);
    if (how)
        return how;
    const char *value = ctl_flag_value(&c->line, "swap-with-value");
    int64_t revision = ctl_int(&c->line, "swap-with-index");
    note(c, value || revision ? "txn" : "put KEY VALUE");
    add_conditions(&t, c->line.args[0], value, revision);
    return store_value(c, &t, "101: Compare failed");
}

/* Stores the value if the key is there, or if it is not. */
static enum ctl_exit store_if(struct ctl *c, bool is_there)
{
    struct v2_txn t = {.op_count = 0};
    enum ctl_exit how = needs_key(c);
    if (how)
        return how;
    note(c, is_there ? "txn: put if create(KEY) > 0" : "txn: put if create(KEY) = 0");
    add_presence(&t, c->line.args[0], is_there);
    return store_value(c, &t, is_there ? "100: Key not found" : "105: Key already exists");
}

enum ctl_exit ctl_v2_mk(struct ctl *c)
{
    return store_if(c, false);
}

enum ctl_exit ctl_v2_update(struct ctl *c)
{
    return store_if(c, true);
}

/* --- folders ----------------------------------------------------------------------------------------- */

static enum ctl_exit store_folder(struct ctl *c, struct v2_txn *t, const char *folder, const char *refusal)
{
    Etcdserverpb__TxnResponse *r;
    int64_t lease;
    enum ctl_exit how = grant_ttl(c, &lease);
    if (how)
        return how;
    add_put(t, folder, ctl_bytes(""), lease);
    how = run_txn(c, t, &r);
    return how || r->succeeded ? how : refuse(c, refusal, c->line.args[0], r);
}

enum ctl_exit ctl_v2_mkdir(struct ctl *c)
{
    struct v2_txn t = {.op_count = 0};
    enum ctl_exit how = needs_key(c);
    if (how)
        return how;
    char *folder = folder_of(c, c->line.args[0]);
    note(c, "txn: put KEY/ if no key begins so");
    add_presence(&t, c->line.args[0], false);
    Etcdserverpb__Compare *all = add_presence(&t, folder, false);
    ctl_prefix_range(c, &all->key, &all->range_end);
    return store_folder(c, &t, folder, "105: Key already exists");
}

enum ctl_exit ctl_v2_setdir(struct ctl *c)
{
    struct v2_txn t = {.op_count = 0};
    enum ctl_exit how = needs_key(c);
    if (how)
        return how;
    note(c, "put KEY/");
    return store_folder(c, &t, folder_of(c, c->line.args[0]), "102: Not a file");
}

enum ctl_exit ctl_v2_updatedir(struct ctl *c)
{
    struct v2_txn t = {.op_count = 0};
    enum ctl_exit how = needs_key(c);
    if (how)
        return how;
    char *folder = folder_of(c, c->line.args[0]);
    note(c, "txn: put KEY/ if create(KEY/) > 0");
    add_presence(&t, folder, true);
    return store_folder(c, &t, folder, "100: Key not found");
}

/* Deletes the mark of a folder that has no keys. */
static enum ctl_exit delete_folder(struct ctl *c)
{
    struct v2_txn t = {.op_count = 0};
    Etcdserverpb__TxnResponse *r;
    char *folder = folder_of(c, c->line.args[0]);
    Etcdserverpb__Compare *below = add_presence(&t, folder, false);
    ctl_prefix_range(c, &below->key, &below->range_end);
    below->key = (ProtobufCBinaryData){strlen(folder) + 1, (uint8_t *)folder}; /* after the mark */
    add_delete(c, &t, folder, false);
    enum ctl_exit how = run_txn(c, &t, &r);
    if (!how && !r->succeeded)
        return refuse(c, "108: Directory not empty", c->line.args[0], r);
    return how || deleted_by(r) ? how : refuse(c, "100: Key not found", c->line.args[0], r);
}

enum ctl_exit ctl_v2_rmdir(struct ctl *c)
{
    enum ctl_exit how = needs_key(c);
    if (how)
        return how;
    note(c, "txn: del KEY/ if no key is below it");
    return delete_folder(c);
}

/* --- rm ---------------------------------------------------------------------------------------------- */

static enum ctl_exit delete_recursively(struct ctl *c)
{
    struct v2_txn t = {.op_count = 0};
    Etcdserverpb__TxnResponse *r;
    note(c, "del KEY and del --prefix KEY/");
    const char *key = c->line.args[0];
    char *folder = folder_of(c, key);
    if (strcmp(key, folder) != 0)
        add_delete(c, &t, key, false);
    add_delete(c, &t, folder, true);
    enum ctl_exit how = run_txn(c, &t, &r);
    return how || deleted_by(r) ? how : refuse(c, "100: Key not found", key, r);
}

enum ctl_exit ctl_v2_rm(struct ctl *c)
{
    struct v2_txn t = {.op_count = 0};
    Etcdserverpb__TxnResponse *r;
    enum ctl_exit how = needs_key(c);
    if (how)
        return how;
    if (ctl_bool(&c->line, "recursive"))
        return delete_recursively(c);
    if (ctl_bool(&c->line, "dir")) {
        note(c, "txn: del KEY/ if no key is below it");
        return delete_folder(c);
    }
    const char *key = c->line.args[0], *value = ctl_flag_value(&c->line, "with-value");
    int64_t revision = ctl_int(&c->line, "with-index");
    note(c, value || revision ? "txn" : "del KEY");
    add_conditions(&t, key, value, revision);
    add_delete(c, &t, key, false);
    how = run_txn(c, &t, &r);
    if (!how && !r->succeeded)
        return refuse(c, "101: Compare failed", key, r);
    if (how || !deleted_by(r))
        return how ? how : refuse(c, "100: Key not found", key, r);
    const Etcdserverpb__DeleteRangeResponse *answer = r->responses[0]->response_delete_range;
    if (answer->n_prev_kvs) {
        const Mvccpb__KeyValue *kv = answer->prev_kvs[0];
        buf_add_text(&c->out, "PrevNode.Value: ");
        buf_add(&c->out, kv->value.data, kv->value.len);
        buf_add_byte(&c->out, '\n');
    }
    return CTL_DONE;
}

/* --- ls ---------------------------------------------------------------------------------------------- */

struct v2_listing {
    struct ctl *c;
    size_t prefix_size;
    bool is_recursive, marks_folders;
    struct buf folder; /* the last one that was shown, without its / */
    struct buf next;   /* the key to continue at */
    uint64_t seen;     /* keys, marks included */
};

static void show_name(struct v2_listing *l, const uint8_t *name, size_t size, bool is_folder)
{
    buf_add(&l->c->out, name, size);
    buf_add_text(&l->c->out, is_folder && l->marks_folders ? "/\n" : "\n");
}

/* Shows a key, or the folder that it is in. */
static void list_key(struct v2_listing *l, const ProtobufCBinaryData *key)
{
    const uint8_t *name = key->data, *rest = name + l->prefix_size, *end = name + key->len;
    l->seen++;
    buf_clear(&l->next);
    buf_add(&l->next, name, key->len);
    buf_add_byte(&l->next, 0);
    if (rest == end)
        return; /* the mark of the folder itself */
    /* Without a prefix, a slash at the beginning belongs to the name. */
    const uint8_t *from = l->prefix_size == 0 && *rest == '/' ? rest + 1 : rest;
    const uint8_t *slash = from < end ? memchr(from, '/', (size_t)(end - from)) : NULL;
    if (l->is_recursive) {
        bool is_mark = end[-1] == '/';
        show_name(l, name, key->len - is_mark, is_mark);
        return;
    }
    if (!slash) {
        show_name(l, name, key->len, false);
        return;
    }
    size_t size = (size_t)(slash - name);
    if (l->folder.size != size || memcmp(l->folder.data, name, size) != 0) {
        show_name(l, name, size, true);
        buf_clear(&l->folder);
        buf_add(&l->folder, name, size);
    }
    buf_clear(&l->next); /* after all keys of this folder: '0' follows '/' */
    buf_add(&l->next, name, size);
    buf_add_byte(&l->next, '0');
}

static enum ctl_exit list_folder(struct v2_listing *l, char *folder)
{
    struct ctl *c = l->c;
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/kv/range",
                          .request = &request.base,
                          .answer = &etcdserverpb__range_response__descriptor,
                          .is_read = true};
    request.key = ctl_bytes(folder);
    ctl_prefix_range(c, &request.key, &request.range_end);
    request.limit = PAGE;
    request.keys_only = true;
    l->prefix_size = strlen(folder);
    enum ctl_exit how;
    do {
        how = ctl_rpc(c, &rpc, &r);
        for (size_t i = 0; !how && i < r->n_kvs; i++)
            list_key(l, &r->kvs[i]->key);
        if (!how) {
            request.revision = r->header->revision;
            uint8_t *next = arena_alloc(&c->arena, l->next.size + 1);
            if (l->next.size)
                memcpy(next, l->next.data, l->next.size);
            request.key = (ProtobufCBinaryData){l->next.size, next};
        }
    } while (!how && r->more && ctl_flush(c));
    return how;
}

/* A key that is no folder is listed alone. */
static enum ctl_exit list_file(struct ctl *c, const char *key)
{
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/kv/range",
                          .request = &request.base,
                          .answer = &etcdserverpb__range_response__descriptor,
                          .is_read = true};
    request.key = ctl_bytes(key);
    request.keys_only = true;
    enum ctl_exit how = ctl_rpc(c, &rpc, &r);
    if (!how && r->n_kvs == 0)
        return ctl_fail(c, V2_REFUSED, "100: Key not found (%s) [%" PRId64 "]", key, r->header->revision);
    if (!how)
        buf_addf(&c->out, "%s\n", key);
    return how;
}

enum ctl_exit ctl_v2_ls(struct ctl *c)
{
    const char *key = c->line.arg_count ? c->line.args[0] : "";
    struct v2_listing l = {
        .c = c, .is_recursive = ctl_bool(&c->line, "recursive"), .marks_folders = ctl_bool(&c->line, "p")};
    note(c, "get --prefix KEY/ --keys-only");
    enum ctl_exit how = list_folder(&l, folder_of(c, key));
    if (!how && l.seen == 0 && *key && strcmp(key, "/") != 0)
        how = list_file(c, key);
    buf_done(&l.folder);
    buf_done(&l.next);
    return how;
}

/* --- cluster-health ---------------------------------------------------------------------------------- */

/* True if a linearizable read succeeds there. */
static bool is_healthy(struct ctl *c, const char *url)
{
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/kv/range",
                          .request = &request.base,
                          .answer = &etcdserverpb__range_response__descriptor,
                          .is_read = true,
                          .is_quiet = true};
    request.key = ctl_bytes("health");
    if (ctl_set_endpoints(c, &url, 1) != CTL_DONE)
        return false;
    enum ctl_exit how = ctl_rpc(c, &rpc, &r);
    return !how || rpc.code == 7; /* a denied read proves it too */
}

static bool show_member(struct ctl *c, const Etcdserverpb__Member *m)
{
    for (size_t i = 0; i < m->n_clienturls; i++) {
        if (is_healthy(c, m->clienturls[i])) {
            buf_addf(&c->out, "member %" PRIx64 " is healthy: got healthy result from %s\n", m->id,
                     m->clienturls[i]);
            return true;
        }
    }
    buf_addf(&c->out, "member %" PRIx64 " is unreachable: [", m->id);
    for (size_t i = 0; i < m->n_clienturls; i++)
        buf_addf(&c->out, "%s%s", i ? " " : "", m->clienturls[i]);
    buf_add_text(&c->out,
                 m->n_clienturls ? "] are all unreachable\n" : "] no available published client urls\n");
    return false;
}

static enum ctl_exit show_health(struct ctl *c)
{
    Etcdserverpb__MemberListResponse *r;
    size_t healthy = 0;
    enum ctl_exit how = ctl_use_endpoints(c);
    if (!how)
        how = ctl_list_members(c, false, false, &r);
    for (size_t i = 0; !how && i < r->n_members; i++)
        healthy += show_member(c, r->members[i]);
    if (how)
        return how;
    bool is_whole = healthy == r->n_members;
    buf_addf(&c->out, "cluster is %s\n", is_whole ? "healthy" : healthy ? "degraded" : "unavailable");
    return is_whole ? CTL_DONE : V2_NOT_HEALTHY;
}

enum ctl_exit ctl_v2_cluster_health(struct ctl *c)
{
    note(c, "endpoint health --cluster");
    for (;;) {
        enum ctl_exit how = show_health(c);
        if (!ctl_bool(&c->line, "forever") || how == CTL_INTERRUPTED)
            return how;
        if (!ctl_flush(c) || ctl_pause(c, HEALTH_MS))
            return CTL_INTERRUPTED;
    }
}

/* --- backup ------------------------------------------------------------------------------------------ */

enum ctl_exit ctl_v2_backup(struct ctl *c)
{
    const char *folder = ctl_flag_value(&c->line, "backup-dir");
    if (!folder || !*folder)
        return ctl_fail(c, CTL_BAD_ARGS, "--backup-dir is missing: the folder for the backup");
    note(c, "snapshot save BACKUP_DIR/snapshot.db");
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return ctl_fail_errno(c, CTL_IO, "mkdir", folder);
    c->line.args[0] = arena_printf(&c->arena, "%s/snapshot.db", folder);
    c->line.arg_count = 1;
    return ctl_snapshot_save(c);
}
