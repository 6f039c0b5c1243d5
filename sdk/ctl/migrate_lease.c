/* SPDX-License-Identifier: Apache-2.0
 * Leases of `migrate`: the same ids and TTLs at the target. A lease there never ends before the source's: it is
 * renewed while the source has it, and revoked after all changes of the revision at which the source had it
 * no more were applied. For each one the target has a mark below the state key that is attached to it, so
 * that a later run knows the leases of this migration. */
#include "sdk/ctl/migrate.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/text.h"

enum { MARGIN_MS = 2000, CHECK_MIN_MS = 500 };

struct migrate_lease {
    int64_t id, ttl;
    uint64_t until_ms; /* when it ends at the target, at the earliest */
    uint64_t check_ms; /* when to look at the source's remaining time again */
    int64_t gone_at;   /* source revision at which the source had it no more; 0 = it has it */
    bool is_listed;
    bool is_skipped; /* it has no key that is copied, and is not at the target */
};

static struct migrate_lease *find(const struct migrate *m, int64_t id)
{
    return map_get(&m->leases, (uint64_t)id);
}

static void forget(struct migrate *m, int64_t id)
{
    mem_free(map_remove(&m->leases, (uint64_t)id));
}

void migrate_lease_lost(struct migrate *m, int64_t id)
{
    forget(m, id);
}

void migrate_leases_done(struct migrate *m)
{
    uint64_t id;
    void *l;
    for (size_t at = 0; map_next(&m->leases, &at, &id, &l);)
        mem_free(l);
    map_done(&m->leases);
}

/* --- one lease ------------------------------------------------------------------------------------------- */

static enum ctl_exit ask(struct migrate *m, int64_t id, bool wants_keys,
                         Etcdserverpb__LeaseTimeToLiveResponse **ret)
{
    Etcdserverpb__LeaseTimeToLiveRequest q = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    q.id = id;
    q.keys = wants_keys;
    enum ctl_exit how = migrate_call(m, &m->from, "/v3/lease/timetolive", &q.base,
                                     &etcdserverpb__lease_time_to_live_response__descriptor, NULL, ret);
    return how == CTL_ERROR ? migrate_fail(m, &m->from, "cannot read a lease") : how;
}

static enum ctl_exit put_mark(struct migrate *m, int64_t id)
{
    Etcdserverpb__PutRequest q = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__PutResponse *r;
    struct buf key = {0};
    buf_addf(&key, "%s/%016" PRIx64, m->state_key, (uint64_t)id);
    q.key = migrate_data(buf_slice(&key));
    q.lease = id;
    enum ctl_exit how =
        migrate_call(m, &m->to, "/v3/kv/put", &q.base, &etcdserverpb__put_response__descriptor, NULL, &r);
    buf_done(&key);
    return how;
}

/* Grants the lease at the target. *ret_is_new: it was not there. */
static enum ctl_exit grant(struct migrate *m, int64_t id, int64_t ttl, bool *ret_is_new)
{
    Etcdserverpb__LeaseGrantRequest q = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    Etcdserverpb__LeaseGrantResponse *r;
    q.id = id;
    q.ttl = ttl;
    enum ctl_exit how = migrate_call(m, &m->to, "/v3/lease/grant", &q.base,
                                     &etcdserverpb__lease_grant_response__descriptor, NULL, &r);
    *ret_is_new = !how;
    if (how == CTL_ERROR && strstr(m->error, "already exists"))
        how = CTL_DONE;
    if (!how)
        how = put_mark(m, id);
    if (how)
        return how == CTL_ERROR ? migrate_fail(m, &m->to, "cannot grant a lease") : how;
    struct migrate_lease *l = find(m, id);
    if (!l) {
        l = mem_new(sizeof *l);
        map_put(&m->leases, (uint64_t)id, l);
    }
    uint64_t now = clock_mono_ms();
    *l = (struct migrate_lease){.id = id, .ttl = ttl, .check_ms = now, .is_listed = true};
    l->until_ms = now;
    if (*ret_is_new)
        l->until_ms += (uint64_t)ttl * 1000;
    return CTL_DONE;
}

enum ctl_exit migrate_lease_for(struct migrate *m, int64_t id, int64_t *ret_id)
{
    Etcdserverpb__LeaseTimeToLiveResponse *r;
    bool is_new;
    *ret_id = id;
    const struct migrate_lease *known = find(m, id);
    if (known && !known->is_skipped)
        return CTL_DONE;
    enum ctl_exit how = ask(m, id, false, &r);
    if (how)
        return how;
    if (r->grantedttl <= 0) { /* the deletes of its keys follow */
        *ret_id = 0;
        return CTL_DONE;
    }
    return grant(m, id, r->grantedttl, &is_new);
}

