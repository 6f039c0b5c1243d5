/* SPDX-License-Identifier: Apache-2.0
 * Tests of tar and gzip: round trips in pieces of any size, the forms of other tools, and archives that are
 * damaged, truncated, false or endless. tests/e2e/config.sh compares them with GNU tar, gzip and Python. */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "base/gzip.h"
#include "base/mem.h"
#include "base/tar.h"

/* --- tar -------------------------------------------------------------------------------------------- */

/* The content of an archive, a line each: "path kind size bytes". */
static int list_archive(struct slice archive, size_t piece, struct buf *out, char error[200])
{
    struct tar_reader r = {0};
    int err = OK;
    while (!err && archive.size) {
        struct slice in = slice_of(archive.data, piece < archive.size ? piece : archive.size), data;
        archive = slice_of(archive.data + in.size, archive.size - in.size);
        enum tar_event event;
        do {
            err = tar_read(&r, &in, &event, &data);
            if (!err && event == TAR_ENTRY)
                buf_addf(out, "%s %d %llu ", buf_text(&r.entry.path), (int)r.entry.kind,
                         (unsigned long long)r.entry.size);
            else if (!err && event == TAR_DATA)
                buf_add_slice(out, data);
            else if (!err && event == TAR_DATA_END)
                buf_add_byte(out, '\n');
            else if (!err && event == TAR_END)
                buf_add_text(out, "end\n");
        } while (!err && event != TAR_MORE);
        if (!err)
            assert_int_equal(in.size, 0);
    }
    if (!err && !tar_has_ended(&r))
        err = ERR_TRUNCATED;
    snprintf(error, 200, "%s", r.error);
    tar_reader_done(&r);
    return err;
}

static void assert_lists(struct slice archive, const char *wanted)
{
    static const size_t pieces[] = {1, 7, 511, 512, 513, 1 << 20};
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        struct buf out = {0};
        char error[200];
        int err = list_archive(archive, pieces[i], &out, error);
        if (err)
            fail_msg("%s", error);
        assert_string_equal(buf_text(&out), wanted);
        buf_done(&out);
    }
}

static void assert_refused(struct slice archive, int wanted, const char *why)
{
    struct buf out = {0};
    char error[200];
    assert_int_equal(list_archive(archive, 100, &out, error), wanted);
    if (!strstr(error, why))
        fail_msg("\"%s\" is not in \"%s\"", why, error);
    buf_done(&out);
}

static void add_file(struct buf *out, const char *path, const char *text)
{
    tar_add_file(out, slice_text(path), strlen(text), 1700000000);
    buf_add_text(out, text);
    tar_add_padding(out, strlen(text));
}

static void test_there_and_back(void **state)
{
    (void)state;
    struct buf archive = {0}, wanted = {0};
    static const size_t sizes[] = {0, 1, 511, 512, 513, 2000};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char path[20], *text = mem_new(sizes[i] + 1);
        memset(text, 'x', sizes[i]);
        snprintf(path, sizeof path, "f%zu", sizes[i]);
        add_file(&archive, path, text);
        buf_addf(&wanted, "%s 0 %zu %s\n", path, sizes[i], text);
        mem_free(text);
    }
    tar_add_end(&archive);
    buf_add_text(&wanted, "end\n");
    assert_int_equal(archive.size % TAR_BLOCK, 0);
    assert_lists(buf_slice(&archive), buf_text(&wanted));
    buf_done(&archive);
    buf_done(&wanted);
}

/* Each length of a path, with a '/' at many places: name, prefix or pax header. */
static void test_paths(void **state)
{
    (void)state;
    for (size_t size = 1; size < 600; size += size < 270 ? 1 : 37)
        for (size_t slash = 1; slash < size; slash += size / 5 + 1) {
            struct buf archive = {0}, wanted = {0};
            char path[700];
            memset(path, 'p', size);
            path[slash] = size > 2 && slash + 1 < size ? '/' : 'p';
            path[size] = 0;
            add_file(&archive, path, "abc");
            tar_add_end(&archive);
            buf_addf(&wanted, "%s 0 3 abc\nend\n", path);
            assert_lists(buf_slice(&archive), buf_text(&wanted));
            if (size <= 100)
                assert_int_equal(archive.size, 4 * TAR_BLOCK); /* no header before it */
            buf_done(&archive);
            buf_done(&wanted);
        }
    struct buf archive = {0};
    add_file(&archive, "caf\xc3\xa9/\xe5\xae\xa2", "x"); /* UTF-8 is allowed in pax headers only */
    tar_add_end(&archive);
    assert_int_equal(archive.data[156], 'x');
    assert_lists(buf_slice(&archive), "caf\xc3\xa9/\xe5\xae\xa2 0 1 x\nend\n");
    buf_done(&archive);
}

