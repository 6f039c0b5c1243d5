/* SPDX-License-Identifier: Apache-2.0
 * A store's own file as etcd's database file with its SHA-256, for snapshots that builds before etcd's format
 * have saved: they are images of the store. Two passes over one view, as an export has them. */
#include "base/hash.h"
#include "base/mem.h"
#include "consensus/etcd_db/etcd_db.h"

#define CONVERT_BLOCK (1u << 20)

struct conversion {
    const struct export_format *format;
    struct export_writer *writer;
    struct sha256 *sha; /* NULL: the first pass */
    struct buf out;
    int (*write)(void *arg, struct slice bytes);
    void *arg;
    int err;
};

static bool flush(struct conversion *c)
{
    if (c->sha && c->out.size) {
        sha256_add(c->sha, c->out.data, c->out.size);
        c->err = c->write(c->arg, buf_slice(&c->out));
    }
    buf_clear(&c->out);
    return !c->err;
}

static bool convert_row(void *arg, struct slice key, struct slice value)
{
    struct conversion *c = arg;
    c->format->row(c->writer, key, value, &c->out);
    return c->out.size < CONVERT_BLOCK || flush(c);
}

static int convert_pass(struct conversion *c, struct backend *b, struct backend_view *view)
{
    int err = OK;
    for (int table = 0; !err && table < BACKEND_TABLES; table++) {
        c->format->table(c->writer, (enum backend_table)table, &c->out);
        err = b->ops->scan(view, (enum backend_table)table, (struct slice){0}, convert_row, c);
        if (!err)
            err = c->err;
    }
    return err;
}

int etcd_db_convert(struct backend *b, int (*write)(void *arg, struct slice bytes), void *arg)
{
    struct conversion c = {.format = &export_etcd, .write = write, .arg = arg};
    struct backend_view *view;
    uint8_t digest[ETCD_DB_DIGEST_SIZE];
    int err = b->ops->view_open(b, &view);
    if (err)
        return err;
    c.writer = c.format->new ();
    err = convert_pass(&c, b, view);
    if (!err) {
        buf_clear(&c.out);
        c.sha = sha256_new();
        (void)c.format->plan(c.writer, &c.out);
        err = convert_pass(&c, b, view);
    }
    if (!err)
        err = c.format->finish(c.writer, &c.out);
    if (!err && !flush(&c))
        err = c.err;
    if (c.sha)
        sha256_finish(c.sha, digest);
    if (!err)
        err = write(arg, slice_of(digest, sizeof digest));
    c.format->free(c.writer);
    buf_done(&c.out);
    b->ops->view_close(b, view);
    return err;
}
