/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: an archive of configurations, gzipped or not. The reader refuses it with an error text, or
 * each of its items has a name and a content within the limits. Pieces of any size give the same result. A
 * first byte of 1 means that the rest is a manifest beside one file. */
#include <assert.h>

#include "base/tar.h"
#include "config/archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct archive_options options = {.content_bytes_max = 4096, .bytes_max = 256 * 1024};

static int read_archive(struct slice bytes, size_t piece, struct buf *out)
{
    struct archive *a = archive_new(&options);
    int err = OK;
    bool is_done = false;
    while (!err && bytes.size) {
        struct slice in = slice_of(bytes.data, piece < bytes.size ? piece : bytes.size);
        bytes = slice_of(bytes.data + in.size, bytes.size - in.size);
        for (bool is_taken = false; !err && !is_taken;)
            err = archive_step(a, &in, &is_taken);
    }
    if (!err)
        err = archive_end(a);
    while (!err && !is_done)
        err = archive_match(a, &is_done);
    assert(!err == !*archive_error(a));
    assert(archive_bytes(a) <= options.bytes_max + 64 * 1024 || err == ERR_REQUEST_TOO_LARGE);
    size_t count = 0;
    const struct config_import_item *items = archive_items(a, &count);
    for (size_t i = 0; !err && i < count; i++) {
        assert(items[i].key.ns.size && items[i].key.group.size && items[i].key.name.size &&
               items[i].path.size);
        assert(items[i].content.size <= options.content_bytes_max);
        buf_add_slice(out, items[i].key.name);
        buf_add_slice(out, items[i].content);
    }
    archive_free(a);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf text = {0}, once = {0}, again = {0};
    if (size && data[0] == 1) {
        tar_add_file(&text, slice_text(ARCHIVE_MANIFEST), size - 1, 0);
        buf_add(&text, data + 1, size - 1);
        tar_add_padding(&text, size - 1);
        tar_add_file(&text, slice_text("n/g/a"), 3, 0);
        buf_add(&text, "abc", 3);
        tar_add_padding(&text, 3);
        tar_add_end(&text);
    } else {
        buf_add(&text, data, size);
    }
    int err = read_archive(buf_slice(&text), text.size + 1, &once);
    size_t piece = size ? data[size - 1] : 0;
    int other = read_archive(buf_slice(&text), piece + 1, &again);
    assert(err == other && slice_equal(buf_slice(&once), buf_slice(&again)));
    buf_done(&text);
    buf_done(&once);
    buf_done(&again);
    return 0;
}
