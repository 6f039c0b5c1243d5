/* SPDX-License-Identifier: Apache-2.0
 * Opening of etcd's files: the SHA-256, damaged pages that are named although it is wrong, and files of other programs. */
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "consensus/etcd_db/etcd_db.h"
#include "tests/unit/made_rows.h"
#include "unit.h"

enum { ROWS = 300, PAGE = 4096 };

static int read_bytes(void *arg, uint64_t offset, void *ret_bytes, size_t size)
{
    const struct buf *file = arg;
    assert_true(offset + size <= file->size);
    memcpy(ret_bytes, file->data + offset, size);
    return OK;
}

static struct bbolt_source source_of(struct buf *file)
{
    return (struct bbolt_source){.read = read_bytes, .arg = file, .size = file->size};
}

/* A database file of several pages, and its SHA-256. */
static struct buf make_snapshot(void)
{
    static struct made_row rows[ROWS];
    static char keys[ROWS][8], value[400];
    uint8_t digest[ETCD_DB_DIGEST_SIZE];
    for (unsigned i = 0; i < ROWS; i++) {
        snprintf(keys[i], sizeof keys[i], "%04u", i);
        rows[i] = (struct made_row){"key", slice_text(keys[i]), slice_of(value, sizeof value)};
    }
    struct buf file = make_file(rows, ROWS);
    struct sha256 *sha = sha256_new();
    sha256_add(sha, file.data, file.size);
    sha256_finish(sha, digest);
    buf_add(&file, digest, sizeof digest);
    return file;
}

static void refuses(const struct bbolt_source *source, enum etcd_db_digest digest, int err, const char *says)
{
    struct etcd_db *db;
    char error[256];
    assert_int_equal(etcd_db_open(source, "f", digest, error, sizeof error, &db), err);
    if (!strstr(error, says))
        fail_msg("%s; not: %s", error, says);
}

static void accepts(const struct bbolt_source *source, enum etcd_db_digest digest)
{
    struct etcd_db *db;
    char error[256];
    assert_int_equal(etcd_db_open(source, "f", digest, error, sizeof error, &db), OK);
    etcd_db_close(db);
}

static void test_digest(void **state)
{
    struct buf file = make_snapshot();
    struct bbolt_source source = source_of(&file);
    (void)state;
    assert_true(etcd_db_has_digest(file.size));
    accepts(&source, ETCD_DB_CHECK);
    file.data[file.size - 5] ^= 1;
    refuses(&source, ETCD_DB_CHECK, ERR_CORRUPT, "f is damaged: its SHA-256 is wrong; its pages agree");
    refuses(&source, ETCD_DB_CHECK_IF_ANY, ERR_CORRUPT, "take another backup");
    accepts(&source, ETCD_DB_SKIP);
    source.size -= ETCD_DB_DIGEST_SIZE;
    refuses(&source, ETCD_DB_CHECK, ERR_MALFORMED, "f has no SHA-256 at its end");
    accepts(&source, ETCD_DB_CHECK_IF_ANY);
    source.size--;
    refuses(&source, ETCD_DB_CHECK_IF_ANY, ERR_MALFORMED, "f is cut off: its size is that of neither");
    refuses(&source, ETCD_DB_CHECK, ERR_CORRUPT, "the file is cut off: it should have");
    source.size = PAGE;
    refuses(&source, ETCD_DB_CHECK_IF_ANY, ERR_CORRUPT, "the file is cut off");
    buf_done(&file);
}

/* A damaged page is named, although the SHA-256 is wrong as well. */
static void test_damaged_page(void **state)
{
    struct buf file = make_snapshot();
    struct bbolt_source source = source_of(&file);
    unsigned named = 0;
    (void)state;
    for (size_t page = 3; page < file.size / PAGE; page++) {
        struct etcd_db *db;
        char error[256], wanted[64];
        file.data[page * PAGE + 9] ^= 0x40; /* its kind */
        assert_int_equal(etcd_db_open(&source, "f", ETCD_DB_CHECK, error, sizeof error, &db), ERR_CORRUPT);
        snprintf(wanted, sizeof wanted, "page %zu: it is no page of a tree", page);
        named += strstr(error, wanted) != NULL;
        file.data[page * PAGE + 9] ^= 0x40;
    }
    assert_true(named > 20);
    buf_done(&file);
}

/* Files of other programs are told apart from a damaged snapshot. */
static void test_foreign(void **state)
{
    static const struct {
        const char *bytes, *says;
    } files[] = {
        {"age-encryption.org/v1\n-> X25519 abc", "f is encrypted (age): decrypt it first"},
        {"-----BEGIN PGP MESSAGE-----\n\nabc", "f is encrypted (OpenPGP): decrypt it first"},
        {"Salted__12345678abcdef", "f is encrypted (openssl enc): decrypt it first"},
        {"\x1f\x8b\x08 abcdef", "f is compressed (gzip): decompress it first"},
        {"\x28\xb5\x2f\xfd abc", "f is compressed (zstd): decompress it first"},
        {"just a text", "f: it is not a bbolt file: it has no meta page; another program wrote it"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(files); i++)
        for (unsigned check = ETCD_DB_CHECK; check <= ETCD_DB_SKIP; check++) {
            struct buf file = {0};
            buf_add_text(&file, files[i].bytes);
            while (file.size < 8192)
                buf_add_byte(&file, (uint8_t)(file.size * 7));
            struct bbolt_source source = source_of(&file);
            refuses(&source, check, ERR_MALFORMED, files[i].says);
            buf_done(&file);
        }
    struct buf empty = {0};
    struct bbolt_source source = source_of(&empty);
    refuses(&source, ETCD_DB_SKIP, ERR_MALFORMED, "it is not a bbolt file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_damaged_page),
        cmocka_unit_test(test_foreign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
