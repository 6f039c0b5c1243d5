/* SPDX-License-Identifier: Apache-2.0
 * Memory of many mebibytes, given back in slices: the kernel takes about a millisecond for five of them, and
 * a limit may close dozens of connections in one turn of the loop. What is large goes in the next turns
 * (turn_queue.h), everything else at once. Loop thread only. */
#ifndef BASE_BUF_RELEASE_H
#define BASE_BUF_RELEASE_H

#include "base/buf.h"
#include "base/mem.h"

void buf_release(struct buf *b); /* as buf_done */
void mem_release(void *allocation,
                 size_t size);       /* as mem_free, which takes NULL; size: at most what it has */
void arena_release(struct arena *a); /* as arena_done */

#endif
