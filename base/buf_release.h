/* SPDX-License-Identifier: Apache-2.0
 * Release of large memory in slices. The kernel needs about a millisecond to unmap five mebibytes, and a
 * limit may close dozens of connections in one turn of the loop. So large allocations are released over the
 * next turns (turn_queue.h), small ones at once. Loop thread only. */
#ifndef BASE_BUF_RELEASE_H
#define BASE_BUF_RELEASE_H

#include "base/buf.h"
#include "base/mem.h"

void buf_release(struct buf *b); /* as buf_done */
void mem_release(void *allocation,
                 size_t size);       /* as mem_free (NULL is allowed); size: at most the allocation's */
void arena_release(struct arena *a); /* as arena_done */

#endif
