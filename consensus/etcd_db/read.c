/* SPDX-License-Identifier: Apache-2.0
 * Reading of etcd's files: the file and its digest, walks over buckets, and the status.
 *
 * A snapshot is a database file, whose size is a multiple of 512, and the SHA-256 of it. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "consensus/etcd_db/buckets.h"
#include "consensus/etcd_db/etcd_db.h"
#include "consensus/store/etcd_row.h"

enum { DIGEST_SIZE = ETCD_DB_DIGEST_SIZE, PADDING = 512, PIECE = 256 << 10 };

struct etcd_db {
    struct bbolt_file *file;
    char *name;
};

/* --- opening ----------------------------------------------------------------------------------------- */

bool etcd_db_has_digest(uint64_t size)
{
    return size % PADDING == DIGEST_SIZE;
}

int etcd_db_digests(const struct bbolt_source *source, uint8_t ret_wanted[ETCD_DB_DIGEST_SIZE],
                    uint8_t ret_digest[ETCD_DB_DIGEST_SIZE])
{
    uint64_t left = source->size - DIGEST_SIZE;
    struct sha256 *sha = sha256_new();
    uint8_t *piece = mem_alloc(PIECE);
    int err = OK;
    assert(etcd_db_has_digest(source->size));
    for (uint64_t at = 0; !err && left;) {
        size_t size = left < PIECE ? (size_t)left : PIECE;
        err = source->read(source->arg, at, piece, size);
        if (!err)
            sha256_add(sha, piece, size);
        at += size;
        left -= size;
    }
    sha256_finish(sha, ret_digest);
    mem_free(piece);
    return err ? err : source->read(source->arg, source->size - DIGEST_SIZE, ret_wanted, DIGEST_SIZE);
}

/* Files that are often taken for a snapshot, by their first bytes. */
static const struct {
    const char *magic;
    unsigned size;
    const char *says;
} foreign[] = {
    {"age-encryption.org/v1", 21, "is encrypted (age): decrypt it first"},
    {"-----BEGIN AGE ENCRYPTED", 24, "is encrypted (age): decrypt it first"},
    {"-----BEGIN PGP MESSAGE", 22, "is encrypted (OpenPGP): decrypt it first"},
    {"Salted__", 8, "is encrypted (openssl enc): decrypt it first"},
    {"LUKS\xba\xbe", 6, "is encrypted (LUKS): decrypt it first"},
    {"\x1f\x8b", 2, "is compressed (gzip): decompress it first"},
    {"\x28\xb5\x2f\xfd", 4, "is compressed (zstd): decompress it first"},
    {"\xfd\x37zXZ", 5, "is compressed (xz): decompress it first"},
    {"BZh", 3, "is compressed (bzip2): decompress it first"},
    {"\x04\x22\x4d\x18", 4, "is compressed (lz4): decompress it first"},
    {"PK\x03\x04", 4, "is a zip archive: take the snapshot out of it first"},
};

enum { MAGIC_MAX = 24 };

/* A database begins with the number of its first page, which is 0. */
static int check_kind(const struct bbolt_source *source, const char *name, char *error, size_t error_size)
{
    uint8_t head[MAGIC_MAX] = {0};
    size_t size = source->size < sizeof head ? (size_t)source->size : sizeof head;
    int err = size ? source->read(source->arg, 0, head, size) : OK;
    if (err) {
        snprintf(error, error_size, "cannot read %s: %s", name, err_text(err));
        return err;
    }
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (size >= foreign[i].size && memcmp(head, foreign[i].magic, foreign[i].size) == 0) {
            snprintf(error, error_size, "%s %s", name, foreign[i].says);
            return ERR_MALFORMED;
        }
    return OK;
}

static void db_explain(const struct etcd_db *db, int err, const struct bbolt_problem *p, char *error,
                       size_t error_size)
{
    if (err != ERR_CORRUPT && err != ERR_MALFORMED)
        snprintf(error, error_size, "cannot read %s: %s", db->name, err_text(err));
    else if (p->page)
        snprintf(error, error_size, "%s is damaged: page %" PRIu64 ": %s", db->name, p->page, p->text);
    else
        snprintf(error, error_size, "%s: %s", db->name, p->text);
}

