/* SPDX-License-Identifier: Apache-2.0
 * Writer and reader of tar archives. See tar.h. A header is one block of text fields. A pax header ('x') or
 * GNU long name ('L') is an entry of its own before the entry that it describes. */
#include "base/tar.h"

#include <assert.h>
#include <stdio.h>

#include "base/text.h"

/* Offsets of the fields of a header. */
enum {
    NAME = 0,
    NAME_SIZE = 100,
    MODE = 100,
    UID = 108,
    GID = 116,
    SIZE = 124,
    SIZE_SIZE = 12,
    TIME = 136,
    SUM = 148,
    SUM_SIZE = 8,
    TYPE = 156,
    MAGIC = 257,
    PREFIX = 345,
    PREFIX_SIZE = 155,
};

static const uint8_t zeros[TAR_BLOCK];

/* --- writing ------------------------------------------------------------------------------------------- */

static uint32_t sum_of(const uint8_t *block, bool is_signed)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        uint8_t c = i >= SUM && i < SUM + SUM_SIZE ? ' ' : block[i];
        sum += is_signed ? (uint32_t)(int8_t)c : c;
    }
    return sum;
}

static void add_header(struct buf *out, struct slice prefix, struct slice name, char type, uint64_t size,
                       int64_t time_s)
{
    uint8_t block[TAR_BLOCK] = {0};
    int64_t time = time_s < 0 ? 0 : time_s > 077777777777 ? 077777777777 : time_s;
    assert(size <= 077777777777 && name.size <= NAME_SIZE && prefix.size <= PREFIX_SIZE);
    if (name.size)
        memcpy(block + NAME, name.data, name.size);
    if (prefix.size)
        memcpy(block + PREFIX, prefix.data, prefix.size);
    memcpy(block + MODE, "0000644", 7);
    memcpy(block + UID, "0000000", 7);
    memcpy(block + GID, "0000000", 7);
    snprintf((char *)block + SIZE, SIZE_SIZE, "%011llo", (unsigned long long)size);
    snprintf((char *)block + TIME, SIZE_SIZE, "%011llo", (unsigned long long)time);
    block[TYPE] = (uint8_t)type;
    memcpy(block + MAGIC,
           "ustar\0"
           "00",
           8);
    snprintf((char *)block + SUM, SUM_SIZE, "%06o", sum_of(block, false));
    block[SUM + SUM_SIZE - 1] = ' ';
    buf_add(out, block, sizeof block);
}

/* Finds a '/' that splits the path into a prefix and a name that both fit. */
static bool tar_split(struct slice path, struct slice *ret_prefix, struct slice *ret_name)
{
    *ret_prefix = (struct slice){0};
    *ret_name = path;
    if (path.size <= NAME_SIZE)
        return true;
    for (size_t i = path.size - NAME_SIZE - 1; i <= PREFIX_SIZE && i + 1 < path.size; i++) {
        if (i == 0 || path.data[i] != '/')
            continue;
        *ret_prefix = slice_of(path.data, i);
        *ret_name = slice_of(path.data + i + 1, path.size - i - 1);
        return true;
    }
    return false;
}

static bool is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if (s.data[i] >= 0x80)
            return false;
    return true;
}

/* "30 path=...\n": the length counts its own digits. */
static void add_pax_path(struct buf *out, struct slice path, int64_t time_s)
{
    size_t rest = strlen(" path=\n") + path.size, length = rest + 1;
    char text[24];
    while (length != rest + (size_t)snprintf(text, sizeof text, "%zu", length))
        length = rest + strlen(text);
    add_header(out, (struct slice){0}, slice_text("pax_header"), 'x', length, time_s);
    buf_add_text(out, text);
    buf_add_text(out, " path=");
    buf_add_slice(out, path);
    buf_add_byte(out, '\n');
    tar_add_padding(out, length);
}

