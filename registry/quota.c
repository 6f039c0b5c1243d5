/* SPDX-License-Identifier: Apache-2.0
 * Quotas; see quota.h. A quota_part exists while a claim refers to it. */
#include "registry/quota.h"

#include <assert.h>
#include <stdio.h>

struct quota_part {
    struct slice key; /* owned */
    size_t references;
    size_t services, instances, overrides, checks; /* of a namespace */
    bool is_new;                                   /* a namespace that was empty when it was claimed */
};

struct quota_source {
    uint64_t id;
    size_t sessions; /* claimed, or open and opened through this member */
};

static struct quota_part *refer(struct strmap *map, struct slice key)
{
    struct quota_part *p = strmap_get(map, key);
    if (!p) {
        p = mem_new(sizeof *p);
        p->key = slice_of(mem_copy(key.data, key.size), key.size);
        strmap_put(map, key, p);
    }
    p->references++;
    return p;
}

static void quota_part_release(struct strmap *map, struct quota_part *p)
{
    if (--p->references)
        return;
    strmap_remove(map, p->key);
    mem_free(p->key.data);
    mem_free(p);
}

static int quota_refuse(struct slice ns, const char *what, const char *setting, size_t count, size_t max,
                        char *error, size_t error_size)
{
    snprintf(error, error_size, "there are %zu %s in namespace %.*s; at most %zu are allowed (%s)", count,
             what, (int)ns.size, ns.data, max, setting);
    return ERR_QUOTA;
}

/* Sets claim->ns, unless it returns an error. */
static int claim_namespace(struct quota *q, const struct catalog *c, struct slice ns,
                           struct quota_claim *claim, char *error, size_t error_size)
{
    const struct catalog_namespace *n = catalog_namespace(c, ns);
    bool is_new = !strmap_get(&q->namespaces, ns) && (!n || (!n->services && !n->overrides));
    size_t count = catalog_namespace_count(c) + q->new_namespaces;
    if (claim->ns)
        return OK;
    int err = namespace_view_admit(q->view, ns, error, error_size);
    if (err)
        return err;
    if (is_new && q->namespaces_max && count >= q->namespaces_max) {
        snprintf(
            error, error_size,
            "there are %zu namespaces with services, and %.*s is not one of them; at most %zu are allowed "
            "(--registry-max-namespaces)",
            count, (int)ns.size, ns.data, q->namespaces_max);
        return ERR_QUOTA;
    }
    claim->ns = refer(&q->namespaces, ns);
    if (is_new) {
        claim->ns->is_new = true;
        q->new_namespaces++;
    }
    return OK;
}

/* Several requests that create the same service claim it once. */
int quota_claim_service(struct quota *q, const struct catalog *c, const struct quota_key *key,
                        struct quota_claim *claim, char *error, size_t error_size)
{
    const struct catalog_service *s = catalog_find(c, key->ns, key->group, key->service);
    const struct catalog_namespace *n = catalog_namespace(c, key->ns);
    if (claim->service || (s && catalog_exists(s)))
        return OK;
    const char *setting;
    size_t max = namespace_view_limit(q->view, key->ns, NAMESPACE_SERVICES, q->services_max, &setting);
    int err = claim_namespace(q, c, key->ns, claim, error, error_size);
    if (err || !max)
        return err;
    struct buf name = {0};
    struct quota_part *ns = claim->ns;
    buf_add_slice(&name, key->ns);
    buf_add_byte(&name, '/');
    buf_add_slice(&name, key->group);
    buf_add_byte(&name, '/');
    buf_add_slice(&name, key->service);
    bool is_claimed = strmap_get(&q->services, buf_slice(&name));
    size_t count = (n ? n->services : 0) + ns->services;
    if (!is_claimed && count >= max) {
        err = quota_refuse(key->ns, "services", setting, count, max, error, error_size);
    } else {
        claim->service = refer(&q->services, buf_slice(&name));
        ns->services += !is_claimed;
    }
    buf_done(&name);
    return err;
}

int quota_claim_instance(struct quota *q, const struct catalog *c, const struct quota_key *key,
                         struct quota_claim *claim, char *error, size_t error_size)
{
    const struct catalog_namespace *n = catalog_namespace(c, key->ns);
    const char *setting;
    size_t max = namespace_view_limit(q->view, key->ns, NAMESPACE_INSTANCES, q->instances_max, &setting);
    int err = quota_claim_service(q, c, key, claim, error, error_size);
    if (err || claim->instance)
        return err;
    err = claim_namespace(q, c, key->ns, claim, error, error_size);
    if (err)
        return err;
    struct quota_part *ns = claim->ns;
    size_t count = (n ? n->instances : 0) + ns->instances;
    if (!max)
        return OK;
    if (count >= max)
        return quota_refuse(key->ns, "instances", setting, count, max, error, error_size);
    ns->instances++;
    claim->instance = true;
    return OK;
}

