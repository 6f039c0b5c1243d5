/* SPDX-License-Identifier: Apache-2.0
 * Tests of the rules of proofs, of tokens as text, and of the fields that a MAC covers. */
#include "consensus/peer/peer_proof.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tests/unit/unit.h"

#define TOKEN "0123456789abcdef0123456789abcdef"

/* RFC 4231, test cases 1, 2 and 6. */
static void test_hmac(void **state)
{
    (void)state;
    uint8_t mac[32], key[131];
    static const uint8_t first[] = {0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53, 0x5c, 0xa8, 0xaf,
                                    0xce, 0xaf, 0x0b, 0xf1, 0x2b, 0x88, 0x1d, 0xc2, 0x00, 0xc9, 0x83,
                                    0x3d, 0xa7, 0x26, 0xe9, 0x37, 0x6c, 0x2e, 0x32, 0xcf, 0xf7};
    static const uint8_t second[] = {0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24,
                                     0x26, 0x08, 0x95, 0x75, 0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27,
                                     0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43};
    static const uint8_t sixth[] = {0x60, 0xe4, 0x31, 0x59, 0x1e, 0xe0, 0xb6, 0x7f, 0x0d, 0x8a, 0x26,
                                    0xaa, 0xcb, 0xf5, 0xb7, 0x7f, 0x8e, 0x0b, 0xc6, 0x21, 0x37, 0x28,
                                    0xc5, 0x14, 0x05, 0x46, 0x04, 0x0f, 0x0e, 0xe3, 0x7f, 0x54};
    memset(key, 0x0b, 20);
    hmac_sha256(key, 20, "Hi There", 8, mac);
    assert_memory_equal(mac, first, 32);
    hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac);
    assert_memory_equal(mac, second, 32);
    memset(key, 0xaa, sizeof key);
    hmac_sha256(key, sizeof key, "Test Using Larger Than Block-Size Key - Hash Key First", 54, mac);
    assert_memory_equal(mac, sixth, 32);
    assert_true(secret_equal(mac, sixth, 32));
    assert_false(secret_equal(mac, second, 32));
}

/* Every operation with every proof, with and without --require-peer-proof. */
static void test_rules(void **state)
{
    (void)state;
    static const struct {
        enum peer_operation operation;
        enum peer_verdict verdicts[2][PEER_PROOF_COUNT]; /* without and with the option */
    } rows[] = {
        {PEER_OPEN_STREAM,
         {{PEER_DIAL_BACK, PEER_ACCEPT, PEER_ACCEPT, PEER_ACCEPT},
          {PEER_REFUSE, PEER_REFUSE, PEER_ACCEPT, PEER_ACCEPT}}},
        {PEER_OPEN_UNKNOWN_STREAM,
         {{PEER_DIAL_BACK, PEER_ACCEPT, PEER_ACCEPT, PEER_ACCEPT},
          {PEER_REFUSE, PEER_REFUSE, PEER_ACCEPT, PEER_ACCEPT}}},
        {PEER_QUERY_WHO,
         {{PEER_ACCEPT, PEER_ACCEPT, PEER_ACCEPT, PEER_ACCEPT},
          {PEER_REFUSE, PEER_REFUSE, PEER_ACCEPT, PEER_ACCEPT}}},
        {PEER_QUERY_CLAIM,
         {{PEER_DIAL_BACK, PEER_ACCEPT, PEER_ACCEPT, PEER_ACCEPT},
          {PEER_REFUSE, PEER_REFUSE, PEER_ACCEPT, PEER_ACCEPT}}},
        {PEER_QUERY_REPLACE,
         {{PEER_DIAL_BACK, PEER_ACCEPT, PEER_ACCEPT, PEER_ACCEPT},
          {PEER_REFUSE, PEER_REFUSE, PEER_ACCEPT, PEER_ACCEPT}}},
        {PEER_QUERY_ADD,
         {{PEER_REFUSE, PEER_REFUSE, PEER_ACCEPT, PEER_ACCEPT},
          {PEER_REFUSE, PEER_REFUSE, PEER_ACCEPT, PEER_ACCEPT}}},
    };
    assert_int_equal(COUNT_OF(rows), PEER_OPERATION_COUNT);
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        for (int is_required = 0; is_required < 2; is_required++)
            for (unsigned shown = 0; shown < PEER_PROOF_COUNT; shown++)
                assert_int_equal(
                    peer_proof_judge(rows[i].operation, (enum peer_proof)shown, is_required != 0),
                    rows[i].verdicts[is_required][shown]);
}

static int parse(const char *text, struct proof_tokens *ret, char *error)
{
    return proof_tokens_parse(slice_text(text), ret, error, 200);
}