static void fix_sum(uint8_t *block)
{
    unsigned sum = 0;
    memset(block + 148, ' ', 8);
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += block[i];
    snprintf((char *)block + 148, 8, "%06o", sum);
}

/* A header of one type and size, with bytes after it. */
static void add_raw(struct buf *out, const char *name, char type, const char *bytes, size_t size)
{
    size_t at = out->size;
    tar_add_file(out, slice_text(name), size, 0);
    out->data[at + 156] = (uint8_t)type;
    fix_sum(out->data + at);
    buf_add(out, bytes, size);
    tar_add_padding(out, size);
}

static void test_other_forms(void **state)
{
    (void)state;
    struct buf archive = {0};
    char long_name[300] = {0};
    memset(long_name, 'n', 200);
    add_raw(&archive, "././@LongLink", 'L', long_name, 201); /* GNU: with its NUL */
    add_file(&archive, "short", "a");
    add_raw(&archive, "x", 'g', "19 comment=by git\n", 18); /* git archive */
    archive.data[archive.size - TAR_BLOCK + 1] = '8';
    add_raw(&archive, "x", 'x', "30 mtime=1700000000.123456789\n20 path=from-header\n10 size=2\n", 60);
    add_raw(&archive, "no", '0', "bc", 2);
    add_raw(&archive, "folder/", '5', "", 0);
    add_raw(&archive, "old-folder/", 0, "", 0);
    add_raw(&archive, "link", '2', "", 0);
    add_raw(&archive, "hard", '1', "", 0);
    add_raw(&archive, "dev", '3', "", 0);
    add_raw(&archive, "fifo", '6', "", 0);
    add_raw(&archive, "sparse", 'S', "data", 4);
    size_t at = archive.size;
    add_file(&archive, "large", "12345"); /* its size in base 256, as GNU writes large sizes */
    memset(archive.data + at + 124, 0, 12);
    archive.data[at + 124] = 0x80;
    archive.data[at + 135] = 5;
    fix_sum(archive.data + at);
    tar_add_end(&archive);
    tar_add_end(&archive);
    char wanted[600];
    snprintf(wanted, sizeof wanted,
             "%s 0 1 a\nfrom-header 0 2 bc\nfolder/ 1 0 \nold-folder/ 1 0 \nlink 3 0 \nhard 2 0 \ndev 4 0 \n"
             "fifo 5 0 \nsparse 6 4 data\nlarge 0 5 12345\nend\n",
             long_name);
    assert_lists(buf_slice(&archive), wanted);
    buf_done(&archive);
    assert_string_equal(tar_kind_name(TAR_SYMBOLIC_LINK), "a symbolic link");
}

