/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a file of join tokens. The reader refuses it with an error text, or the tokens keep to their
 * limits and can be written and read again. */
#include <stdlib.h>
#include <string.h>

#include "consensus/peer/peer_proof.h"

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proof_tokens tokens = {0}, again = {0};
    struct buf text = {0};
    char error[200] = "";
    if (proof_tokens_parse(slice_of(data, size), &tokens, error, sizeof error) != OK) {
        MUST(*error && tokens.count == 0);
        return 0;
    }
    MUST(tokens.count > 0 && tokens.count <= PROOF_TOKENS_MAX);
    for (size_t i = 0; i < tokens.count; i++) {
        MUST(tokens.list[i].size >= PROOF_TOKEN_MIN && tokens.list[i].size <= PROOF_TOKEN_MAX);
        MUST(tokens.list[i].data[0] != '#' && !memchr(tokens.list[i].data, '\n', tokens.list[i].size));
        buf_add_slice(&text, buf_slice(&tokens.list[i]));
        buf_add_text(&text, "\r\n");
    }
    MUST(proof_tokens_parse(buf_slice(&text), &again, error, sizeof error) == OK &&
         again.count == tokens.count);
    for (size_t i = 0; i < tokens.count; i++)
        MUST(slice_equal(buf_slice(&again.list[i]), buf_slice(&tokens.list[i])));
    proof_tokens_free(&tokens);
    proof_tokens_free(&again);
    buf_done(&text);
    return 0;
}
