/* SPDX-License-Identifier: Apache-2.0
 * Tables of the native API: routes, query parameters and errors, as the server's own tables have them. */
#include <stdio.h>
#include <string.h>

#include "server/api/call.h"
#include "tests/docs/docs.h"

static unsigned printed[256];

/* The masks of parameters that many routes have. */
enum { NAMES_COUNT = 2, READ_COUNT = 3 };
static const enum api_param names[NAMES_COUNT] = {PARAM_NAMESPACE, PARAM_GROUP};
static const enum api_param reads[READ_COUNT] = {PARAM_CONSISTENCY, PARAM_WAIT_REVISION, PARAM_TIMEOUT};

static uint64_t mask_of(const enum api_param *list, size_t count)
{
    uint64_t mask = 0;
    for (size_t i = 0; i < count; i++)
        mask |= 1ull << list[i];
    return mask;
}

/* "N": namespace and group; "R": consistency, wait_revision and timeout. The page says so. */
static uint64_t add_letter(struct buf *out, uint64_t params, uint64_t mask, const char *letter)
{
    if ((params & mask) != mask)
        return params;
    buf_addf(out, "%s%s", out->data[out->size - 1] == ' ' ? "" : ", ", letter);
    return params & ~mask;
}

static void add_params(struct buf *out, const struct api_route *route)
{
    uint64_t rest = route->params;
    rest = add_letter(out, rest, mask_of(names, NAMES_COUNT), "N");
    rest = add_letter(out, rest, mask_of(reads, READ_COUNT), "R");
    for (int p = 0; p < PARAMS; p++)
        if (rest >> p & 1)
            buf_addf(out, "%s`%s`", out->data[out->size - 1] == ' ' ? "" : ", ", api_params[p].name);
}

static void add_errors(struct buf *out, uint64_t errors)
{
    for (int e = 0; e < API_ERRORS; e++)
        if (errors >> e & 1)
            buf_addf(out, "%s`%s`", out->data[out->size - 1] == ' ' ? "" : ", ", api_errors[e].code);
}

/* The argument: how the paths begin. */
static void print_routes(const char *prefix, struct buf *out)
{
    buf_add_text(out, "| route | query | errors | what it does |\n|---|---|---|---|\n");
    for (size_t i = 0; i < api_route_count; i++) {
        const struct api_route *route = &api_routes[i];
        char method[16];
        if (strncmp(route->path, prefix, strlen(prefix)) != 0)
            continue;
        printed[i]++;
        api_methods_text(route->method, method, sizeof method);
        method[strcspn(method, ",")] = 0; /* GET alone: HEAD goes with it */
        buf_addf(out, "| `%s %s` | ", method,
                 strncmp(route->path, "/api/v1", 7) == 0 ? route->path + 7 : route->path);
        add_params(out, route);
        buf_add_text(out, " | ");
        add_errors(out, route->errors);
        buf_add_text(out, " | ");
        docs_add_text(out, route->summary);
        buf_add_text(out, " |\n");
    }
}

/* Those that stand in a path as {name} have no line. */
static bool is_in_query(enum api_param p)
{
    for (size_t i = 0; i < api_route_count; i++)
        if (api_routes[i].params >> p & 1)
            return true;
    return false;
}

static void print_params(const char *argument, struct buf *out)
{
    (void)argument;
    buf_add_text(out, "| parameter | default | meaning |\n|---|---|---|\n");
    for (int p = 0; p < PARAMS; p++) {
        if (!is_in_query((enum api_param)p))
            continue;
        buf_addf(out, "| `%s` | ", api_params[p].name);
        if (api_params[p].standard)
            buf_addf(out, "`%s`", api_params[p].standard);
        buf_add_text(out, " | ");
        docs_add_text(out, api_params[p].what);
        buf_add_text(out, " |\n");
    }
}

/* Headings of codes; `type` of a problem (server/api/problem.c) refers to them. */
static void print_errors(const char *argument, struct buf *out)
{
    (void)argument;
    api_errors_write(out);
}

const struct docs_part docs_api_parts[] = {
    {"routes", print_routes},
    {"api-parameters", print_params},
    {"api-errors", print_errors},
    {NULL, NULL},
};

bool docs_routes_are_complete(void)
{
    bool is_complete = true;
    for (size_t i = 0; i < api_route_count; i++)
        is_complete = docs_report_row(api_routes[i].path, printed[i]) && is_complete;
    for (size_t e = 0; e < API_ERRORS; e++) {
        if (api_remedies[e])
            continue;
        fprintf(stderr, "docs: the error %s has no API_REMEDY in server/api/error.def\n", api_errors[e].code);
        is_complete = false;
    }
    return is_complete;
}