static void test_damaged(void **state)
{
    (void)state;
    struct buf archive = {0};
    add_file(&archive, "a", "abc");
    tar_add_end(&archive);
    /* Every byte of the header matters. */
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        if (i >= 148 && i < 156)
            continue;
        archive.data[i] ^= 1;
        assert_refused(buf_slice(&archive), ERR_MALFORMED, "no header");
        archive.data[i] ^= 1;
    }
    for (size_t size = 1; size < archive.size - TAR_BLOCK + 1; size += 100)
        assert_refused(slice_of(archive.data, size), ERR_TRUNCATED, "");
    assert_refused(
        slice_text("this is a text, not an archive; and it is followed by much more so that there "
                   "is a block........................................................................"
                   "..................................................................................."
                   "..................................................................................."
                   "..................................................................................."
                   "..................................................................................."
                   "................................................................................."),
        ERR_MALFORMED, "at byte 512: this is no header of a tar archive");
    buf_add_text(&archive, "x");
    assert_refused(buf_slice(&archive), ERR_MALFORMED, "something follows the end");
    /* One block of zeros ends nothing, and nothing may follow it. */
    buf_clear(&archive);
    add_file(&archive, "a", "abc");
    size_t end = archive.size + TAR_BLOCK;
    tar_add_end(&archive);
    assert_refused(slice_of(archive.data, end), ERR_TRUNCATED, "");
    archive.size = end;
    add_file(&archive, "b", "abc");
    assert_refused(buf_slice(&archive), ERR_MALFORMED, "something follows a block of zeros");
    buf_clear(&archive);
    static const struct {
        const char *field, *why;
        size_t at, size;
    } cases[] = {{"-0000000001", "a size is no number", 124, 11},
                 {"00000000009", "a size is no number", 124, 11},
                 {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", "a size is no number", 124, 12},
                 {"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "a size is no number", 124, 12},
                 {"\0", "no name", 0, 1}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        buf_clear(&archive);
        add_file(&archive, "a", "abc");
        memcpy(archive.data + cases[i].at, cases[i].field, cases[i].size);
        fix_sum(archive.data);
        tar_add_end(&archive);
        assert_refused(buf_slice(&archive), ERR_MALFORMED, cases[i].why);
    }
    buf_done(&archive);
}

static void test_hostile_headers(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
        size_t size;
        char type;
    } cases[] = {
        {"12 path=a/b\n", "", 12, 'x'},
        {"11 path=a/b\n", "malformed", 12, 'x'},
        {"99 path=a/b\n", "malformed", 12, 'x'},
        {"0 path=a/bb\n", "malformed", 12, 'x'},
        {"18446744073709551616 a=b\n", "malformed", 25, 'x'},
        {"path=a/b...\n", "malformed", 12, 'x'},
        {"12 path a/b\n", "malformed", 12, 'x'},
        {"12 path=a\0b\n", "NUL", 12, 'x'},
        {"12 path=a/b\n", "names all files", 12, 'g'},
        {"10 size=1\n", "no number", 10, 'g'},
        {"11 size=-1\n", "no number", 11, 'x'},
        {"28 size=9223372036854775807\n", "no number", 28, 'x'},
        {"9 path=\n", "malformed", 8, 'x'},
        {"8 path=\n", "no name", 8, 'x'},
        {"22 GNU.sparse.major=1\n", "", 22, 'x'},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf archive = {0}, out = {0};
        char error[200];
        add_raw(&archive, "header", cases[i].type, cases[i].text, cases[i].size);
        add_file(&archive, "a", "abc");
        tar_add_end(&archive);
        int err = list_archive(buf_slice(&archive), 100, &out, error);
        if (err != (*cases[i].why ? ERR_MALFORMED : OK) || !strstr(error, cases[i].why))
            fail_msg("case %zu: %d \"%s\"", i, err, error);
        buf_done(&archive);
        buf_done(&out);
    }
    struct buf archive = {0};
    char *huge = mem_new(TAR_META_MAX + 1);
    add_raw(&archive, "header", 'x', huge, TAR_META_MAX + 1);
    assert_refused(buf_slice(&archive), ERR_LIMIT, "larger than 64 KiB");
    mem_free(huge);
    buf_done(&archive);
}

/* --- gzip ------------------------------------------------------------------------------------------- */

static void pack(struct slice text, size_t piece, struct buf *out)
{
    struct gzip_writer *g = gzip_writer_new();
    for (size_t at = 0; at < text.size; at += piece)
        gzip_write(g, slice_of(text.data + at, text.size - at < piece ? text.size - at : piece), out);
    gzip_write_end(g, out);
    gzip_writer_free(g);
}

