/* SPDX-License-Identifier: Apache-2.0
 * Reading and writing archives; see archive.h: bytes -> gzip -> tar -> files -> items. Paths are checked as
 * they arrive, the manifest after all files, so that it may stand anywhere in the archive.
 *
 * Invariant: by_path has each file that was begun; items[i] belongs to files[i]. */
#include "config/archive.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/gzip.h"
#include "base/hash.h"
#include "base/tar.h"
#include "base/text.h"
#include "config/seal/seal.h"

#define COMPONENT_MAX    255 /* bytes of a path's component; the limit of file systems */
#define COMPONENT_CUT    200 /* bytes that stay of a longer one */
#define PATH_MAX_HERE    4096
#define MATCH_STEP       16 /* files in one call */
#define PLAIN_STEP       (64u << 10)
#define VALUE_MAX        (256u << 10) /* bytes of one value of the manifest, or of blanks between two */
#define MANIFEST_VERSION 1

/* --- paths ------------------------------------------------------------------------------------------ */

/* '%' is always escaped, so "%~" marks a cut name: no other name gives that path. */
static void add_component(struct buf *out, struct slice name)
{
    size_t start = out->size;
    name_add_segment(out, name);
    if (out->size - start <= COMPONENT_MAX)
        return;
    uint8_t digest[32];
    struct sha256 *sha = sha256_new();
    sha256_add(sha, name.data, name.size);
    sha256_finish(sha, digest);
    size_t cut = start + COMPONENT_CUT;
    while ((out->data[cut] & 0xc0) == 0x80 || out->data[cut - 1] == '%' || out->data[cut - 2] == '%')
        cut--; /* not inside a character or an escape */
    out->size = cut;
    buf_add_text(out, "%~");
    for (size_t i = 0; i < 8; i++)
        buf_addf(out, "%02x", digest[i]);
}

void archive_add_path(struct buf *out, const struct config_id *key)
{
    if (slice_equal(key->ns, slice_text(ARCHIVE_MANIFEST)))
        buf_add_text(out, "%~" ARCHIVE_MANIFEST); /* a folder must not have the manifest's name */
    else
        add_component(out, key->ns);
    buf_add_byte(out, '/');
    add_component(out, key->group);
    buf_add_byte(out, '/');
    add_component(out, key->name);
}

/* --- the manifest ----------------------------------------------------------------------------------- */

void archive_manifest_begin(struct buf *out, uint64_t cluster_id, int64_t revision)
{
    buf_addf(out,
             "{\"format\":\"cairn-configs\",\"version\":%d,\"cluster_id\":\"%llu\",\"revision\":%lld,\n"
             "\"not_exported\":[\"history\",\"drafts\",\"gray rules\"],\n\"items\":[",
             MANIFEST_VERSION, (unsigned long long)cluster_id, (long long)revision);
}

struct slice archive_content(const struct config_release *release, bool decrypts)
{
    return release->sealed.size && !decrypts ? release->envelope : release->content;
}

void archive_manifest_item(struct buf *out, bool is_first, const struct config_id *key, uint64_t seq,
                           const struct config_release *release, bool decrypts)
{
    struct json_writer w = {.out = out};
    struct buf path = {0};
    archive_add_path(&path, key);
    buf_add_text(out, is_first ? "\n" : ",\n");
    jw_open(&w, '{');
    document_add_text(&w, "path", buf_slice(&path));
    document_add_text(&w, "namespace", key->ns);
    document_add_text(&w, "group", key->group);
    document_add_text(&w, "name", key->name);
    document_add_text(&w, "type", slice_text(format_name(release->format)));
    jw_key(&w, "size");
    jw_uint(&w, archive_content(release, decrypts).size);
    document_add_text(&w, "sealed", release->sealed);
    if (release->sealed.size && decrypts) {
        jw_key(&w, "decrypted");
        jw_bool(&w, true);
    }
    if (!release->sealed.size) {
        document_add_text(&w, "md5", slice_text(release->digest.md5));
        document_add_text(&w, "sha256", slice_text(release->digest.sha256));
    }
    document_add_text(&w, "title", release->title);
    document_add_text(&w, "note", release->note);
    jw_key(&w, "seq");
    jw_uint(&w, seq);
    jw_close(&w, '}');
    buf_done(&path);
}

