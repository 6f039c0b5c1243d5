/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: the opener of sealed contents, the reader of key files, and stored documents that say that they
 * are sealed. Bytes that were not sealed never open; bytes that were open only as they are. The first byte
 * chooses. */
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/seal/keys.h"
#include "config/sealed.h"

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

static struct seal_keys keys;
static const struct config_id id = {{.data = (const uint8_t *)"ns", .size = 2},
                                    {.data = (const uint8_t *)"g", .size = 1},
                                    {.data = (const uint8_t *)"n", .size = 1}};

static void open_bytes(struct slice bytes)
{
    struct arena a = {0};
    struct slice content = {0};
    char error[300] = "";
    int err = sealed_open(&keys, &id, slice_text("k"), bytes, &a, &content, error, sizeof error);
    MUST(err == ERR_CORRUPT && *error && !content.data);
    arena_done(&a);
}

/* Seals the rest after 14 bytes: a nonce, and the place of one bit that is changed, or 65535. */
static void seal_bytes(struct slice bytes)
{
    struct arena a = {0};
    struct buf sealed = {0};
    struct slice content = {0};
    char error[300];
    if (bytes.size < SEAL_NONCE_SIZE + 2)
        return;
    size_t at = (size_t)bytes.data[SEAL_NONCE_SIZE] << 8 | bytes.data[SEAL_NONCE_SIZE + 1];
    const struct slice in = slice_of(bytes.data + SEAL_NONCE_SIZE + 2, bytes.size - SEAL_NONCE_SIZE - 2);
    const struct slice names = sealed_names(&a, &id);
    MUST(seal_add(&keys.list[0], bytes.data, names, in, &sealed) == OK && sealed.size == in.size + SEAL_ROOM);
    if (at != 65535)
        sealed.data[at / 8 % sealed.size] ^= (uint8_t)(1 << (at & 7));
    int err = sealed_open(&keys, &id, slice_text("k"), buf_slice(&sealed), &a, &content, error, sizeof error);
    MUST(err == (at == 65535 ? OK : ERR_CORRUPT));
    MUST(err || slice_equal(content, in));
    buf_done(&sealed);
    arena_done(&a);
}

static void read_keys(struct slice text)
{
    struct seal_keys k;
    char error[200] = "";
    if (seal_keys_parse(text, &k, error, sizeof error) != OK) {
        MUST(*error && k.count == 0);
        return;
    }
    MUST(k.count > 0 && k.count <= SEAL_KEYS_MAX);
    for (size_t i = 0; i < k.count; i++)
        MUST(seal_is_id(slice_text(k.list[i].id)) &&
             seal_keys_find(&k, slice_text(k.list[i].id)) == &k.list[i]);
}

static void read_document(struct slice text)
{
    struct config_release r;
    struct config_draft d;
    struct arena a = {0};
    char error[300];
    if (config_release_read(text, &a, &r, error, sizeof error) == OK) {
        MUST(!r.sealed.size || r.envelope.size == r.unopened_size + SEAL_ROOM ||
             r.operation == CONFIG_DELETE);
        MUST(sealed_open_release(&keys, &id, &r, &a, error, sizeof error) == OK || r.sealed.size);
        MUST(!r.sealed.size || content_is_unopened(r.content));
    }
    if (config_draft_read(text, &a, &d, error, sizeof error) == OK)
        MUST(sealed_open_draft(&keys, &id, &d, &a, error, sizeof error) == OK || d.sealed.size);
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void (*const targets[])(struct slice bytes) = {open_bytes, seal_bytes, read_keys, read_document};
    char error[200];
    if (!keys.count)
        MUST(seal_keys_parse(slice_text("k AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="), &keys, error,
                             sizeof error) == OK);
    if (size)
        targets[data[0] % 4](slice_of(data + 1, size - 1));
    return 0;
}
