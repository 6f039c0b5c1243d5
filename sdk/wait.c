/* SPDX-License-Identifier: Apache-2.0
 * Waiting of a thread for the client's thread: the caller posts and blocks until the operation ends. */
#include "sdk/private.h"

void waiter_end(struct waiter *w, void *result, const struct cairn_error *error)
{
    pthread_mutex_lock(&w->mutex);
    w->result = result;
    w->error = *error;
    w->is_over = true;
    pthread_cond_signal(&w->is_over_changed);
    pthread_mutex_unlock(&w->mutex);
}

int waiter_run(struct waiter *w, struct cairn_client *c, struct post *p, void **ret,
               struct cairn_error *error)
{
    if (client_is_own_thread(c))
        return set_error(error, CAIRN_INVALID, "a waiting call %s",
                         c->is_threadless ? "on the thread that calls cairn_process"
                                          : "inside a callback of the same client");
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->is_over_changed, NULL);
    w->is_over = false;
    int err = client_post(c, p);
    if (err) {
        set_error(&w->error, err, "%s", cairn_error_text(err));
    } else {
        w->was_posted = true;
        pthread_mutex_lock(&w->mutex);
        while (!w->is_over)
            pthread_cond_wait(&w->is_over_changed, &w->mutex);
        pthread_mutex_unlock(&w->mutex);
    }
    pthread_cond_destroy(&w->is_over_changed);
    pthread_mutex_destroy(&w->mutex);
    if (error)
        *error = w->error;
    if (ret && !w->error.code)
        *ret = w->result;
    else
        cairn_result_free(w->result);
    return w->error.code;
}
