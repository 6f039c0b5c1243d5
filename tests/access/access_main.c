/* SPDX-License-Identifier: Apache-2.0
 * Readers of the table of permissions (table.h):
 *
 *   access docs TEMPLATE   docs/security.md on stdout: the template, with its @...@ lines replaced by tables
 *   access rows            the table for the access tests, with tabs: surface, operation, path, need, callers, what
 *   access encode          lines "gRPC path, tab, JSON" on stdin to protobuf in hexadecimal on stdout
 *
 * Exit 1 with a sentence on stderr when something is wrong. */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "proto/json.h"
#include "server/rpc/rpc.h"
#include "tests/access/table.h"

/* --- the page ------------------------------------------------------------------------------------------- */

enum { LINE_WIDTH = 110 };

static const char *const yes_no[] = {"no", "yes"};

static void print_callers(unsigned first, unsigned last, const char *const *titles, size_t count)
{
    printf("| permission |");
    for (size_t i = 0; i < count; i++)
        printf(" %s |", titles[i]);
    printf(" what counts |\n|---|");
    for (size_t i = 0; i <= count; i++)
        printf("---|");
    printf("\n");
    for (unsigned a = first; a <= last; a++) {
        if (a == ACCESS_METHOD)
            continue;
        printf("| %s |", access_texts[a].title);
        for (size_t i = 0; i < count; i++) {
            unsigned bit = (first == ACCESS_OPEN ? BY_ROOT : BY_MEMBER) << i;
            printf(" %s |", yes_no[(access_texts[a].callers & bit) != 0]);
        }
        printf(" %s |\n", access_texts[a].text);
    }
}

static void print_client_callers(void)
{
    static const char *const titles[] = {"root", "a user with the right", "a user without", "no credentials"};
    print_callers(ACCESS_OPEN, ACCESS_OWN, titles, 4);
}

static void print_peer_callers(void)
{
    static const char *const titles[] = {"a member, with proof", "not a member, with proof", "without proof"};
    print_callers(ACCESS_PEER_OPEN, ACCESS_PEER_NEVER, titles, 3);
}

