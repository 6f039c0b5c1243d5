/* SPDX-License-Identifier: Apache-2.0
 * Snapshot download: a member's state as a stream of bytes, passed on as it arrives. It keeps nothing and
 * does not retry, because halves of two members' snapshots do not fit together. */
#include "sdk/message.h"

struct download {
    struct post post;
    struct cairn_client *client;
    int (*write)(const void *data, size_t size, void *arg);
    void *arg;
    uint64_t size, remaining;
    struct waiter waiter;
};

static void sdk_snapshot_on_message(struct rpc *r, struct slice bytes)
{
    struct download *d = r->owner;
    struct arena a = {0};
    Etcdserverpb__SnapshotResponse *m =
        etcdserverpb__snapshot_response__unpack(arena_allocator(&a), bytes.size, bytes.data);
    int rc = m && m->blob.len ? d->write(m->blob.data, m->blob.len, d->arg) : 0;
    if (m) {
        d->size += m->blob.len;
        d->remaining = m->remaining_bytes;
    }
    arena_done(&a);
    if (m && !rc)
        return;
    struct cairn_error e = {0};
    set_error(&e, m ? CAIRN_IO : CAIRN_PROTOCOL, "%s",
              m ? "the snapshot could not be written" : "the server's snapshot is malformed");
    sdk_rpc_cancel(r);
    waiter_end(&d->waiter, NULL, &e);
}

static void sdk_snapshot_on_end(struct rpc *r, const struct cairn_error *error)
{
    struct download *d = r->owner;
    struct cairn_error e = *error;
    if (!error->code && (d->remaining || !d->size))
        set_error(&e, CAIRN_UNAVAILABLE, "the snapshot ended too early");
    waiter_end(&d->waiter, NULL, &e);
}

static void sdk_snapshot_start_here(struct post *p)
{
    struct download *d = container_of(p, struct download, post);
    struct rpc *r = rpc_new(d->client, "/etcdserverpb.Maintenance/Snapshot", RPC_STREAM, d);
    r->on_message = sdk_snapshot_on_message;
    r->on_end = sdk_snapshot_on_end;
    r->is_half_closed = true;
    rpc_add_message(r, (struct slice){0});
    sdk_rpc_start(r, 0);
}

int cairn_snapshot(struct cairn_client *c, int (*write)(const void *data, size_t size, void *arg), void *arg,
                   uint64_t *ret_size, struct cairn_error *error)
{
    struct download d = {.post.run = sdk_snapshot_start_here, .client = c, .write = write, .arg = arg};
    int err = waiter_run(&d.waiter, c, &d.post, NULL, error);
    if (!err && ret_size)
        *ret_size = d.size;
    return err;
}
