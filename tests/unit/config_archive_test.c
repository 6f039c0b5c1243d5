/* SPDX-License-Identifier: Apache-2.0
 * Tests of archives of configurations: paths, the manifest's round trip, folders that a person packed, and
 * each false claim that an archive can make. */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "base/gzip.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/tar.h"
#include "base/text.h"
#include "config/archive.h"

static struct archive_options options;

static int setup(void **state)
{
    (void)state;
    options = (struct archive_options){.content_bytes_max = 1000, .bytes_max = 100000};
    return 0;
}

static void add_file(struct buf *out, const char *path, const char *text)
{
    tar_add_file(out, slice_text(path), strlen(text), 0);
    buf_add_text(out, text);
    tar_add_padding(out, strlen(text));
}

/* Reads it in pieces of some size. NULL: err is the error, and `error` has its text. */
static struct archive *read_archive(struct slice bytes, size_t piece, int *ret_err, char error[512])
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
    *ret_err = err;
    snprintf(error, 512, "%s", archive_error(a));
    if (!err)
        return a;
    archive_free(a);
    return NULL;
}

/* "ns/group/name type title content", a line each. */
static void assert_holds(struct slice bytes, const char *wanted)
{
    for (size_t piece = 1; piece < 100000; piece = piece * 30 + 1) {
        struct buf out = {0};
        char error[512];
        int err;
        size_t count;
        struct archive *a = read_archive(bytes, piece, &err, error);
        if (!a)
            fail_msg("%d %s", err, error);
        const struct config_import_item *items = archive_items(a, &count);
        for (size_t i = 0; i < count; i++) {
            const struct config_import_item *t = &items[i];
            const struct slice parts[] = {t->key.ns, t->key.group, t->key.name};
            for (size_t k = 0; k < 3; k++) {
                buf_add_slice(&out, parts[k]);
                buf_add_byte(&out, k < 2 ? '/' : ' ');
            }
            buf_addf(&out, "%s ", t->has_format ? format_name(t->format) : "-");
            buf_add_slice(&out, t->title);
            buf_add_byte(&out, ' ');
            buf_add_slice(&out, t->content);
            buf_add_byte(&out, '\n');
        }
        assert_string_equal(buf_text(&out), wanted);
        buf_done(&out);
        archive_free(a);
    }
}

static void assert_refused(struct slice bytes, int wanted, const char *why)
{
    char error[512];
    int err;
    struct archive *a = read_archive(bytes, 1000, &err, error);
    archive_free(a);
    if (err != wanted || !strstr(error, why))
        fail_msg("%d \"%s\", wanted %d \"%s\"", err, error, wanted, why);
}

/* --- paths ------------------------------------------------------------------------------------------ */

static void add_path(struct buf *out, const char *ns, const char *group, struct slice name)
{
    buf_clear(out);
    const struct config_id key = {slice_text(ns), slice_text(group), name};
    archive_add_path(out, &key);
}

static void test_paths(void **state)
{
    (void)state;
    struct buf path = {0};
    struct strmap seen = {0};
    add_path(&path, "prod", "g", slice_text("app.yaml"));
    assert_string_equal(buf_text(&path), "prod/g/app.yaml");
    add_path(&path, "prod", "100%", slice_text("caf\xc3\xa9 \\"));
    assert_string_equal(buf_text(&path), "prod/100%25/caf\xc3\xa9 \\");
    add_path(&path, "manifest.json", "g", slice_text("x"));
    assert_string_equal(buf_text(&path), "%~manifest.json/g/x");
    /* Long names with one byte, several bytes or encoded letters: each part fits into a file system and is
     * unique. */
    static const char *const letters[] = {"x", "\xc3\xa9", "\xf0\x9f\x98\x80", "%"};
    for (size_t l = 0; l < COUNT_OF(letters); l++)
        for (size_t lead = 0; lead < 4; lead++)
            for (size_t size = 60; size <= 256; size++) {
                struct buf name = {0};
                for (size_t i = 0; i < lead; i++)
                    buf_add_byte(&name, 'a');
                while (name.size + strlen(letters[l]) <= size)
                    buf_add_text(&name, letters[l]);
                add_path(&path, "n", "g", buf_slice(&name));
                assert_true(path.size <= 4 + 255);
                assert_int_equal(utf8_valid_size(buf_slice(&path)), path.size);
                void *before = strmap_put(&seen, buf_slice(&path), &seen);
                (void)before; /* with longer letters the same name repeats */
                if (strlen(letters[l]) == 1)
                    assert_null(before);
                buf_done(&name);
            }
    strmap_done(&seen);
    buf_done(&path);
}

