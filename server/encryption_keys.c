/* SPDX-License-Identifier: Apache-2.0
 * The keys of --encryption-key-file or --encryption-key-command, read once at start. They are never logged. */
#include <stdio.h>

#include "config/seal/keys.h"
#include "server/options.h"
#include "server/secret_file.h"

enum { COMMAND_MS = 30000 };

int options_read_encryption_keys(struct options *o)
{
    struct buf text = {0};
    char wrong[200];
    bool is_file = *o->encryption_key_file;
    const char *option = is_file ? "--encryption-key-file" : "--encryption-key-command";
    if (!is_file && !*o->encryption_key_command)
        return OK;
    if (is_file && *o->encryption_key_command) {
        snprintf(o->error, sizeof o->error,
                 "--encryption-key-file and --encryption-key-command cannot be given together");
        return ERR_INVALID;
    }
    int err = is_file ? secret_file_read(option, o->encryption_key_file, SEAL_KEYS_TEXT_MAX, &text, o->error,
                                         sizeof o->error)
                      : secret_command_run(option, o->encryption_key_command, COMMAND_MS, SEAL_KEYS_TEXT_MAX,
                                           &text, o->error, sizeof o->error);
    if (!err) {
        o->encryption_keys = mem_new(sizeof *o->encryption_keys);
        err = seal_keys_parse(buf_slice(&text), o->encryption_keys, wrong, sizeof wrong);
    }
    if (o->encryption_keys && err)
        snprintf(o->error, sizeof o->error, "%s: %s", option, wrong);
    secret_text_done(&text);
    return err;
}

void options_forget_encryption_keys(struct options *o)
{
    if (o->encryption_keys)
        seal_keys_clear(o->encryption_keys);
    mem_free(o->encryption_keys);
    o->encryption_keys = NULL;
}
