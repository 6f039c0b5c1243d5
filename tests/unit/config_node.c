/* SPDX-License-Identifier: Apache-2.0
 * A config center on a store of one member; see config_node.h. */
#include "tests/unit/config_node.h"

#include <assert.h>
#include <stdio.h>

#include "consensus/feature.h"

static void turn(void *arg)
{
    struct config_node *n = arg;
    if (n->config)
        config_turn(n->config);
    if (n->turn)
        n->turn(n->arg);
}

static bool is_ready(void *arg)
{
    const struct config_node *n = arg;
    return config_is_ready(n->config) &&
           kv_feature_level(n->node.kv) == feature_level_here(n->node.feature_level);
}

void config_node_open(struct config_node *n, const struct config_options *options)
{
    struct config_options o = options ? *options : (struct config_options){0};
    n->node.turn = turn;
    n->node.arg = n;
    n->node.txn_ops_max = o.txn_ops_max;
    one_node_open(&n->node);
    o.kv = n->node.kv;
    o.member = o.member ? o.member : "default";
    n->config = config_new(&o);
    one_node_run(&n->node, is_ready, n);
}

void config_node_close(struct config_node *n)
{
    config_free(n->config);
    n->config = NULL;
    one_node_close(&n->node);
    one_node_remove(&n->node);
}

static void copy_text(char *to, size_t size, struct slice from)
{
    size_t n = from.size < size - 1 ? from.size : size - 1;
    if (n)
        memcpy(to, from.data, n);
    to[n] = 0;
}

static void on_done(struct config_request *q, int err, const struct config_result *result)
{
    struct config_reply *a = container_of(q, struct config_reply, request);
    assert(!a->is_done);
    a->is_done = true;
    a->err = err;
    a->result = *result;
    snprintf(a->error, sizeof a->error, "%s", result->error ? result->error : "");
    copy_text(a->culprit, sizeof a->culprit, result->key.name);
    if (result->release) {
        a->release = *result->release;
        copy_text(a->text, sizeof a->text, a->release.content);
        copy_text(a->title, sizeof a->title, a->release.title);
        copy_text(a->note, sizeof a->note, a->release.note);
    }
    if (result->draft) {
        copy_text(a->text, sizeof a->text, result->draft->content);
        copy_text(a->title, sizeof a->title, result->draft->title);
        copy_text(a->note, sizeof a->note, result->draft->note);
        a->release.previous_seq = result->draft->base_seq;
    }
    a->has_head = result->head;
    if (result->head) {
        a->head = *result->head;
        copy_text(a->title, sizeof a->title, a->head.title); /* of memory that must be there */
    }
    a->result.release = NULL;
    a->result.draft = NULL;
    a->result.head = NULL;
    a->result.written = NULL;
    a->result.error = NULL;
}

struct config_reply config_reply(void)
{
    return (struct config_reply){.request.done = on_done};
}

static bool is_done(void *arg)
{
    return ((struct config_reply *)arg)->is_done;
}

void config_node_wait(struct config_node *n, struct config_reply *a)
{
    one_node_run(&n->node, is_done, a);
}

int64_t config_node_settle(struct config_node *n)
{
    struct config_reply a = config_reply();
    config_barrier(n->config, &a.request);
    config_node_wait(n, &a);
    assert(a.err == OK);
    return a.result.revision;
}

struct config_id config_id_of(const char *name)
{
    const char *slash = strchr(name, '/'), *second = slash ? strchr(slash + 1, '/') : NULL;
    struct config_id key = {.ns = slice_text("default"), .group = slice_text("default")};
    if (second) {
        key.ns = slice_of(name, (size_t)(slash - name));
        name = slash + 1;
        slash = second;
    }
    if (slash) {
        key.group = slice_of(name, (size_t)(slash - name));
        name = slash + 1;
    }
    key.name = slice_text(name);
    return key;
}

struct config_reply config_node_publish_with(struct config_node *n, const struct config_publish *p)
{
    struct config_reply a = config_reply();
    config_publish(n->config, &a.request, p);
    config_node_wait(n, &a);
    return a;
}

struct config_reply config_node_publish(struct config_node *n, const char *name, const char *content)
{
    return config_node_publish_with(
        n, &(struct config_publish){.key = config_id_of(name), .content = slice_text(content)});
}

struct config_reply config_node_read(struct config_node *n, const char *name, uint64_t seq)
{
    struct config_reply a = config_reply();
    struct config_id key = config_id_of(name);
    config_read(n->config, &a.request, &key, seq, false);
    config_node_wait(n, &a);
    return a;
}

struct config_reply config_node_delete(struct config_node *n, const char *name)
{
    struct config_reply a = config_reply();
    struct config_id key = config_id_of(name);
    config_delete(n->config, &a.request, &key, (struct slice){0}, NULL);
    config_node_wait(n, &a);
    return a;
}

struct config_reply config_node_rollback(struct config_node *n, const char *name, uint64_t seq)
{
    struct config_reply a = config_reply();
    struct config_id key = config_id_of(name);
    config_rollback(n->config, &a.request, &key, seq, slice_text("back"), NULL);
    config_node_wait(n, &a);
    return a;
}

struct config_reply config_node_gray(struct config_node *n, const char *name, const char *rule,
                                     const char *text)
{
    struct config_reply a = config_reply();
    struct config_id key = config_id_of(name);
    struct gray_request gray;
    struct arena arena = {0};
    char error[256];
    int err = gray_request_read(slice_text(text), &arena, &gray, error, sizeof error);
    assert(err == OK);
    gray.rule.name = slice_text(rule);
    config_put_gray(n->config, &a.request, &key, &gray.rule, gray.has_content ? &gray.content : NULL, NULL);
    arena_done(&arena); /* the arguments are copied */
    config_node_wait(n, &a);
    return a;
}

void config_node_put_raw(struct config_node *n, enum config_key kind, const char *name, uint64_t seq,
                         const char *value)
{
    struct config_id id = config_id_of(name);
    struct buf key = {0};
    config_name_add_key(&key, &(struct config_name){kind, id.ns, id.group, id.name, seq});
    if (value)
        one_node_put(&n->node, buf_text(&key), value, 0);
    else
        one_node_delete(&n->node, buf_text(&key), NULL);
    buf_done(&key);
}

size_t config_node_keys(struct config_node *n, enum config_key kind, const char *name)
{
    struct config_id id = config_id_of(name);
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct arena a = {0};
    struct buf key = {0}, end = {0};
    config_name_add_prefix(&key, kind, id.ns, id.group, id.name);
    buf_add_slice(&end, buf_slice(&key));
    if (kind == CONFIG_RELEASE)
        end.data[end.size - 1]++;
    m.key = (ProtobufCBinaryData){key.size, key.data};
    if (kind == CONFIG_RELEASE)
        m.range_end = (ProtobufCBinaryData){end.size, end.data};
    int err = kv_range_now(n->node.kv, &m, &a, &response);
    assert(err == OK);
    size_t count = (size_t)response->count;
    arena_done(&a);
    buf_done(&key);
    buf_done(&end);
    return count;
}

const struct config_item *config_node_find(struct config_node *n, const char *name)
{
    struct config_id key = config_id_of(name);
    return config_find(n->config, &key);
}
