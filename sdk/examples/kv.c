/* SPDX-License-Identifier: Apache-2.0
 * Example: put, get, compare-and-swap, delete. Usage: kv [ENDPOINTS]. */
#include <cairn.h>
#include <stdio.h>

static int fails(const char *what, const struct cairn_error *error)
{
    fprintf(stderr, "%s: %s (%s)\n", what, error->message, cairn_error_name(error->code));
    return 1;
}

/* Increments the counter, unless it has changed since it was read. */
static int swap(struct cairn_client *client, int64_t revision, struct cairn_error *error)
{
    struct cairn_compare unchanged = {
        .key = cairn_text("example/counter"), .target = CAIRN_COMPARE_MOD, .number = revision};
    struct cairn_put_request put = {.key = cairn_text("example/counter"), .value = cairn_text("2")};
    struct cairn_op then = {.put = &put};
    struct cairn_txn_request txn = {
        .compares = &unchanged, .compare_count = 1, .then = &then, .then_count = 1};
    struct cairn_txn_result *result;
    if (cairn_txn(client, &txn, &result, error) != CAIRN_OK)
        return fails("txn", error);
    printf("swapped: %s\n", result->succeeded ? "yes" : "no");
    cairn_result_free(result);
    return 0;
}

int main(int argc, char **argv)
{
    struct cairn_options options = {.size = sizeof options, .endpoints = argc > 1 ? argv[1] : NULL};
    struct cairn_client *client;
    struct cairn_error error;
    if (cairn_open(&options, &client, &error) != CAIRN_OK)
        return fails("open", &error);

    struct cairn_put_request put = {.key = cairn_text("example/counter"), .value = cairn_text("1")};
    struct cairn_range_request get = {.key = cairn_text("example/"), .prefix = true};
    struct cairn_delete_request drop = {.key = cairn_text("example/"), .prefix = true};
    struct cairn_range_result *found;
    int failed = 1;
    if (cairn_put(client, &put, NULL, &error) != CAIRN_OK)
        fails("put", &error);
    else if (cairn_range(client, &get, &found, &error) != CAIRN_OK)
        fails("range", &error);
    else {
        for (size_t i = 0; i < found->kv_count; i++)
            printf("%.*s = %.*s\n", (int)found->kvs[i].key.size, (const char *)found->kvs[i].key.data,
                   (int)found->kvs[i].value.size, (const char *)found->kvs[i].value.data);
        failed = swap(client, found->kvs[0].mod_revision, &error);
        cairn_result_free(found);
    }
    if (!failed && cairn_delete(client, &drop, NULL, &error) != CAIRN_OK)
        failed = fails("delete", &error);
    cairn_close(client);
    return failed;
}
