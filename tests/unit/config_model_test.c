/* SPDX-License-Identifier: Apache-2.0
 * Tests of the config center with thousands of random requests against a model of a few lines: each answer,
 * the live and gray releases, and the history afterwards. SEED=7 in the environment replays one run. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/unit/config_node.h"

enum { NAMES = 3, RELEASES_MAX = 4000, RULES = 3, STEPS = 4000 };

struct model_release {
    enum config_operation operation;
    int content;
    uint64_t origin;
};

struct model_item {
    bool exists, is_deleted;
    uint64_t seq, last;
    struct model_release releases[RELEASES_MAX];
    uint64_t rules[RULES]; /* 0 = none */
};

static struct model_item items[NAMES];
static const char *const names[NAMES] = {"a.json", "g/b", "n/g/c.txt"};
static uint64_t random_state;

static unsigned pick(unsigned n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % n;
}

static bool is_live(const struct model_item *m)
{
    return m->exists && !m->is_deleted;
}

static void release(struct model_item *m, enum config_operation operation, int content, uint64_t origin)
{
    m->releases[++m->last] = (struct model_release){operation, content, origin};
    if (operation == CONFIG_GRAY)
        return;
    m->seq = m->last;
    m->exists = true;
    m->is_deleted = operation == CONFIG_DELETE;
    if (m->is_deleted)
        memset(m->rules, 0, sizeof m->rules);
}

static bool has_live_content(const struct model_item *m, int content)
{
    return is_live(m) && m->releases[m->seq].content == content;
}

static const char *content_text(int content)
{
    static char text[8];
    snprintf(text, sizeof text, "[%d]", content);
    return text;
}

/* The expected answer is computed before the model changes. */
static void step_publish(struct config_node *n, unsigned at)
{
    struct model_item *m = &items[at];
    int content = (int)pick(4), wanted = OK;
    struct config_publish p = {.key = config_id_of(names[at]), .content = slice_text(content_text(content))};
    unsigned condition = pick(4);
    if (condition == 1) {
        p.condition.if_absent = true;
        wanted = is_live(m) ? ERR_PRECONDITION : OK;
    } else if (condition == 2) {
        p.condition.has_seq = true;
        p.condition.if_seq = m->seq + (pick(3) == 0);
        wanted = p.condition.if_seq == (m->exists ? m->seq : 0) ? OK : ERR_PRECONDITION;
    }
    struct config_reply a = config_node_publish_with(n, &p);
    assert_int_equal(a.err, wanted);
    if (wanted)
        return;
    assert_int_equal(a.result.is_unchanged, has_live_content(m, content));
    if (!a.result.is_unchanged)
        release(m, CONFIG_PUBLISH, content, 0);
    assert_int_equal(a.result.seq, m->seq);
}

static void step_rollback(struct config_node *n, unsigned at)
{
    struct model_item *m = &items[at];
    uint64_t seq = 1 + pick((unsigned)m->last + 2);
    struct config_reply a = config_node_rollback(n, names[at], seq);
    if (seq > m->last) {
        assert_int_equal(a.err, ERR_NOT_FOUND);
    } else if (m->releases[seq].operation == CONFIG_DELETE) {
        assert_int_equal(a.err, ERR_INVALID);
    } else {
        assert_int_equal(a.err, OK);
        assert_int_equal(a.result.is_unchanged, has_live_content(m, m->releases[seq].content));
        if (!a.result.is_unchanged)
            release(m, CONFIG_ROLLBACK, m->releases[seq].content, seq);
        assert_int_equal(a.result.seq, m->seq);
    }
}

static void step_delete(struct config_node *n, unsigned at)
{
    struct config_reply a = config_node_delete(n, names[at]);
    assert_int_equal(a.err, is_live(&items[at]) ? OK : ERR_NOT_FOUND);
    if (!a.err)
        release(&items[at], CONFIG_DELETE, 0, 0);
}

static void step_gray(struct config_node *n, unsigned at)
{
    struct model_item *m = &items[at];
    unsigned rule = pick(RULES);
    bool has_content = pick(2);
    uint64_t seq = 1 + pick((unsigned)m->last + 2);
    int content = (int)pick(4);
    char text[128], name[8];
    snprintf(name, sizeof name, "r%u", rule);
    if (has_content)
        snprintf(text, sizeof text, "{\"content\":\"%s\",\"match\":{\"z\":[\"%s\"]}}", content_text(content),
                 name);
    else
        snprintf(text, sizeof text, "{\"seq\":%llu,\"match\":{\"z\":[\"%s\"]}}", (unsigned long long)seq,
                 name);
    struct config_reply a = config_node_gray(n, names[at], name, text);
    bool is_fine = is_live(m) && (has_content || seq <= m->last);
    assert_int_equal(a.err, is_fine ? OK : ERR_NOT_FOUND);
    if (!is_fine)
        return;
    if (has_content)
        release(m, CONFIG_GRAY, content, 0);
    m->rules[rule] = has_content ? m->last : seq;
}

