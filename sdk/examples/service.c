/* SPDX-License-Identifier: Apache-2.0
 * Example: a service that registers, discovers instances and follows its configuration. Usage: service
 * [ENDPOINTS]. It publishes the configuration itself. It ends when it has found its own instance and
 * received its settings. */
#include <cairn.h>
#include <pthread.h>
#include <stdio.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool is_found, has_settings;

static void set(bool *what)
{
    pthread_mutex_lock(&mutex);
    *what = true;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&mutex);
}

static void on_instances(struct cairn_discovery *d, const struct cairn_instances *now, void *arg)
{
    (void)d;
    (void)arg;
    for (size_t i = 0; i < now->count; i++)
        printf("payments: %s at %s:%d is %s\n", now->list[i].id, now->list[i].host, now->list[i].port,
               now->list[i].state);
    if (now->count)
        set(&is_found);
}

static void on_config(struct cairn_config_watch *w, const struct cairn_config *config, void *arg)
{
    (void)arg;
    if (config->is_deleted)
        return;
    printf("payments.yaml: %.*s\n", (int)config->content.size, (const char *)config->content.data);
    cairn_config_applied(w, config->seq, NULL); /* the program runs with it */
    set(&has_settings);
}

static int examples_service_run(struct cairn_client *client, struct cairn_error *error)
{
    struct cairn_register_request self = {
        .service = "payments", .id = "p1", .host = "10.0.0.5", .port = 8080, .zone = "b"};
    struct cairn_discover_request payments = {.service = "payments", .only_serving = true};
    struct cairn_config_publish_request settings = {.name = "payments.yaml",
                                                    .content = cairn_text("limit: 10")};
    struct cairn_registration *registration;
    struct cairn_discovery *discovery;
    struct cairn_config_watch *watch;
    int err = cairn_config_publish(client, &settings, NULL, error);
    if (!err)
        err = cairn_register_start(client, &self, NULL, NULL, &registration, error);
    if (!err)
        err = cairn_discover_start(client, &payments, on_instances, NULL, &discovery, error);
    if (!err)
        err = cairn_config_subscribe(client, NULL, NULL, "payments.yaml", on_config, NULL, &watch, error);
    if (err)
        return err;
    pthread_mutex_lock(&mutex);
    while (!is_found || !has_settings)
        pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
    return cairn_register_stop(registration); /* cairn_close stops the other objects */
}

int main(int argc, char **argv)
{
    struct cairn_options options = {.size = sizeof options,
                                    .endpoints = argc > 1 ? argv[1] : NULL,
                                    .client_id = "payments-1",
                                    .labels = "zone=b"};
    struct cairn_client *client;
    struct cairn_error error = {0};
    int err = cairn_open(&options, &client, &error);
    if (!err) {
        err = examples_service_run(client, &error);
        cairn_close(client);
    }
    if (err)
        fprintf(stderr, "%s (%s)\n", error.message[0] ? error.message : cairn_error_text(err),
                cairn_error_name(err));
    return err != CAIRN_OK;
}
