/* SPDX-License-Identifier: Apache-2.0
 * AES-256-GCM, the derived keys and the keyed digest; see seal.h. */
#include "config/seal/seal.h"

#include <limits.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/mutant.h"

static const char content_label[] = "cairn config content 1", digest_label[] = "cairn config digest 1";

void seal_key_init(struct seal_key *ret, struct slice id, const uint8_t secret[SEAL_KEY_SIZE])
{
    *ret = (struct seal_key){{0}, {0}, {0}};
    memcpy(ret->id, id.data, id.size < SEAL_ID_MAX ? id.size : SEAL_ID_MAX);
    hmac_sha256(secret, SEAL_KEY_SIZE, content_label, sizeof content_label - 1, ret->content);
    hmac_sha256(secret, SEAL_KEY_SIZE, digest_label, sizeof digest_label - 1, ret->digest);
}

static void add_name(struct buf *out, struct slice name)
{
    uint8_t size[2] = {(uint8_t)(name.size >> 8), (uint8_t)name.size};
    buf_add(out, size, sizeof size);
    buf_add_slice(out, name);
}

void seal_add_names(struct buf *out, struct slice ns, struct slice group, struct slice name)
{
    add_name(out, ns);
    add_name(out, group);
    add_name(out, name);
}

/* --- AES-256-GCM ---------------------------------------------------------------------------------------- */

static EVP_CIPHER_CTX *gcm_new(const uint8_t *key, const uint8_t *nonce, bool does_seal)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    if (c && EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce, does_seal) == 1)
        return c;
    EVP_CIPHER_CTX_free(c);
    return NULL;
}

static bool add_aad(EVP_CIPHER_CTX *c, struct slice aad)
{
    int n = 0;
    return aad.size == 0 || EVP_CipherUpdate(c, NULL, &n, aad.data, (int)aad.size) == 1;
}

static bool run_gcm(EVP_CIPHER_CTX *c, struct slice in, uint8_t *out)
{
    int n = 0;
    return in.size == 0 || (EVP_CipherUpdate(c, out, &n, in.data, (int)in.size) == 1 && n == (int)in.size);
}

int seal_aes_gcm(const uint8_t key[SEAL_KEY_SIZE], const uint8_t nonce[SEAL_NONCE_SIZE], struct slice aad,
                 struct slice in, uint8_t *ret, uint8_t ret_tag[SEAL_TAG_SIZE])
{
    uint8_t none[16];
    int n = 0;
    if (in.size > INT_MAX / 2 || aad.size > INT_MAX / 2)
        return ERR_INTERNAL;
    EVP_CIPHER_CTX *c = gcm_new(key, nonce, true);
    bool is_done = c && add_aad(c, aad) && run_gcm(c, in, ret) && EVP_CipherFinal_ex(c, none, &n) == 1 &&
                   EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, SEAL_TAG_SIZE, ret_tag) == 1;
    EVP_CIPHER_CTX_free(c);
    return is_done ? OK : ERR_INTERNAL;
}

int seal_add(const struct seal_key *key, const uint8_t nonce[SEAL_NONCE_SIZE], struct slice names,
             struct slice content, struct buf *out)
{
    uint8_t *at = buf_reserve(out, content.size + SEAL_ROOM);
    memcpy(at, nonce, SEAL_NONCE_SIZE);
    int err = seal_aes_gcm(key->content, nonce, names, content, at + SEAL_NONCE_SIZE,
                           at + SEAL_NONCE_SIZE + content.size);
    if (!err)
        out->size += content.size + SEAL_ROOM;
    return err;
}

int seal_open(const struct seal_key *key, struct slice names, struct slice sealed, uint8_t *ret)
{
    uint8_t none[16], tag[SEAL_TAG_SIZE];
    int n = 0;
    if (sealed.size < SEAL_ROOM || sealed.size > INT_MAX / 2)
        return ERR_CORRUPT;
    struct slice in = slice_of(sealed.data + SEAL_NONCE_SIZE, sealed.size - SEAL_ROOM);
    memcpy(tag, in.data + in.size, SEAL_TAG_SIZE);
    if (MUTANT(SEAL_NAMES_IGNORED))
        names = (struct slice){0};
    EVP_CIPHER_CTX *c = gcm_new(key->content, sealed.data, false);
    bool is_open = c && add_aad(c, names) && run_gcm(c, in, ret) &&
                   EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, SEAL_TAG_SIZE, tag) == 1 &&
                   (EVP_CipherFinal_ex(c, none, &n) == 1 || MUTANT(SEAL_TAG_UNCHECKED));
    EVP_CIPHER_CTX_free(c);
    if (!is_open)
        secret_clear(ret, in.size);
    return is_open ? OK : ERR_CORRUPT;
}

/* --- digests -------------------------------------------------------------------------------------------- */

void seal_digest(const struct seal_key *key, struct slice names, struct slice content,
                 uint8_t ret[SEAL_DIGEST_SIZE])
{
    struct buf text = {0};
    uint8_t inner[32];
    struct sha256 *s = sha256_new();
    sha256_add(s, content.data, content.size);
    sha256_finish(s, inner);
    buf_add_slice(&text, names);
    buf_add(&text, inner, sizeof inner);
    hmac_sha256(key->digest, SEAL_KEY_SIZE, text.data, text.size, ret);
    secret_clear(text.data, text.size);
    secret_clear(inner, sizeof inner);
    buf_done(&text);
}
