/* SPDX-License-Identifier: Apache-2.0
 * Commands on a data folder that no cairnd uses: `defrag --data-dir`, and etcdutl's `migrate`.
 *
 * A folder is in use while a process holds the lock of the log or has the store open (LMDB's lock file has a shared lock
 * then). Both are looked at, because the log may be in another folder. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "consensus/store/backend.h"
#include "sdk/ctl/ctl.h"

enum { STEP_BYTES = 4 << 20, RETRY_MS = 100 };

static const uint64_t MAP_SIZE = UINT64_C(1) << 40; /* address space */

struct data_folder {
    const char *path, *store;
    int wal_fd; /* holds the lock of the log; -1 = there is no log within the folder */
    uint64_t file_size;
};

/* --- the folder -------------------------------------------------------------------------------------- */

/* True if another process has the store open; *ret_pid 0 = unknown. */
static bool is_store_open(struct ctl *c, const struct data_folder *d, int *ret_pid)
{
    int fd = open(arena_printf(&c->arena, "%s-lock", d->store), O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    bool is_open = fd >= 0 && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    *ret_pid = is_open ? lock.l_pid : 0;
    if (fd >= 0)
        close(fd);
    return is_open;
}

/* Takes the folder, and waits for it as --timeout says. */
static enum ctl_exit take_folder(struct ctl *c, struct data_folder *d)
{
    int64_t wait_ms = c->line.is_etcdutl ? ctl_duration_ms(&c->line, "timeout") : 1;
    uint64_t end = clock_mono_ms() + (uint64_t)wait_ms;
    const char *path = arena_printf(&c->arena, "%s/member/wal/LOCK", d->path);
    d->wal_fd = open(path, O_RDWR | O_CLOEXEC);
    for (;;) {
        int pid = 0;
        bool is_locked = d->wal_fd >= 0 && flock(d->wal_fd, LOCK_EX | LOCK_NB) != 0;
        if (!is_store_open(c, d, &pid) && !is_locked)
            return CTL_DONE;
        if (wait_ms && clock_mono_ms() >= end && pid)
            return ctl_fail(
                c, CTL_ERROR,
                "Failed to defragment etcd data[%s] (process %d uses it; stop that, or run defrag "
                "with --endpoints instead of --data-dir)",
                d->path, pid);
        if (wait_ms && clock_mono_ms() >= end)
            return ctl_fail(c, CTL_ERROR,
                            "Failed to defragment etcd data[%s] (a process uses it; stop that, or run defrag "
                            "with --endpoints instead of --data-dir)",
                            d->path);
        if (ctl_pause(c, RETRY_MS))
            return CTL_INTERRUPTED;
    }
}

static enum ctl_exit find_folder(struct ctl *c, struct data_folder *d)
{
    struct stat st;
    *d = (struct data_folder){.path = ctl_flag_value(&c->line, "data-dir"), .wal_fd = -1};
    d->store = arena_printf(&c->arena, "%s/member/store", d->path);
    if (stat(d->store, &st) == 0 && S_ISREG(st.st_mode)) {
        d->file_size = (uint64_t)st.st_size;
        return CTL_DONE;
    }
    if (stat(arena_printf(&c->arena, "%s/member/snap/db", d->path), &st) == 0)
        return ctl_fail(c, CTL_ERROR, "%s is a data folder of etcd; this command is for Cairn's", d->path);
    return ctl_fail(c, CTL_ERROR, "%s is not a data folder of Cairn: there is no member/store", d->path);
}

/* --- defrag ------------------------------------------------------------------------------------------ */

static int pack_store(struct ctl *c, struct backend *b)
{
    struct backend_pack p = {0};
    int err = b->ops->pack_begin(b, b->ops->sizes(b).in_use, &p);
    if (err == ERR_NO_DISK_SPACE)
        (void)ctl_fail(c, CTL_ERROR,
                       "there are %" PRIu64 " bytes of disk space, and the new file may need %" PRIu64
                       " beside a reserve",
                       p.free, p.needed);
    while (!err && !p.is_copied) {
        err = b->ops->pack_step(b, STEP_BYTES, &p);
        if (!err && ctl_is_stopped(c))
            err = ERR_CANCELED;
    }
    if (!err)
        err = b->ops->pack_rename(b, &p);
    if (!err)
        b->ops->pack_switch(b);
    b->ops->pack_end(b);
    return err;
}

static enum ctl_exit defragment(struct ctl *c, const struct data_folder *d)
{
    struct backend *b;
    char error[400];
    int err = backend_lmdb_open(d->store, MAP_SIZE, error, sizeof error, &b);
    if (err)
        return ctl_fail(c, CTL_ERROR, "Failed to defragment etcd data[%s] (%s)", d->path, error);
    err = pack_store(c, b);
    b->ops->close(b);
    if (err == ERR_CANCELED)
        return CTL_INTERRUPTED;
    if (err)
        return ctl_fail(c, CTL_ERROR, "Failed to defragment etcd data[%s] (%s)", d->path, err_text(err));
    struct stat st;
    if (!c->line.is_etcdutl && stat(d->store, &st) == 0)
        buf_addf(&c->out, "%s: %" PRIu64 " bytes, before %" PRIu64 "\n", d->store, (uint64_t)st.st_size,
                 d->file_size);
    return CTL_DONE;
}

enum ctl_exit ctl_defrag_folder(struct ctl *c)
{
    struct data_folder d;
    enum ctl_exit how = find_folder(c, &d);
    if (!how)
        how = take_folder(c, &d);
    if (!how)
        how = defragment(c, &d);
    if (d.wal_fd >= 0)
        close(d.wal_fd);
    return how;
}

/* --- migrate ----------------------------------------------------------------------------------------- */

enum ctl_exit ctl_migrate(struct ctl *c)
{
    const struct ctl_command_line *t = &c->line;
    const char *version = ctl_flag_value(t, "target-version"), *folder = ctl_flag_value(t, "data-dir");
    struct data_folder d;
    unsigned major, minor;
    int end = 0;
    if (!folder || !version)
        return ctl_fail(c, CTL_ERROR, "required flag(s) %s%s%s not set", folder ? "" : "\"data-dir\"",
                        folder || version ? "" : ", ", version ? "" : "\"target-version\"");
    if (sscanf(version, "%3u.%3u%n", &major, &minor, &end) != 2 || version[end])
        return ctl_fail(c, CTL_BAD_ARGS, "wrong target version format, expected \"X.Y\", got \"%s\"",
                        version);
    if (major < 3 || (major == 3 && minor < 5))
        return ctl_fail(c, CTL_BAD_ARGS, "target version \"%u.%u\" not supported. Minimal \"3.5\"", major,
                        minor);
    enum ctl_exit how = find_folder(c, &d);
    if (!how)
        buf_addf(&c->out,
                 "%s needs no migration: a data folder of Cairn has no storage version, and the file that "
                 "\"etcdctl snapshot save\" writes is one of etcd 3.7\n",
                 folder);
    return how;
}
