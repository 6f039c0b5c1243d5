/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a tar archive. It reads the same in pieces of any size. The reader reports for each entry as
 * many bytes as the entry's header claims. The entries, written as an archive again, read the same. */
#include <assert.h>

#include "base/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The reader's events as text; it also adds files to an archive of their own. */
static int tell(struct slice archive, size_t piece, struct buf *out, struct buf *again)
{
    struct tar_reader r = {0};
    uint64_t seen = 0;
    int err = OK;
    while (!err && archive.size) {
        struct slice in = slice_of(archive.data, piece < archive.size ? piece : archive.size), data;
        archive = slice_of(archive.data + in.size, archive.size - in.size);
        enum tar_event event;
        do {
            err = tar_read(&r, &in, &event, &data);
            if (err)
                break;
            bool is_file = r.entry.kind == TAR_FILE;
            if (event == TAR_ENTRY) {
                assert(r.entry.path.size && !memchr(r.entry.path.data, 0, r.entry.path.size));
                buf_addf(out, "%s\n%s %llu\n", buf_text(&r.entry.path), tar_kind_name(r.entry.kind),
                         (unsigned long long)r.entry.size);
                if (is_file && r.entry.size < 1 << 20)
                    tar_add_file(again, buf_slice(&r.entry.path), r.entry.size, 0);
                seen = 0;
            } else if (event == TAR_DATA) {
                assert(data.size && (seen += data.size) <= r.entry.size);
                buf_add_slice(out, data);
                if (is_file && r.entry.size < 1 << 20)
                    buf_add_slice(again, data);
            } else if (event == TAR_DATA_END) {
                assert(seen == r.entry.size);
                if (is_file)
                    tar_add_padding(again, seen);
            } else if (event == TAR_END) {
                tar_add_end(again);
            }
        } while (event != TAR_MORE);
        assert(err || in.size == 0);
    }
    assert(!err || *r.error);
    if (!err && !tar_has_ended(&r))
        err = ERR_TRUNCATED;
    tar_reader_done(&r);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = {0}, pieces = {0}, again = {0}, back = {0}, third = {0};
    struct slice text = slice_of(data, size);
    int err = tell(text, size + 1, &whole, &again);
    size_t kept = again.size;
    size_t piece = size ? data[0] % 100 : 0;
    int other = tell(text, piece + 1, &pieces, &third);
    assert(err == other && slice_equal(buf_slice(&whole), buf_slice(&pieces)));
    assert(slice_equal(buf_slice(&again), buf_slice(&third)));
    if (!err && kept) {
        buf_clear(&third);
        err = tell(buf_slice(&again), 512, &back, &third);
        assert(err == OK && slice_equal(buf_slice(&again), buf_slice(&third)));
    }
    buf_done(&whole);
    buf_done(&pieces);
    buf_done(&again);
    buf_done(&back);
    buf_done(&third);
    return 0;
}
