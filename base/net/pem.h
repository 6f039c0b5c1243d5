/* SPDX-License-Identifier: Apache-2.0
 * PEM keys as texts. */
#ifndef BASE_NET_PEM_H
#define BASE_NET_PEM_H

#include "base/buf.h"
#include "base/err.h"

/* Appends the public key of a private key, of any form that OpenSSL reads without a password.
 * ERR_MALFORMED. */
MUST_CHECK int pem_public_of(struct slice private_key, struct buf *out);
/* Appends a public key (or a certificate's) in one form, so that two can be compared. ERR_MALFORMED. */
MUST_CHECK int pem_public(struct slice public_key, struct buf *out);

#endif
