/* SPDX-License-Identifier: Apache-2.0
 * The one list of errors. A fallible function returns 0 or one of these, all negative. Clients get every
 * error in some form, so the table also has the gRPC status, the HTTP status and the exact text. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/* The compiler warns if the caller ignores the result; write (void) to ignore it on purpose. */
#define MUST_CHECK __attribute__((warn_unused_result))

enum err_index {
#define ERR(name, grpc, http, text) name##_INDEX,
#include "base/err.def"
#undef ERR
    ERR_COUNT
};

enum err {
    OK = 0,
#define ERR(name, grpc, http, text) name = -(name##_INDEX + 1),
#include "base/err.def"
#undef ERR
};

/* All four take 0 or an enum err; a number that is neither reads as ERR_UNKNOWN. */
const char *err_name(int err); /* "ERR_KEY_EMPTY"; "OK" for 0 */
const char *err_text(int err); /* the text for clients; "" for 0 */
int err_grpc(int err);         /* gRPC status code; 0 for 0 */
int err_http(int err);         /* HTTP status; 200 for 0 */

/* The error for an errno: ERR_NO_DISK_SPACE, ERR_NOT_FOUND, ERR_EXISTS or ERR_IO. */
int err_from_errno(int errnum);

#endif
