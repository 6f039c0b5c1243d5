/* SPDX-License-Identifier: Apache-2.0
 * Tests of the registry against a plain model: random registrations, sessions, operator overrides, and
 * direct writes to the store. Sessions are opened, joined and closed, and expire. The next request's view
 * does not show a direct write yet. After each step the view, the sessions and the leases of the store equal
 * the model. After a run a view that is read anew is the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/log.h"
#include "tests/unit/registry_node.h"

enum { SERVICES = 3, IDS = 3, KEYS = SERVICES * IDS, SESSIONS = 400, STEPS = 400 };

static const char *const services[SERVICES] = {"web", "g2/web", "n2/g/api"};
static const char *const ids[IDS] = {"a", "b", "c"};

struct model_session {
    int64_t id;
    bool lives, is_implicit;
    unsigned ttl;
};

struct world {
    struct registry_node node;
    uint64_t random;
    struct {
        bool is_there;
        unsigned port;
        int session; /* index, or -1 */
        int weight;  /* of the override; -1 = none */
    } keys[KEYS];
    bool settings[SERVICES];
    struct model_session sessions[SESSIONS];
    int session_count;
};

static unsigned draw(struct world *w, unsigned n)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(w->random >> 33) % n;
}

static struct registry_key key_of(int k)
{
    return registry_key_of(services[k / IDS], ids[k % IDS]);
}

static int hanging_on(const struct world *w, int session)
{
    int n = 0;
    for (int k = 0; k < KEYS; k++)
        n += w->keys[k].is_there && w->keys[k].session == session;
    return n;
}

static int find_session(struct world *w, int64_t id)
{
    for (int i = 0; i < w->session_count; i++)
        if (w->sessions[i].id == id)
            return i;
    return -1;
}

static int add_session(struct world *w, int64_t id, bool is_implicit, unsigned ttl)
{
    assert_true(w->session_count < SESSIONS);
    assert_int_equal(find_session(w, id), -1);
    w->sessions[w->session_count] = (struct model_session){id, true, is_implicit, ttl};
    return w->session_count++;
}

/* The instance leaves its session: its own session ends with that. */
static void leave(struct world *w, int k)
{
    int s = w->keys[k].is_there ? w->keys[k].session : -1;
    w->keys[k].is_there = false;
    if (s >= 0 && w->sessions[s].is_implicit && hanging_on(w, s) == 0)
        w->sessions[s].lives = false;
}

/* --- steps ------------------------------------------------------------------------------------------ */

static void step_register(struct world *w, int k)
{
    unsigned port = 1 + draw(w, 3), ttl = draw(w, 5) ? 600 : 900;
    int asked = draw(w, 3) == 0 && w->session_count ? (int)draw(w, (unsigned)w->session_count) : -1;
    int own = w->keys[k].is_there ? w->keys[k].session : -1;
    struct registry_reply a;
    char text[100];
    snprintf(text, sizeof text, "{\"host\":\"h\",\"port\":%u,\"ttl\":%u,\"grace\":86400}", port, ttl);
    registry_node_register(&w->node, &a, services[k / IDS], ids[k % IDS], text,
                           asked < 0 ? 0 : w->sessions[asked].id);
    registry_node_wait(&w->node, &a);
    if (asked >= 0 && !w->sessions[asked].lives) {
        assert_int_equal(a.err, ERR_SESSION_GONE);
        return;
    }
    assert_int_equal(a.err, OK);
    if (own >= 0 && (!w->sessions[own].lives ||
                     (asked < 0 && w->sessions[own].is_implicit && w->sessions[own].ttl != ttl)))
        own = -1;
    int now = asked >= 0 ? asked : own;
    if (now >= 0) {
        assert_int_equal(a.result.session, w->sessions[now].id);
        if (!w->keys[k].is_there || w->keys[k].session != now)
            w->sessions[now].is_implicit = false;
    }
    if (now < 0 || w->keys[k].session != now)
        leave(w, k);
    if (now < 0)
        now = add_session(w, a.result.session, true, ttl);
    w->keys[k].is_there = true;
    w->keys[k].port = port;
    w->keys[k].session = now;
}

static void step_deregister(struct world *w, int k)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    struct registry_key key = key_of(k);
    registry_deregister(w->node.registry, &a.request, &key);
    registry_node_wait(&w->node, &a);
    assert_int_equal(a.err, w->keys[k].is_there ? OK : ERR_NOT_FOUND);
    leave(w, k);
}

static void step_session(struct world *w)
{
    int s = w->session_count ? (int)draw(w, (unsigned)w->session_count) : -1;
    struct registry_reply a = {.request.done = registry_reply_done};
    unsigned kind = draw(w, 4);
    if (s < 0 || kind == 0) {
        add_session(w, registry_node_session(&w->node, 600), false, 600);
        return;
    }
    struct model_session *m = &w->sessions[s];
    if (kind == 1) {
        registry_session_heartbeat(w->node.registry, &a.request, m->id);
        registry_node_wait(&w->node, &a);
        assert_int_equal(a.err, m->lives ? OK : ERR_SESSION_GONE);
    } else if (kind == 2) {
        registry_session_close(w->node.registry, &a.request, m->id);
        registry_node_wait(&w->node, &a);
        assert_int_equal(a.err, m->lives ? OK : ERR_SESSION_GONE);
        if (m->lives)
            assert_int_equal(a.result.instances, hanging_on(w, s));
        for (int k = 0; k < KEYS && m->lives; k++)
            if (w->keys[k].session == s)
                w->keys[k].is_there = false;
        m->lives = false;
    } else if (m->lives) {
        registry_node_revoke(&w->node, m->id); /* as when its time is over */
        m->lives = false;
    }
}