void tar_add_file(struct buf *out, struct slice path, uint64_t size, int64_t time_s)
{
    struct slice prefix, name;
    if (!tar_split(path, &prefix, &name) || !is_ascii(path)) {
        add_pax_path(out, path, time_s);
        prefix = (struct slice){0};
        name = slice_of(path.data, path.size < NAME_SIZE ? path.size : NAME_SIZE);
    }
    add_header(out, prefix, name, '0', size, time_s);
}

void tar_add_padding(struct buf *out, uint64_t size)
{
    buf_add(out, zeros, (size_t)(-size % TAR_BLOCK));
}

void tar_add_end(struct buf *out)
{
    buf_add(out, zeros, TAR_BLOCK);
    buf_add(out, zeros, TAR_BLOCK);
}

/* --- reading: one header ------------------------------------------------------------------------------- */

const char *tar_kind_name(enum tar_kind k)
{
    static const char *const names[] = {
        [TAR_FILE] = "a file",
        [TAR_FOLDER] = "a folder",
        [TAR_HARD_LINK] = "a hard link",
        [TAR_SYMBOLIC_LINK] = "a symbolic link",
        [TAR_DEVICE] = "a device",
        [TAR_PIPE] = "a pipe",
        [TAR_OTHER] = "of a kind that is not taken",
    };
    return names[k];
}

static int tar_refuse(struct tar_reader *r, const char *what)
{
    snprintf(r->error, sizeof r->error, "at byte %llu: %s", (unsigned long long)r->at, what);
    return ERR_MALFORMED;
}

/* Reads a number: octal with blanks around it, or GNU's base 256. */
static bool read_number(const uint8_t *p, size_t size, uint64_t *ret)
{
    uint64_t n = 0;
    size_t i = 0;
    if (p[0] & 0x80) {
        n = p[0] & 0x7f;
        for (i = 1; i < size; i++) {
            if (n >> 55)
                return false;
            n = n << 8 | p[i];
        }
        *ret = n;
        return !(p[0] & 0x40); /* a negative number */
    }
    while (i < size && p[i] == ' ')
        i++;
    for (; i < size && p[i] >= '0' && p[i] <= '7'; i++) {
        if (n >> 60)
            return false;
        n = n << 3 | (uint64_t)(p[i] - '0');
    }
    for (; i < size; i++)
        if (p[i] != ' ' && p[i] != 0)
            return false;
    *ret = n;
    return true;
}

static enum tar_kind kind_of(uint8_t type)
{
    switch (type) {
    case 0:
    case '0':
    case '7':
        return TAR_FILE;
    case '1':
        return TAR_HARD_LINK;
    case '2':
        return TAR_SYMBOLIC_LINK;
    case '3':
    case '4':
        return TAR_DEVICE;
    case '5':
        return TAR_FOLDER;
    case '6':
        return TAR_PIPE;
    default:
        return TAR_OTHER;
    }
}

static void set_path(struct buf *path, struct slice prefix, struct slice name)
{
    buf_clear(path);
    buf_add_slice(path, prefix);
    if (prefix.size)
        buf_add_byte(path, '/');
    buf_add_slice(path, name);
}

static struct slice field(const struct tar_reader *r, size_t at, size_t size)
{
    return slice_of(r->block + at, strnlen((const char *)r->block + at, size));
}

/* Sets the path: the extended header's, if there was one. */
static void take_path(struct tar_reader *r)
{
    /* with the NUL: GNU has a blank in its place */
    bool is_posix = memcmp(r->block + MAGIC, "ustar", 6) == 0;
    if (r->has_path)
        set_path(&r->entry.path, (struct slice){0}, buf_slice(&r->path));
    else
        set_path(&r->entry.path, is_posix ? field(r, PREFIX, PREFIX_SIZE) : (struct slice){0},
                 field(r, NAME, NAME_SIZE));
}

static int begin_meta(struct tar_reader *r, uint8_t type, uint64_t size)
{
    if (size > TAR_META_MAX) {
        (void)tar_refuse(r, "an extended header is larger than 64 KiB");
        return ERR_LIMIT;
    }
    r->meta_kind = type;
    r->left = size;
    r->padding = (size_t)(-size % TAR_BLOCK);
    buf_clear(&r->meta);
    r->state = TAR_IN_META;
    return OK;
}

