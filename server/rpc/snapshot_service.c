/* SPDX-License-Identifier: Apache-2.0
 * Maintenance.Snapshot: the state of this member in 32 KiB messages, then one with the SHA-256 of all of them.
 *
 *   request message -> kv_export_open; its blocks -> chunks, as the transport accepts them
 *
 * Nothing is written to the disk. The transport's congestion is the flow control: the next block is requested
 * when the one before has been sent. etcdctl before 3.5 checks that the saved file is a multiple of 512 bytes
 * plus 32; a file of whole pages passes.
 *
 * A call that ends closes its export; a block that a worker reads then is discarded within milliseconds. */
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "server/rpc/service.h"

enum {
    CHUNK_BYTES = 32 * 1024, /* etcd's */
    CHUNKS_PER_TURN = 8,
    TURN_NS = 500000, /* for one call; one chunk as JSON may take that long */
    RESOURCE_EXHAUSTED = 8,
};

static const char storage_version[] = "3.7.0";

struct snapshot {
    struct rpc_call *call;
    struct kv_export *export;
    struct slice block; /* what is left of it */
    uint64_t total, sent, started_ns;
};

static void snapshot_free(struct snapshot *s)
{
    kv_export_close(s->export);
    mem_free(s);
}

static void snapshot_finish(struct snapshot *s, int err)
{
    struct rpc_call *c = s->call;
    c->state = NULL;
    snapshot_free(s);
    /* etcd sends this error as UNKNOWN elsewhere. */
    if (err == ERR_TOO_MANY_REQUESTS)
        rpc_finish_text(c, RESOURCE_EXHAUSTED, err_text(err));
    else
        rpc_finish(c, err);
}

static void send_blob(struct snapshot *s, const uint8_t *data, size_t size)
{
    Etcdserverpb__SnapshotResponse response;
    etcdserverpb__snapshot_response__init(&response);
    response.remaining_bytes = s->total - s->sent;
    response.blob = (ProtobufCBinaryData){size, (uint8_t *)(uintptr_t)data};
    response.version = (char *)(uintptr_t)storage_version;
    rpc_send(s->call, &response.base);
}

static void send_chunk(struct snapshot *s)
{
    if (!s->sent && s->call->change)
        rpc_audit_end(s->call, OK); /* now: what a client has read it has, also when it breaks the call off */
    size_t size = s->block.size < CHUNK_BYTES ? s->block.size : CHUNK_BYTES;
    const uint8_t *data = s->block.data;
    s->block = slice_of(data + size, s->block.size - size);
    s->sent += size;
    send_blob(s, data, size);
}

static void send_digest(struct snapshot *s, const struct kv_export_progress *progress)
{
    uint64_t took_ns = clock_mono_ns() - s->started_ns;
    send_blob(s, progress->digest, sizeof progress->digest);
    metric_observe(METRIC_BACKEND_SNAPSHOT, (double)took_ns / 1e9);
    log_info("successfully sent database snapshot to client", F_UINT("total-bytes", s->total),
             F_INT("revision", progress->revision), F_UINT("took-ms", took_ns / 1000000));
}

/* False: there is nothing to send now, or the call has ended. */
static bool take_block(struct snapshot *s)
{
    struct kv_export_progress progress;
    int err = kv_export_next(s->export, &s->block, &progress);
    if (!err && s->block.size) {
        s->total = progress.size;
        return true;
    }
    if (!err && progress.is_done)
        send_digest(s, &progress);
    if (err || progress.is_done)
        snapshot_finish(s, err);
    return false;
}

void rpc_snapshot_writable(struct rpc_call *c)
{
    struct snapshot *s = c->state;
    if (!s)
        return;
    uint64_t end_ns = clock_mono_ns() + TURN_NS;
    for (unsigned i = 0; i < CHUNKS_PER_TURN && (i == 0 || clock_mono_ns() < end_ns); i++) {
        if (rpc_is_congested(c))
            return;
        if (!s->block.size && !take_block(s))
            return;
        send_chunk(s);
    }
    rpc_wake(c);
}

static void rpc_snapshot_service_on_ready(void *arg)
{
    struct snapshot *s = arg;
    rpc_wake(s->call);
}

void rpc_snapshot_message(struct rpc_call *c, const ProtobufCMessage *m)
{
    (void)m;
    struct snapshot *s = mem_new(sizeof *s);
    s->call = c;
    s->started_ns = clock_mono_ns();
    c->state = s;
    s->export = kv_export_open(c->server->kv, rpc_snapshot_service_on_ready, s);
    log_info("sending database snapshot to client", F_STR("storage-version", storage_version),
             F_STR("remote", c->peer ? c->peer : ""));
    rpc_wake(c); /* the call may have been rejected */
}

void rpc_snapshot_half_close(struct rpc_call *c)
{
    (void)c;
}

void rpc_snapshot_cancel(struct rpc_call *c)
{
    struct snapshot *s = c->state;
    c->state = NULL;
    if (s)
        snapshot_free(s);
}
