/* SPDX-License-Identifier: Apache-2.0
 * Maintenance.Snapshot: a consistent copy of the store in 32 KiB messages, then one with the SHA-256 of all
 * of them.
 *
 *   message -> kv_snapshot writes a file on the store worker -> open, unlink -> chunks, as the transport
 * takes them
 *
 * etcdctl before 3.5 checks that the saved file is a multiple of 512 bytes plus 32, so the copy is padded
 * with zeros. The file was just written and is read in small pieces from the page cache, some a turn, on the
 * loop. The copy cannot be called off: a client that goes meanwhile leaves the state behind for on_copied to
 * free. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "server/rpc/service.h"

enum {
    CHUNK_BYTES = 32 * 1024, /* etcd's */
    CHUNKS_PER_TURN = 8,
    PADDING = 512,
};

static const char storage_version[] = "3.7.0";

struct snapshot {
    struct rpc_call *call; /* NULL: the client has gone */
    int fd;                /* -1 until the copy is there */
    uint64_t file_size, total, sent;
    struct sha256 *sha;
};

static void snapshot_free(struct snapshot *s)
{
    uint8_t digest[32];
    if (s->sha)
        sha256_finish(s->sha, digest);
    if (s->fd >= 0)
        close(s->fd);
    mem_free(s);
}

static void snapshot_finish(struct snapshot *s, int err)
{
    struct rpc_call *c = s->call;
    c->state = NULL;
    snapshot_free(s);
    rpc_finish(c, err);
}

/* Bytes behind the file's end read as zeros: the padding. */
static int read_chunk(const struct snapshot *s, uint8_t *chunk, size_t size)
{
    size_t got = 0;
    size_t in_file = s->sent >= s->file_size ? 0 : (size_t)(s->file_size - s->sent);
    if (in_file > size)
        in_file = size;
    while (got < in_file) {
        ssize_t n = pread(s->fd, chunk + got, in_file - got, (off_t)(s->sent + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? err_from_errno(errno) : ERR_IO;
        got += (size_t)n;
    }
    memset(chunk + in_file, 0, size - in_file);
    return 0;
}

static void send_blob(struct snapshot *s, uint8_t *data, size_t size)
{
    Etcdserverpb__SnapshotResponse response;
    etcdserverpb__snapshot_response__init(&response);
    response.remaining_bytes = s->total - s->sent;
    response.blob = (ProtobufCBinaryData){size, data};
    response.version = (char *)(uintptr_t)storage_version;
    rpc_send(s->call, &response.base);
}

static int send_chunk(struct snapshot *s)
{
    uint8_t chunk[CHUNK_BYTES];
    size_t size = s->total - s->sent < sizeof chunk ? (size_t)(s->total - s->sent) : sizeof chunk;
    int err = read_chunk(s, chunk, size);
    if (err)
        return err;
    sha256_add(s->sha, chunk, size);
    s->sent += size;
    send_blob(s, chunk, size);
    return 0;
}

static void send_digest(struct snapshot *s)
{
    uint8_t digest[32];
    sha256_finish(s->sha, digest);
    s->sha = NULL;
    send_blob(s, digest, sizeof digest);
    log_info("successfully sent database snapshot to client", F_UINT("total-bytes", s->total));
}

void rpc_snapshot_writable(struct rpc_call *c)
{
    struct snapshot *s = c->state;
    if (!s || s->fd < 0)
        return;
    for (unsigned i = 0; i < CHUNKS_PER_TURN; i++) {
        if (rpc_is_congested(c))
            return;
        if (s->sent == s->total) {
            send_digest(s);
            snapshot_finish(s, 0);
            return;
        }
        int err = send_chunk(s);
        if (err) {
            snapshot_finish(s, err);
            return;
        }
    }
    rpc_wake(c);
}

static void on_copied(void *arg, int err, const char *path, uint64_t size)
{
    struct snapshot *s = arg;
    int fd = err ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (!err && fd < 0)
        err = err_from_errno(errno);
    if (path)
        unlink(path);
    s->fd = fd;
    if (!s->call) {
        snapshot_free(s);
        return;
    }
    if (err) {
        log_warn("failed to copy the database for a snapshot", F_ERR(err));
        snapshot_finish(s, err);
        return;
    }
    s->file_size = size;
    s->total = (size + PADDING - 1) / PADDING * PADDING;
    s->sha = sha256_new();
    log_info("sending database snapshot to client", F_UINT("total-bytes", s->total),
             F_STR("storage-version", storage_version));
    rpc_wake(s->call);
}

void rpc_snapshot_message(struct rpc_call *c, const ProtobufCMessage *m)
{
    (void)m;
    struct snapshot *s = mem_new(sizeof *s);
    s->call = c;
    s->fd = -1;
    c->state = s;
    kv_snapshot(c->server->kv, on_copied, s);
}

void rpc_snapshot_half_close(struct rpc_call *c)
{
    (void)c;
}

/* Before the copy is there its callback frees the state. */
void rpc_snapshot_cancel(struct rpc_call *c)
{
    struct snapshot *s = c->state;
    c->state = NULL;
    if (!s)
        return;
    s->call = NULL;
    if (s->fd >= 0)
        snapshot_free(s);
}
