/* SPDX-License-Identifier: Apache-2.0
 * gofail's HTTP listener, in a build with failpoints only.
 *
 *   PUT, GET, DELETE /NAME    one failpoint
 *   GET /                     all of them
 *   GET /NAME/count           how often it was hit
 *   PUT /failpoints           several at once
 *
 * GOFAIL_HTTP=host:port starts it. GOFAIL_FAILPOINTS="a=terms;b=terms" sets some before anything else runs. */
#ifndef SERVER_FAILPOINT_HTTP_H
#define SERVER_FAILPOINT_HTTP_H

#include "base/err.h"

#ifdef FAILPOINTS
/* Call it before the server starts. ERR_MALFORMED, ERR_IO; the reason is printed to stderr. */
MUST_CHECK int failpoint_http_start(void);
#endif

#endif
