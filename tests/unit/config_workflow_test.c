/* SPDX-License-Identifier: Apache-2.0
 * Tests of the approval workflow on one member: documents, policies, reviews, emergencies, scheduled publishes
 * and rollouts by hand. Leader changes: config_workflow_cluster_test.c. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "config/config_private.h"
#include "tests/unit/config_node.h"

static struct arena arena;
static char error[200];

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
    arena_done(&arena);
    arena = (struct arena){0};
    return 0;
}

/* --- requests ------------------------------------------------------------------------------------------- */

static struct config_reply as(const char *user)
{
    struct config_reply a = config_reply();
    a.request.author.name = slice_text(user);
    return a;
}

static void policy(struct config_node *n, const char *text)
{
    struct config_reply a = as("root");
    struct workflow_policy p;
    int err = workflow_policy_request_read(slice_text(text), &arena, &p, error, sizeof error);
    assert_int_equal(err, OK);
    config_put_policy(n->config, &a.request, slice_text("default"), &p);
    config_node_wait(n, &a);
    assert_int_equal(a.err, OK);
}

static int64_t revision_of(struct config_node *n, enum config_key kind, const char *name)
{
    struct config_id id = config_id_of(name);
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct buf key = {0};
    config_name_add_key(&key, &(struct config_name){kind, id.ns, id.group, id.name, 0});
    m.key = (ProtobufCBinaryData){key.size, key.data};
    int err = kv_range_now(n->node.kv, &m, &arena, &response);
    assert_int_equal(err, OK);
    buf_done(&key);
    return response->n_kvs ? response->kvs[0]->mod_revision : 0;
}

static struct config_reply put_draft(struct config_node *n, const char *user, const char *name,
                                     const char *content)
{
    struct config_reply a = as(user);
    config_put_draft(n->config, &a.request,
                     &(struct config_publish){.key = config_id_of(name),
                                              .content = slice_text(content ? content : ""),
                                              .is_deletion = !content});
    config_node_wait(n, &a);
    return a;
}

static struct config_reply submit(struct config_node *n, const char *user, const char *name)
{
    struct config_reply a = as(user);
    struct config_id key = config_id_of(name);
    config_submit_draft(n->config, &a.request, &key, slice_text("please"));
    config_node_wait(n, &a);
    return a;
}

static struct config_reply decide(struct config_node *n, const char *user, const char *name, bool approves,
                                  int64_t draft)
{
    struct config_reply a = as(user);
    struct config_id key = config_id_of(name);
    config_review_draft(n->config, &a.request, &key, approves, draft, slice_text("seen"));
    config_node_wait(n, &a);
    return a;
}

static struct config_reply approve(struct config_node *n, const char *user, const char *name)
{
    return decide(n, user, name, true, revision_of(n, CONFIG_DRAFT, name));
}

static struct config_reply publish_draft(struct config_node *n, const char *name)
{
    struct config_reply a = as("carol");
    struct config_id key = config_id_of(name);
    config_publish_draft(n->config, &a.request, &key, (struct slice){0}, (struct slice){0}, NULL);
    config_node_wait(n, &a);
    return a;
}

static struct config_reply start_rollout(struct config_node *n, const char *user, const char *name,
                                         const char *text)
{
    struct config_reply a = as(user);
    struct config_id key = config_id_of(name);
    struct workflow_rollout_request q;
    int err = workflow_rollout_request_read(slice_text(text), &arena, &q, error, sizeof error);
    if (err)
        fail_msg("%s", error);
    config_start_rollout(n->config, &a.request, &key, &q, NULL);
    config_node_wait(n, &a);
    return a;
}

static struct config_reply act(struct config_node *n, const char *name, enum config_rollout_act what)
{
    struct config_reply a = as("carol");
    struct config_id key = config_id_of(name);
    config_act_rollout(n->config, &a.request, &key, what, slice_text("by hand"));
    config_node_wait(n, &a);
    return a;
}

static struct config_reply schedule(struct config_node *n, const char *name, int64_t at_ms)
{
    struct config_reply a = as("alice");
    struct config_id key = config_id_of(name);
    config_schedule_draft(n->config, &a.request, &key, at_ms, (struct slice){0}, slice_text("tonight"), NULL);
    config_node_wait(n, &a);
    return a;
}

static void read_document(struct config_node *n, enum config_key kind, const char *name, char *ret_text,
                          size_t size);

/* --- documents ------------------------------------------------------------------------------------------ */

