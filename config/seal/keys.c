/* SPDX-License-Identifier: Apache-2.0
 * The reader of key files; see keys.h. */
#include "config/seal/keys.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/text.h"

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct slice trim(struct slice s)
{
    while (s.size && is_space(s.data[0]))
        s = slice_of(s.data + 1, s.size - 1);
    while (s.size && is_space(s.data[s.size - 1]))
        s.size--;
    return s;
}

bool seal_is_id(struct slice s)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    for (size_t i = 0; i < s.size; i++)
        if (!s.data[i] || !strchr(letters, s.data[i]))
            return false;
    return s.size > 0 && s.size <= SEAL_ID_MAX;
}

/* NULL: the line is a key, or has none. */
static const char *take_line(struct slice line, struct seal_keys *keys)
{
    struct buf secret = {0};
    const char *wrong = NULL;
    size_t size = 0;
    line = trim(line);
    if (!line.size || line.data[0] == '#')
        return NULL;
    while (size < line.size && !is_space(line.data[size]))
        size++;
    struct slice id = slice_of(line.data, size), text = trim(slice_of(line.data + size, line.size - size));
    if (!seal_is_id(id))
        wrong = "an id has 1 to 64 letters, digits, '.', '_' and '-'";
    else if (base64_decode(text, &secret) || secret.size != SEAL_KEY_SIZE)
        wrong = "after the id there must be 32 bytes in base64, as from: openssl rand -base64 32";
    else if (seal_keys_find(keys, id))
        wrong = "this id is there twice";
    else if (keys->count == SEAL_KEYS_MAX)
        wrong = "there are more than 32 keys";
    else
        seal_key_init(&keys->list[keys->count++], id, secret.data);
    if (secret.size)
        secret_clear(secret.data, secret.size);
    buf_done(&secret);
    return wrong;
}

int seal_keys_parse(struct slice text, struct seal_keys *ret, char *error, size_t error_size)
{
    const char *wrong = text.size > SEAL_KEYS_TEXT_MAX ? "it has more than 64 KiB" : NULL;
    size_t number = 0;
    ret->count = 0;
    while (!wrong && text.size) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end ? (size_t)(end - text.data) : text.size;
        number++;
        wrong = take_line(slice_of(text.data, size), ret);
        size += end != NULL;
        text = slice_of(text.data + size, text.size - size);
    }
    if (!wrong && !ret->count) {
        snprintf(error, error_size, "it has no key");
    } else if (wrong) {
        snprintf(error, error_size, "line %zu: %s", number, wrong);
        seal_keys_clear(ret);
    }
    return ret->count ? OK : ERR_INVALID;
}

const struct seal_key *seal_keys_find(const struct seal_keys *keys, struct slice id)
{
    for (size_t i = 0; keys && i < keys->count; i++)
        if (slice_equal(id, slice_text(keys->list[i].id)))
            return &keys->list[i];
    return NULL;
}

const struct seal_key *seal_keys_first(const struct seal_keys *keys)
{
    return keys && keys->count ? &keys->list[0] : NULL;
}

void seal_keys_clear(struct seal_keys *keys)
{
    secret_clear(keys, sizeof *keys);
}
