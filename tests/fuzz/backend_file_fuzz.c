/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a store's file of batches with arbitrary content, as another member may send it. The first
 * byte says how the rest is read: as the file itself, or as changes that are put into batches with valid
 * checksums. A file that opens must take a batch and open again. */
#include <assert.h>

#include "consensus/store/backend_file.h"
#include "tests/sim/sim_io.h"

/* Fuzz targets link with an archive that does not include the simulated disk. */
#include "tests/sim/crash.c"
#include "tests/sim/disk.c"
#include "tests/sim/sim_io.c"

static const char path[] = "d/f", made[] = "d/made";

/* Two batches of changes from the input, then some damage. */
static void put_made(struct sim_disk *disk, struct io *io, const uint8_t *data, size_t size)
{
    struct buf batch = {0};
    size_t inode;
    backend_batch_begin(&batch);
    while (size > 4) {
        struct backend_op op = {.table = data[1] % BACKEND_TABLES};
        size_t key = data[2] % (size - 3), value = data[3] % (size - 3 - key);
        op.kind = data[0] % 3;
        op.key = slice_of(data + 4, key < size - 4 ? key : 0);
        op.value = slice_of(data + 4 + op.key.size, op.key.size + value <= size - 4 ? value : 0);
        backend_batch_add(&batch, &op);
        data += 4 + op.key.size + op.value.size;
        size -= 4 + op.key.size + op.value.size;
    }
    int err = backend_file_write(io, made, &batch);
    bool found = sim_disk_find(disk, made, &inode);
    assert(err == 0 && found);
    sim_disk_put(disk, path, sim_disk_content(disk, inode));
    if (size == 4)
        sim_disk_flip(disk, path, (data[0] | (uint64_t)data[1] << 8) % sim_disk_content(disk, inode).size,
                      data[2]);
    buf_done(&batch);
}

static bool open_once(struct io *io, bool commits)
{
    struct backend *b;
    struct backend_view *view;
    char error[200] = "";
    uint64_t freed, rows = 0;
    int err = backend_memory_open(io, path, 1 << 20, error, sizeof error, &b);
    assert(!err == !error[0]);
    if (err)
        return false;
    err = b->ops->view_open(b, &view);
    for (unsigned i = 0; i < BACKEND_TABLES; i++)
        rows += b->ops->count(view, i);
    b->ops->view_close(b, view);
    const struct backend_op op = {BACKEND_PUT, BACKEND_META, slice_text("k"), slice_text("v")};
    if (commits)
        err = b->ops->commit(b, &op, 1, &freed);
    assert(err == 0 && rows < 1 << 20);
    b->ops->close(b);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_disk *disk = sim_disk_new();
    struct sim_clock clock = {0};
    struct io *io = sim_io_new(&(struct sim_io_options){.disk = disk, .clock = &clock, .seed = 1});
    if (size && data[0] & 1)
        put_made(disk, io, data + 1, size - 1);
    else if (size)
        sim_disk_put(disk, path, slice_of(data + 1, size - 1));
    if (open_once(io, true)) {
        bool opens = open_once(io, false);
        assert(opens);
    }
    sim_io_free(io);
    sim_clock_done(&clock);
    sim_disk_free(disk);
    return 0;
}