void archive_manifest_end(struct buf *out)
{
    buf_add_text(out, "\n]}\n");
}

/* --- reading ---------------------------------------------------------------------------------------- */

struct file {
    struct slice path; /* in the arena */
    struct buf content;
    size_t at;     /* index in files and items */
    bool is_named; /* the manifest names it */
};

struct archive {
    struct archive_options options;
    struct arena arena;
    struct gzip_reader *gzip; /* NULL: plain tar, or not known yet */
    struct tar_reader tar;
    struct buf unpacked;
    uint8_t first[2]; /* bytes, until the format is known */
    size_t first_size;
    bool is_known;
    uint64_t bytes;
    struct file **files;
    struct config_import_item *items;
    size_t count, capacity;
    struct strmap by_path;
    struct file *open;
    struct buf manifest;
    bool has_manifest, is_manifest_open, is_skipping;
    /* archive_match */
    enum { MATCH_MEMBERS, MATCH_ITEMS, MATCH_FILES } match;
    size_t at; /* in the manifest's text; in files */
    size_t member_count, item_count;
    bool has_items;
    char error[512];
};

static struct slice archive_keep(struct archive *a, struct slice s)
{
    return slice_of(s.size ? arena_copy(&a->arena, s.data, s.size) : NULL, s.size);
}

struct archive *archive_new(const struct archive_options *options)
{
    struct archive *a = mem_new(sizeof *a);
    a->options = *options;
    a->options.ns = archive_keep(a, options->ns);
    a->options.group = archive_keep(a, options->group);
    return a;
}

void archive_free(struct archive *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->count; i++)
        buf_done(&a->files[i]->content);
    mem_free(a->files);
    mem_free(a->items);
    strmap_done(&a->by_path);
    gzip_reader_free(a->gzip);
    tar_reader_done(&a->tar);
    buf_done(&a->unpacked);
    buf_done(&a->manifest);
    arena_done(&a->arena);
    mem_free(a);
}

const char *archive_error(const struct archive *a)
{
    return a->error;
}

uint64_t archive_bytes(const struct archive *a)
{
    return a->bytes;
}

struct config_import_item *archive_items(struct archive *a, size_t *ret_count)
{
    *ret_count = a->count;
    return a->items;
}

__attribute__((format(printf, 3, 4))) static int refuse(struct archive *a, int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(a->error, sizeof a->error, format, args);
    va_end(args);
    return err;
}

/* For "%.*s": the length of a path in a sentence, at most 200 bytes. */
static int quoted_size(struct slice s)
{
    return s.size < 200 ? (int)s.size : 200;
}
#define QUOTED(s) quoted_size(s), (s).size ? (const char *)(s).data : ""

/* --- reading: files --------------------------------------------------------------------------------- */

static struct slice take_component(struct slice *rest)
{
    const uint8_t *slash = rest->size ? memchr(rest->data, '/', rest->size) : NULL;
    struct slice part = slice_of(rest->data, slash ? (size_t)(slash - rest->data) : rest->size);
    size_t skip = part.size + (slash != NULL);
    *rest = slice_of(rest->data + skip, rest->size - skip);
    return part;
}

/* Removes leading "./", as `tar c .` writes it; everything else must be exact. */
static int clean_path(struct archive *a, struct slice *path)
{
    while (path->size > 1 && path->data[0] == '.' && path->data[1] == '/')
        *path = slice_of(path->data + 2, path->size - 2);
    struct slice rest = *path;
    if (path->size > PATH_MAX_HERE)
        return refuse(a, ERR_INVALID, "a path is longer than %d bytes: \"%.*s...\"", PATH_MAX_HERE,
                      QUOTED(rest));
    if (!path->size || path->data[0] == '/' || path->data[path->size - 1] == '/')
        return refuse(a, ERR_INVALID, "\"%.*s\" is not a relative path of a file", QUOTED(*path));
    while (rest.size) {
        struct slice part = take_component(&rest);
        if (!part.size || slice_equal(part, slice_text(".")) || slice_equal(part, slice_text("..")))
            return refuse(a, ERR_INVALID, "\"%.*s\": a path may have no empty, \".\" or \"..\" part",
                          QUOTED(*path));
    }
    return OK;
}

