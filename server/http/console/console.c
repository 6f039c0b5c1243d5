/* SPDX-License-Identifier: Apache-2.0
 * Server of the web console's files, from the program's read-only data, gzipped or inflated.
 *
 * Invariant: a path is only compared with the names of console.def, so no path can reach another file. The
 * data is not read before the first request: a node whose console is not opened does not keep it in
 * memory. */
#include "server/http/console/console.h"

#include <stdio.h>
#include <strings.h>

#include "base/gzip.h"
#include "base/hash.h"
#include "base/log.h"
#include "server/http/request.h"

enum { PREFIX_SIZE = 4 /* "/ui/" */, TAG_SIZE = 32, FILE_BYTES_MAX = 1024 * 1024 };

#define CONSOLE_FILE(id, name, type)                                                                         \
    extern const uint8_t console_file_##id[];                                                                \
    extern const uint8_t console_file_end_##id[];
#include "server/http/console/console.def"
#undef CONSOLE_FILE

static const struct console_file {
    const char *name, *type;
    const uint8_t *data, *end; /* gzip */
} files[] = {
#define CONSOLE_FILE(id, name, type) {name, type, console_file_##id, console_file_end_##id},
#include "server/http/console/console.def"
#undef CONSOLE_FILE
};

enum { FILE_COUNT = sizeof files / sizeof *files };

/* The MD5 of the file in hexadecimal, computed at the first request; "" before. */
static char tags[FILE_COUNT][TAG_SIZE + 1];

struct page {
    struct http_request *q;
    struct kv_request members;
    Etcdserverpb__MemberListRequest message;
};

static const char *tag_of(size_t i)
{
    uint8_t digest[16];
    if (!tags[i][0]) {
        md5(files[i].data, (size_t)(files[i].end - files[i].data), digest);
        for (size_t k = 0; k < sizeof digest; k++)
            snprintf(tags[i] + 2 * k, 3, "%02x", digest[k]);
    }
    return tags[i];
}

/* --- request headers --------------------------------------------------------------------------------- */

static struct slice console_trim(struct slice s)
{
    while (s.size && (*s.data == ' ' || *s.data == '\t'))
        s = slice_of(s.data + 1, s.size - 1);
    while (s.size && (s.data[s.size - 1] == ' ' || s.data[s.size - 1] == '\t'))
        s.size--;
    return s;
}

/* Takes the piece before the separator off the front of *rest. */
static struct slice cut(struct slice *rest, char separator)
{
    const uint8_t *at = rest->size ? memchr(rest->data, separator, rest->size) : NULL;
    struct slice piece = at ? slice_of(rest->data, (size_t)(at - rest->data)) : *rest;
    *rest = at ? slice_of(at + 1, rest->size - piece.size - 1) : (struct slice){0};
    return console_trim(piece);
}

/* "q=0", "q=0.0": not acceptable. */
static bool is_refused(struct slice parameters)
{
    struct slice q = cut(&parameters, ';');
    if (q.size < 3 || (q.data[0] | 0x20) != 'q' || q.data[1] != '=' || q.data[2] != '0')
        return false;
    for (size_t i = 3; i < q.size; i++)
        if (q.data[i] != '.' && q.data[i] != '0')
            return false;
    return true;
}

bool console_takes_gzip(struct slice accept_encoding)
{
    bool takes_any = false;
    while (accept_encoding.size) {
        struct slice item = cut(&accept_encoding, ',');
        struct slice coding = cut(&item, ';');
        bool is_any = slice_equal(coding, slice_text("*"));
        if (coding.size == 4 && strncasecmp((const char *)coding.data, "gzip", 4) == 0)
            return !is_refused(item);
        takes_any |= is_any && !is_refused(item);
    }
    return takes_any;
}

/* True: If-None-Match, a list of quoted, perhaps weak tags, has this tag. */
static bool has_tag(struct slice list, const char *tag)
{
    while (list.size) {
        struct slice item = cut(&list, ',');
        if (item.size > 2 && item.data[0] == 'W' && item.data[1] == '/')
            item = slice_of(item.data + 2, item.size - 2);
        if (slice_equal(item, slice_text("*")) || slice_equal(item, slice_text(tag)))
            return true;
    }
    return false;
}

/* --- answers ----------------------------------------------------------------------------------------- */