static int begin_entry(struct tar_reader *r, uint8_t type, uint64_t size)
{
    take_path(r);
    struct buf *path = &r->entry.path;
    r->entry.kind = r->is_sparse ? TAR_OTHER : kind_of(type);
    if (r->entry.kind == TAR_FILE && path->size && path->data[path->size - 1] == '/')
        r->entry.kind = TAR_FOLDER; /* V7 marks folders in no other way */
    if (r->entry.kind != TAR_FILE && r->entry.kind != TAR_OTHER)
        size = 0; /* some programs write the size of a link's target */
    else if (r->has_size)
        size = r->size;
    if (path->size == 0 || memchr(path->data, 0, path->size))
        return tar_refuse(r, "an entry has no name, or one with a NUL in it");
    (void)buf_text(path);
    r->entry.size = r->left = size;
    r->padding = (size_t)(-size % TAR_BLOCK);
    r->has_path = r->has_size = r->is_sparse = r->is_data_end_reported = false;
    r->state = TAR_IN_DATA;
    return OK;
}

/* Reads the header in a complete block. */
static int read_header(struct tar_reader *r)
{
    uint64_t sum, size;
    if (memcmp(r->block, zeros, TAR_BLOCK) == 0) {
        if (++r->zero_blocks == 2)
            r->state = TAR_IN_END;
        return OK;
    }
    if (r->zero_blocks)
        return tar_refuse(r, "something follows a block of zeros, which ends an archive");
    if (!read_number(r->block + SUM, SUM_SIZE, &sum) ||
        (sum != sum_of(r->block, false) && sum != sum_of(r->block, true)))
        return tar_refuse(r, "this is no header of a tar archive, or a damaged one");
    if (!read_number(r->block + SIZE, SIZE_SIZE, &size))
        return tar_refuse(r, "a size is no number");
    uint8_t type = r->block[TYPE];
    return type == 'x' || type == 'g' || type == 'L' || type == 'K' ? begin_meta(r, type, size)
                                                                    : begin_entry(r, type, size);
}

/* --- reading: metadata before a header ----------------------------------------------------------------- */

static int take_record(struct tar_reader *r, struct slice key, struct slice value)
{
    if (slice_equal(key, slice_text("path"))) {
        if (r->meta_kind == 'g')
            return tar_refuse(r, "a global header names all files alike");
        set_path(&r->path, (struct slice){0}, value);
        r->has_path = true;
    } else if (slice_equal(key, slice_text("size"))) {
        if (r->meta_kind == 'g' || text_to_u64(value, &r->size) || r->size >> 55)
            return tar_refuse(r, "a size is no number");
        r->has_size = true;
    } else if (key.size > 10 && memcmp(key.data, "GNU.sparse", 10) == 0) {
        r->is_sparse = true;
    }
    return OK;
}

/* Reads records of "LENGTH KEY=VALUE\n". */
static int read_pax(struct tar_reader *r)
{
    struct slice rest = buf_slice(&r->meta);
    int err = OK;
    while (!err && rest.size) {
        const uint8_t *blank = memchr(rest.data, ' ', rest.size);
        uint64_t length;
        size_t digits = blank ? (size_t)(blank - rest.data) : 0;
        if (!digits || text_to_u64(slice_of(rest.data, digits), &length) || length > rest.size ||
            length < digits + 3 || rest.data[length - 1] != '\n')
            return tar_refuse(r, "an extended header is malformed");
        struct slice key = slice_of(blank + 1, (size_t)length - digits - 2);
        const uint8_t *equals = memchr(key.data, '=', key.size);
        if (!equals)
            return tar_refuse(r, "an extended header is malformed");
        size_t n = (size_t)(equals - key.data);
        err = take_record(r, slice_of(key.data, n), slice_of(equals + 1, key.size - n - 1));
        rest = slice_of(rest.data + length, rest.size - (size_t)length);
    }
    return err;
}