/* --- the manifest ----------------------------------------------------------------------------------- */

static void test_there_and_back(void **state)
{
    (void)state;
    struct buf files = {0}, manifest = {0}, wanted = {0}, archive = {0}, packed = {0};
    static const char *const names[] = {"app.yaml", "manifest.json", "..x",
                                        "100%",     "caf\xc3\xa9",   "\"q\\\"{[,"};
    archive_manifest_begin(&manifest, 7, 9);
    for (size_t i = 0; i < COUNT_OF(names) * 60; i++) { /* more than one step of archive_match */
        char group[20], content[40];
        struct buf path = {0};
        snprintf(group, sizeof group, "g%zu", i / COUNT_OF(names));
        snprintf(content, sizeof content, "content %zu", i);
        const struct config_id key = {slice_text("n"), slice_text(group),
                                      slice_text(names[i % COUNT_OF(names)])};
        const struct config_release r = {.format = FORMAT_TEXT,
                                         .content = slice_text(content),
                                         .digest = digest_of(slice_text(content)),
                                         .title = slice_text("a \"title\" ]}")};
        archive_manifest_item(&manifest, i == 0, &key, i + 1, &r, false);
        archive_add_path(&path, &key);
        add_file(&files, buf_text(&path), content);
        buf_addf(&wanted, "n/%s/%s text a \"title\" ]} %s\n", group, names[i % COUNT_OF(names)], content);
        buf_done(&path);
    }
    archive_manifest_end(&manifest);
    options.bytes_max = 1 << 20;
    add_file(&archive, ARCHIVE_MANIFEST, buf_text(&manifest));
    buf_add_slice(&archive, buf_slice(&files));
    tar_add_end(&archive);
    assert_holds(buf_slice(&archive), buf_text(&wanted));
    struct gzip_writer *g = gzip_writer_new();
    gzip_write(g, buf_slice(&archive), &packed);
    gzip_write_end(g, &packed);
    gzip_writer_free(g);
    assert_holds(buf_slice(&packed), buf_text(&wanted));
    /* The manifest may come last. */
    buf_clear(&archive);
    buf_add_slice(&archive, buf_slice(&files));
    add_file(&archive, "./" ARCHIVE_MANIFEST, buf_text(&manifest));
    tar_add_end(&archive);
    assert_holds(buf_slice(&archive), buf_text(&wanted));
    for (size_t size = 0; size < packed.size; size += 97)
        assert_refused(slice_of(packed.data, size), size < 2 ? ERR_INVALID : ERR_MALFORMED,
                       size < 2 ? "the body must be an archive" : "cut off");
    buf_done(&files);
    buf_done(&manifest);
    buf_done(&wanted);
    buf_done(&archive);
    buf_done(&packed);
}

static void with_manifest(struct buf *out, const char *manifest)
{
    buf_clear(out);
    add_file(out, ARCHIVE_MANIFEST, manifest);
    add_file(out, "n/g/a", "abc");
    tar_add_end(out);
}