/* --- all of them ----------------------------------------------------------------------------------------- */

/* True if the lease concerns what is copied: it has a key of that, or, when all is copied, no key at all. */
static bool concerns(const struct migrate *m, const Etcdserverpb__LeaseTimeToLiveResponse *r)
{
    struct buf name = {0};
    bool is_ours = r->n_keys == 0 && m->rule.prefix.size == 0;
    for (size_t i = 0; i < r->n_keys && !is_ours; i++)
        is_ours = migrate_map_key(&m->rule, migrate_slice(r->keys[i]), &name);
    buf_done(&name);
    return is_ours;
}

/* A lease ended at the target while nobody renewed it, and took its keys with it, if one of them is older than what is
 * applied. The keys of a new lease come with the watch. */
static enum ctl_exit check_lost(struct migrate *m, int64_t id, struct slice key)
{
    Etcdserverpb__RangeRequest q = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *r;
    q.key = migrate_data(key);
    enum ctl_exit how = migrate_call(m, &m->from, "/v3/kv/range", &q.base,
                                     &etcdserverpb__range_response__descriptor, NULL, &r);
    if (how == CTL_ERROR) { /* without the right to that key nothing is known */
        m->needs_compare = true;
        return CTL_DONE;
    }
    if (!how && r->n_kvs && r->kvs[0]->lease == id && r->kvs[0]->mod_revision <= m->applied)
        m->needs_compare = true;
    return how;
}

static enum ctl_exit add_new(struct migrate *m, int64_t id)
{
    Etcdserverpb__LeaseTimeToLiveResponse *r;
    bool is_new;
    enum ctl_exit how = ask(m, id, true, &r);
    if (how || r->grantedttl <= 0)
        return how;
    if (!concerns(m, r)) {
        struct migrate_lease *l = mem_new(sizeof *l);
        *l = (struct migrate_lease){.id = id, .is_listed = true, .is_skipped = true};
        map_put(&m->leases, (uint64_t)id, l);
        return CTL_DONE;
    }
    struct buf key = {0};
    if (r->n_keys)
        buf_add(&key, r->keys[0].data, r->keys[0].len);
    how = grant(m, id, r->grantedttl, &is_new);
    if (!how && is_new && key.size && m->applied)
        how = check_lost(m, id, buf_slice(&key));
    buf_done(&key);
    return how;
}

static enum ctl_exit revoke(struct migrate *m, int64_t id)
{
    Etcdserverpb__LeaseRevokeRequest q = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    Etcdserverpb__LeaseRevokeResponse *r;
    q.id = id;
    enum ctl_exit how = migrate_call(m, &m->to, "/v3/lease/revoke", &q.base,
                                     &etcdserverpb__lease_revoke_response__descriptor, NULL, &r);
    if (how == CTL_ERROR && !strstr(m->error, "not found"))
        return migrate_fail(m, &m->to, "cannot revoke a lease");
    forget(m, id);
    return how == CTL_ERROR ? CTL_DONE : how;
}

static enum ctl_exit list(struct migrate *m, struct ctl *side, struct arena *arena,
                          Etcdserverpb__LeaseLeasesResponse **ret)
{
    Etcdserverpb__LeaseLeasesRequest q = ETCDSERVERPB__LEASE_LEASES_REQUEST__INIT;
    enum ctl_exit how = migrate_call(m, side, "/v3/lease/leases", &q.base,
                                     &etcdserverpb__lease_leases_response__descriptor, arena, ret);
    return how == CTL_ERROR ? migrate_fail(m, side, "cannot list leases") : how;
}

/* Reads the marks of an earlier run: those leases are this migration's. */
static enum ctl_exit read_marks(struct migrate *m)
{
    Etcdserverpb__RangeRequest q = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *r;
    struct buf marks = {0}, end = {0};
    buf_addf(&marks, "%s/", m->state_key);
    migrate_range_end(buf_slice(&marks), &end);
    q.key = migrate_data(buf_slice(&marks));
    q.range_end = migrate_data(buf_slice(&end));
    enum ctl_exit how =
        migrate_call(m, &m->to, "/v3/kv/range", &q.base, &etcdserverpb__range_response__descriptor, NULL, &r);
    uint64_t now = clock_mono_ms();
    for (size_t i = 0; !how && i < r->n_kvs; i++) {
        int64_t id = r->kvs[i]->lease;
        if (!id || find(m, id))
            continue;
        struct migrate_lease *l = mem_new(sizeof *l);
        *l = (struct migrate_lease){.id = id, .ttl = 1, .until_ms = now, .check_ms = now};
        map_put(&m->leases, (uint64_t)id, l);
    }
    buf_done(&marks);
    buf_done(&end);
    return how == CTL_ERROR ? migrate_fail(m, &m->to, "cannot read the saved state") : how;
}

