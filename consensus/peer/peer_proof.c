/* SPDX-License-Identifier: Apache-2.0
 * Proofs on the peer port: rules, tokens, MACs; see peer_proof.h. */
#include "consensus/peer/peer_proof.h"

#include <assert.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mutant.h"

/* --- rules --------------------------------------------------------------------------------------------- */
static const struct {
    const char *name;
    enum peer_proof needed, needed_if_required;
} operations[PEER_OPERATION_COUNT] = {
    [PEER_OPEN_STREAM] = {"stream of a member", PEER_PROOF_DIAL_BACK, PEER_PROOF_TOKEN},
    [PEER_OPEN_UNKNOWN_STREAM] = {"stream of an unknown member", PEER_PROOF_DIAL_BACK, PEER_PROOF_TOKEN},
    [PEER_QUERY_WHO] = {"bootstrap query WHO", PEER_PROOF_NONE, PEER_PROOF_TOKEN},
    [PEER_QUERY_CLAIM] = {"bootstrap query CLAIM", PEER_PROOF_DIAL_BACK, PEER_PROOF_TOKEN},
    [PEER_QUERY_REPLACE] = {"bootstrap query REPLACE", PEER_PROOF_DIAL_BACK, PEER_PROOF_TOKEN},
    [PEER_QUERY_ADD] = {"bootstrap query ADD", PEER_PROOF_TOKEN, PEER_PROOF_TOKEN},
};

const char *peer_proof_name(enum peer_proof proof)
{
    static const char *const names[PEER_PROOF_COUNT] = {"none", "dial_back", "token", "mtls"};
    return proof < PEER_PROOF_COUNT ? names[proof] : "unknown";
}

const char *peer_operation_name(enum peer_operation operation)
{
    return operation < PEER_OPERATION_COUNT ? operations[operation].name : "unknown";
}

enum peer_proof peer_proof_needed(enum peer_operation operation, bool is_required)
{
    assert(operation < PEER_OPERATION_COUNT);
    if (operation == PEER_QUERY_ADD && MUTANT(PEER_ADD_WITHOUT_PROOF))
        return PEER_PROOF_NONE;
    return is_required && !MUTANT(PEER_PROOF_NOT_REQUIRED) ? operations[operation].needed_if_required
                                                           : operations[operation].needed;
}

enum peer_verdict peer_proof_judge(enum peer_operation operation, enum peer_proof shown, bool is_required)
{
    enum peer_proof needed = peer_proof_needed(operation, is_required);
    if (shown >= needed || MUTANT(PEER_PROOF_SKIPPED))
        return PEER_ACCEPT;
    return needed == PEER_PROOF_DIAL_BACK ? PEER_DIAL_BACK : PEER_REFUSE;
}

/* --- tokens -------------------------------------------------------------------------------------------- */
static bool peer_proof_is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f';
}

static struct slice peer_proof_trim(struct slice s)
{
    while (s.size && peer_proof_is_blank(s.data[0]))
        s = slice_of(s.data + 1, s.size - 1);
    while (s.size && peer_proof_is_blank(s.data[s.size - 1]))
        s.size--;
    return s;
}

static int add_token(struct proof_tokens *t, struct slice token, unsigned line, char *error, size_t size)
{
    const char *wrong = NULL;
    if (token.size < PROOF_TOKEN_MIN)
        wrong = "is too short; a token has at least 32 bytes of text, for instance from "
                "`openssl rand -base64 33`";
    else if (token.size > PROOF_TOKEN_MAX)
        wrong = "is too long; a token has at most 1024 bytes";
    else if (t->count == PROOF_TOKENS_MAX)
        wrong = "is one too many; at most 8 tokens are accepted";
    if (wrong) {
        snprintf(error, size, "line %u %s", line, wrong);
        return ERR_INVALID;
    }
    buf_add_slice(&t->list[t->count++], token);
    return OK;
}

int proof_tokens_parse(struct slice text, struct proof_tokens *ret_tokens, char *error, size_t error_size)
{
    struct proof_tokens tokens = {0};
    int err = OK;
    if (text.size > PROOF_FILE_MAX) {
        snprintf(error, error_size, "is longer than 16 KiB");
        return ERR_INVALID;
    }
    for (unsigned line = 1; text.size && !err; line++) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end ? (size_t)(end - text.data) : text.size;
        struct slice token = peer_proof_trim(slice_of(text.data, size));
        text = end ? slice_of(end + 1, text.size - size - 1) : (struct slice){0};
        if (token.size && token.data[0] != '#')
            err = add_token(&tokens, token, line, error, error_size);
    }
    if (!err && !tokens.count) {
        snprintf(error, error_size,
                 "is empty; it has one token a line, for instance from `openssl rand -base64 33`");
        err = ERR_INVALID;
    }
    if (err)
        proof_tokens_free(&tokens);
    else
        *ret_tokens = tokens;
    return err;
}

