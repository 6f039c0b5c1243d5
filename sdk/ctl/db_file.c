/* SPDX-License-Identifier: Apache-2.0
 * Files of etcd or Cairn, and the commands that read one and ask no server: `snapshot status` and `hashkv`.
 * Outputs are etcdutl's; the tables of etcdctl 3.4 have no version. A snapshot of a Cairn before etcd's format,
 * which is an image of the store (LMDB), is converted first, in $TMPDIR. */
#include "sdk/ctl/db_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consensus/store/backend.h"

enum {
    LOOK_BYTES = 4 << 20, /* between two looks whether the run is stopped */
    COPY_BYTES = 1 << 20,
    IMAGE_MAGIC_AT = 16 /* of LMDB's first page, after its header */
};

#define IMAGE_MAGIC 0xbeefc0deu         /* in the byte order of the machine that wrote it */
#define IMAGE_MAP   (UINT64_C(1) << 40) /* address space only */

/* --- the file ---------------------------------------------------------------------------------------- */

static int db_file_read(void *arg, uint64_t offset, void *ret_bytes, size_t size)
{
    struct ctl_db_file *f = arg;
    uint8_t *at = ret_bytes;
    f->read_bytes += size;
    if (f->read_bytes >= LOOK_BYTES) {
        f->read_bytes = 0;
        if (ctl_is_stopped(f->c))
            return ERR_CANCELED;
    }
    while (size) {
        ssize_t n = pread(f->fd, at, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? err_from_errno(errno) : ERR_TRUNCATED;
        at += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return OK;
}

/* --- images of a store ------------------------------------------------------------------------------- */

static bool is_store_image(int fd)
{
    uint8_t head[IMAGE_MAGIC_AT + 4];
    uint32_t magic;
    if (pread(fd, head, sizeof head, 0) != (ssize_t)sizeof head)
        return false;
    memcpy(&magic, head + IMAGE_MAGIC_AT, sizeof magic);
    return magic == IMAGE_MAGIC;
}

static int write_all(void *arg, struct slice bytes)
{
    const int *fd = arg;
    while (bytes.size) {
        ssize_t n = write(*fd, bytes.data, bytes.size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_from_errno(errno);
        bytes = slice_of(bytes.data + n, bytes.size - (size_t)n);
    }
    return OK;
}

static int copy_file(struct ctl_db_file *f, uint64_t size, const char *to)
{
    uint8_t *block = mem_alloc(COPY_BYTES);
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int err = fd < 0 ? err_from_errno(errno) : OK;
    for (uint64_t at = 0; !err && at < size; at += COPY_BYTES) {
        size_t n = size - at < COPY_BYTES ? (size_t)(size - at) : COPY_BYTES;
        err = db_file_read(f, at, block, n);
        if (!err)
            err = write_all(&fd, slice_of(block, n));
    }
    if (fd >= 0)
        close(fd);
    mem_free(block);
    return err;
}

/* LMDB opens a copy: it makes a lock file beside it, and the user's file may not be writable. *ret_fd is the
 * converted file, which has no name any more. */
static enum ctl_exit convert_image(struct ctl_db_file *f, uint64_t size, const char *dir, int *ret_fd)
{
    struct ctl *c = f->c;
    char error[400] = "";
    struct backend *b = NULL;
    const char *store = arena_printf(&c->arena, "%s/store", dir), *db = arena_printf(&c->arena, "%s/db", dir);
    int err = copy_file(f, size, store);
    if (!err)
        err = backend_lmdb_open(store, IMAGE_MAP, error, sizeof error, &b);
    *ret_fd = err ? -1 : open(db, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (!err && *ret_fd < 0)
        err = err_from_errno(errno);
    if (!err)
        err = etcd_db_convert(b, write_all, ret_fd);
    if (b)
        b->ops->close(b);
    (void)unlink(store);
    (void)unlink(arena_printf(&c->arena, "%s-lock", store));
    (void)unlink(db);
    if (err == ERR_CANCELED)
        return ctl_fail(c, CTL_INTERRUPTED, "interrupted");
    return err ? ctl_fail(c, CTL_ERROR, "%s is a snapshot of an older Cairn and cannot be read: %s", f->path,
                          *error ? error : err_text(err))
               : CTL_DONE;
}

static enum ctl_exit take_image(struct ctl_db_file *f, uint64_t *size)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = arena_printf(&f->c->arena, "%s/cairnctl-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    struct stat st;
    int fd = -1;
    if (!mkdtemp(dir))
        return ctl_fail_errno(f->c, CTL_ERROR, "mkdir", dir);
    enum ctl_exit how = convert_image(f, *size, dir, &fd);
    (void)rmdir(dir);
    if (!how && fstat(fd, &st) == 0) {
        close(f->fd);
        f->fd = fd;
        *size = (uint64_t)st.st_size;
    } else if (fd >= 0) {
        close(fd);
    }
    return how;
}

/* --- opening ----------------------------------------------------------------------------------------- */

enum ctl_exit ctl_db_file_open(struct ctl *c, const char *verb, const char *path,
                               struct ctl_db_file *ret_file)
{
    enum ctl_exit how = CTL_DONE;
    struct stat st = {0};
    *ret_file = (struct ctl_db_file){.c = c, .path = path};
    ret_file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (ret_file->fd < 0 || fstat(ret_file->fd, &st) != 0 || (S_ISDIR(st.st_mode) && (errno = EISDIR)))
        return ctl_fail_errno(c, CTL_ERROR, verb, path);
    if (!S_ISREG(st.st_mode))
        return ctl_fail(c, CTL_ERROR, "%s is not a regular file", path);
    uint64_t size = (uint64_t)st.st_size;
    if (is_store_image(ret_file->fd))
        how = take_image(ret_file, &size);
    ret_file->source = (struct bbolt_source){.read = db_file_read, .arg = ret_file, .size = size};
    return how;
}

void ctl_db_file_close(struct ctl_db_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

enum ctl_exit ctl_db_file_fail(struct ctl *c, int err, const char *sentence)
{
    if (err == ERR_CANCELED)
        return ctl_fail(c, CTL_INTERRUPTED, "interrupted");
    return ctl_fail(c, CTL_ERROR, "%s", sentence);
}

/* --- output ------------------------------------------------------------------------------------------ */

/* One row of a result: title and key of a table's column, the name etcdutl's fields have, and the value. */
struct cell {
    const char *title, *field, *key;
    json_t *value;     /* owned */
    const char *shown; /* in tables and lines; NULL = the value as it is */
};

static void cell_add(struct ctl_table *t, const struct cell *cell)
{
    if (cell->shown)
        ctl_table_add(t, slice_text(cell->shown));
    else if (json_is_string(cell->value))
        ctl_table_add(t, slice_text(json_string_value(cell->value)));
    else
        ctl_table_addf(t, "%" PRId64, (int64_t)json_integer_value(cell->value));
}

static void show_fields(struct ctl *c, const struct cell *cells, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (json_is_string(cells[i].value))
            buf_addf(&c->out, "\"%s\" : %s\n", cells[i].field, json_string_value(cells[i].value));
        else
            buf_addf(&c->out, "\"%s\" : %" PRId64 "\n", cells[i].field,
                     (int64_t)json_integer_value(cells[i].value));
}

static void show_cells(struct ctl *c, const struct cell *cells, size_t count)
{
    bool is_etcd = ctl_has_etcd_texts(&c->line);
    bool is_line = c->form == CTL_FORM_SIMPLE || (c->form == CTL_FORM_NONE && is_etcd);
    struct ctl_table t = {.columns = count};
    for (size_t i = 0; i < count && !is_line; i++)
        ctl_table_add(&t, slice_text(cells[i].title));
    for (size_t i = 0; i < count; i++)
        cell_add(&t, &cells[i]);
    if (is_line)
        ctl_table_show_joined(&t, is_etcd ? ", " : "\t", &c->out);
    else if (c->line.is_etcdutl)
        ctl_table_show_boxed(&t, &c->out);
    else if (is_etcd)
        ctl_table_show_bordered(&t, &c->out);
    else
        ctl_table_show(&t, &c->out);
    ctl_table_done(&t);
}

/* Shows the row in the form of the run and frees its values. */
static enum ctl_exit show_row(struct ctl *c, const struct cell *cells, size_t count)
{
    json_t *doc = json_object();
    enum ctl_exit how = CTL_DONE;
    for (size_t i = 0; i < count; i++)
        json_object_set_new(doc, cells[i].key, cells[i].value);
    switch (c->form) {
    case CTL_FORM_JSON:
        ctl_show_json(&c->out, doc);
        break;
    case CTL_FORM_YAML:
        ctl_show_yaml(&c->out, doc);
        break;
    case CTL_FORM_FIELDS:
        show_fields(c, cells, count);
        break;
    case CTL_FORM_PROTOBUF:
        how = ctl_fail(c, CTL_BAD_FEATURE, "protobuf not supported as output format");
        break;
    case CTL_FORM_NAME:
        buf_addf(&c->out, "%s\n", cells[0].shown);
        break;
    case CTL_FORM_NONE:
    case CTL_FORM_SIMPLE:
    case CTL_FORM_TABLE:
        show_cells(c, cells, count);
        break;
    }
    json_decref(doc);
    return how;
}

/* --- snapshot status --------------------------------------------------------------------------------- */

static enum ctl_exit show_status(struct ctl *c, const struct etcd_db_status *s)
{
    struct buf size = {0};
    char hash[16];
    uint64_t keys = c->line.is_etcdctl ? s->rows : s->keys; /* 3.4 counts the rows of all buckets */
    ctl_add_bytes(&size, (int64_t)s->size);
    snprintf(hash, sizeof hash, "%" PRIx32, s->hash);
    const struct cell cells[] = {
        {"HASH", "Hash", "hash", json_integer(s->hash), hash},
        {"REVISION", "Revision", "revision", json_integer(s->revision), NULL},
        {"TOTAL KEYS", "Keys", "totalKey", json_integer((json_int_t)keys), NULL},
        {"TOTAL SIZE", "Size", "totalSize", json_integer((json_int_t)s->size), buf_text(&size)},
        {"VERSION", "Version", "version", json_string(s->version), NULL},
    };
    bool has_version = !c->line.is_etcdctl; /* of 3.4 */
    enum ctl_exit how = show_row(c, cells, sizeof cells / sizeof *cells - !has_version);
    if (!has_version)
        json_decref(cells[4].value);
    buf_done(&size);
    return how;
}

/* etcd's tools read the content; the SHA-256 is checked besides, but not under their names. */
static enum ctl_exit open_db(struct ctl *c, struct ctl_db_file *f, struct etcd_db **ret_db, char *error,
                             size_t error_size)
{
    *ret_db = NULL;
    enum ctl_exit how = ctl_db_file_open(c, "stat", c->line.args[0], f);
    if (how)
        return how;
    enum etcd_db_digest digest = ctl_has_etcd_texts(&c->line) ? ETCD_DB_SKIP : ETCD_DB_CHECK_IF_ANY;
    int err = etcd_db_open(&f->source, f->path, digest, error, error_size, ret_db);
    return err ? ctl_db_file_fail(c, err, error) : CTL_DONE;
}

enum ctl_exit ctl_snapshot_status(struct ctl *c)
{
    struct ctl_db_file file = {.fd = -1};
    struct etcd_db *db = NULL;
    struct etcd_db_status status;
    char error[512];
    if (c->line.arg_count != 1)
        return ctl_fail(c, CTL_BAD_ARGS, "snapshot status requires exactly one argument");
    enum ctl_exit how = open_db(c, &file, &db, error, sizeof error);
    int err = how ? OK : etcd_db_read_status(db, &status, error, sizeof error);
    if (err)
        how = ctl_db_file_fail(c, err, error);
    if (!how)
        how = show_status(c, &status);
    etcd_db_close(db);
    ctl_db_file_close(&file);
    return how;
}

/* --- hashkv ------------------------------------------------------------------------------------------ */

static enum ctl_exit show_hash(struct ctl *c, const struct etcd_db_hash *h)
{
    char hash[16];
    snprintf(hash, sizeof hash, "%" PRIu32, h->hash);
    const struct cell cells[] = {
        {"HASH", "Hash", "hash", json_integer(h->hash), hash},
        {"HASH REVISION", "Hash revision", "hashRevision", json_integer(h->revision), NULL},
        {"COMPACT REVISION", "Compact revision", "compactRevision", json_integer(h->compact_revision), NULL},
    };
    return show_row(c, cells, sizeof cells / sizeof *cells);
}

enum ctl_exit ctl_hashkv(struct ctl *c)
{
    struct ctl_db_file file = {.fd = -1};
    struct etcd_db *db = NULL;
    struct etcd_db_hash hash;
    char error[512];
    if (c->line.arg_count != 1)
        return ctl_fail(c, c->line.is_etcdutl ? CTL_ERROR : CTL_BAD_ARGS, "accepts 1 arg(s), received %zu",
                        c->line.arg_count);
    enum ctl_exit how = open_db(c, &file, &db, error, sizeof error);
    int err = how ? OK : etcd_db_hash_kv(db, ctl_int(&c->line, "rev"), &hash, error, sizeof error);
    if (err == ERR_COMPACTED)
        how = ctl_fail(c, CTL_ERROR, "mvcc: required revision has been compacted");
    else if (err == ERR_FUTURE_REV)
        how = ctl_fail(c, CTL_ERROR, "mvcc: required revision is a future revision");
    else if (err)
        how = ctl_db_file_fail(c, err, error);
    if (!how)
        how = show_hash(c, &hash);
    etcd_db_close(db);
    ctl_db_file_close(&file);
    return how;
}
