/* SPDX-License-Identifier: Apache-2.0
 * The command `snapshot save`. A snapshot is a database file of etcd's format (consensus/etcd_db/), whose size is
 * a multiple of 512 bytes, and the SHA-256 of it. */
#include "sdk/ctl/rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"

enum {
    DIGEST = 32,
    PADDING = 512,
    BEGIN_MS = 75000, /* the server may queue the request for up to a minute */
};

static bool write_all(int fd, const uint8_t *data, size_t size)
{
    while (size) {
        ssize_t n = write(fd, data, size);
        if (n <= 0 && errno != EINTR)
            return false;
        data += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* Reads the whole file back from the disk and checks it. */
static enum ctl_exit check_file(struct ctl *c, const char *path, uint64_t *ret_size,
                                uint8_t ret_digest[DIGEST])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ctl_fail(c, CTL_IO, "cannot open %s: %s", path, strerror(errno));
    struct stat st;
    static uint8_t piece[64 << 10];
    uint8_t wanted[DIGEST];
    enum ctl_exit how = CTL_DONE;
    struct sha256 *sha = sha256_new();
    uint64_t left = fstat(fd, &st) == 0 && st.st_size > DIGEST ? (uint64_t)st.st_size - DIGEST : 0;
    *ret_size = left + DIGEST;
    bool has_form = left > 0 && left % PADDING == 0;
    while (has_form && left) {
        ssize_t n = read(fd, piece, left < sizeof piece ? (size_t)left : sizeof piece);
        if (n <= 0)
            break;
        sha256_add(sha, piece, (size_t)n);
        left -= (uint64_t)n;
    }
    sha256_finish(sha, ret_digest);
    if (!has_form)
        how = ctl_fail(c, CTL_ERROR, "%s is not a snapshot, or it is truncated", path);
    else if (left || read(fd, wanted, DIGEST) != DIGEST)
        how = ctl_fail(c, CTL_IO, "cannot read %s: %s", path, strerror(errno));
    else if (memcmp(wanted, ret_digest, DIGEST) != 0)
        how = ctl_fail(c, CTL_ERROR, "%s is damaged: its checksum is wrong", path);
    close(fd);
    return how;
}

static void show_progress(struct ctl *c, uint64_t size, uint64_t left)
{
    if (!isatty(STDERR_FILENO) || c->line.is_etcdctl)
        return;
    fprintf(stderr, "\r%3d %%", size + left ? (int)(100 * size / (size + left)) : 100);
    if (left == 0)
        fprintf(stderr, "\r     \r");
}

static enum ctl_exit save_pieces(struct ctl *c, struct ctl_stream *s, int fd, const char *path,
                                 char *ret_version, size_t version_size)
{
    uint64_t size = 0;
    for (;;) {
        Etcdserverpb__SnapshotResponse *r;
        enum ctl_exit how = ctl_stream_next(c, s, 60000, &r);
        if (how || !r)
            return how;
        if (r->version && *r->version)
            snprintf(ret_version, version_size, "%s", r->version);
        if (!write_all(fd, r->blob.data, r->blob.len))
            return ctl_fail(c, CTL_IO, "cannot write %s: %s", path, strerror(errno));
        size += r->blob.len;
        show_progress(c, size, r->remaining_bytes);
    }
}

/* A snapshot is of one member, so the endpoint must be unique. */
static enum ctl_exit fail_several(struct ctl *c)
{
    struct buf list = {0};
    for (size_t i = 0; i < c->endpoint_count; i++)
        buf_addf(&list, "%s%s", i ? " " : "", c->endpoints[i].text);
    enum ctl_exit how =
        ctl_fail(c, CTL_BAD_ARGS, "snapshot must be requested to one selected node, not multiple [%s]",
                 buf_text(&list));
    buf_done(&list);
    return how;
}

static enum ctl_exit save_snapshot(struct ctl *c, const char *path)
{
    Etcdserverpb__SnapshotRequest request = ETCDSERVERPB__SNAPSHOT_REQUEST__INIT;
    struct ctl_rpc rpc = {.path = "/v3/maintenance/snapshot",
                          .request = &request.base,
                          .answer = &etcdserverpb__snapshot_response__descriptor,
                          .timeout_ms = BEGIN_MS};
    struct ctl_stream s = {0};
    uint8_t digest[DIGEST];
    uint64_t size = 0;
    char version[32] = "";
    if (c->endpoint_count > 1)
        return fail_several(c);
    char *beside = arena_printf(&c->arena, "%s.part", path);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return ctl_fail(c, CTL_IO, "could not open %s (%s)", beside, strerror(errno));
    enum ctl_exit how = ctl_stream_open(c, &rpc, &s);
    if (!how)
        how = save_pieces(c, &s, fd, beside, version, sizeof version);
    if (!how && fsync(fd) != 0)
        how = ctl_fail(c, CTL_IO, "cannot write %s: %s", beside, strerror(errno));
    close(fd);
    if (!how)
        how = check_file(c, beside, &size, digest);
    if (!how && rename(beside, path) != 0)
        how = ctl_fail(c, CTL_IO, "could not rename %s to %s (%s)", beside, path, strerror(errno));
    if (how)
        (void)unlink(beside);
    else
        buf_addf(&c->out, "Snapshot saved at %s\n", path);
    if (!how && c->line.is_etcdctl && *version)
        buf_addf(&c->out, "Server version %s\n", version);
    ctl_stream_done(&s);
    return how;
}

enum ctl_exit ctl_snapshot_save(struct ctl *c)
{
    if (c->line.arg_count != 1)
        return ctl_fail(c, CTL_BAD_ARGS, "snapshot save expects one argument <filename>");
    enum ctl_exit how = save_snapshot(c, c->line.args[0]);
    return how && c->line.is_etcdctl ? CTL_INTERRUPTED : how; /* etcdctl's code of every failure here */
}
