/* SPDX-License-Identifier: Apache-2.0
 * The right to use a session, and the repair of a session's document that another client overwrote. struct
 * registry_proof has the rule; README.md has it as a table. */
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
    return "the session was opened by another user: register into a session of your own (POST "
           "/api/v1/sessions, "
           "then ?session=), or have WRITE on /cairn/registry/sessions/";
}

const char *registry_session_refusal(const struct registry_op *op, const struct catalog_session *s)
{
    const struct registry_proof *p = &op->proof;
    if (!op->has_proof || p->is_operator)
        return NULL;
    if (p->key.size && s->doc.has_key)
        return session_key_matches(p->key, s->doc.key_digest)
                   ? NULL
                   : "the session key that was sent is not this session's: send the session_key that the "
                     "answer to "
                     "its opening had, or open a session of your own (POST /api/v1/sessions)";
    if (p->has_users)
        return refuse_user(p, s);
    if (!op->registry->options.session_keys || !s->doc.has_key)
        return NULL;
    return "this session asks for its key (--session-keys): send the session_key that the answer to its "
           "opening "
           "had, as header X-Cairn-Session-Key or in hello's session.key, or open a session of your own "
           "(POST /api/v1/sessions, then ?session=)";
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

bool registry_session_has_owner(const struct registry *r, int64_t session)
{
    const struct catalog_session *s = catalog_session(r->catalog, session);
    return s && s->doc.owner.size;
}
