/* SPDX-License-Identifier: Apache-2.0
 * The right to write all instances of a session: checked in slices, and remembered.
 *
 * A session may have very many instances. Marks (session_mark.h) say up to which instance an author was
 * checked, so a second check looks at the instances that have come since then. A mark is valid for one auth
 * epoch: after any change of users, roles or permissions the check begins again.
 *
 *     registry_session_check ── OK, or refused, after at most AT_ONCE instances
 *              │
 *              └─ ERR_NOT_READY ─► registry_session_wait ─► slices of the turns ─► ready, in the same turn:
 *                                                                                  check again
 *
 * The slices give no verdict. The verdict is that of registry_session_check, and does not depend on them.
 * The first one that waits is checked until it is ready, so two authors do not displace each other's marks. */
#include "registry/registry_private.h"
#include "registry/session_mark.h"

enum {
    AT_ONCE = 64, /* a session of more instances has marks */
    SLICE = 64,   /* keys between two looks at the clock */
    SLICE_NS = 1000 * 1000,
};

/* ERR_NOT_READY: there are more than `units`. */
static int check_some(const struct registry *r, const struct catalog_session *s, const struct auth_who *who,
                      struct link **next, size_t units, struct registry_key *ret_refused)
{
    struct buf key = {0};
    int err = OK;
    while (*next != &s->instances && !err) {
        if (!units--) {
            err = ERR_NOT_READY;
            break;
        }
        const struct catalog_instance *i = container_of(*next, struct catalog_instance, by_session);
        const struct catalog_service *of = i->service;
        key.size = 0;
        name_add_key(&key, &(struct name){NAME_INSTANCE, of->ns, of->group, of->name, i->id, 0});
        err = kv_auth_check_range(r->kv, who, buf_slice(&key), (struct slice){0}, true);
        if (err)
            *ret_refused = (struct registry_key){of->ns, of->group, of->name, i->id};
        else
            *next = (*next)->next;
    }
    buf_done(&key);
    return err;
}

int registry_session_check(const struct registry *r, int64_t session, const struct auth_who *who,
                           size_t *ret_count, struct registry_key *ret_refused)
{
    const struct catalog_session *s = catalog_session(r->catalog, session);
    *ret_count = s ? s->instance_count : 0;
    if (!s)
        return OK;
    struct link *first = s->instances.next, **next = &first;
    if (s->instance_count > AT_ONCE) {
        struct session_mark *m = session_mark_find(s, who, kv_auth_epoch(r->kv));
        if (!m)
            return ERR_NOT_READY;
        /* The credential may be older than the one that was checked: one key is checked in any case. */
        if (m->next == &s->instances)
            m->next = m->next->prev;
        next = &m->next;
    }
    return check_some(r, s, who, next, AT_ONCE, ret_refused);
}

/* False: the turn's time is over. */
static bool prepare(struct registry *r, const struct session_wait *w, uint64_t until_ns)
{
    struct io *io = kv_io(r->kv);
    struct catalog_session *s = catalog_session(r->catalog, w->session);
    struct registry_key refused;
    struct buf own = {0};
    bool is_ready;
    if (!s)
        return true;
    name_add_key(&own, &(struct name){.kind = NAME_SESSION, .session = w->session});
    do {
        int64_t units = SLICE;
        is_ready = kv_auth_prepare_lease(r->kv, w->who, w->session, true, buf_slice(&own), &units);
    } while (!is_ready && io->ops->mono_ns(io) < until_ns);
    buf_done(&own);
    if (!is_ready || s->instance_count <= AT_ONCE)
        return is_ready;
    struct session_mark *m = session_mark_make(s, w->who, kv_auth_epoch(r->kv));
    do
        is_ready = check_some(r, s, w->who, &m->next, SLICE, &refused) != ERR_NOT_READY;
    while (!is_ready && io->ops->mono_ns(io) < until_ns);
    return is_ready;
}

void registry_session_wait(struct registry *r, struct session_wait *w)
{
    list_add_last(&r->checking, &w->link);
    pending_ops_schedule_turn(&r->pending_ops);
}

void registry_session_checks(struct registry *r)
{
    struct io *io = kv_io(r->kv);
    uint64_t until_ns = io->ops->mono_ns(io) + SLICE_NS;
    while (!list_is_empty(&r->checking) && io->ops->mono_ns(io) < until_ns) {
        struct session_wait *w = container_of(r->checking.next, struct session_wait, link);
        if (!prepare(r, w, until_ns))
            break;
        list_remove(&w->link);
        w->ready(w);
    }
    if (!list_is_empty(&r->checking))
        pending_ops_schedule_turn(&r->pending_ops);
}