static void step_override(struct world *w, int k)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    struct registry_key key = key_of(k);
    int weight = (int)draw(w, 4) - 1;
    struct override doc = {.has_weight = true, .weight = (uint16_t)weight};
    registry_put_override(w->node.registry, &a.request, &key, weight < 0 ? NULL : &doc);
    registry_node_wait(&w->node, &a);
    assert_int_equal(a.err, weight < 0 && w->keys[k].weight < 0 ? ERR_NOT_FOUND : OK);
    assert_int_equal(a.result.is_unchanged, weight >= 0 && weight == w->keys[k].weight);
    w->keys[k].weight = weight;
}

static void step_settings(struct world *w, int service)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    struct registry_key key = registry_key_of(services[service], NULL);
    struct settings doc = {.protect_threshold = 0.5};
    bool is_put = draw(w, 2);
    registry_put_settings(w->node.registry, &a.request, &key, is_put ? &doc : NULL);
    registry_node_wait(&w->node, &a);
    assert_int_equal(a.err, !is_put && !w->settings[service] ? ERR_NOT_FOUND : OK);
    w->settings[service] = is_put;
}

struct raw {
    struct kv_request request;
    struct buf key;
    bool is_done;
};

static void on_raw(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    (void)response;
    assert_int_equal(err, OK);
    container_of(r, struct raw, request)->is_done = true;
}

/* The instance is deleted through the etcd API, and the next request arrives before the view knows. */
static void step_behind(struct world *w, int k)
{
    struct raw raw = {.request.done = on_raw};
    struct registry_key key = key_of(k);
    struct name name = {NAME_INSTANCE, key.ns, key.group, key.service, key.id, 0};
    Etcdserverpb__DeleteRangeRequest m = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    name_add_key(&raw.key, &name);
    m.key = (ProtobufCBinaryData){raw.key.size, raw.key.data};
    kv_delete_range(w->node.node.kv, &raw.request, &m);
    w->keys[k].is_there = false; /* its session stays: it was not closed */
    if (draw(w, 2))
        step_deregister(w, k);
    else
        step_register(w, k);
    registry_node_settle(&w->node);
    assert_true(raw.is_done);
    buf_done(&raw.key);
}

/* --- expected state --------------------------------------------------------------------------------- */

static void check_key(struct world *w, int k)
{
    const struct catalog_instance *i = registry_node_find(&w->node, services[k / IDS], ids[k % IDS]);
    assert_int_equal(i != NULL, w->keys[k].is_there);
    if (!i)
        return;
    const struct model_session *s = &w->sessions[w->keys[k].session];
    assert_int_equal(i->doc->port, w->keys[k].port);
    assert_int_equal(i->doc->session, s->id);
    assert_int_equal(i->hangs_on->exists, s->lives);
    assert_true(i->doc->state == INSTANCE_UP || (i->doc->state == INSTANCE_LOST && !s->lives));
    if (s->lives)
        assert_int_equal(i->hangs_on->doc.is_implicit, s->is_implicit);
    struct catalog_effect e = catalog_effect(i);
    assert_int_equal(e.weight, w->keys[k].weight < 0 ? 100 : w->keys[k].weight);
}

static void check(struct world *w)
{
    const struct catalog *c = registry_catalog(w->node.registry);
    size_t instances = 0, overrides = 0, alive = 0, existing = 0;
    for (int k = 0; k < KEYS; k++) {
        check_key(w, k);
        instances += w->keys[k].is_there;
        overrides += w->keys[k].weight >= 0;
    }
    for (int s = 0; s < SERVICES; s++) {
        bool is_there = w->settings[s];
        for (int k = s * IDS; k < (s + 1) * IDS; k++)
            is_there |= w->keys[k].is_there;
        existing += is_there;
    }
    for (int s = 0; s < w->session_count; s++) {
        alive += w->sessions[s].lives;
        assert_int_equal(catalog_session(c, w->sessions[s].id) != NULL, w->sessions[s].lives);
    }
    assert_int_equal(catalog_all(c)->instances, instances);
    assert_int_equal(catalog_all(c)->overrides, overrides);
    assert_int_equal(catalog_all(c)->services, existing);
    assert_int_equal(catalog_session_count(c), alive);
    assert_int_equal(registry_node_leases(&w->node), alive); /* none is left behind */
}

static void step(struct world *w)
{
    int k = (int)draw(w, KEYS);
    unsigned kind = draw(w, 20);
    if (kind < 8)
        step_register(w, k);
    else if (kind < 11)
        step_deregister(w, k);
    else if (kind < 15)
        step_session(w);
    else if (kind < 17)
        step_override(w, k);
    else if (kind < 18)
        step_settings(w, k / IDS);
    else
        step_behind(w, k);
}

static bool is_ready(void *arg)
{
    return registry_is_ready(((struct world *)arg)->node.registry);
}

static void run(uint64_t seed)
{
    struct world *w = mem_new(sizeof *w);
    w->random = seed;
    for (int k = 0; k < KEYS; k++) {
        w->keys[k].session = -1;
        w->keys[k].weight = -1;
    }
    registry_node_open(&w->node, NULL);
    for (int n = 0; n < STEPS; n++) {
        step(w);
        check(w);
    }
    struct registry_options o = {.kv = w->node.node.kv, .member = "default"};
    registry_free(w->node.registry);
    w->node.registry = registry_new(&o);
    one_node_run(&w->node.node, is_ready, w);
    check(w);
    registry_node_close(&w->node);
    mem_free(w);
}

static void test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++)
        run(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    log_set_level(LOG_FATAL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