static void step_rule(struct config_node *n, unsigned at)
{
    struct model_item *m = &items[at];
    unsigned rule = pick(RULES);
    bool promotes = pick(2);
    char name[8];
    struct config_reply a = config_reply();
    struct config_id key = config_id_of(names[at]);
    snprintf(name, sizeof name, "r%u", rule);
    if (promotes)
        config_promote_gray(n->config, &a.request, &key, slice_text(name), (struct slice){0}, NULL);
    else
        config_delete_gray(n->config, &a.request, &key, slice_text(name), NULL);
    config_node_wait(n, &a);
    uint64_t seq = m->rules[rule];
    assert_int_equal(a.err, seq ? OK : ERR_NOT_FOUND);
    m->rules[rule] = 0;
    if (!seq || !promotes)
        return;
    bool is_deletion = m->releases[seq].operation == CONFIG_DELETE;
    release(m, is_deletion ? CONFIG_DELETE : CONFIG_PROMOTE, m->releases[seq].content, seq);
}

/* Two at once, from the same view. */
static void step_two(struct config_node *n, unsigned at)
{
    struct model_item *m = &items[at];
    struct config_publish p = {.key = config_id_of(names[at]), .content = slice_text("[7]")},
                          q = {.key = config_id_of(names[at]), .content = slice_text("[8]")};
    struct config_reply a = config_reply(), b = config_reply();
    config_publish(n->config, &a.request, &p);
    config_publish(n->config, &b.request, &q);
    config_node_wait(n, &a);
    config_node_wait(n, &b);
    assert_true(a.err == OK && b.err == OK && a.result.seq != b.result.seq);
    bool a_first = a.result.seq < b.result.seq;
    bool a_same = a.result.is_unchanged, b_same = b.result.is_unchanged;
    if (!a_same && a_first)
        release(m, CONFIG_PUBLISH, 7, 0);
    if (!b_same)
        release(m, CONFIG_PUBLISH, 8, 0);
    if (!a_same && !a_first)
        release(m, CONFIG_PUBLISH, 7, 0);
}

static void check(struct config_node *n, unsigned at)
{
    struct model_item *m = &items[at];
    const struct config_item *i = config_node_find(n, names[at]);
    assert_int_equal(i != NULL, m->exists);
    if (!i)
        return;
    assert_int_equal(i->head->seq, m->seq);
    assert_int_equal(i->head->last_seq, m->last);
    assert_int_equal(i->head->is_deleted, m->is_deleted);
    for (unsigned rule = 0; rule < RULES; rule++) {
        char zone[8];
        snprintf(zone, sizeof zone, "r%u", rule);
        struct document_pair pair = {slice_text("z"), slice_text(zone)};
        uint64_t wanted = m->rules[rule] ? m->rules[rule] : m->is_deleted ? 0 : m->seq;
        assert_int_equal(
            config_choose(i, &(struct document_map){&pair, 1}, (struct slice){0}, (struct slice){0}), wanted);
    }
    uint64_t seq = 1 + pick((unsigned)m->last);
    struct config_reply a = config_node_read(n, names[at], pick(2) ? 0 : seq);
    if (a.result.seq == m->seq && m->is_deleted && a.err) {
        assert_int_equal(a.err, ERR_NOT_FOUND);
        return;
    }
    assert_int_equal(a.err, OK);
    const struct model_release *r = &m->releases[a.result.seq];
    assert_int_equal(a.release.operation, r->operation);
    assert_int_equal(a.release.origin_seq, r->origin);
    if (r->operation != CONFIG_DELETE)
        assert_string_equal(a.text, content_text(r->content));
    assert_int_equal(config_node_keys(n, CONFIG_RELEASE, names[at]), m->last);
}

static void test_model(void **state)
{
    struct config_node n = {0};
    const char *seed = getenv("SEED");
    (void)state;
    random_state = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
    printf("SEED=%llu\n", (unsigned long long)random_state);
    memset(items, 0, sizeof items);
    config_node_open(&n, &(struct config_options){.releases_kept = 100000});
    static void (*const steps[])(struct config_node * n, unsigned at) = {
        step_publish, step_publish, step_publish, step_rollback, step_delete, step_gray, step_rule, step_two};
    for (unsigned i = 0; i < STEPS; i++) {
        unsigned at = pick(NAMES);
        steps[pick(COUNT_OF(steps))](&n, at);
        check(&n, at);
    }
    config_node_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