static int unpack(struct slice packed, size_t piece, uint64_t limit, struct buf *out)
{
    struct gzip_reader *g = gzip_reader_new(limit);
    int err = OK;
    for (size_t at = 0; !err && at < packed.size; at += piece) {
        struct slice in = slice_of(packed.data + at, packed.size - at < piece ? packed.size - at : piece);
        size_t before;
        do {
            before = out->size;
            err = gzip_read(g, &in, out);
            assert_true(out->size - before <= GZIP_STEP);
        } while (!err && (in.size || out->size > before));
    }
    if (!err)
        err = gzip_read_end(g);
    gzip_reader_free(g);
    return err;
}

static void test_gzip(void **state)
{
    (void)state;
    struct buf text = {0}, packed = {0}, again = {0}, back = {0};
    for (unsigned i = 0; i < 60000; i++)
        buf_addf(&text, "%u,", i * i);
    pack(buf_slice(&text), 1000, &packed);
    pack(buf_slice(&text), 1000, &again);
    assert_true(slice_equal(buf_slice(&packed), buf_slice(&again))); /* no time of the moment in it */
    for (size_t piece = 1; piece < 1 << 20; piece = piece * 9 + 1) {
        buf_clear(&back);
        assert_int_equal(unpack(buf_slice(&packed), piece, text.size, &back), OK);
        assert_true(slice_equal(buf_slice(&back), buf_slice(&text)));
    }
    buf_clear(&back);
    assert_int_equal(unpack(buf_slice(&packed), 100, text.size - 1, &back), ERR_LIMIT);
    for (size_t size = 1; size < packed.size; size += packed.size / 40) {
        buf_clear(&back);
        assert_int_equal(unpack(slice_of(packed.data, size), 100, text.size, &back), ERR_TRUNCATED);
    }
    /* Its check sum, its length. */
    for (size_t i = 1; i <= 8; i++) {
        buf_clear(&back);
        packed.data[packed.size - i] ^= 1;
        assert_int_equal(unpack(buf_slice(&packed), 100, text.size, &back), ERR_MALFORMED);
        packed.data[packed.size - i] ^= 1;
    }
    buf_done(&text);
    buf_done(&packed);
    buf_done(&again);
    buf_done(&back);
}

static void test_gzip_behind(void **state)
{
    (void)state;
    struct buf packed = {0}, back = {0};
    assert_int_equal(unpack((struct slice){0}, 1, 100, &back), ERR_TRUNCATED);
    pack(slice_text("ab"), 10, &packed);
    pack(slice_text(""), 10, &packed);
    pack(slice_text("cd"), 10, &packed);
    buf_add(&packed, "\0\0\0", 3);
    for (size_t piece = 1; piece < 200; piece += 60) {
        buf_clear(&back);
        assert_int_equal(unpack(buf_slice(&packed), piece, 4, &back), OK);
        assert_string_equal(buf_text(&back), "abcd");
    }
    buf_clear(&back);
    assert_int_equal(unpack(buf_slice(&packed), 10, 3, &back), ERR_LIMIT); /* of all together */
    buf_add_byte(&packed, 'x');
    buf_clear(&back);
    assert_int_equal(unpack(buf_slice(&packed), 10, 4, &back), ERR_MALFORMED);
    assert_int_equal(unpack(slice_text("no gzip at all"), 3, 4, &back), ERR_MALFORMED);
    buf_done(&packed);
    buf_done(&back);
}

/* A gigabyte in a megabyte: nothing beyond the limit is unpacked. */
static void test_gzip_bomb(void **state)
{
    (void)state;
    struct buf packed = {0}, back = {0};
    struct gzip_writer *g = gzip_writer_new();
    uint8_t *zeros = mem_new(1 << 20);
    for (size_t i = 0; i < 64; i++)
        gzip_write(g, slice_of(zeros, 1 << 20), &packed);
    gzip_write_end(g, &packed);
    assert_int_equal(unpack(buf_slice(&packed), 16384, 1 << 20, &back), ERR_LIMIT);
    assert_true(back.size <= (1 << 20) + GZIP_STEP);
    gzip_writer_free(g);
    mem_free(zeros);
    buf_done(&packed);
    buf_done(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),  cmocka_unit_test(test_paths),
        cmocka_unit_test(test_other_forms),     cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_hostile_headers), cmocka_unit_test(test_gzip),
        cmocka_unit_test(test_gzip_behind),     cmocka_unit_test(test_gzip_bomb),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