static void test_manifests(void **state)
{
    (void)state;
    struct buf archive = {0};
    static const char *const good[] = {
        "{\"version\":1,\"items\":[{\"path\":\"n/g/a\",\"name\":\"b\"}]}",
        " { \"x\" : [ 1 , {\"y\":\"]}\"} ] , \"items\" : [ {\"path\":\"n/g/a\" , \"name\":\"b\"} ] } \n",
        "{\"items\":[{\"path\":\"n/g/a\",\"name\":\"b\",\"namespace\":\"default\",\"size\":3,\"seq\":7}]}",
        "{\"items\":[{\"path\":\"n/g/a\",\"name\":\"b\"}],\"z\":null , \"y\":\"\\\"]\"}",
    };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        with_manifest(&archive, good[i]);
        assert_holds(buf_slice(&archive), "default/default/b -  abc\n");
    }
    static const struct {
        const char *text, *why;
        int err;
    } bad[] = {
        {"", "malformed at byte 0", ERR_MALFORMED},
        {"[]", "malformed", ERR_MALFORMED},
        {"{}", "malformed", ERR_MALFORMED},
        {"{\"version\":1}", "malformed", ERR_MALFORMED},
        {"{\"items\":[]", "malformed", ERR_MALFORMED},
        {"{\"items\":[]}x", "malformed", ERR_MALFORMED},
        {"{\"items\":[],\"items\":[]}", "malformed", ERR_MALFORMED},
        {"{\"items\":{}}", "malformed", ERR_MALFORMED},
        {"{\"items\":[,]}", "malformed", ERR_MALFORMED},
        {"{\"items\":[{\"path\":\"n/g/a\",\"name\":\"b\"},]}", "malformed", ERR_MALFORMED},
        {"{\"items\":[{\"path\":\"n/g/a\" \"name\":\"b\"}]}", "line 1", ERR_MALFORMED},
        {"{\"items\":[{\"path\":\"n/g/a", "malformed", ERR_MALFORMED},
        {"{\"version\":2,\"items\":[]}", "is of version 2; version 1 is known", ERR_INVALID},
        {"{\"items\":[]}", "\"n/g/a\" is in the archive, but not in its manifest.json", ERR_INVALID},
        {"{\"items\":[{\"path\":\"n/g/a\",\"name\":\"b\"},{\"path\":\"n/g/c\",\"name\":\"c\"}]}",
         "names \"n/g/c\", which is not in the archive", ERR_INVALID},
        {"{\"items\":[{\"path\":\"n/g/a\",\"name\":\"b\"},{\"path\":\"n/g/a\",\"name\":\"c\"}]}",
         "names \"n/g/a\" twice", ERR_INVALID},
        {"{\"items\":[{\"path\":\"n/g/a\",\"name\":\"b\",\"size\":4}]}", "has 3 bytes, by manifest.json 4",
         ERR_INVALID},
        {"{\"items\":[{\"path\":\"n/g/a\"}]}", "name is missing", ERR_INVALID},
        {"{\"items\":[{\"name\":\"a\"}]}", "path is missing", ERR_INVALID},
        {"{\"items\":[{\"path\":\"n/g/a\",\"name\":\"b\",\"mode\":1}]}", "mode", ERR_INVALID},
        {"{\"items\":[{\"path\":\"n/g/a\",\"name\":\"b\",\"type\":\"ini\"}]}", "type is none of",
         ERR_INVALID},
        {"{\"items\":[7]}", "", ERR_INVALID},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        with_manifest(&archive, bad[i].text);
        assert_refused(buf_slice(&archive), bad[i].err, bad[i].why);
    }
    buf_done(&archive);
}

/* --- archives that a person packs ----------------------------------------------------------------------- */

static void test_folders(void **state)
{
    (void)state;
    struct buf archive = {0};
    add_file(&archive, "./top.json", "{}");
    add_file(&archive, "g/app.yaml", "a: 1");
    add_file(&archive, "prod/g/100%25 100%20", "x");
    add_file(&archive, "prod/g/._app.yaml", "of a Mac");
    add_file(&archive, ".DS_Store", "too");
    tar_add_end(&archive);
    assert_holds(buf_slice(&archive),
                 "default/default/top.json -  {}\ndefault/g/app.yaml -  a: 1\n"
                 "prod/g/100%25 100%20 -  x\n"); /* not encoded exactly as ours: it is taken literally */
    options.ns = slice_text("test");
    assert_holds(buf_slice(&archive), "test/default/top.json -  {}\ntest/g/app.yaml -  a: 1\n"
                                      "test/g/100%25 100%20 -  x\n");
    options.group = slice_text("all");
    assert_holds(buf_slice(&archive), "test/all/top.json -  {}\ntest/all/app.yaml -  a: 1\n"
                                      "test/all/100%25 100%20 -  x\n");
    options.ns = options.group = (struct slice){0};
    buf_clear(&archive);
    add_file(&archive, "100%25", "x");
    tar_add_end(&archive);
    assert_holds(buf_slice(&archive), "default/default/100% -  x\n");
    buf_done(&archive);
}