static void test_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *group, *name;
        bool matches;
    } cases[] = {
        {"*", "g", "a", true},          {"a", "g", "a", true},       {"a", "g", "ab", false},
        {"a*", "g", "ab", true},        {"a*", "g", "ba", false},    {"g/a", "g", "a", true},
        {"g/a", "h", "a", false},       {"g*/a", "gold", "a", true}, {"*/a", "x", "a", true},
        {"g/*", "g", "anything", true}, {"g/*", "h", "a", false},    {"app-*", "g", "app-", true},
        {"app-*", "g", "app", false},
    };
    struct workflow_policy p;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[100];
        snprintf(text, sizeof text, "{\"review\":[\"%s\"]}", cases[i].pattern);
        int err = workflow_policy_request_read(slice_text(text), &arena, &p, error, sizeof error);
        assert_int_equal(err, OK);
        if (workflow_policy_matches(&p, slice_text(cases[i].group), slice_text(cases[i].name)) !=
            cases[i].matches)
            fail_msg("%s %s %s", cases[i].pattern, cases[i].group, cases[i].name);
    }
    static const char *const refused[] = {
        "{\"review\":[\"\"]}",      "{\"review\":[\"a*b\"]}",
        "{\"review\":[\"a/b/c\"]}", "{\"review\":[\"/a\"]}",
        "{\"review\":[\"a/\"]}",    "{\"review\":[1]}",
        "{\"review\":\"a\"}",       "{}",
        "{\"review\":[],\"x\":1}",  "{\"review\":[\"**\"]}",
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (workflow_policy_request_read(slice_text(refused[i]), &arena, &p, error, sizeof error) == OK)
            fail_msg("%s", refused[i]);
    assert_false(workflow_policy_matches(&(struct workflow_policy){0}, slice_text("g"), slice_text("a")));
}