/* The first page that contradicts the format or another page; *ret_problem is empty if none does. */
static void find_damage(const struct etcd_db *db, struct bbolt_problem *ret_problem)
{
    struct slice key, value;
    int err = OK;
    for (size_t i = 0; !err && i < bbolt_bucket_count(db->file); i++) {
        struct bbolt_cursor *c;
        bbolt_cursor_new(db->file, bbolt_bucket_name(db->file, i), &c);
        do {
            err = c ? bbolt_cursor_next(c, &key, &value, ret_problem) : OK;
        } while (!err && c && key.size);
        bbolt_cursor_free(c);
    }
}

static int check_digest(const struct etcd_db *db, const struct bbolt_source *source, char *error,
                        size_t error_size)
{
    uint8_t wanted[DIGEST_SIZE], digest[DIGEST_SIZE];
    struct bbolt_problem problem = {0};
    if (!etcd_db_has_digest(source->size)) {
        snprintf(error, error_size,
                 "%s has no SHA-256 at its end: it is cut off, or it is a database file that was copied "
                 "(--skip-hash-check accepts one)",
                 db->name);
        return ERR_MALFORMED;
    }
    int err = etcd_db_digests(source, wanted, digest);
    if (err) {
        snprintf(error, error_size, "cannot read %s: %s", db->name, err_text(err));
        return err;
    }
    if (memcmp(wanted, digest, sizeof digest) == 0)
        return OK;
    find_damage(db, &problem);
    if (problem.page)
        snprintf(error, error_size,
                 "%s is damaged: its SHA-256 is wrong; page %" PRIu64 ": %s; take another backup", db->name,
                 problem.page, problem.text);
    else
        snprintf(error, error_size,
                 "%s is damaged: its SHA-256 is wrong; its pages agree, so a key, a value or the SHA-256 was "
                 "changed; take another backup",
                 db->name);
    return ERR_CORRUPT;
}

int etcd_db_open(const struct bbolt_source *source, const char *name, enum etcd_db_digest digest, char *error,
                 size_t error_size, struct etcd_db **ret_db)
{
    struct etcd_db *db = mem_new(sizeof *db);
    struct bbolt_problem problem = {0};
    struct bbolt_source file = *source;
    bool has_digest = etcd_db_has_digest(source->size);
    db->name = mem_string(name);
    *ret_db = NULL;
    int err = check_kind(source, name, error, error_size);
    if (has_digest)
        file.size -= DIGEST_SIZE;
    else if (!err && digest == ETCD_DB_CHECK_IF_ANY && source->size % PADDING != 0) {
        snprintf(error, error_size,
                 "%s is cut off: its size is that of neither a snapshot nor a database file", name);
        err = ERR_MALFORMED;
    }
    if (!err) { /* before the digest: what is wrong with the pages says more */
        err = bbolt_open(&file, &db->file, &problem);
        if (err)
            db_explain(db, err, &problem, error, error_size);
    }
    if (!err && (digest == ETCD_DB_CHECK || (digest == ETCD_DB_CHECK_IF_ANY && has_digest)))
        err = check_digest(db, source, error, error_size);
    if (err)
        etcd_db_close(db);
    else
        *ret_db = db;
    return err;
}

void etcd_db_close(struct etcd_db *db)
{
    if (!db)
        return;
    bbolt_close(db->file);
    mem_free(db->name);
    mem_free(db);
}

/* --- walks ------------------------------------------------------------------------------------------- */

static int walk_bucket(struct etcd_db *db, struct slice bucket,
                       int (*fn)(void *arg, struct slice key, struct slice value), void *arg, char *error,
                       size_t error_size)
{
    struct bbolt_problem problem = {0};
    struct slice key = {0}, value;
    struct bbolt_cursor *c;
    int err = OK;
    bbolt_cursor_new(db->file, bucket, &c);
    while (c && !err) {
        err = bbolt_cursor_next(c, &key, &value, &problem);
        if (err)
            db_explain(db, err, &problem, error, error_size);
        else if (!key.size)
            break;
        else
            err = fn(arg, key, value);
    }
    bbolt_cursor_free(c);
    return err;
}

