/* SPDX-License-Identifier: Apache-2.0
 * Which contents are stored sealed, and with which key. A content is sealed if the policy of its namespace says
 * so, or if it comes from a sealed release, draft or archive: a rollback, a promotion or a copy never stores in
 * clear what was sealed. The policy is compared in the write's transaction (config_write.h), so a content is
 * never stored in clear after a policy that was put before it. */
#include <stdio.h>

#include "base/mutant.h"
#include "config/config_write.h"
#include "config/sealed.h"

/* It may say anything. */
static bool is_unreadable(const struct write_policy *p)
{
    return p->side.revision && !p->policy;
}

static bool policy_seals(const struct target *t)
{
    const struct write_policy *p = t->policy;
    return is_unreadable(p) || (p->policy && workflow_policy_seals(p->policy, t->key.group, t->key.name) &&
                                !MUTANT(SEAL_SKIPPED));
}

/* The target's content is the one of its sealed source. */
static bool comes_from_sealed(const struct target *t)
{
    const bool is_draft = t->source == SOURCE_DRAFT;
    const struct slice sealed = is_draft ? t->draft.sealed : t->release.sealed,
                       content = is_draft ? t->draft.content : t->release.content;
    return t->has_source && sealed.size && t->content.data == content.data && !MUTANT(SEAL_LOST_BY_COPY);
}

static void add_nonce(struct io *io, uint8_t nonce[SEAL_NONCE_SIZE])
{
    uint64_t random[2] = {io->ops->random(io), io->ops->random(io)};
    if (MUTANT(SEAL_NONCE_AGAIN))
        random[0] = random[1] = 1;
    memcpy(nonce, random, SEAL_NONCE_SIZE);
}

int write_choose_seal(struct write *w, struct target *t, struct content_seal *ret)
{
    const struct config *c = w->op.config;
    struct arena *a = &w->op.pending_ops.arena;
    *ret = (struct content_seal){0};
    if (content_is_unopened(t->content))
        return write_refuse(w, t, t->source_err, "%.*s: %s", (int)t->key.name.size,
                            (const char *)t->key.name.data, t->source_error);
    if (!t->must_seal && !policy_seals(t) && !comes_from_sealed(t))
        return OK;
    ret->key = seal_keys_first(c->options.keys);
    if (!ret->key && is_unreadable(t->policy))
        return write_refuse(w, t, ERR_REVIEW_REQUIRED,
                            "the policy of namespace %.*s cannot be read: it must be put again",
                            (int)t->key.ns.size, (const char *)t->key.ns.data);
    if (!ret->key)
        return write_refuse(w, t, ERR_KEY_MISSING,
                            "%.*s must be sealed, and this member has no key: see --encryption-key-file",
                            (int)t->key.name.size, (const char *)t->key.name.data);
    /* Without a policy of this cluster: an archive of another one, or what was sealed before a downgrade. */
    char error[200];
    int err = config_check_level(c, "sealed contents", error, sizeof error);
    if (err)
        return write_refuse(w, t, err, "%s", error);
    if (write_is_live(t) && t->head->sealed.size)
        ret->live = seal_keys_find(c->options.keys, t->head->sealed);
    ret->names = sealed_names(a, &t->key);
    add_nonce(c->pending_ops.io, ret->nonce);
    return OK;
}

void write_open_source(struct write *w, struct target *t)
{
    const struct seal_keys *keys = w->op.config->options.keys;
    struct arena *a = &w->op.pending_ops.arena;
    t->source_err = OK;
    if (t->source == SOURCE_RELEASE)
        t->source_err = sealed_open_release(keys, write_source(t), &t->release, a, t->source_error,
                                            sizeof t->source_error);
    else if (t->source == SOURCE_DRAFT)
        t->source_err =
            sealed_open_draft(keys, &t->key, &t->draft, a, t->source_error, sizeof t->source_error);
}