static void test_rollout_documents(void **state)
{
    (void)state;
    struct workflow_rollout_request q;
    struct workflow_rollout back;
    struct buf once = {0}, twice = {0};
    const char *text = "{\"rule\":\"r\",\"match\":{\"zone\":[\"b\"]},\"priority\":2,\"seq\":3,\"note\":\"n\","
                       "\"steps\":[{\"percent\":5,\"for\":\"10m\"},{\"percent\":100,\"for\":\"1h30m\"}],"
                       "\"abort_if\":{\"rejected_over\":0.02}}";
    assert_int_equal(workflow_rollout_request_read(slice_text(text), &arena, &q, error, sizeof error), OK);
    assert_int_equal(q.rollout.steps[1].for_s, 5400);
    assert_int_equal(q.rule.percent, 5);
    q.rollout.step = 1;
    q.rollout.step_ms = 77;
    q.rollout.reason = slice_text("because");
    q.rollout.started.time_ms = 5;
    workflow_rollout_write(&q.rollout, &once);
    assert_int_equal(workflow_rollout_read(buf_slice(&once), &arena, &back), OK);
    workflow_rollout_write(&back, &twice);
    assert_true(slice_equal(buf_slice(&once), buf_slice(&twice)));
    assert_int_equal(back.step, 1);
    assert_true(back.has_limit && back.rejected_over == 0.02);
    buf_done(&once);
    buf_done(&twice);
#define STEPS "\"steps\":[{\"percent\":5,\"for\":\"10m\"}]"
    static const char *const refused[][2] = {
        {"{\"seq\":3}", "steps"},
        {"{\"seq\":3,\"steps\":[]}", "steps"},
        {"{\"seq\":3,\"steps\":[{\"percent\":5}]}", "steps"},
        {"{\"seq\":3,\"steps\":[{\"percent\":0,\"for\":\"1s\"}]}", "steps"},
        {"{\"seq\":3,\"steps\":[{\"percent\":5,\"for\":\"0s\"}]}", "steps"},
        {"{\"seq\":3,\"steps\":[{\"percent\":5,\"for\":\"1s\"},{\"percent\":5,\"for\":\"1s\"}]}",
         "not above"},
        {"{" STEPS "}", "needs one of"},
        {"{" STEPS ",\"seq\":1,\"draft\":true}", "needs one of"},
        {"{" STEPS ",\"seq\":1,\"abort_if\":{}}", "abort_if"},
        {"{" STEPS ",\"seq\":1,\"abort_if\":{\"rejected_over\":1}}", "abort_if"},
        {"{" STEPS ",\"seq\":1,\"abort_if\":{\"rejected_over\":0.1,\"x\":1}}", "abort_if"},
        {"{" STEPS ",\"seq\":1,\"percent\":5}", "percent"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        int err = workflow_rollout_request_read(slice_text(refused[i][0]), &arena, &q, error, sizeof error);
        if (err != ERR_INVALID || !strstr(error, refused[i][1]))
            fail_msg("%s: %d %s", refused[i][0], err, error);
    }
}

/* --- reviews -------------------------------------------------------------------------------------------- */

static void test_everything_is_refused(void **state)
{
    struct config_node *n = *state;
    config_node_publish(n, "a.txt", "1");
    config_node_publish(n, "a.txt", "2");
    assert_int_equal(config_node_gray(n, "a.txt", "r", "{\"seq\":1,\"percent\":5}").err, OK);
    policy(n, "{\"review\":[\"a*\"]}");
    assert_int_equal(config_node_publish(n, "a.txt", "3").err, ERR_REVIEW_REQUIRED);
    assert_int_equal(config_node_publish(n, "anew.txt", "3").err, ERR_REVIEW_REQUIRED);
    assert_int_equal(config_node_rollback(n, "a.txt", 1).err, ERR_REVIEW_REQUIRED);
    assert_int_equal(config_node_delete(n, "a.txt").err, ERR_REVIEW_REQUIRED);
    assert_int_equal(config_node_gray(n, "a.txt", "s", "{\"seq\":1,\"percent\":5}").err, ERR_REVIEW_REQUIRED);
    assert_int_equal(config_node_gray(n, "a.txt", "s", "{\"content\":\"x\"}").err, ERR_REVIEW_REQUIRED);
    struct config_reply a = as("alice");
    struct config_id key = config_id_of("a.txt");
    config_promote_gray(n->config, &a.request, &key, slice_text("r"), (struct slice){0}, NULL);
    config_node_wait(n, &a);
    assert_int_equal(a.err, ERR_REVIEW_REQUIRED);
    a = start_rollout(n, "alice", "a.txt", "{\"seq\":1,\"steps\":[{\"percent\":5,\"for\":\"1h\"}]}");
    assert_int_equal(a.err, ERR_REVIEW_REQUIRED);
    /* A bundle with one such name changes nothing. */
    struct config_publish two[] = {{.key = config_id_of("b.txt"), .content = slice_text("1")},
                                   {.key = config_id_of("a.txt"), .content = slice_text("1")}};
    a = as("alice");
    config_bundle(n->config, &a.request, two, 2, NULL, 0);
    config_node_wait(n, &a);
    assert_int_equal(a.err, ERR_REVIEW_REQUIRED);
    assert_string_equal(a.culprit, "a.txt");
    assert_null(config_node_find(n, "b.txt"));
    struct config_remove gone = {.key = config_id_of("a.txt")};
    a = as("alice");
    config_bundle(n->config, &a.request, NULL, 0, &gone, 1);
    config_node_wait(n, &a);
    assert_int_equal(a.err, ERR_REVIEW_REQUIRED);
    /* A write that changes nothing, takes back, or is only checked passes; so do other names and namespaces. */
    assert_int_equal(config_node_publish(n, "a.txt", "2").err, OK);
    a = config_node_publish_with(n, &(struct config_publish){.key = config_id_of("a.txt"),
                                                             .content = slice_text("3"),
                                                             .only_validate = true});
    assert_int_equal(a.err, OK);
    a = as("alice");
    config_delete_gray(n->config, &a.request, &key, slice_text("r"), NULL);
    config_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    assert_int_equal(config_node_publish(n, "b.txt", "1").err, OK);
    assert_int_equal(config_node_publish(n, "other/g/a.txt", "1").err, OK);
    assert_int_equal(config_node_find(n, "a.txt")->head->seq, 2);
}

static void test_review(void **state)
{
    struct config_node *n = *state;
    policy(n, "{\"review\":[\"*\"]}");
    assert_int_equal(submit(n, "alice", "a.txt").err, ERR_NOT_FOUND);
    assert_int_equal(put_draft(n, "alice", "a.txt", "1").err, OK);
    struct config_reply a = publish_draft(n, "a.txt");
    assert_int_equal(a.err, ERR_REVIEW_REQUIRED);
    assert_non_null(strstr(a.error, "was not submitted"));
    assert_int_equal(approve(n, "bob", "a.txt").err, ERR_CONFLICT); /* nobody has submitted it */
    assert_int_equal(submit(n, "alice", "a.txt").err, OK);
    a = submit(n, "alice", "a.txt");
    assert_true(a.err == OK && a.result.is_unchanged);
    a = publish_draft(n, "a.txt");
    assert_non_null(strstr(a.error, "nobody has approved"));
    assert_int_equal(approve(n, "alice", "a.txt").err, ERR_PERMISSION_DENIED);
    assert_int_equal(approve(n, "anonymous", "a.txt").err, ERR_PERMISSION_DENIED);
    assert_int_equal(approve(n, "", "a.txt").err, ERR_PERMISSION_DENIED);
    assert_int_equal(decide(n, "bob", "a.txt", true, 1).err, ERR_CONFLICT); /* it has read another draft */
    assert_int_equal(decide(n, "bob", "a.txt", false, revision_of(n, CONFIG_DRAFT, "a.txt")).err, OK);
    a = publish_draft(n, "a.txt");
    assert_non_null(strstr(a.error, "was rejected"));
    assert_int_equal(approve(n, "bob", "a.txt").err, ERR_CONFLICT); /* it must be submitted again */
    assert_int_equal(submit(n, "dave", "a.txt").err, OK);
    assert_int_equal(approve(n, "alice", "a.txt").err, ERR_PERMISSION_DENIED); /* she has written it */
    assert_int_equal(approve(n, "dave", "a.txt").err, ERR_PERMISSION_DENIED);  /* he has submitted it */
    assert_int_equal(approve(n, "bob", "a.txt").err, OK);
    assert_true(approve(n, "bob", "a.txt").result.is_unchanged);
    a = publish_draft(n, "a.txt");
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.seq, 1);
    a = config_node_read(n, "a.txt", 0);
    assert_string_equal(a.text, "1");
    assert_int_equal(config_node_keys(n, CONFIG_REVIEW, "a.txt"), 0);
    assert_int_equal(config_node_keys(n, CONFIG_DRAFT, "a.txt"), 0);
}

