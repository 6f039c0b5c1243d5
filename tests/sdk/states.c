/* SPDX-License-Identifier: Apache-2.0
 * Prints what a client of a real server reports: states ENDPOINTS STATE [USER PASSWORD]. It registers an instance
 * and follows a service and a configuration until STATE is reported, at most 60 s, and prints the reason.
 * `kick` before STATE: it ends its own session first. */
#include <cairn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static const char *wanted;
static bool has_come, is_registered;

static void on_state(struct cairn_client *c, const struct cairn_state_change *change, void *arg)
{
    (void)c;
    (void)arg;
    pthread_mutex_lock(&mutex);
    if (!has_come && strcmp(cairn_state_name(change->state), wanted) == 0) {
        has_come = true;
        printf("%s %s\n", cairn_error_name(change->reason.code), change->reason.message);
        pthread_cond_signal(&changed);
    }
    pthread_mutex_unlock(&mutex);
}

static void on_registration(struct cairn_registration *r, enum cairn_registration_state state,
                            const struct cairn_error *error, void *arg)
{
    (void)r;
    (void)error;
    (void)arg;
    pthread_mutex_lock(&mutex);
    is_registered |= state == CAIRN_REGISTERED;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&mutex);
}

static void on_log(struct cairn_client *c, enum cairn_log_level level, const char *line, void *arg)
{
    (void)c;
    (void)arg;
    fprintf(stderr, "%d %s\n", (int)level, line);
}

static void on_config(struct cairn_config_watch *w, const struct cairn_config *config, void *arg)
{
    (void)w;
    (void)config;
    (void)arg;
}

static bool wait_for(const bool *what)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 60;
    pthread_mutex_lock(&mutex);
    while (!*what && pthread_cond_timedwait(&changed, &mutex, &end) == 0)
        continue;
    bool is_set = *what;
    pthread_mutex_unlock(&mutex);
    return is_set;
}

/* Ends the session of the instance, as an operator would. */
static void kick(struct cairn_client *c)
{
    struct cairn_http_request get = {.method = "GET", .path = "/api/v1/services/states"},
                              end = {.method = "DELETE"};
    struct cairn_http_result *r;
    struct cairn_error error;
    char path[100] = "/api/v1/sessions/";
    if (!wait_for(&is_registered) || cairn_http(c, &get, &r, &error) != CAIRN_OK)
        exit(3);
    const char *session = strstr(r->body.data, "\"session\":\"");
    if (!session)
        exit(4);
    snprintf(path + strlen(path), sizeof path - strlen(path), "%.*s", (int)strcspn(session + 11, "\""),
             session + 11);
    cairn_result_free(r);
    end.path = path;
    if (cairn_http(c, &end, NULL, &error) != CAIRN_OK)
        exit(5);
}

int main(int argc, char **argv)
{
    bool is_kick = argc > 2 && strcmp(argv[2], "kick") == 0;
    if (argc < 3 + is_kick)
        return 2;
    wanted = argv[2 + is_kick];
    struct cairn_options options = {.size = sizeof options,
                                    .endpoints = argv[1],
                                    .user = argc > 4 ? argv[3] : NULL,
                                    .password = argc > 4 ? argv[4] : NULL,
                                    .on_state = on_state,
                                    .on_log = on_log};
    struct cairn_register_request self = {.service = "states", .id = "s1", .host = "10.0.0.1", .port = 1};
    struct cairn_discover_request service = {.service = "states"};
    struct cairn_client *c;
    struct cairn_registration *r;
    struct cairn_discovery *d;
    struct cairn_config_watch *w;
    struct cairn_error error;
    if (cairn_open(&options, &c, &error) != CAIRN_OK ||
        cairn_register_start(c, &self, on_registration, NULL, &r, &error) != CAIRN_OK ||
        cairn_discover_start(c, &service, NULL, NULL, &d, &error) != CAIRN_OK ||
        cairn_config_subscribe(c, NULL, NULL, "states.yaml", on_config, NULL, &w, &error) != CAIRN_OK)
        return 3;
    if (is_kick)
        kick(c);
    bool is_told = wait_for(&has_come);
    cairn_close(c);
    return !is_told;
}
