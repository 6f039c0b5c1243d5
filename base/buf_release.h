/* SPDX-License-Identifier: Apache-2.0
 * Buffers of many mebibytes, given back in slices: the kernel takes about a millisecond for five of them, and
 * a limit may close dozens of connections in one turn of the loop. Loop thread only. */
#ifndef BASE_BUF_RELEASE_H
#define BASE_BUF_RELEASE_H

#include "base/buf.h"

/* As buf_done. The memory of a large buffer goes in one of the next turns (turn_queue.h). */
void buf_release(struct buf *b);

#endif