/* True: the URL has no character that could begin another directive of the policy. */
static bool is_plain_url(const char *url)
{
    bool is_http = strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
    return is_http &&
           !url[strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:/[]")];
}

static void add_policy(struct http_request *q, const Etcdserverpb__MemberListResponse *members)
{
    struct buf policy = {0};
    buf_add_text(&policy, "default-src 'self'; connect-src 'self'");
    for (size_t i = 0; members && i < members->n_members; i++)
        for (size_t j = 0; j < members->members[i]->n_clienturls; j++)
            if (is_plain_url(members->members[i]->clienturls[j]))
                buf_addf(&policy, " %s", members->members[i]->clienturls[j]);
    buf_add_text(&policy, "; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    http_add_header(q, "Content-Security-Policy", buf_text(&policy));
    http_add_header(q, "X-Frame-Options", "DENY"); /* for browsers without frame-ancestors */
    http_add_header(q, "Cross-Origin-Opener-Policy", "same-origin");
    http_add_header(q, "Referrer-Policy", "no-referrer");
    buf_done(&policy);
}

static int inflate_file(const struct console_file *f, struct buf *out)
{
    struct slice in = slice_of(f->data, (size_t)(f->end - f->data));
    struct gzip_reader *g = gzip_reader_new(FILE_BYTES_MAX);
    int err = 0;
    while (!err && in.size)
        err = gzip_read(g, &in, out);
    if (!err)
        err = gzip_read_end(g);
    gzip_reader_free(g);
    return err;
}

static void answer_file(struct http_request *q, size_t i, const Etcdserverpb__MemberListResponse *members)
{
    const struct console_file *f = &files[i];
    bool is_gzip = console_takes_gzip(q->accept_encoding);
    char tag[TAG_SIZE + 8];
    snprintf(tag, sizeof tag, "\"%s%s\"", tag_of(i), is_gzip ? "-gz" : "");
    q->state = NULL;
    add_policy(q, members);
    http_add_header(q, "ETag", tag);
    http_add_header(q, "Cache-Control", "no-cache"); /* browsers cache it, but revalidate it each time */
    http_add_header(q, "Vary", "Accept-Encoding");
    if (has_tag(q->if_none_match, tag)) {
        http_respond(q, 304, NULL, (struct slice){0});
        return;
    }
    if (is_gzip) {
        http_add_header(q, "Content-Encoding", "gzip");
        http_respond(q, 200, f->type, slice_of(f->data, (size_t)(f->end - f->data)));
        return;
    }
    buf_clear(&q->body);
    int err = inflate_file(f, &q->body);
    if (err) {
        log_error("a file of the console is damaged", F_STR("file", f->name), F_ERR(err));
        http_respond_error(q, 500, "a file of the console is damaged");
        return;
    }
    http_respond(q, 200, f->type, buf_slice(&q->body));
}

/* Serves the page itself: its policy allows requests to the other members' client URLs. */
static void on_members(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct page *p = (struct page *)(void *)((char *)r - offsetof(struct page, members));
    answer_file(p->q, 0, err ? NULL : (const Etcdserverpb__MemberListResponse *)(const void *)response);
}

static void file_end(struct http_request *q)
{
    struct slice name = slice_of(q->path.data + PREFIX_SIZE, q->path.size - PREFIX_SIZE);
    size_t i = 0;
    if (!(q->method & (HTTP_GET | HTTP_HEAD))) {
        http_add_header(q, "Allow", "GET, HEAD");
        http_respond_error(q, 405, "Method Not Allowed");
        return;
    }
    if (name.size)
        while (i < FILE_COUNT && !slice_equal(name, slice_text(files[i].name)))
            i++;
    if (i == FILE_COUNT || q->has_escaped_slash) {
        http_respond_error(q, 404, "404 page not found");
        return;
    }
    if (i > 0) {
        answer_file(q, i, NULL);
        return;
    }
    struct page *p = arena_alloc(&q->arena, sizeof *p);
    *p = (struct page){.q = q, .members.done = on_members};
    etcdserverpb__member_list_request__init(&p->message);
    q->state = p;
    kv_member_list(q->context, &p->members, &p->message);
}

static void file_gone(struct http_request *q)
{
    struct page *p = q->state;
    if (p)
        kv_cancel(q->context, &p->members);
}

static void redirect_end(struct http_request *q)
{
    http_add_header(q, "Location", "/ui/");
    http_respond(q, 301, NULL, (struct slice){0});
}

void console_mounts(struct kv *kv, struct http_mount ret_mounts[CONSOLE_MOUNTS])
{
    static const struct http_handler file_handler = {
        .end = file_end, .gone = file_gone, .work = TURN_CONSOLE};
    static const struct http_handler redirect_handler = {.end = redirect_end};
    ret_mounts[0] = (struct http_mount){.path = "/ui/", .handler = &file_handler, .context = kv};
    ret_mounts[1] = (struct http_mount){.path = "/ui", .handler = &redirect_handler, .context = kv};
}
