/* SPDX-License-Identifier: Apache-2.0
 * The thread of digest_thread.h. It reads the file and writes its own fields, which the other thread reads after
 * the join. */
#include "sdk/ctl/digest_thread.h"

static void *digest_main(void *arg)
{
    struct ctl_digest_thread *d = arg;
    d->err = etcd_db_digests(&d->file.source, d->wanted, d->digest);
    return NULL;
}

void ctl_digest_thread_begin(struct ctl_digest_thread *d, const struct ctl_db_file *file)
{
    d->file = *file;
    d->file.source.arg = &d->file;
    d->is_begun = true;
    d->is_thread = pthread_create(&d->thread, NULL, digest_main, d) == 0;
}

int ctl_digest_thread_end(struct ctl_digest_thread *d)
{
    if (d->is_begun && d->is_thread)
        (void)pthread_join(d->thread, NULL);
    else if (d->is_begun)
        (void)digest_main(d);
    d->is_begun = false;
    return d->err;
}