static int end_meta(struct tar_reader *r)
{
    r->state = TAR_IN_HEADER;
    if (r->meta_kind == 'L') {
        struct slice name = buf_slice(&r->meta);
        while (name.size && name.data[name.size - 1] == 0)
            name.size--;
        set_path(&r->path, (struct slice){0}, name);
        r->has_path = true;
    }
    return r->meta_kind == 'x' || r->meta_kind == 'g' ? read_pax(r) : OK;
}

/* --- reading: the stream ------------------------------------------------------------------------------- */

static struct slice tar_take(struct tar_reader *r, struct slice *in, uint64_t most)
{
    struct slice piece = slice_of(in->data, most < in->size ? (size_t)most : in->size);
    *in = slice_of(in->data + piece.size, in->size - piece.size);
    r->at += piece.size;
    return piece;
}

static int step_header(struct tar_reader *r, struct slice *in)
{
    struct slice piece = tar_take(r, in, TAR_BLOCK - r->filled);
    memcpy(r->block + r->filled, piece.data, piece.size);
    r->filled += piece.size;
    if (r->filled < TAR_BLOCK)
        return OK;
    r->filled = 0;
    return read_header(r);
}

/* Reads the bytes of the metadata, then the padding of the last block. */
static int step_meta(struct tar_reader *r, struct slice *in)
{
    struct slice piece = tar_take(r, in, r->left ? r->left : r->padding);
    if (!r->left) {
        r->padding -= piece.size;
    } else {
        buf_add_slice(&r->meta, piece);
        r->left -= piece.size;
    }
    return OK;
}

static enum tar_event step_data(struct tar_reader *r, struct slice *in, struct slice *ret_data)
{
    struct slice piece = tar_take(r, in, r->left ? r->left : r->padding);
    if (!r->left) {
        r->padding -= piece.size;
        return TAR_MORE;
    }
    r->left -= piece.size;
    *ret_data = piece;
    return TAR_DATA;
}

static int step_end(struct tar_reader *r, struct slice *in)
{
    struct slice rest = tar_take(r, in, in->size);
    for (size_t i = 0; i < rest.size; i++)
        if (rest.data[i])
            return tar_refuse(r, "something follows the end of the archive");
    return OK;
}

int tar_read(struct tar_reader *r, struct slice *in, enum tar_event *ret_event, struct slice *ret_data)
{
    int err = OK;
    *ret_event = TAR_MORE;
    *ret_data = (struct slice){0};
    while (!err) {
        if (r->state == TAR_IN_META && !r->left && !r->padding) {
            err = end_meta(r);
        } else if (r->state == TAR_IN_DATA && !r->left && !r->is_data_end_reported) {
            r->is_data_end_reported = true;
            *ret_event = TAR_DATA_END;
            return OK;
        } else if (r->state == TAR_IN_DATA && !r->left && !r->padding) {
            r->state = TAR_IN_HEADER;
        } else if (!in->size) {
            return OK;
        } else if (r->state == TAR_IN_META) {
            err = step_meta(r, in);
        } else if (r->state == TAR_IN_DATA) {
            *ret_event = step_data(r, in, ret_data);
            if (*ret_event == TAR_DATA)
                return OK;
        } else if (r->state == TAR_IN_END) {
            err = step_end(r, in);
        } else {
            err = step_header(r, in);
            if (!err && (r->state == TAR_IN_DATA || r->state == TAR_IN_END)) {
                *ret_event = r->state == TAR_IN_DATA ? TAR_ENTRY : TAR_END;
                return OK;
            }
        }
    }
    return err;
}

bool tar_has_ended(const struct tar_reader *r)
{
    return r->state == TAR_IN_END;
}

void tar_reader_done(struct tar_reader *r)
{
    buf_done(&r->entry.path);
    buf_done(&r->meta);
    buf_done(&r->path);
    *r = (struct tar_reader){0};
}
