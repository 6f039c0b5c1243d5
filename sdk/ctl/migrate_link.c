/* SPDX-License-Identifier: Apache-2.0
 * Requests of `migrate`: repeated until a side answers, and the transactions of the target, which are fenced
 * by the state key. */
#include "sdk/ctl/migrate.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"

enum { CODE_DEADLINE = 4, CODE_UNAVAILABLE = 14, CODE_UNAUTHENTICATED = 16, PAUSE_MAX_MS = 2000 };

static const char *side_name(const struct migrate *m, const struct ctl *side)
{
    return side == &m->from ? "source" : "target";
}

/* True for errors that pass by themselves. */
static bool is_passing(enum ctl_exit how, const struct ctl_rpc *rpc)
{
    return how == CTL_BAD_CONNECTION || rpc->code == CODE_UNAVAILABLE || rpc->code == CODE_DEADLINE ||
           strstr(rpc->error, "too many requests") || strncmp(rpc->error, "HTTP status 50", 14) == 0;
}

static enum ctl_exit call_once(struct ctl *side, struct ctl_rpc *rpc, struct arena *arena, void *ret_answer)
{
    if (!arena) {
        arena_reset(&side->arena);
        return ctl_rpc(side, rpc, ret_answer);
    }
    struct arena kept = side->arena;
    side->arena = *arena;
    enum ctl_exit how = ctl_rpc(side, rpc, ret_answer);
    *arena = side->arena;
    side->arena = kept;
    return how;
}

enum ctl_exit migrate_call(struct migrate *m, struct ctl *side, const char *path,
                           const ProtobufCMessage *request, const ProtobufCMessageDescriptor *answer,
                           struct arena *arena, void *ret_answer)
{
    bool is_read = strstr(path, "/range") || strstr(path, "timetolive") || strstr(path, "leases");
    bool was_told = false, has_logged_in = false;
    for (int64_t pause_ms = 50;; pause_ms = 2 * pause_ms < PAUSE_MAX_MS ? 2 * pause_ms : PAUSE_MAX_MS) {
        struct ctl_rpc rpc = {
            .path = path, .request = request, .answer = answer, .is_read = is_read, .is_quiet = true};
        enum ctl_exit how = call_once(side, &rpc, arena, ret_answer);
        if (!how && was_told)
            ctl_note(m->c, "The %s answers again.", side_name(m, side));
        if (!how || how == CTL_INTERRUPTED)
            return how;
        m->code = rpc.code;
        snprintf(m->error, sizeof m->error, "%s", rpc.error);
        if (rpc.code == CODE_UNAUTHENTICATED && side->token && !has_logged_in) {
            has_logged_in = true; /* the token has ended */
            how = ctl_log_in_side(side);
            if (!how)
                continue;
        }
        if (!is_passing(how, &rpc))
            return CTL_ERROR;
        if (!was_told)
            ctl_note(m->c, "The %s (%s) does not answer: %s. Trying again.", side_name(m, side),
                     side->endpoints[side->at].text, rpc.error);
        was_told = true;
        side->at = (side->at + 1) % side->endpoint_count;
        if (ctl_pause(m->c, pause_ms))
            return CTL_INTERRUPTED;
    }
}

enum ctl_exit migrate_fail(struct migrate *m, const struct ctl *side, const char *what)
{
    const char *advice = strstr(m->error, "space exceeded") ? ". Make room there, then run this again."
                         : strstr(m->error, "permission denied") || strstr(m->error, "user name is empty")
                             ? ". The user of that side needs rights to all these keys."
                             : "";
    return ctl_fail(m->c, CTL_ERROR, "%s at the %s (%s): %s%s", what, side_name(m, side),
                    side->endpoints[side->at].text, m->error, advice);
}

/* --- the state ------------------------------------------------------------------------------------------- */

