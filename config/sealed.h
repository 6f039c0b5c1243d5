/* SPDX-License-Identifier: Apache-2.0
 * Opens the contents of releases and drafts that are stored sealed. Pure, except that the functions for
 * releases and drafts count failures: they are for the loop's thread. */
#ifndef CONFIG_SEALED_H
#define CONFIG_SEALED_H

#include "config/document.h"
#include "config/seal/keys.h"

struct config_id;

/* Opens an envelope into the arena. keys may be NULL.
 *   ERR_KEY_MISSING  this member has no key of this id
 *   ERR_CORRUPT      it was not sealed with this key under this name
 * The sentence of either is in error (at least 200 bytes). */
MUST_CHECK int sealed_open(const struct seal_keys *keys, const struct config_id *id, struct slice key_id,
                           struct slice envelope, struct arena *a, struct slice *ret, char *error,
                           size_t error_size);
/* The same for what was read from the store. Nothing to do for a clear one. */
MUST_CHECK int sealed_open_release(const struct seal_keys *keys, const struct config_id *id,
                                   struct config_release *r, struct arena *a, char *error, size_t error_size);
MUST_CHECK int sealed_open_draft(const struct seal_keys *keys, const struct config_id *id,
                                 struct config_draft *d, struct arena *a, char *error, size_t error_size);
/* The names of a configuration as authenticated data, in the arena. */
struct slice sealed_names(struct arena *a, const struct config_id *id);

#endif
