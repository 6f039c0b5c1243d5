/* SPDX-License-Identifier: Apache-2.0
 * The file of --join-token-file, read at start and on SIGHUP. Its content is never logged. */
#include <stdio.h>

#include "server/options.h"
#include "server/secret_file.h"

int options_read_join_tokens(struct options *o, char *error, size_t error_size)
{
    struct proof_tokens tokens = {0};
    struct buf text = {0};
    char wrong[200] = "";
    int err =
        secret_file_read("--join-token-file", o->join_token_file, PROOF_FILE_MAX, &text, error, error_size);
    if (!err) {
        err = proof_tokens_parse(buf_slice(&text), &tokens, wrong, sizeof wrong);
        if (err)
            snprintf(error, error_size, "--join-token-file: %.400s: %s", o->join_token_file, wrong);
    }
    secret_text_done(&text);
    if (err)
        return err;
    proof_tokens_free(&o->join_tokens);
    o->join_tokens = tokens;
    return OK;
}