/* Reads the state key: *ret_mod 0 = it is not there. */
static enum ctl_exit read_state(struct migrate *m, struct migrate_state *ret, int64_t *ret_mod)
{
    Etcdserverpb__RangeRequest q = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *r;
    q.key = ctl_bytes(m->state_key);
    enum ctl_exit how =
        migrate_call(m, &m->to, "/v3/kv/range", &q.base, &etcdserverpb__range_response__descriptor, NULL, &r);
    if (how)
        return how == CTL_ERROR ? migrate_fail(m, &m->to, "cannot read the saved state") : how;
    *ret_mod = 0;
    *ret = (struct migrate_state){0};
    if (r->n_kvs == 0)
        return CTL_DONE;
    *ret_mod = r->kvs[0]->mod_revision;
    if (migrate_state_read(migrate_slice(r->kvs[0]->value), ret) != OK)
        return ctl_fail(m->c, CTL_ERROR, "the key %s of the target has no state of a migration; delete it",
                        m->state_key);
    return CTL_DONE;
}

/* One transaction: ops, and the state or, with is_end, its deletion. *ret_is_ours false: the state is another's. */
static enum ctl_exit send_fenced(struct migrate *m, const struct migrate_op *ops, size_t count,
                                 const struct migrate_state *state, bool is_end, bool *ret_is_ours)
{
    struct arena a = {0};
    struct buf text = {0};
    struct slice key = slice_text(m->state_key);
    migrate_state_add(&text, state);
    Etcdserverpb__TxnRequest q = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__Compare guard = ETCDSERVERPB__COMPARE__INIT, *guards[] = {&guard};
    guard.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD;
    guard.target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
    guard.key = migrate_data(key);
    guard.mod_revision = m->state_mod;
    q.n_compare = 1;
    q.compare = guards;
    q.n_success = count + 1;
    q.success = arena_alloc(&a, (count + 1) * sizeof *q.success);
    for (size_t i = 0; i <= count; i++) {
        const struct migrate_op mark = {.key = key, .value = buf_slice(&text), .is_delete = is_end};
        const struct migrate_op *op = i < count ? &ops[i] : &mark;
        q.success[i] = arena_alloc(&a, sizeof **q.success);
        etcdserverpb__request_op__init(q.success[i]);
        if (op->is_delete) {
            Etcdserverpb__DeleteRangeRequest *d = arena_alloc(&a, sizeof *d);
            etcdserverpb__delete_range_request__init(d);
            d->key = migrate_data(op->key);
            q.success[i]->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
            q.success[i]->request_delete_range = d;
        } else {
            Etcdserverpb__PutRequest *p = arena_alloc(&a, sizeof *p);
            etcdserverpb__put_request__init(p);
            p->key = migrate_data(op->key);
            p->value = migrate_data(op->value);
            p->lease = op->lease;
            q.success[i]->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
            q.success[i]->request_put = p;
        }
    }
    Etcdserverpb__TxnResponse *r;
    enum ctl_exit how =
        migrate_call(m, &m->to, "/v3/kv/txn", &q.base, &etcdserverpb__txn_response__descriptor, NULL, &r);
    *ret_is_ours = true;
    if (!how && r->succeeded) {
        m->state_mod = r->header->revision;
    } else if (!how) { /* an earlier attempt of this request was done, or another process writes */
        struct migrate_state there;
        int64_t mod;
        how = read_state(m, &there, &mod);
        *ret_is_ours = is_end ? mod == 0 : mod && there.run == state->run && there.seq == state->seq;
        m->state_mod = mod;
    }
    arena_done(&a);
    buf_done(&text);
    return how;
}

static enum ctl_exit fail_other(struct migrate *m)
{
    return ctl_fail(m->c, CTL_ERROR,
                    "another migration has taken over the key %s of the target; only one may write there",
                    m->state_key);
}

enum ctl_exit migrate_look(struct migrate *m)
{
    enum ctl_exit how = read_state(m, &m->state, &m->state_mod);
    m->is_resumed = m->state_mod != 0;
    return how;
}