/* Files that macOS adds to archives. */
static bool is_macos_file(struct slice path)
{
    struct slice name = path;
    for (struct slice rest = path; rest.size;)
        name = take_component(&rest);
    return slice_equal(name, slice_text(".DS_Store")) || (name.size > 2 && memcmp(name.data, "._", 2) == 0);
}

static struct file *add_file(struct archive *a, struct slice path)
{
    struct file *f = arena_new(&a->arena, sizeof *f);
    f->path = archive_keep(a, path);
    a->bytes += ARCHIVE_FILE_ROOM;
    if (a->count == a->capacity) {
        a->capacity = a->capacity ? 2 * a->capacity : 64;
        a->files = mem_resize(a->files, a->capacity * sizeof *a->files);
        a->items = mem_resize(a->items, a->capacity * sizeof *a->items);
    }
    a->items[a->count] = (struct config_import_item){0};
    a->files[f->at = a->count++] = f;
    (void)strmap_put(&a->by_path, f->path, f);
    return f;
}

static int refuse_file(struct archive *a, struct slice path, uint64_t size)
{
    return refuse(a, ERR_REQUEST_TOO_LARGE,
                  "\"%.*s\" has %llu bytes; a configuration may have %llu (--config-max-bytes)", QUOTED(path),
                  (unsigned long long)size, (unsigned long long)a->options.content_bytes_max);
}

/* A sealed file is longer than its content. */
static int check_size(struct archive *a, const struct file *f, bool is_sealed)
{
    uint64_t max = a->options.content_bytes_max + (is_sealed ? SEAL_ROOM : 0);
    return f->content.size > max ? refuse_file(a, f->path, f->content.size) : OK;
}

static int begin_file(struct archive *a, struct slice path)
{
    uint64_t size = a->tar.entry.size;
    a->is_manifest_open = slice_equal(path, slice_text(ARCHIVE_MANIFEST));
    if (a->is_manifest_open ? a->has_manifest : strmap_get(&a->by_path, path) != NULL)
        return refuse(a, ERR_INVALID, "\"%.*s\" is in the archive twice", QUOTED(path));
    if (a->is_manifest_open) {
        a->has_manifest = true;
        return OK;
    }
    if (size > a->options.content_bytes_max + SEAL_ROOM) /* it may be sealed: check_size */
        return refuse_file(a, path, size);
    a->open = add_file(a, path);
    return OK;
}

static int begin_entry(struct archive *a)
{
    struct slice path = buf_slice(&a->tar.entry.path);
    a->open = NULL;
    a->is_manifest_open = false;
    if (a->tar.entry.kind == TAR_FOLDER)
        return OK; /* folders follow from the paths of files */
    if (a->tar.entry.kind != TAR_FILE)
        return refuse(a, ERR_INVALID, "\"%.*s\" is %s: an archive of configurations may only have files",
                      QUOTED(path), tar_kind_name(a->tar.entry.kind));
    int err = clean_path(a, &path);
    return err || is_macos_file(path) ? err : begin_file(a, path);
}

static int read_tar(struct archive *a, struct slice in)
{
    enum tar_event event;
    int err;
    do {
        struct slice data;
        err = tar_read(&a->tar, &in, &event, &data);
        if (err)
            return refuse(a, ERR_MALFORMED, "%s", a->tar.error);
        if (event == TAR_ENTRY)
            err = begin_entry(a);
        else if (event == TAR_DATA && a->is_manifest_open)
            buf_add_slice(&a->manifest, data);
        else if (event == TAR_DATA && a->open)
            buf_add_slice(&a->open->content, data);
    } while (!err && event != TAR_MORE);
    return err;
}

/* --- reading: bytes --------------------------------------------------------------------------------- */

static int refuse_size(struct archive *a)
{
    return refuse(a, ERR_REQUEST_TOO_LARGE,
                  "the archive has more than %llu bytes unpacked, %d for each file included "
                  "(--config-import-max-bytes): export and import parts of it, by namespace, group or prefix",
                  (unsigned long long)a->options.bytes_max, ARCHIVE_FILE_ROOM);
}