static void test_token_files(void **state)
{
    (void)state;
    struct proof_tokens t = {0};
    char error[200];
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "is empty"},
        {"\n  \n# a comment that is longer than a token must be\n", "is empty"},
        {"short\n", "line 1 is too short"},
        {TOKEN "\n0123456789abcdef0123456789abcde \n", "line 2 is too short"},
        {TOKEN "\n" TOKEN "\n" TOKEN "\n" TOKEN "\n" TOKEN "\n" TOKEN "\n" TOKEN "\n" TOKEN "\n" TOKEN,
         "line 9 is one too many"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_int_equal(parse(bad[i].text, &t, error), ERR_INVALID);
        assert_non_null(strstr(error, bad[i].says));
        assert_int_equal(t.count, 0);
    }
    assert_int_equal(parse("# new\r\n \t" TOKEN "x\t\r\n\n" TOKEN, &t, error), OK);
    assert_int_equal(t.count, 2);
    assert_true(slice_equal(buf_slice(&t.list[0]), slice_text(TOKEN "x")));
    assert_true(slice_equal(buf_slice(&t.list[1]), slice_text(TOKEN)));
    proof_tokens_free(&t);
    char *long_text = mem_alloc(PROOF_FILE_MAX + 1);
    memset(long_text, 'a', PROOF_FILE_MAX + 1);
    assert_int_equal(proof_tokens_parse(slice_of(long_text, PROOF_FILE_MAX + 1), &t, error, sizeof error),
                     ERR_INVALID);
    assert_int_equal(proof_tokens_parse(slice_of(long_text, PROOF_TOKEN_MAX + 1), &t, error, sizeof error),
                     ERR_INVALID);
    assert_int_equal(proof_tokens_parse(slice_of(long_text, PROOF_TOKEN_MAX), &t, error, sizeof error), OK);
    proof_tokens_free(&t);
    mem_free(long_text);
}

/* Each field, each role and each nonce changes the MAC. */
static void test_mac_covers_all(void **state)
{
    (void)state;
    static const uint8_t nonce_a[PROOF_NONCE_SIZE] = {1}, nonce_b[PROOF_NONCE_SIZE] = {2};
    const struct proof_handshake o = {.version = 2,
                                      .stream = 1,
                                      .cluster_id = 3,
                                      .from = 4,
                                      .to = 5,
                                      .run = 6,
                                      .number = 7,
                                      .dialer_nonce = nonce_a,
                                      .dialed_nonce = nonce_b,
                                      .urls = slice_text("http://a:1"),
                                      .text = slice_text("query")};
    struct proof_handshake others[12];
    for (size_t i = 0; i < COUNT_OF(others); i++)
        others[i] = o;
    others[0].version = 3;
    others[1].stream = 0;
    others[2].cluster_id = 4;
    others[3].from = 5;
    others[4].to = 4;
    others[5].run = 7;
    others[6].number = 8;
    others[7].dialer_nonce = nonce_b;
    others[8].dialed_nonce = nonce_a;
    others[9].urls = slice_text("http://a:2");
    others[10].text = slice_text("querx");
    others[11].urls = slice_text("http://a:1q"); /* no byte moves from one field to the next */
    uint8_t mac[PROOF_MAC_SIZE];
    proof_mac(slice_text(TOKEN), PROOF_DIALER, &o, mac);
    assert_true(proof_mac_matches(slice_text(TOKEN), PROOF_DIALER, &o, mac));
    for (size_t i = 0; i < COUNT_OF(others); i++)
        assert_false(proof_mac_matches(slice_text(TOKEN), PROOF_DIALER, &others[i], mac));
    for (unsigned role = 0; role <= PROOF_CONFIRM_ANSWER; role++)
        assert_int_equal(proof_mac_matches(slice_text(TOKEN), (enum proof_role)role, &o, mac),
                         role == PROOF_DIALER);
    assert_false(proof_mac_matches(slice_text(TOKEN "x"), PROOF_DIALER, &o, mac));
    for (size_t bit = 0; bit < sizeof mac * 8; bit++) {
        mac[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(proof_mac_matches(slice_text(TOKEN), PROOF_DIALER, &o, mac));
        mac[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* While a token is replaced: the first token makes proofs, every one is accepted; without a token nothing is
 * accepted. */
static void test_rotation(void **state)
{
    (void)state;
    static const uint8_t nonce[PROOF_NONCE_SIZE] = {9};
    const struct proof_handshake o = {.dialer_nonce = nonce, .dialed_nonce = nonce};
    struct proof_tokens old = {0}, both = {0}, swapped = {0}, none = {0};
    char error[200];
    uint8_t mac[PROOF_MAC_SIZE], zeros[PROOF_MAC_SIZE] = {0};
    assert_int_equal(parse(TOKEN "old", &old, error) | parse(TOKEN "old\n" TOKEN "new", &both, error) |
                         parse(TOKEN "new\n" TOKEN "old", &swapped, error),
                     OK);
    const struct proof_tokens *steps[] = {&old, &both, &swapped};
    for (size_t i = 0; i + 1 < COUNT_OF(steps); i++)
        for (size_t j = 0; j < 2; j++) {
            proof_tokens_mac(steps[i + j], PROOF_DIALED, &o, mac);
            assert_true(proof_tokens_match(steps[i + 1 - j], PROOF_DIALED, &o, mac));
        }
    proof_tokens_mac(&swapped, PROOF_DIALED, &o, mac);
    assert_false(proof_tokens_match(&old, PROOF_DIALED, &o, mac));
    assert_false(proof_tokens_match(&none, PROOF_DIALED, &o, mac));
    proof_tokens_mac(&none, PROOF_DIALED, &o, mac);
    assert_memory_equal(mac, zeros, sizeof mac);
    assert_false(proof_tokens_match(&both, PROOF_DIALED, &o, zeros));
    proof_tokens_free(&old);
    proof_tokens_free(&both);
    proof_tokens_free(&swapped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hmac),        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_token_files), cmocka_unit_test(test_mac_covers_all),
        cmocka_unit_test(test_rotation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
