/* SPDX-License-Identifier: Apache-2.0
 * A member's state as a stream of bytes, handed on as it comes. Nothing is kept here, and nothing is asked
 * again: half a snapshot of one member and half of another's would be none. */
#include "sdk/message.h"

struct download {
    struct post post;
    struct cairn_client *client;
    struct rpc *rpc;
    int (*write)(const void *data, size_t size, void *arg);
    void *arg;
    uint64_t size, remaining;
    struct cairn_error error;
    pthread_mutex_t mutex;
    pthread_cond_t is_over_changed;
    bool is_over;
};

static void finish(struct download *d)
{
    d->rpc = NULL;
    pthread_mutex_lock(&d->mutex);
    d->is_over = true;
    pthread_cond_signal(&d->is_over_changed);
    pthread_mutex_unlock(&d->mutex);
}

static void on_message(struct rpc *r, struct slice bytes)
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
    set_error(&d->error, m ? CAIRN_IO : CAIRN_PROTOCOL, "%s",
              m ? "the snapshot could not be written" : "the server's snapshot is malformed");
    rpc_cancel(r);
    finish(d);
}

static void on_end(struct rpc *r, const struct cairn_error *error)
{
    struct download *d = r->owner;
    d->error = *error;
    if (!error->code && (d->remaining || !d->size))
        set_error(&d->error, CAIRN_UNAVAILABLE, "the snapshot ended too early");
    finish(d);
}

static void start_here(struct post *p)
{
    struct download *d = container_of(p, struct download, post);
    struct rpc *r = rpc_new(d->client, "/etcdserverpb.Maintenance/Snapshot", RPC_STREAM, d);
    r->on_message = on_message;
    r->on_end = on_end;
    r->is_half_closed = true;
    rpc_add_message(r, (struct slice){0});
    d->rpc = r;
    rpc_start(r, 0);
}

int cairn_snapshot(struct cairn_client *c, int (*write)(const void *data, size_t size, void *arg), void *arg,
                   uint64_t *ret_size, struct cairn_error *error)
{
    struct download d = {.post.run = start_here, .client = c, .write = write, .arg = arg};
    if (client_is_own_thread(c))
        return set_error(error, CAIRN_INVALID, "a call that waits, inside a callback of the same client");
    pthread_mutex_init(&d.mutex, NULL);
    pthread_cond_init(&d.is_over_changed, NULL);
    int err = client_post(c, &d.post);
    if (err)
        set_error(&d.error, err, "%s", cairn_error_text(err));
    pthread_mutex_lock(&d.mutex);
    while (!err && !d.is_over)
        pthread_cond_wait(&d.is_over_changed, &d.mutex);
    pthread_mutex_unlock(&d.mutex);
    pthread_cond_destroy(&d.is_over_changed);
    pthread_mutex_destroy(&d.mutex);
    if (error)
        *error = d.error;
    if (!d.error.code && ret_size)
        *ret_size = d.size;
    return d.error.code;
}