/* Any change of the draft voids its approval, the same content by another user too. */
static void test_draft_changes(void **state)
{
    struct config_node *n = *state;
    policy(n, "{\"review\":[\"*\"]}");
    put_draft(n, "alice", "a.txt", "1");
    submit(n, "alice", "a.txt");
    int64_t seen = revision_of(n, CONFIG_DRAFT, "a.txt");
    assert_int_equal(approve(n, "bob", "a.txt").err, OK);
    put_draft(n, "alice", "a.txt", "2");
    struct config_reply a = publish_draft(n, "a.txt");
    assert_int_equal(a.err, ERR_REVIEW_REQUIRED);
    assert_non_null(strstr(a.error, "has changed after it was submitted"));
    assert_int_equal(decide(n, "bob", "a.txt", true, seen).err, ERR_CONFLICT);
    submit(n, "alice", "a.txt");
    assert_int_equal(decide(n, "bob", "a.txt", true, seen).err,
                     ERR_CONFLICT); /* the one that he has seen is gone */
    assert_int_equal(approve(n, "bob", "a.txt").err, OK);
    assert_int_equal(decide(n, "bob", "a.txt", false, revision_of(n, CONFIG_DRAFT, "a.txt")).err, OK);
    assert_int_equal(publish_draft(n, "a.txt").err, ERR_REVIEW_REQUIRED); /* he has thought again */
    /* A discarded draft takes its review along. */
    a = as("alice");
    struct config_id key = config_id_of("a.txt");
    config_delete_draft(n->config, &a.request, &key);
    config_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    assert_int_equal(config_node_keys(n, CONFIG_REVIEW, "a.txt"), 0);
    /* A malformed content does not reach a reviewer. */
    put_draft(n, "alice", "b.json", "{");
    assert_int_equal(submit(n, "alice", "b.json").err, ERR_MALFORMED);
}

static void test_on_behalf_of(void **state)
{
    struct config_node *n = *state;
    struct config_reply a = as("portal");
    policy(n, "{\"review\":[\"*\"]}");
    a.request.author.on_behalf_of = slice_text("alice");
    config_put_draft(n->config, &a.request,
                     &(struct config_publish){.key = config_id_of("a.txt"), .content = slice_text("1")});
    config_node_wait(n, &a);
    submit(n, "erin", "a.txt");
    assert_int_equal(approve(n, "alice", "a.txt").err, ERR_PERMISSION_DENIED);
    assert_int_equal(approve(n, "portal", "a.txt").err, ERR_PERMISSION_DENIED);
    a = as("tool");
    a.request.author.on_behalf_of = slice_text("alice");
    struct config_id key = config_id_of("a.txt");
    config_review_draft(n->config, &a.request, &key, true, revision_of(n, CONFIG_DRAFT, "a.txt"),
                        (struct slice){0});
    config_node_wait(n, &a);
    assert_int_equal(a.err, ERR_PERMISSION_DENIED);
    assert_int_equal(approve(n, "bob", "a.txt").err, OK);
}

static void test_deletion(void **state)
{
    struct config_node *n = *state;
    config_node_publish(n, "a.txt", "1");
    policy(n, "{\"review\":[\"*\"]}");
    assert_int_equal(put_draft(n, "alice", "none.txt", NULL).err, ERR_NOT_FOUND);
    assert_int_equal(put_draft(n, "alice", "a.txt", NULL).err, OK);
    assert_int_equal(publish_draft(n, "a.txt").err, ERR_REVIEW_REQUIRED);
    assert_int_equal(submit(n, "alice", "a.txt").err, OK);
    assert_int_equal(approve(n, "bob", "a.txt").err, OK);
    assert_int_equal(publish_draft(n, "a.txt").err, OK);
    assert_true(config_node_find(n, "a.txt")->head->is_deleted);
}

