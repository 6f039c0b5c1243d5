/* SPDX-License-Identifier: Apache-2.0
 * gofail's listener, in a build with failpoints only: PUT, GET and DELETE /NAME, GET / (all), GET
 * /NAME/count, PUT /failpoints (several at once). GOFAIL_HTTP=host:port starts it,
 * GOFAIL_FAILPOINTS="a=terms;b=terms" sets some before anything else runs. */
#ifndef SERVER_FAILPOINT_HTTP_H
#define SERVER_FAILPOINT_HTTP_H

#include "base/err.h"

#ifdef FAILPOINTS
/* Before the server starts. ERR_MALFORMED, ERR_IO; said on stderr. */
MUST_CHECK int failpoint_http_start(void);
#endif

#endif
