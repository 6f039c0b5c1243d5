/* SPDX-License-Identifier: Apache-2.0
 * Tests of requests that arrive late or twice: they do no harm if they name a revision. */
#include "tests/unit/unit.h"

#include "tests/unit/config_node.h"

static int setup(void **state)
{
    struct config_node *n = mem_new(sizeof *n);
    config_node_open(n, NULL);
    *state = n;
    return 0;
}

static int teardown(void **state)
{
    struct config_node *n = *state;
    config_node_close(n);
    mem_free(n);
    return 0;
}

static struct config_reply put_rule(struct config_node *n, const char *content, int64_t if_revision)
{
    struct config_id key = config_id_of("a");
    struct config_condition condition = {.has_revision = true, .if_revision = if_revision};
    struct gray_rule rule = {.name = slice_text("r"), .percent = 100};
    struct slice text = slice_text(content);
    struct config_reply a = config_reply();
    config_put_gray(n->config, &a.request, &key, &rule, &text, &condition);
    config_node_wait(n, &a);
    return a;
}

static struct config_reply promote_rule(struct config_node *n, int64_t if_revision)
{
    struct config_id key = config_id_of("a");
    struct config_condition condition = {.has_revision = true, .if_revision = if_revision};
    struct config_reply a = config_reply();
    config_promote_gray(n->config, &a.request, &key, slice_text("r"), (struct slice){0}, &condition);
    config_node_wait(n, &a);
    return a;
}

/* A late or repeated request restores no rule, and a promotion takes only the release that its caller has
 * seen. */
static void test_gray_condition(void **state)
{
    struct config_node *n = *state;
    int64_t first = config_node_publish(n, "a", "x").result.revision;
    int64_t set = put_rule(n, "y", first).result.revision;
    assert_int_equal(put_rule(n, "y", first).err, ERR_PRECONDITION);
    int64_t changed = put_rule(n, "z", set).result.revision;
    struct config_reply a = promote_rule(n, set);
    assert_int_equal(a.err, ERR_PRECONDITION);
    assert_int_equal(a.head.gray.count, 1);
    config_node_publish(n, "b", "another one");
    int64_t later = config_node_publish(n, "c", "and another").result.revision;
    assert_int_equal(promote_rule(n, later).err, OK);
    /* There is no such rule, as at the beginning; but it is another time. */
    assert_int_equal(put_rule(n, "y", first).err, ERR_PRECONDITION);
    assert_int_equal(put_rule(n, "z", changed).err, ERR_PRECONDITION);
    assert_string_equal(config_node_read(n, "a", 0).text, "z");
    assert_int_equal(config_node_find(n, "a")->head->gray.count, 0);
}

/* The same content is live again, by a rollback: its md5 is the same, and the revision is not. */
static void test_revision_condition(void **state)
{
    struct config_node *n = *state;
    struct config_publish p = {.key = config_id_of("a"), .content = slice_text("late")};
    int64_t first = config_node_publish(n, "a", "x").result.revision;
    p.condition = (struct config_condition){.has_revision = true, .if_revision = first};
    config_node_publish(n, "a", "y");
    config_node_rollback(n, "a", 1);
    assert_int_equal(config_node_publish_with(n, &p).err, ERR_PRECONDITION);
    p.condition.if_revision = config_node_publish(n, "b", "x").result.revision;
    assert_int_equal(config_node_publish_with(n, &p).err, OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_gray_condition, setup, teardown),
        cmocka_unit_test_setup_teardown(test_revision_condition, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