static void test_emergency(void **state)
{
    struct config_node *n = *state;
    char text[1000];
    policy(n, "{\"review\":[\"*\"]}");
    struct config_reply a = as("alice");
    a.request.emergency = slice_text("INC-7");
    config_publish(n->config, &a.request,
                   &(struct config_publish){.key = config_id_of("a.txt"), .content = slice_text("1")});
    config_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct buf key = {0};
    config_name_add_key(&key, &(struct config_name){CONFIG_RELEASE, slice_text("default"),
                                                    slice_text("default"), slice_text("a.txt"), 1});
    m.key = (ProtobufCBinaryData){key.size, key.data};
    int err = kv_range_now(n->node.kv, &m, &arena, &response);
    assert_int_equal(err, OK);
    snprintf(text, sizeof text, "%.*s", (int)response->kvs[0]->value.len,
             (char *)response->kvs[0]->value.data);
    assert_non_null(strstr(text, "\"emergency\":\"INC-7\""));
    buf_done(&key);
    /* An unapproved draft, too. */
    put_draft(n, "alice", "a.txt", "2");
    a = as("alice");
    a.request.emergency = slice_text("INC-8");
    struct config_id id = config_id_of("a.txt");
    config_publish_draft(n->config, &a.request, &id, (struct slice){0}, (struct slice){0}, NULL);
    config_node_wait(n, &a);
    assert_int_equal(a.err, OK);
}

/* Nothing passes a policy that cannot be read, and one that was put just before is seen. */
static void test_policy(void **state)
{
    struct config_node *n = *state;
    struct config_reply a = as("root"), b = config_reply();
    struct workflow_policy p;
    int err =
        workflow_policy_request_read(slice_text("{\"review\":[\"*\"]}"), &arena, &p, error, sizeof error);
    assert_int_equal(err, OK);
    config_put_policy(n->config, &a.request, slice_text("default"), &p);
    config_publish(n->config, &b.request,
                   &(struct config_publish){.key = config_id_of("a.txt"), .content = slice_text("1")});
    config_node_wait(n, &a);
    config_node_wait(n, &b);
    assert_int_equal(a.err, OK);
    assert_int_equal(b.err, ERR_REVIEW_REQUIRED);
    config_node_put_raw(n, CONFIG_POLICY, "x", 0, "no document");
    assert_int_equal(config_node_publish(n, "a.txt", "1").err, ERR_REVIEW_REQUIRED);
    a = as("root");
    config_delete_policy(n->config, &a.request, slice_text("default"));
    config_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    assert_int_equal(config_node_publish(n, "a.txt", "1").err, OK);
    a = as("root");
    config_delete_policy(n->config, &a.request, slice_text("default"));
    config_node_wait(n, &a);
    assert_int_equal(a.err, ERR_NOT_FOUND);
}

/* --- scheduled publishes -------------------------------------------------------------------------------- */

static int64_t now_ms(struct config_node *n)
{
    return (int64_t)(n->node.io->ops->wall_ns(n->node.io) / 1000000);
}

struct awaited {
    struct config_node *n;
    const char *name, *text; /* part of the document; NULL: it is gone */
    enum config_key kind;
};

static bool is_there(void *arg)
{
    const struct awaited *w = arg;
    char text[2000];
    read_document(w->n, w->kind, w->name, text, sizeof text);
    return w->text ? strstr(text, w->text) != NULL : !*text;
}

static void read_document(struct config_node *n, enum config_key kind, const char *name, char *ret_text,
                          size_t size)
{
    struct config_id id = config_id_of(name);
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct arena a = {0};
    struct buf key = {0};
    config_name_add_key(&key, &(struct config_name){kind, id.ns, id.group, id.name, 0});
    m.key = (ProtobufCBinaryData){key.size, key.data};
    int err = kv_range_now(n->node.kv, &m, &a, &response);
    assert_int_equal(err, OK);
    *ret_text = 0;
    if (response->n_kvs)
        snprintf(ret_text, size, "%.*s", (int)response->kvs[0]->value.len,
                 (char *)response->kvs[0]->value.data);
    buf_done(&key);
    arena_done(&a);
}

static void await(struct config_node *n, enum config_key kind, const char *name, const char *text)
{
    struct awaited w = {n, name, text, kind};
    one_node_run(&n->node, is_there, &w);
    config_node_settle(n);
}

