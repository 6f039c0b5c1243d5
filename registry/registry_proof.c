/* SPDX-License-Identifier: Apache-2.0
 * The right to use a session, and the repair of a session's document that another client overwrote.
 *
 * The id of a session is visible in every instance. To register into a session, keep it alive or close it, a
 * client proves its right (struct registry_proof). The session's document holds the user that opened it
 * (`owner`, while users are enabled) and the SHA-256 of its session key (`key_sha256`). The registry returns
 * the key once, as `session_key`, in the response that opens the session (POST /sessions, PUT, `register`,
 * `welcome`). The client sends it as X-Cairn-Session-Key, or as session.key in hello.
 *
 *     the client has                        | users enabled | no users,       | no users
 *                                           |               | --session-keys  |
 *     WRITE on sessions/<id>                | allowed       |                 |
 *     the right key                         | allowed       | allowed         | allowed
 *     a wrong key                           | 403           | 403             | 403
 *     no key, and it is the owner           | allowed       |                 |
 *     no key, and it is another user        | 403           | 403             | allowed
 *     no key; the session has no owner (it  | allowed if it | as above        | as above
 *       was opened before users were        | may write all |                 |
 *       enabled)                            | its instances |                 |
 *     no key; the document names no key     | as above      | allowed         | allowed
 *       (of an earlier release)             |               |                 |
 *
 * An update without a session joins the session that the instance belongs to, or takes the instance from it:
 * both need the proof. With a session of its own, a client that may write the instance's key takes the
 * instance over; the old session stays with its owner.
 *
 * Damaged sessions: an etcd client that overwrites a session's document ends nothing and gains no right.
 *   - Each member's view keeps the owner and the key of the first document. The next heartbeat or
 *     registration with a proof restores the document and its lease (catalog_session.is_damaged).
 *   - A member whose view began after the overwrite does not know the first document. There, a session that
 *     does not parse has neither owner nor key, and the user that repairs it becomes its owner. A member that
 *     knows the first document restores it.
 *   - Only deleting the key or revoking the lease ends the session. A key that was written without its
 *     lease, and whose owner never returns, stays until somebody deletes it. */
#include "base/mutant.h"
#include "base/text.h"
#include "registry/registry_private.h"

void registry_sign_session(struct registry_op *op, struct session *doc)
{
    session_key_make(kv_io(op->registry->kv), op->session_key);
    session_key_digest(slice_text(op->session_key), doc->key_digest);
    doc->has_key = true;
    doc->owner = op->has_proof && op->proof.has_users && utf8_is_valid(op->proof.user) ? op->proof.user
                                                                                       : (struct slice){0};
}

static const char *refuse_user(const struct registry_proof *p, const struct catalog_session *s)
{
    if (s->doc.owner.size ? slice_equal(s->doc.owner, p->user) : p->may_all_of == s->id)
        return NULL;
    return "the session was opened by another user: open a session of your own (POST /api/v1/sessions) and "
           "register into it (?session=), or ask for WRITE on /cairn/registry/sessions/";
}

const char *registry_session_refusal(const struct registry_op *op, const struct catalog_session *s)
{
    const struct registry_proof *p = &op->proof;
    if (!op->has_proof || p->is_operator)
        return NULL;
    if (p->key.size && s->doc.has_key)
        return session_key_matches(p->key, s->doc.key_digest)
                   ? NULL
                   : "the session key is not this session's: send the session_key of the response that "
                     "opened the session, or open a session of your own (POST /api/v1/sessions)";
    if (p->has_users)
        return refuse_user(p, s);
    if (!op->registry->options.session_keys || !s->doc.has_key)
        return NULL;
    return "the session key is missing (--session-keys): send the session_key of the response that opened "
           "the session, as header X-Cairn-Session-Key or as session.key in hello, or open a session of your "
           "own (POST /api/v1/sessions) and register into it (?session=)";
}

/* A client that holds the session deregisters all the time, so that is not recorded. Without users nobody is
 * known to be another. */
bool registry_is_by_operator(const struct registry_op *op, const struct catalog_session *s)
{
    const struct registry_proof *p = &op->proof;
    if (!op->has_proof || !p->has_users)
        return false;
    if (!s || !s->exists || MUTANT(OWN_DEREGISTRATION_RECORDED))
        return true;
    if (p->key.size && s->doc.has_key && session_key_matches(p->key, s->doc.key_digest))
        return false;
    return !(s->doc.owner.size && slice_equal(s->doc.owner, p->user));
}

struct slice registry_session_repair(const struct registry_op *op, const struct catalog_session *s,
                                     uint32_t ttl_s, struct arena *a)
{
    struct session doc = s->doc;
    struct buf text = {0};
    if (s->is_unknown && ttl_s)
        doc.ttl_s = ttl_s;
    if (s->is_unknown && op->has_proof && op->proof.has_users && op->proof.may_all_of == s->id)
        doc.owner = op->proof.user;
    session_write(&doc, &text);
    struct slice copy = registry_copy(a, buf_slice(&text));
    buf_done(&text);
    return copy;
}

int64_t registry_session_of(const struct registry *r, const struct registry_key *key)
{
    const struct catalog_instance *i = registry_find(r, key);
    const struct catalog_session *s = i && i->doc ? i->hangs_on : NULL;
    return s && s->exists ? s->id : 0;
}

bool registry_session_exists(const struct registry *r, int64_t session)
{
    return catalog_session(r->catalog, session) != NULL;
}

bool registry_session_has_owner(const struct registry *r, int64_t session)
{
    const struct catalog_session *s = catalog_session(r->catalog, session);
    return s && s->doc.owner.size;
}