/* Renews leases of the target, all in one request. A lease that is not there any more has lost its keys. */
static enum ctl_exit renew(struct migrate *m, struct buf *body)
{
    struct ctl_call call = {.method = "POST", .body = buf_slice(body), .has_body = true, .is_read = true};
    ctl_path(&call, "/v3/lease/keepalive");
    uint64_t sent_ms = clock_mono_ms();
    int err = ctl_send(&m->to, &call);
    for (struct slice rest = buf_slice(&call.answer); !err && call.status == 200 && rest.size;) {
        const uint8_t *end = memchr(rest.data, '\n', rest.size);
        struct slice line = slice_of(rest.data, end ? (size_t)(end - rest.data) : rest.size);
        json_t *doc = NULL;
        char why[200];
        rest = slice_of(rest.data + line.size, rest.size - line.size);
        if (rest.size)
            rest = slice_of(rest.data + 1, rest.size - 1);
        if (json_parse(line, &doc, why, sizeof why) != OK)
            continue;
        int64_t id = 0, ttl = 0;
        (void)!text_to_i64(slice_text(ctl_json_text(doc, "result.ID")), &id);
        (void)!text_to_i64(slice_text(ctl_json_text(doc, "result.TTL")), &ttl);
        json_decref(doc);
        struct migrate_lease *l = id ? find(m, id) : NULL;
        if (l && ttl > 0) {
            l->until_ms = sent_ms + (uint64_t)ttl * 1000;
        } else if (l) {
            forget(m, id);
            m->needs_compare = true;
        }
    }
    ctl_call_done(&call);
    buf_clear(body);
    return err == ERR_CANCELED ? CTL_INTERRUPTED : CTL_DONE; /* else the next check tries again */
}

/* Looks at the source's remaining time where it is due. */
static enum ctl_exit check_due(struct migrate *m, int64_t revision)
{
    struct buf body = {0};
    uint64_t id;
    void *value;
    enum ctl_exit how = CTL_DONE;
    for (size_t at = 0; !how && map_next(&m->leases, &at, &id, &value);) {
        struct migrate_lease *l = value;
        uint64_t now = clock_mono_ms();
        Etcdserverpb__LeaseTimeToLiveResponse *r;
        if (l->is_skipped) {
            if (!l->is_listed)
                forget(m, (int64_t)id);
            continue;
        }
        if (l->gone_at || (l->is_listed && l->check_ms > now))
            continue;
        how = ask(m, l->id, false, &r);
        if (how)
            break;
        if (r->grantedttl <= 0) {
            if (!l->is_listed)
                l->gone_at = revision;
            continue;
        }
        l->ttl = r->grantedttl;
        uint64_t left_ms = r->ttl > 0 ? (uint64_t)r->ttl * 1000 : 0;
        uint64_t next_ms = (uint64_t)l->ttl * 1000 / 3;
        if (left_ms / 2 < next_ms)
            next_ms = left_ms / 2;
        l->check_ms = now + (next_ms > CHECK_MIN_MS ? next_ms : CHECK_MIN_MS);
        if (l->until_ms < now + left_ms + MARGIN_MS)
            buf_addf(&body, "{\"ID\":\"%" PRId64 "\"}\n", l->id);
    }
    if (!how && body.size)
        how = renew(m, &body);
    buf_done(&body);
    return how;
}

static enum ctl_exit revoke_gone(struct migrate *m)
{
    uint64_t id;
    void *value;
    enum ctl_exit how = CTL_DONE;
    for (size_t at = 0; !how && map_next(&m->leases, &at, &id, &value);) {
        const struct migrate_lease *l = value;
        if (l->gone_at && m->applied >= l->gone_at)
            how = revoke(m, l->id);
    }
    return how;
}

enum ctl_exit migrate_leases(struct migrate *m)
{
    struct arena a = {0};
    Etcdserverpb__LeaseLeasesResponse *r;
    uint64_t id;
    void *value;
    enum ctl_exit how = m->leases_ms ? CTL_DONE : read_marks(m);
    m->leases_ms = clock_mono_ms();
    if (!how)
        how = list(m, &m->from, &a, &r);
    if (how)
        goto out;
    for (size_t at = 0; map_next(&m->leases, &at, &id, &value);)
        ((struct migrate_lease *)value)->is_listed = false;
    for (size_t i = 0; i < r->n_leases && !how; i++) {
        struct migrate_lease *l = find(m, r->leases[i]->id);
        if (l)
            l->is_listed = true;
        else
            how = add_new(m, r->leases[i]->id);
    }
    if (!how)
        how = check_due(m, r->header->revision);
    if (!how)
        how = revoke_gone(m);
out:
    arena_done(&a);
    return how;
}