static void test_schedule(void **state)
{
    struct config_node *n = *state;
    config_node_publish(n, "a.txt", "1");
    assert_int_equal(schedule(n, "a.txt", now_ms(n)).err, ERR_NOT_FOUND);
    put_draft(n, "alice", "a.txt", "2");
    assert_int_equal(schedule(n, "a.txt", now_ms(n) + 3600000).err, OK);
    assert_int_equal(schedule(n, "a.txt", now_ms(n)).err, ERR_CONFLICT); /* one at a time */
    assert_int_equal(config_node_find(n, "a.txt")->head->seq, 1);
    struct config_reply a = as("alice");
    struct config_id key = config_id_of("a.txt");
    config_cancel_schedule(n->config, &a.request, &key);
    config_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    a = as("alice");
    config_cancel_schedule(n->config, &a.request, &key);
    config_node_wait(n, &a);
    assert_int_equal(a.err, ERR_NOT_FOUND);
    assert_int_equal(config_node_keys(n, CONFIG_DRAFT, "a.txt"), 1);
    assert_int_equal(schedule(n, "a.txt", now_ms(n) + 300).err, OK);
    await(n, CONFIG_SCHEDULE, "a.txt", NULL);
    a = config_node_read(n, "a.txt", 0);
    assert_string_equal(a.text, "2");
    assert_string_equal(a.note, "tonight");
    assert_int_equal(a.result.seq, 2);
    assert_int_equal(config_node_keys(n, CONFIG_DRAFT, "a.txt"), 0);
}

static void test_schedule_fails(void **state)
{
    struct config_node *n = *state;
    put_draft(n, "alice", "a.txt", "draft");
    assert_int_equal(schedule(n, "a.txt", now_ms(n) + 300).err, OK);
    config_node_publish(n, "a.txt", "faster");
    await(n, CONFIG_SCHEDULE, "a.txt", "release 1 went live since");
    assert_string_equal(config_node_read(n, "a.txt", 0).text, "faster");
    assert_int_equal(config_node_keys(n, CONFIG_DRAFT, "a.txt"), 1); /* the work is not lost */
    /* A failed one does not stand in the way. */
    assert_int_equal(schedule(n, "a.txt", now_ms(n) + 300).err, OK);
    put_draft(n, "alice", "a.txt", "another");
    await(n, CONFIG_SCHEDULE, "a.txt", "the draft has changed");
    assert_int_equal(config_node_find(n, "a.txt")->head->seq, 1);
    /* The policy is younger than the schedule. */
    assert_int_equal(schedule(n, "a.txt", now_ms(n) + 300).err, OK);
    policy(n, "{\"review\":[\"*\"]}");
    await(n, CONFIG_SCHEDULE, "a.txt", "needs a review");
    assert_int_equal(config_node_find(n, "a.txt")->head->seq, 1);
    assert_int_equal(schedule(n, "a.txt", now_ms(n)).err, ERR_REVIEW_REQUIRED);
    submit(n, "alice", "a.txt");
    assert_int_equal(approve(n, "bob", "a.txt").err, OK);
    assert_int_equal(schedule(n, "a.txt", now_ms(n)).err, OK);
    await(n, CONFIG_SCHEDULE, "a.txt", NULL);
    assert_string_equal(config_node_read(n, "a.txt", 0).text, "another");
}

/* A run that a former leader began for a canceled schedule does nothing to the next schedule. */
static void test_schedule_of_before(void **state)
{
    struct config_node *n = *state;
    struct config_id key = config_id_of("a.txt");
    struct config_reply a = as("alice");
    put_draft(n, "alice", "a.txt", "1");
    schedule(n, "a.txt", now_ms(n) + 3600000);
    int64_t before = revision_of(n, CONFIG_SCHEDULE, "a.txt");
    config_cancel_schedule(n->config, &a.request, &key);
    config_node_wait(n, &a);
    assert_int_equal(schedule(n, "a.txt", now_ms(n) + 7200000).err, OK);
    a = config_reply();
    config_run_schedule(n->config, &a.request, &key, before);
    config_node_wait(n, &a);
    assert_true(a.err == OK && a.result.is_unchanged);
    assert_null(config_node_find(n, "a.txt"));
    /* Twice for the one that is there: it is done once. */
    int64_t now = revision_of(n, CONFIG_SCHEDULE, "a.txt");
    for (int i = 0; i < 2; i++) {
        a = config_reply();
        config_run_schedule(n->config, &a.request, &key, now);
        config_node_wait(n, &a);
        assert_int_equal(a.err, OK);
        assert_int_equal(config_node_find(n, "a.txt")->head->last_seq, 1);
    }
}

/* --- rollouts ------------------------------------------------------------------------------------------- */

#define HOUR "{\"percent\":5,\"for\":\"1h\"},{\"percent\":50,\"for\":\"1h\"}"