static void print_surfaces(void)
{
    printf(
        "| surface | what it is | port | credentials | with a client certificate |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < SURFACE_COUNT; i++)
        printf("| %s | %s | %s | %s | %s |\n", access_surfaces[i].name, access_surfaces[i].what,
               access_surfaces[i].port, access_surfaces[i].plain, access_surfaces[i].certificate);
}

struct list {
    enum access need;
    enum access_surface surface;
    struct buf text;
    char service[64];
    size_t count, column;
};

static void add_word(struct list *l, const char *word)
{
    size_t size = strlen(word);
    bool is_wrapped = l->count && l->column + size + 2 > LINE_WIDTH;
    buf_add_text(&l->text, !l->count ? "" : is_wrapped ? ",\n  " : ", ");
    l->column = is_wrapped ? size + 2 : l->column + size + 2;
    buf_add_text(&l->text, word);
    l->count++;
}

/* "/etcdserverpb.KV/Range": the service once, before its first method. */
static void add_method(struct list *l, const char *path)
{
    char service[64], word[160];
    const char *begin = strchr(path, '.') ? strchr(path, '.') + 1 : path + 1,
               *method = strrchr(path, '/') + 1;
    snprintf(service, sizeof service, "%.*s", (int)(method - 1 - begin), begin);
    if (strncmp(begin, "health", 6) == 0)
        snprintf(service, sizeof service, "Health");
    snprintf(word, sizeof word, "%s/%s", service, method);
    add_word(l, word);
}

static void add_row(void *arg, const struct access_row *row)
{
    struct list *l = arg;
    if (row->need != l->need || row->surface != l->surface)
        return;
    if (row->surface == SURFACE_GRPC)
        add_method(l, row->path);
    else if (row->surface != SURFACE_CONSOLE || l->count == 0)
        add_word(l, row->surface == SURFACE_CONSOLE ? "all files under /ui/" : row->operation);
}

static void print_list(enum access need, enum access_surface surface)
{
    struct list l = {.need = need, .surface = surface};
    l.column = strlen(access_surfaces[surface].name) + 4;
    access_rows_each(add_row, &l);
    if (l.count)
        printf("- %s: %s\n", access_surfaces[surface].name, buf_text(&l.text));
    buf_done(&l.text);
}

static void print_operations(enum access first, enum access last, enum access_surface begin,
                             enum access_surface end)
{
    for (enum access need = first; need <= last; need++) {
        if (need == ACCESS_METHOD)
            continue;
        printf("%s**%s**\n\n", need == first ? "" : "\n", access_texts[need].title);
        for (enum access_surface s = begin; s <= end; s++)
            if (s != SURFACE_GATEWAY)
                print_list(need, s);
    }
}

static void print_client_operations(void)
{
    print_operations(ACCESS_OPEN, ACCESS_OWN, SURFACE_GRPC, SURFACE_DNS);
}

static void print_peer_operations(void)
{
    print_operations(ACCESS_PEER_OPEN, ACCESS_PEER_NEVER, SURFACE_QUERY, SURFACE_MESSAGE);
}

static int print_page(const char *path)
{
    static const struct {
        const char *line;
        void (*print)(void);
    } parts[] = {
        {"@surfaces@\n", print_surfaces},
        {"@client callers@\n", print_client_callers},
        {"@client operations@\n", print_client_operations},
        {"@peer callers@\n", print_peer_callers},
        {"@peer operations@\n", print_peer_operations},
    };
    char line[4096];
    FILE *f = fopen(path, "r");
    if (!f) {
        fprintf(stderr, "access: cannot open %s\n", path);
        return 1;
    }
    while (fgets(line, sizeof line, f)) {
        void (*print)(void) = NULL;
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            if (strcmp(line, parts[i].line) == 0)
                print = parts[i].print;
        if (print)
            print();
        else
            fputs(line, stdout);
    }
    fclose(f);
    return 0;
}

/* --- for the tests -------------------------------------------------------------------------------------- */

static void print_row(void *arg, const struct access_row *row)
{
    (void)arg;
    printf("%s\t%s\t%s\t%s\t%u\t%s\n", access_surfaces[row->surface].id, row->operation, row->path,
           access_texts[row->need].id, access_texts[row->need].callers, row->what);
}

static int encode_line(char *line)
{
    char error[300];
    struct arena arena = {0};
    ProtobufCMessage *m;
    char *json = strchr(line, '\t');
    if (json)
        *json++ = 0;
    const struct rpc_method *method = rpc_method_find(slice_text(line));
    if (!json || !method) {
        fprintf(stderr, "access: no method %s\n", line);
        return 1;
    }
    if (json_to_message(method->request, slice_text(json), &arena, error, sizeof error, &m)) {
        fprintf(stderr, "access: %s: %s\n", line, error);
        return 1;
    }
    size_t size = protobuf_c_message_get_packed_size(m);
    uint8_t *bytes = arena_alloc(&arena, size + 1);
    protobuf_c_message_pack(m, bytes);
    for (size_t i = 0; i < size; i++)
        printf("%02x", bytes[i]);
    printf("\n");
    fflush(stdout); /* the reader at the other end waits for it */
    arena_done(&arena);
    return 0;
}

static int encode(void)
{
    char line[4096];
    int err = 0;
    while (!err && fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        err = encode_line(line);
    }
    return err;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "docs") == 0)
        return print_page(argv[2]);
    if (argc == 2 && strcmp(argv[1], "rows") == 0) {
        access_rows_each(print_row, NULL);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "encode") == 0)
        return encode();
    fprintf(stderr, "usage: access docs TEMPLATE | rows | encode\n");
    return 1;
}