int quota_claim_override(struct quota *q, const struct catalog *c, const struct quota_key *key,
                         struct quota_claim *claim, char *error, size_t error_size)
{
    const struct catalog_namespace *n = catalog_namespace(c, key->ns);
    const char *setting;
    size_t max = namespace_view_limit(q->view, key->ns, NAMESPACE_INSTANCES, q->instances_max, &setting);
    int err = claim_namespace(q, c, key->ns, claim, error, error_size);
    if (err || claim->override || !max)
        return err;
    struct quota_part *ns = claim->ns;
    size_t count = (n ? n->overrides : 0) + ns->overrides;
    if (count >= max)
        return quota_refuse(key->ns, "overrides", setting, count, max, error, error_size);
    ns->overrides++;
    claim->override = true;
    return OK;
}

int quota_claim_check(struct quota *q, const struct catalog *c, const struct quota_key *key,
                      struct quota_claim *claim, char *error, size_t error_size)
{
    const struct catalog_namespace *n = catalog_namespace(c, key->ns);
    if (claim->check)
        return OK;
    int err = claim_namespace(q, c, key->ns, claim, error, error_size);
    if (err)
        return err;
    size_t all = catalog_all(c)->checks + q->checks, count = (n ? n->checks : 0) + claim->ns->checks;
    if (q->checks_max && all >= q->checks_max) {
        snprintf(error, error_size,
                 "there are %zu instances with a check; at most %zu are allowed (--registry-max-checks)", all,
                 q->checks_max);
        return ERR_QUOTA;
    }
    if (q->namespace_checks_max && count >= q->namespace_checks_max)
        return quota_refuse(key->ns, "instances with a check", "--registry-max-namespace-checks", count,
                            q->namespace_checks_max, error, error_size);
    claim->ns->checks++;
    q->checks++;
    claim->check = true;
    return OK;
}

/* --- sessions ------------------------------------------------------------------------------------------- */

static struct quota_source *source_acquire(struct quota *q, uint64_t id)
{
    struct quota_source *s = map_get(&q->sources, id);
    if (!s) {
        s = mem_new(sizeof *s);
        s->id = id;
        map_put(&q->sources, id, s);
    }
    s->sessions++;
    return s;
}

static void source_release(struct quota *q, struct quota_source *s)
{
    if (--s->sessions)
        return;
    map_remove(&q->sources, s->id);
    mem_free(s);
}

int quota_claim_session(struct quota *q, const struct catalog *c, uint64_t source, struct quota_claim *claim,
                        char *error, size_t error_size)
{
    if (claim->session || !q->sessions_max)
        return OK;
    size_t count = catalog_session_count(c) + q->sessions;
    if (count >= q->sessions_max) {
        snprintf(error, error_size,
                 "there are %zu sessions; at most %zu are allowed (--registry-max-sessions)", count,
                 q->sessions_max);
        return ERR_QUOTA;
    }
    const struct quota_source *of_source = source ? map_get(&q->sources, source) : NULL;
    if (of_source && of_source->sessions >= q->sessions_max - count) {
        snprintf(
            error, error_size,
            "there are %zu sessions of this address; one address may have at most as many as are left for "
            "all: %zu of %zu (--registry-max-sessions)",
            of_source->sessions, q->sessions_max - count, q->sessions_max);
        return ERR_QUOTA;
    }
    q->sessions++;
    claim->session = true;
    claim->source = source ? source_acquire(q, source) : NULL;
    return OK;
}

void quota_keep_session(struct quota *q, struct catalog_session *s, struct quota_claim *claim)
{
    (void)q; /* the source goes on counting it */
    if (!s || !s->exists || s->source)
        return;
    s->source = claim->source;
    claim->source = NULL;
}

void quota_session_gone(struct quota *q, struct catalog_session *s)
{
    if (s->source)
        source_release(q, s->source);
    s->source = NULL;
}

/* --- release -------------------------------------------------------------------------------------------- */

void quota_release(struct quota *q, struct quota_claim *claim)
{
    if (claim->service) {
        claim->ns->services -= claim->service->references == 1;
        quota_part_release(&q->services, claim->service);
    }
    if (claim->ns) {
        claim->ns->instances -= claim->instance;
        claim->ns->overrides -= claim->override;
        claim->ns->checks -= claim->check;
        q->new_namespaces -= claim->ns->is_new && claim->ns->references == 1;
        quota_part_release(&q->namespaces, claim->ns);
    }
    q->sessions -= claim->session;
    q->checks -= claim->check;
    if (claim->source)
        source_release(q, claim->source);
    *claim = (struct quota_claim){0};
}

void quota_done(struct quota *q)
{
    assert(!q->namespaces.count && !q->services.count && !q->new_namespaces && !q->sessions);
    strmap_done(&q->namespaces);
    strmap_done(&q->services);
    uint64_t id;
    void *source;
    for (size_t at = 0; map_next(&q->sources, &at, &id, &source);)
        mem_free(source);
    map_done(&q->sources);
}