static int add_plain(struct archive *a, struct slice *bytes, bool *ret_is_done)
{
    struct slice piece = slice_of(bytes->data, bytes->size < PLAIN_STEP ? bytes->size : PLAIN_STEP);
    *bytes = slice_of(bytes->data + piece.size, bytes->size - piece.size);
    a->bytes += piece.size;
    *ret_is_done = bytes->size == 0;
    return a->bytes > a->options.bytes_max ? refuse_size(a) : read_tar(a, piece);
}

static int add_packed(struct archive *a, struct slice *bytes, bool *ret_is_done)
{
    buf_clear(&a->unpacked);
    int err = gzip_read(a->gzip, bytes, &a->unpacked);
    a->bytes += a->unpacked.size;
    *ret_is_done = bytes->size == 0 && a->unpacked.size == 0;
    if (err == ERR_LIMIT || a->bytes > a->options.bytes_max)
        return refuse_size(a);
    if (err)
        return refuse(a, ERR_MALFORMED, "the archive's gzip is damaged, or something follows it");
    return read_tar(a, buf_slice(&a->unpacked));
}

static int add_known(struct archive *a, struct slice *bytes, bool *ret_is_done)
{
    int err = a->gzip ? add_packed(a, bytes, ret_is_done) : add_plain(a, bytes, ret_is_done);
    /* The files that began in these bytes count too. */
    return err || a->bytes <= a->options.bytes_max ? err : refuse_size(a);
}

int archive_step(struct archive *a, struct slice *bytes, bool *ret_is_done)
{
    while (!a->is_known && bytes->size) {
        bool is_done;
        a->first[a->first_size++] = *bytes->data;
        *bytes = slice_of(bytes->data + 1, bytes->size - 1);
        if (a->first_size < 2)
            continue;
        a->is_known = true;
        if (a->first[0] == 0x1f && a->first[1] == 0x8b)
            a->gzip = gzip_reader_new(a->options.bytes_max);
        struct slice first = slice_of(a->first, 2);
        int err = add_known(a, &first, &is_done);
        if (err)
            return err;
    }
    *ret_is_done = !a->is_known || bytes->size == 0;
    return a->is_known && (bytes->size || a->gzip) ? add_known(a, bytes, ret_is_done) : OK;
}

int archive_end(struct archive *a)
{
    if (!a->is_known)
        return refuse(a, ERR_INVALID, "the body must be an archive: a tar or a tar.gz");
    if (a->gzip && gzip_read_end(a->gzip))
        return refuse(a, ERR_MALFORMED, "the archive is cut off: its gzip does not end");
    if (!tar_has_ended(&a->tar))
        return refuse(a, ERR_MALFORMED, "the archive is cut off: its tar does not end");
    if (!a->count && !a->has_manifest)
        return refuse(a, ERR_INVALID, "there are no files in the archive");
    return OK;
}

/* --- names without a manifest ----------------------------------------------------------------------- */

/* Decodes as name_add_segment encodes; text in another form stays as it is. */
static struct slice archive_decode(struct archive *a, struct slice part)
{
    struct buf text = {0}, scratch = {0};
    struct slice name;
    buf_add_slice(&text, part);
    if (name_parse_segments(part, 1, &scratch, &name) == OK) {
        buf_clear(&text);
        buf_add_slice(&text, name);
    }
    name = archive_keep(a, buf_slice(&text));
    buf_done(&text);
    buf_done(&scratch);
    return name;
}

static void apply_target_options(const struct archive *a, struct config_import_item *item)
{
    if (a->options.ns.size)
        item->key.ns = a->options.ns;
    if (a->options.group.size)
        item->key.group = a->options.group;
}

/* "name", "group/name" or "namespace/group/name". */
static int name_by_path(struct archive *a, size_t i)
{
    struct file *f = a->files[i];
    struct config_import_item *item = &a->items[i];
    struct slice parts[3], rest = f->path;
    size_t n = 0;
    while (rest.size && n < 3)
        parts[n++] = take_component(&rest);
    if (rest.size)
        return refuse(a, ERR_INVALID,
                      "\"%.*s\" is too deep: a path without " ARCHIVE_MANIFEST
                      " is namespace/group/name, group/name "
                      "or name",
                      QUOTED(f->path));
    item->path = f->path;
    item->key.ns = n == 3 ? archive_decode(a, parts[0]) : slice_text("default");
    item->key.group = n >= 2 ? archive_decode(a, parts[n - 2]) : slice_text("default");
    item->key.name = archive_decode(a, parts[n - 1]);
    item->content = buf_slice(&f->content);
    apply_target_options(a, item);
    return check_size(a, f, false);
}