static void test_rollout_by_hand(void **state)
{
    struct config_node *n = *state;
    assert_int_equal(start_rollout(n, "alice", "a.txt", "{\"content\":\"2\",\"steps\":[" HOUR "]}").err,
                     ERR_NOT_FOUND);
    config_node_publish(n, "a.txt", "1");
    struct config_reply a = start_rollout(n, "alice", "a.txt", "{\"content\":\"2\",\"steps\":[" HOUR "]}");
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.seq, 2);
    const struct config_item *item = config_node_find(n, "a.txt");
    assert_int_equal(item->head->seq, 1);
    assert_int_equal(item->head->gray.list[0].percent, 5);
    assert_int_equal(start_rollout(n, "alice", "a.txt", "{\"seq\":1,\"steps\":[" HOUR "]}").err,
                     ERR_CONFLICT);
    assert_int_equal(act(n, "a.txt", CONFIG_ROLLOUT_PAUSE).err, OK);
    assert_true(act(n, "a.txt", CONFIG_ROLLOUT_PAUSE).result.is_unchanged);
    assert_int_equal(act(n, "a.txt", CONFIG_ROLLOUT_RESUME).err, OK);
    assert_int_equal(act(n, "a.txt", CONFIG_ROLLOUT_ABORT).err, OK);
    assert_int_equal(config_node_find(n, "a.txt")->head->gray.count, 0);
    assert_int_equal(config_node_find(n, "a.txt")->head->seq, 1);
    assert_int_equal(act(n, "a.txt", CONFIG_ROLLOUT_PROMOTE).err, ERR_CONFLICT); /* it has ended */
    assert_int_equal(start_rollout(n, "alice", "a.txt", "{\"seq\":2,\"steps\":[" HOUR "]}").err, OK);
    a = act(n, "a.txt", CONFIG_ROLLOUT_PROMOTE);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.seq, 3);
    assert_string_equal(config_node_read(n, "a.txt", 0).text, "2");
    assert_int_equal(act(n, "none.txt", CONFIG_ROLLOUT_PAUSE).err, ERR_NOT_FOUND);
}

static void test_step_once(void **state)
{
    struct config_node *n = *state;
    struct config_id key = config_id_of("a.txt");
    config_node_publish(n, "a.txt", "1");
    start_rollout(n, "alice", "a.txt",
                  "{\"content\":\"2\",\"steps\":[" HOUR ",{\"percent\":90,\"for\":\"1h\"}]}");
    int64_t before = revision_of(n, CONFIG_ROLLOUT, "a.txt");
    for (int i = 0; i < 2; i++) {
        struct config_reply a = config_reply();
        config_run_rollout(n->config, &a.request, &key, before, ROLLOUT_ADVANCE, (struct slice){0});
        config_node_wait(n, &a);
        assert_int_equal(a.err, OK);
        assert_int_equal(config_node_find(n, "a.txt")->head->gray.list[0].percent, 50);
    }
    /* A user has paused it meanwhile. */
    before = revision_of(n, CONFIG_ROLLOUT, "a.txt");
    act(n, "a.txt", CONFIG_ROLLOUT_PAUSE);
    struct config_reply a = config_reply();
    config_run_rollout(n->config, &a.request, &key, before, ROLLOUT_PROMOTE, (struct slice){0});
    config_node_wait(n, &a);
    assert_true(a.err == OK && a.result.is_unchanged);
    assert_int_equal(config_node_find(n, "a.txt")->head->seq, 1);
}

static void test_rollout_runs(void **state)
{
    struct config_node *n = *state;
    config_node_publish(n, "a.txt", "1");
    struct config_reply a =
        start_rollout(n, "alice", "a.txt",
                      "{\"content\":\"2\",\"abort_if\":{\"rejected_over\":0.5},\"steps\":["
                      "{\"percent\":5,\"for\":\"1s\"},{\"percent\":100,\"for\":\"1s\"}]}");
    assert_int_equal(a.err, OK);
    await(n, CONFIG_ROLLOUT, "a.txt", "\"state\":\"promoted\"");
    const struct config_head *head = config_node_find(n, "a.txt")->head;
    assert_int_equal(head->seq, 3);
    assert_int_equal(head->gray.count, 0);
    assert_string_equal(config_node_read(n, "a.txt", 0).text, "2");
    /* Rules changed by hand are left alone. */
    start_rollout(n, "alice", "a.txt", "{\"seq\":1,\"steps\":[" HOUR "]}");
    assert_int_equal(config_node_gray(n, "a.txt", "rollout", "{\"seq\":1,\"percent\":7}").err, OK);
    struct config_reply b = act(n, "a.txt", CONFIG_ROLLOUT_PROMOTE);
    assert_int_equal(b.err, ERR_CONFLICT);
    assert_non_null(strstr(b.error, "another percentage"));
}

