/* SPDX-License-Identifier: Apache-2.0
 * A store of one member; see one_node.h. */
#include "tests/unit/one_node.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_turn(uv_prepare_t *handle)
{
    struct one_node *n = handle->data;
    if (!n->kv)
        return;
    kv_turn(n->kv);
    if (n->turn)
        n->turn(n->arg);
}

static void on_ready(void *arg)
{
    ((struct one_node *)arg)->is_ready = true;
}

static bool is_ready(void *arg)
{
    return ((struct one_node *)arg)->is_ready;
}

static void on_limit(uv_timer_t *handle)
{
    ((struct one_node *)handle->data)->is_late = true;
}

void one_node_run(struct one_node *n, bool (*is_done)(void *arg), void *arg)
{
    n->is_late = false;
    uv_timer_start(&n->limit, on_limit, 60000, 0);
    while (!is_done(arg) && !n->is_late)
        uv_run(&n->loop, UV_RUN_NOWAIT); /* an answer of a turn must not wait for the next event */
    uv_timer_stop(&n->limit);
    if (n->is_late) {
        fprintf(stderr, "what was waited for did not come in 60 s\n");
        abort();
    }
}

void one_node_run_ms(struct one_node *n, uint64_t ms)
{
    n->is_late = false;
    uv_timer_start(&n->limit, on_limit, ms, 0);
    while (!n->is_late)
        uv_run(&n->loop, UV_RUN_ONCE);
}

void one_node_open(struct one_node *n)
{
    static const struct kv_member_option members[] = {{"default", "http://localhost:2380"}};
    static const char *const peer_urls[] = {"http://localhost:2380"};
    static const char *const client_urls[] = {"http://localhost:2379"};
    struct kv_options options = {
        .data_dir = n->dir,
        .name = "default",
        .initial_cluster_token = "etcd-cluster",
        .initial_cluster = members,
        .initial_cluster_count = 1,
        .peer_urls = peer_urls,
        .peer_url_count = 1,
        .client_urls = client_urls,
        .client_url_count = 1,
        .heartbeat_ms = 100,
        .election_ms = 1000,
        .snapshot_catchup_entries = 100,
        .request_bytes_max = 1572864,
        .txn_ops_max = n->txn_ops_max ? n->txn_ops_max : 128,
        .quota_bytes = n->quota_bytes,
        .feature_level = n->feature_level,
        .commit_interval_ms = 100,
        .commit_ops = 10000,
        .compaction_batch = 1000,
        .compaction_sleep_ms = 10,
        .auto_compaction_mode = "periodic",
        .progress_interval_ms = 600000,
        .pre_vote = true,
    };
    char error[512] = "";
    if (!n->dir[0]) {
        strcpy(n->dir, "/tmp/one_node.XXXXXX");
        char *made = mkdtemp(n->dir);
        assert(made);
    }
    uv_loop_init(&n->loop);
    options.io = n->io = io_real_new(&n->loop, true);
    n->is_ready = n->is_closed = false;
    int err = kv_open(&options, error, sizeof error, &n->kv);
    if (err) {
        fprintf(stderr, "kv_open: %s\n", error);
        abort();
    }
    kv_on_ready(n->kv, on_ready, n);
    if (n->opened)
        n->opened(n->arg);
    uv_prepare_init(&n->loop, &n->prepare);
    uv_timer_init(&n->loop, &n->limit);
    n->prepare.data = n->limit.data = n;
    uv_prepare_start(&n->prepare, on_turn);
    one_node_run(n, is_ready, n);
}

static void on_closed(void *arg)
{
    struct one_node *n = arg;
    n->kv = NULL;
    n->is_closed = true;
}

void one_node_close(struct one_node *n)
{
    kv_close(n->kv, on_closed, n);
    while (!n->is_closed)
        uv_run(&n->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&n->prepare, NULL);
    uv_close((uv_handle_t *)&n->limit, NULL);
    io_real_free(n->io);
    uv_run(&n->loop, UV_RUN_DEFAULT);
    int err = uv_loop_close(&n->loop);
    assert(err == 0);
}

void one_node_remove(struct one_node *n)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", n->dir);
    int err = system(command);
    assert(err == 0);
    n->dir[0] = 0;
}

/* --- requests ------------------------------------------------------------------------------------ */

struct asked {
    struct kv_request request;
    bool is_done;
    int err;
};

static void on_done(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct asked *a = container_of(r, struct asked, request);
    (void)response;
    a->is_done = true;
    a->err = err;
}

static bool is_answered(void *arg)
{
    return ((struct asked *)arg)->is_done;
}

static int64_t wait_for(struct one_node *n, struct asked *a)
{
    one_node_run(n, is_answered, a);
    if (a->err) {
        fprintf(stderr, "a request failed: %s\n", err_text(a->err));
        abort();
    }
    return kv_revision(n->kv);
}

static ProtobufCBinaryData bytes_of(const char *text)
{
    static char copies[4][1024];
    static unsigned next;
    char *copy = copies[next++ % 4];
    snprintf(copy, sizeof copies[0], "%s", text);
    return (ProtobufCBinaryData){strlen(copy), (uint8_t *)copy};
}

int64_t one_node_put(struct one_node *n, const char *key, const char *value, int64_t lease)
{
    struct asked a = {.request.done = on_done};
    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
    m.key = bytes_of(key);
    m.value = bytes_of(value);
    m.lease = lease;
    kv_put(n->kv, &a.request, &m);
    return wait_for(n, &a);
}

int64_t one_node_delete(struct one_node *n, const char *key, const char *range_end)
{
    struct asked a = {.request.done = on_done};
    Etcdserverpb__DeleteRangeRequest m = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    m.key = bytes_of(key);
    if (range_end)
        m.range_end = bytes_of(range_end);
    kv_delete_range(n->kv, &a.request, &m);
    return wait_for(n, &a);
}

int64_t one_node_compact(struct one_node *n, int64_t revision)
{
    struct asked a = {.request.done = on_done};
    Etcdserverpb__CompactionRequest m = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    m.revision = revision;
    m.physical = true;
    kv_compact(n->kv, &a.request, &m);
    return wait_for(n, &a);
}