/* --- names in the manifest -------------------------------------------------------------------------- */

static uint8_t archive_peek(const struct archive *a)
{
    return a->at < a->manifest.size ? a->manifest.data[a->at] : 0;
}

static bool archive_is_blank(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static uint8_t archive_skip_blanks(struct archive *a)
{
    for (size_t end = a->at + VALUE_MAX; a->at < end && archive_is_blank(archive_peek(a));)
        a->at++;
    return archive_peek(a);
}

static bool skip_string(struct archive *a)
{
    size_t end = a->at + VALUE_MAX;
    for (a->at++; a->at < a->manifest.size && a->at < end; a->at++) {
        if (archive_peek(a) == '\\')
            a->at++;
        else if (archive_peek(a) == '"')
            return a->at++, true;
    }
    return false;
}

/* Skips to the end of a value by its brackets; its reader finds errors inside. */
static bool skip_value(struct archive *a, struct slice *ret)
{
    size_t start = a->at, depth = 0;
    while (a->at < a->manifest.size && a->at - start < VALUE_MAX) {
        uint8_t c = archive_peek(a);
        if (depth == 0 && (c == ',' || c == ']' || c == '}' || c == ':' || archive_is_blank(c)))
            break;
        if (c == '"' && !skip_string(a))
            return false;
        a->at += c != '"';
        depth += (size_t)(c == '{' || c == '[') - (size_t)(c == '}' || c == ']');
        if (depth == 0 && (c == '}' || c == ']' || c == '"'))
            break;
    }
    *ret = slice_of(a->manifest.data + start, a->at - start);
    return ret->size > 0 && ret->size < VALUE_MAX && depth == 0;
}

static int refuse_manifest(struct archive *a)
{
    return refuse(a, ERR_MALFORMED, ARCHIVE_MANIFEST " is malformed at byte %zu", a->at);
}

/* Takes the comma before every field or item except the first. */
static bool take_comma(struct archive *a, size_t count)
{
    if (count && archive_skip_blanks(a) != ',')
        return false;
    a->at += count > 0;
    archive_skip_blanks(a);
    return true;
}

static int read_member(struct archive *a)
{
    struct slice key, value;
    uint64_t version;
    if (!take_comma(a, a->member_count++) || archive_peek(a) != '"' || !skip_value(a, &key) ||
        archive_skip_blanks(a) != ':')
        return refuse_manifest(a);
    a->at++;
    archive_skip_blanks(a);
    if (slice_equal(key, slice_text("\"items\""))) {
        if (archive_peek(a) != '[' || a->has_items)
            return refuse_manifest(a);
        a->at++;
        a->has_items = true;
        a->match = MATCH_ITEMS;
        return OK;
    }
    if (!skip_value(a, &value))
        return refuse_manifest(a);
    if (slice_equal(key, slice_text("\"version\"")) &&
        (text_to_u64(value, &version) || version != MANIFEST_VERSION))
        return refuse(a, ERR_INVALID, ARCHIVE_MANIFEST " is of version %.*s; version %d is known here",
                      QUOTED(value), MANIFEST_VERSION);
    return OK;
}

/* Reads one field of the manifest, or its end. */
static int match_member(struct archive *a)
{
    if (a->member_count == 0) {
        if (archive_skip_blanks(a) != '{')
            return refuse_manifest(a);
        a->at++;
    }
    if (archive_skip_blanks(a) != '}')
        return read_member(a);
    a->at++;
    archive_skip_blanks(a);
    if (a->at < a->manifest.size || !a->has_items)
        return refuse_manifest(a);
    a->match = MATCH_FILES;
    a->at = 0;
    return OK;
}

struct manifest_item { /* the manifest's data on a file */
    struct slice path, type, md5, sha256;
    int64_t size, seq;
};

static int check_manifest_item(struct archive *a, struct manifest_item *named,
                               struct config_import_item *item, struct file **ret)
{
    struct file *f = strmap_get(&a->by_path, named->path);
    if (!f)
        return refuse(a, ERR_INVALID, ARCHIVE_MANIFEST " names \"%.*s\", which is not in the archive",
                      QUOTED(named->path));
    if (f->is_named)
        return refuse(a, ERR_INVALID, ARCHIVE_MANIFEST " names \"%.*s\" twice", QUOTED(named->path));
    if (named->size >= 0 && (uint64_t)named->size != f->content.size)
        return refuse(a, ERR_INVALID,
                      "\"%.*s\" has %zu bytes, by " ARCHIVE_MANIFEST
                      " %lld: without that file others may be imported "
                      "as they are",
                      QUOTED(named->path), f->content.size, (long long)named->size);
    item->path = f->path;
    item->content = buf_slice(&f->content);
    item->md5 = named->md5;
    item->sha256 = named->sha256;
    if (!item->key.ns.size)
        item->key.ns = slice_text("default");
    if (!item->key.group.size)
        item->key.group = slice_text("default");
    item->sealed_as = item->key;
    apply_target_options(a, item);
    f->is_named = true;
    *ret = f;
    return check_size(a, f, item->sealed.size && !item->is_decrypted);
}

static int read_item(struct archive *a, struct slice text)
{
    char error[200];
    struct document_reader r = document_reader_of(DOCUMENT_STRICT, &a->arena, error, sizeof error);
    struct config_import_item item = {0};
    struct manifest_item named = {.size = -1};
    struct file *f = NULL;
    document_begin(&r, text);
    document_string(&r, "path", PATH_MAX_HERE, &named.path);
    document_text(&r, "namespace", &item.key.ns);
    document_text(&r, "group", &item.key.group);
    document_text(&r, "name", &item.key.name);
    document_text(&r, "type", &named.type);
    document_number(&r, "size", 0, INT64_MAX, &named.size);
    document_text(&r, "md5", &named.md5);
    document_text(&r, "sha256", &named.sha256);
    document_text(&r, "title", &item.title);
    document_text(&r, "sealed", &item.sealed);
    document_bool(&r, "decrypted", &item.is_decrypted);
    document_string(&r, "note", CONFIG_NOTE_MAX, &item.note);
    document_number(&r, "seq", 0, CONFIG_SEQ_MAX, &named.seq);
    item.has_format = named.type.size > 0;
    if (named.type.size && format_from_name(named.type, &item.format))
        document_refuse(&r, "type", "is none of text, json, yaml, properties, toml, xml, html, bin");
    if (!named.path.size)
        document_refuse_last(&r, "path", "is missing");
    if (!item.key.name.size)
        document_refuse_last(&r, "name", "is missing");
    int err = document_end(&r);
    if (err)
        return refuse(a, err, ARCHIVE_MANIFEST ", \"%.*s\": %s", QUOTED(named.path), error);
    err = check_manifest_item(a, &named, &item, &f);
    if (!err)
        a->items[f->at] = item;
    return err;
}

static int match_item(struct archive *a)
{
    struct slice text;
    if (archive_skip_blanks(a) == ']') {
        a->at++;
        a->match = MATCH_MEMBERS;
        return OK;
    }
    if (!take_comma(a, a->item_count++) || !skip_value(a, &text))
        return refuse_manifest(a);
    return read_item(a, text);
}

static int match_file(struct archive *a)
{
    size_t i = a->at++;
    if (!a->has_manifest)
        return name_by_path(a, i);
    return a->files[i]->is_named
               ? OK
               : refuse(a, ERR_INVALID, "\"%.*s\" is in the archive, but not in its " ARCHIVE_MANIFEST,
                        QUOTED(a->files[i]->path));
}

int archive_match(struct archive *a, bool *ret_is_done)
{
    int err = OK;
    if (!a->has_manifest)
        a->match = MATCH_FILES;
    for (size_t i = 0; !err && i < MATCH_STEP; i++) {
        if (a->match == MATCH_MEMBERS)
            err = match_member(a);
        else if (a->match == MATCH_ITEMS)
            err = match_item(a);
        else if (a->at < a->count)
            err = match_file(a);
    }
    *ret_is_done = !err && a->match == MATCH_FILES && a->at == a->count;
    return err;
}