static void test_tricks(void **state)
{
    (void)state;
    static const struct {
        const char *path, *why;
    } paths[] = {
        {"../x", "\"..\" part"}, {"a/../../x", "\"..\" part"}, {"/etc/passwd", "not a relative path"},
        {"a//b", "no empty"},    {"a/./b", "no empty"},        {"a/b/c/d", "too deep"},
        {"..", "\"..\" part"}};
    struct buf archive = {0};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        buf_clear(&archive);
        add_file(&archive, paths[i].path, "x");
        tar_add_end(&archive);
        assert_refused(buf_slice(&archive), ERR_INVALID, paths[i].why);
    }
    buf_clear(&archive);
    add_file(&archive, "a", "x");
    add_file(&archive, "./a", "y");
    tar_add_end(&archive);
    assert_refused(buf_slice(&archive), ERR_INVALID, "\"a\" is in the archive twice");
    with_manifest(&archive, "{\"items\":[]}");
    archive.size -= 2 * TAR_BLOCK;
    add_file(&archive, ARCHIVE_MANIFEST, "{}");
    tar_add_end(&archive);
    assert_refused(buf_slice(&archive), ERR_INVALID, "\"manifest.json\" is in the archive twice");
    /* A symbolic link. */
    buf_clear(&archive);
    add_file(&archive, "link", "");
    archive.data[156] = '2';
    unsigned sum = 0;
    memset(archive.data + 148, ' ', 8);
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += archive.data[i];
    snprintf((char *)archive.data + 148, 8, "%06o", sum);
    tar_add_end(&archive);
    assert_refused(buf_slice(&archive), ERR_INVALID, "\"link\" is a symbolic link");
    buf_clear(&archive);
    tar_add_end(&archive);
    assert_refused(buf_slice(&archive), ERR_INVALID, "there are no files");
    assert_refused((struct slice){0}, ERR_INVALID, "the body must be an archive");
    buf_done(&archive);
}

static void test_limits(void **state)
{
    (void)state;
    struct buf archive = {0}, packed = {0};
    char *text = mem_new(1002);
    memset(text, 'x', 1001);
    add_file(&archive, "large", text);
    tar_add_end(&archive);
    assert_refused(buf_slice(&archive), ERR_REQUEST_TOO_LARGE,
                   "\"large\" has 1001 bytes; a configuration may have 1000");
    text[1000] = 0;
    buf_clear(&archive);
    for (size_t i = 0; i < 100; i++) {
        char name[20];
        snprintf(name, sizeof name, "f%zu", i);
        add_file(&archive, name, text);
    }
    tar_add_end(&archive);
    struct gzip_writer *g = gzip_writer_new();
    gzip_write(g, buf_slice(&archive), &packed);
    gzip_write_end(g, &packed);
    gzip_writer_free(g);
    assert_refused(buf_slice(&archive), ERR_REQUEST_TOO_LARGE, "--config-import-max-bytes");
    assert_refused(buf_slice(&packed), ERR_REQUEST_TOO_LARGE, "--config-import-max-bytes");
    size_t room = 100 * ARCHIVE_FILE_ROOM;
    options.bytes_max = archive.size + room - 1;
    assert_refused(buf_slice(&archive), ERR_REQUEST_TOO_LARGE, "1024 for each file included");
    assert_refused(buf_slice(&packed), ERR_REQUEST_TOO_LARGE, "1024 for each file included");
    options.bytes_max = archive.size + room;
    char error[512];
    int err;
    struct archive *a = read_archive(buf_slice(&packed), 10, &err, error);
    assert_non_null(a);
    assert_int_equal(archive_bytes(a), archive.size + room);
    archive_free(a);
    packed.data[packed.size / 2] ^= 0x55;
    assert_refused(buf_slice(&packed), ERR_MALFORMED, "");
    mem_free(text);
    buf_done(&archive);
    buf_done(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_paths, setup),     cmocka_unit_test_setup(test_there_and_back, setup),
        cmocka_unit_test_setup(test_manifests, setup), cmocka_unit_test_setup(test_folders, setup),
        cmocka_unit_test_setup(test_tricks, setup),    cmocka_unit_test_setup(test_limits, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