enum ctl_exit migrate_claim(struct migrate *m)
{
    uint64_t run = random_u64();
    for (int tries = 0; tries < 10; tries++) {
        bool is_ours = false;
        enum ctl_exit how = read_state(m, &m->state, &m->state_mod);
        if (how)
            return how;
        m->state.run = run;
        m->state.seq++;
        how = send_fenced(m, NULL, 0, &m->state, false, &is_ours);
        if (how)
            return how == CTL_ERROR ? migrate_fail(m, &m->to, "cannot save the state") : how;
        if (is_ours)
            return CTL_DONE;
    }
    return fail_other(m);
}

enum ctl_exit migrate_forget(struct migrate *m)
{
    bool is_ours;
    Etcdserverpb__DeleteRangeRequest q = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    Etcdserverpb__DeleteRangeResponse *r;
    struct buf marks = {0}, end = {0};
    buf_addf(&marks, "%s/", m->state_key);
    migrate_range_end(buf_slice(&marks), &end);
    q.key = migrate_data(buf_slice(&marks));
    q.range_end = migrate_data(buf_slice(&end));
    enum ctl_exit how = migrate_call(m, &m->to, "/v3/kv/deleterange", &q.base,
                                     &etcdserverpb__delete_range_response__descriptor, NULL, &r);
    if (!how)
        how = send_fenced(m, NULL, 0, &m->state, true, &is_ours);
    if (how == CTL_ERROR)
        how = migrate_fail(m, &m->to, "cannot delete the saved state");
    buf_done(&marks);
    buf_done(&end);
    return how ? how : is_ours ? CTL_DONE : fail_other(m);
}

/* --- writing --------------------------------------------------------------------------------------------- */

/* Lets the target have the leases of these keys. The ops get the lease that they really have there. */
static enum ctl_exit attach(struct migrate *m, struct migrate_op *ops, size_t count, bool is_again)
{
    enum ctl_exit how = CTL_DONE;
    for (size_t i = 0; i < count && !how; i++) {
        if (!ops[i].lease)
            continue;
        if (is_again)
            migrate_lease_lost(m, ops[i].lease);
        how = migrate_lease_for(m, ops[i].lease, &ops[i].lease);
    }
    return how;
}

enum ctl_exit migrate_write(struct migrate *m, const struct migrate_op *given, size_t count, int64_t revision)
{
    struct migrate_op *ops = mem_alloc((count + 1) * sizeof *ops);
    memcpy(ops, given, count * sizeof *ops);
    struct migrate_state next = {m->state.run, m->state.seq + 1, revision};
    bool is_ours = true;
    enum ctl_exit how = attach(m, ops, count, false);
    for (int tries = 0; !how && tries < 3; tries++) {
        how = send_fenced(m, ops, count, &next, false, &is_ours);
        if (how != CTL_ERROR || !strstr(m->error, "lease not found"))
            break;
        memcpy(ops, given, count * sizeof *ops);
        how = attach(m, ops, count, true);
    }
    m->state.seq = next.seq;
    if (!how && is_ours)
        m->state.revision = revision;
    bool is_large = how == CTL_ERROR && count > 1 &&
                    (strstr(m->error, "too many operations") || strstr(m->error, "too large"));
    if (is_large) {
        size_t half = count / 2;
        if (strstr(m->error, "too many operations"))
            m->limits.ops = half;
        ctl_note(m->c, "The target takes no transaction of %zu operations: it is split. (%s)", count,
                 m->error);
        how = migrate_write(m, given, half, m->state.revision);
        if (!how)
            how = migrate_write(m, given + half, count - half, revision);
    } else if (how == CTL_ERROR) {
        how = migrate_fail(m, &m->to, "cannot write");
    } else if (!how && !is_ours) {
        how = fail_other(m);
    }
    if (!how && !is_large)
        m->keys += count;
    mem_free(ops);
    return how;
}