void proof_tokens_copy(struct proof_tokens *to, const struct proof_tokens *from)
{
    *to = (struct proof_tokens){.count = from->count};
    for (size_t i = 0; i < from->count; i++)
        buf_add_slice(&to->list[i], buf_slice(&from->list[i]));
}

void proof_tokens_free(struct proof_tokens *t)
{
    for (size_t i = 0; i < t->count; i++) {
        secret_clear(t->list[i].data, t->list[i].size);
        buf_done(&t->list[i]);
    }
    t->count = 0;
}

/* --- MACs ---------------------------------------------------------------------------------------------- */
enum { LABEL_SIZE = 24, FIXED_SIZE = LABEL_SIZE + 2 + 1 + 1 + 5 * 8 + 2 * PROOF_NONCE_SIZE + 4 + 32 };

static const char *const labels[] = {
    [PROOF_DIALED] = "cairn peer dialed",
    [PROOF_DIALER] = "cairn peer dialer",
    [PROOF_CONFIRM_REQUEST] = "cairn peer confirm?",
    [PROOF_CONFIRM_ANSWER] = "cairn peer confirmed",
};

/* | label 24, padded with NUL | version 2 | stream 1 | 0 | cluster 8 | from 8 | to 8 | run 8 | number 8 |
 *   | dialer's nonce 32 | dialed side's nonce 32 | size of urls 4 | SHA-256 of the query's text 32 | urls |
 *
 * Every field but the last has a fixed size: no two handshakes have the same bytes. */
static void add_input(struct buf *out, enum proof_role role, const struct proof_handshake *o)
{
    uint8_t *p = buf_reserve(out, FIXED_SIZE);
    memset(p, 0, FIXED_SIZE);
    memcpy(p, labels[role], strlen(labels[role]));
    p += LABEL_SIZE;
    p[0] = (uint8_t)o->version;
    p[1] = (uint8_t)(o->version >> 8);
    p[2] = o->stream;
    p += 4;
    const uint64_t numbers[] = {o->cluster_id, o->from, o->to, o->run, o->number};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++, p += 8)
        put_le64(p, numbers[i]);
    if (!MUTANT(PEER_NONCE_NOT_BOUND)) {
        memcpy(p, o->dialer_nonce, PROOF_NONCE_SIZE);
        memcpy(p + PROOF_NONCE_SIZE, o->dialed_nonce, PROOF_NONCE_SIZE);
    }
    p += 2 * PROOF_NONCE_SIZE;
    put_le32(p, (uint32_t)o->urls.size);
    struct sha256 *digest = sha256_new();
    sha256_add(digest, o->text.data, o->text.size);
    sha256_finish(digest, p + 4);
    out->size += FIXED_SIZE;
    buf_add_slice(out, o->urls);
}

void proof_mac(struct slice key, enum proof_role role, const struct proof_handshake *handshake,
               uint8_t ret_mac[PROOF_MAC_SIZE])
{
    struct buf input = {0};
    add_input(&input, role, handshake);
    hmac_sha256(key.data, key.size, input.data, input.size, ret_mac);
    buf_done(&input);
}

bool proof_mac_matches(struct slice key, enum proof_role role, const struct proof_handshake *handshake,
                       const uint8_t mac[PROOF_MAC_SIZE])
{
    uint8_t expected[PROOF_MAC_SIZE];
    proof_mac(key, role, handshake, expected);
    return secret_equal(expected, mac, PROOF_MAC_SIZE) || MUTANT(PEER_MAC_UNCHECKED);
}

bool proof_tokens_match(const struct proof_tokens *tokens, enum proof_role role,
                        const struct proof_handshake *handshake, const uint8_t mac[PROOF_MAC_SIZE])
{
    bool matches = false;
    for (size_t i = 0; i < tokens->count; i++)
        matches |= proof_mac_matches(buf_slice(&tokens->list[i]), role, handshake, mac);
    return matches;
}

void proof_tokens_mac(const struct proof_tokens *tokens, enum proof_role role,
                      const struct proof_handshake *handshake, uint8_t ret_mac[PROOF_MAC_SIZE])
{
    memset(ret_mac, 0, PROOF_MAC_SIZE);
    if (tokens->count)
        proof_mac(buf_slice(&tokens->list[0]), role, handshake, ret_mac);
}