static void test_rollout_of_draft(void **state)
{
    struct config_node *n = *state;
    const char *text = "{\"draft\":true,\"steps\":[{\"percent\":5,\"for\":\"1s\"}]}";
    config_node_publish(n, "a.txt", "1");
    policy(n, "{\"review\":[\"*\"]}");
    put_draft(n, "alice", "a.txt", "2");
    assert_int_equal(start_rollout(n, "alice", "a.txt", text).err, ERR_REVIEW_REQUIRED);
    submit(n, "alice", "a.txt");
    assert_int_equal(approve(n, "bob", "a.txt").err, OK);
    assert_int_equal(start_rollout(n, "alice", "a.txt", text).err, OK);
    assert_int_equal(config_node_keys(n, CONFIG_DRAFT, "a.txt"), 0);
    await(n, CONFIG_ROLLOUT, "a.txt", "\"state\":\"promoted\"");
    assert_string_equal(config_node_read(n, "a.txt", 0).text, "2");
}

/* A policy that is put during a rollout stops its promotion, not its steps. */
static void test_policy_during_rollout(void **state)
{
    struct config_node *n = *state;
    config_node_publish(n, "a.txt", "1");
    start_rollout(
        n, "alice", "a.txt",
        "{\"content\":\"2\",\"steps\":[{\"percent\":5,\"for\":\"1s\"},{\"percent\":9,\"for\":\"1s\"}]}");
    policy(n, "{\"review\":[\"*\"]}");
    await(n, CONFIG_ROLLOUT, "a.txt", "a policy needs a review by now");
    assert_int_equal(config_node_find(n, "a.txt")->head->seq, 1);
    assert_int_equal(config_node_find(n, "a.txt")->head->gray.list[0].percent, 9);
    assert_int_equal(act(n, "a.txt", CONFIG_ROLLOUT_PROMOTE).err, ERR_REVIEW_REQUIRED);
    assert_int_equal(act(n, "a.txt", CONFIG_ROLLOUT_ABORT).err, OK);
}

static void ignore_change(void *arg, const struct namespace_entry *e)
{
    (void)arg, (void)e;
}

/* While a namespace is being deleted nothing of the workflow is begun in it; a schedule may be canceled. */
static void test_deleted_namespace(void **state)
{
    static const char running[] = "{\"state\":\"running\"}";
    struct config_node *n = *state;
    struct namespace_view *view = namespace_view_new(ignore_change, NULL);
    struct config_id a_txt = config_id_of("a.txt"), b_txt = config_id_of("b.txt");
    n->config->options.namespaces = view;
    assert_int_equal(put_draft(n, "alice", "a.txt", "1").err, OK);
    assert_int_equal(put_draft(n, "alice", "b.txt", "1").err, OK);
    struct config_reply a = as("alice");
    config_schedule_draft(n->config, &a.request, &b_txt, INT64_C(9000000000000), (struct slice){0},
                          (struct slice){0}, NULL);
    config_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    namespace_view_begin(view, 1, false);
    namespace_view_put(view, slice_text("/cairn/namespaces/deletions/default"), slice_text(running), 1);
    namespace_view_end(view);
    a = submit(n, "alice", "a.txt");
    assert_int_equal(a.err, ERR_CONFLICT);
    assert_non_null(strstr(a.error, "is being deleted"));
    assert_int_equal(revision_of(n, CONFIG_REVIEW, "a.txt"), 0);
    a = as("alice");
    config_schedule_draft(n->config, &a.request, &a_txt, INT64_C(9000000000000), (struct slice){0},
                          (struct slice){0}, NULL);
    config_node_wait(n, &a);
    assert_int_equal(a.err, ERR_CONFLICT);
    assert_int_equal(revision_of(n, CONFIG_SCHEDULE, "a.txt"), 0);
    a = as("root");
    struct workflow_policy p = {0};
    config_put_policy(n->config, &a.request, slice_text("default"), &p);
    config_node_wait(n, &a);
    assert_int_equal(a.err, ERR_CONFLICT);
    a = as("alice");
    config_cancel_schedule(n->config, &a.request, &b_txt);
    config_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    n->config->options.namespaces = NULL;
    namespace_view_free(view);
}

int main(void)
{
#define WITH(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_rollout_documents),
        WITH(test_everything_is_refused),
        WITH(test_deleted_namespace),
        WITH(test_review),
        WITH(test_draft_changes),
        WITH(test_on_behalf_of),
        WITH(test_deletion),
        WITH(test_emergency),
        WITH(test_policy),
        WITH(test_schedule),
        WITH(test_schedule_fails),
        WITH(test_schedule_of_before),
        WITH(test_rollout_by_hand),
        WITH(test_step_once),
        WITH(test_rollout_runs),
        WITH(test_rollout_of_draft),
        WITH(test_policy_during_rollout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