int etcd_db_walk(struct etcd_db *db, const char *bucket,
                 int (*fn)(void *arg, struct slice key, struct slice value), void *arg, char *error,
                 size_t error_size)
{
    return walk_bucket(db, slice_text(bucket), fn, arg, error, error_size);
}

/* --- marks ------------------------------------------------------------------------------------------- */

static int note_mark(void *arg, struct slice key, struct slice value)
{
    struct etcd_db_marks *m = arg;
    if (value.size == 8 && slice_equal(key, slice_text(ETCD_META_INDEX)))
        m->index = get_be64(value.data);
    else if (value.size == 8 && slice_equal(key, slice_text(ETCD_META_TERM)))
        m->term = get_be64(value.data);
    return OK;
}

static int count_member(void *arg, struct slice key, struct slice value)
{
    (void)key;
    (void)value;
    ((struct etcd_db_marks *)arg)->members++;
    return OK;
}

int etcd_db_read_marks(struct etcd_db *db, struct etcd_db_marks *ret_marks, char *error, size_t error_size)
{
    *ret_marks = (struct etcd_db_marks){0};
    int err = etcd_db_walk(db, ETCD_BUCKET_META, note_mark, ret_marks, error, error_size);
    return err ? err : etcd_db_walk(db, ETCD_BUCKET_MEMBERS, count_member, ret_marks, error, error_size);
}

/* --- status ------------------------------------------------------------------------------------------ */

struct status_walk {
    struct etcd_db_status *status;
    const char *name;
    bool is_key_bucket;
    struct strmap keys; /* the live ones */
    char *error;
    size_t error_size;
};

static int note_change(struct status_walk *w, struct slice key, struct slice value)
{
    struct revision revision;
    struct record record;
    bool is_tombstone;
    int err = etcd_row_read_key(key, &revision, &is_tombstone);
    if (!err && value.size)
        err = etcd_row_read_value(value, revision, is_tombstone, &record);
    else
        record = (struct record){0}; /* etcdutl's --bump-revision leaves an empty row: a key without name */
    if (err) {
        snprintf(w->error, w->error_size, "%s is damaged: a change after revision %" PRId64 " cannot be read",
                 w->name, w->status->revision);
        return ERR_CORRUPT;
    }
    w->status->revision = revision.main;
    if (is_tombstone)
        strmap_remove(&w->keys, record.key);
    else
        strmap_put(&w->keys, record.key, w);
    return OK;
}

static int status_row(void *arg, struct slice key, struct slice value)
{
    struct status_walk *w = arg;
    uint32_t crc = crc32c(w->status->hash, key.data, key.size);
    w->status->hash = crc32c(crc, value.data, value.size);
    w->status->rows++;
    return w->is_key_bucket ? note_change(w, key, value) : OK;
}

static int take_version(void *arg, struct slice key, struct slice value)
{
    struct etcd_db_status *s = arg;
    if (slice_equal(key, slice_text(ETCD_META_STORAGE_VERSION)) && value.size < sizeof s->version)
        snprintf(s->version, sizeof s->version, "%.*s", (int)value.size, (const char *)value.data);
    return OK;
}

int etcd_db_read_status(struct etcd_db *db, struct etcd_db_status *ret_status, char *error, size_t error_size)
{
    struct etcd_db_status status = {.size = bbolt_used_bytes(db->file)};
    struct status_walk w = {.status = &status, .name = db->name, .error = error, .error_size = error_size};
    int err = etcd_db_walk(db, ETCD_BUCKET_META, take_version, &status, error, error_size);
    for (size_t i = 0; !err && i < bbolt_bucket_count(db->file); i++) {
        struct slice name = bbolt_bucket_name(db->file, i);
        status.hash = crc32c(status.hash, name.data, name.size);
        w.is_key_bucket = slice_equal(name, slice_text(ETCD_BUCKET_KEY));
        err = walk_bucket(db, name, status_row, &w, error, error_size);
    }
    status.keys = w.keys.count;
    strmap_done(&w.keys);
    if (!err)
        *ret_status = status;
    return err;
}
