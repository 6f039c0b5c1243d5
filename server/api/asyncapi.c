/* SPDX-License-Identifier: Apache-2.0
 * /asyncapi.json: the stream's tables as AsyncAPI 3.0: frames of the client (frame.def), frames of the server and
 * their items (sent.def), kinds of subscriptions (kind.def). It has nothing that is not in the tables.
 *
 * The document describes the member: it receives the client's frames and sends its own. */
#include <stdio.h>

#include "server/api/openapi.h"
#include "server/stream/frame.h"
#include "server/version.h"

#define HAS(id) STREAM_FIELD(STREAM_HAS_##id)

static const struct {
    const char *name;
    uint64_t must, may;
} types[STREAM_TYPES] = {
#define TYPE(id, name, need, must, may) {name, must, may},
#include "server/stream/frame.def"
};

static const struct {
    const char *name, *reader;
    uint64_t limit;
} fields[STREAM_FIELDS] = {
#define FIELD(id, name, how, member, limit) {name, #how, limit},
#include "server/stream/frame.def"
};

static const struct {
    const char *name, *what;
} kinds[] = {
#define KIND(name, how, need, what) {name, what},
#include "server/stream/kind.def"
#undef KIND
};

enum sent {
#define SENT(id, name, what) SENT_##id,
#include "server/stream/sent.def"
    SENT_FRAMES,
    SENT_BEFORE_ITEMS = SENT_FRAMES - 1,
#define SENT_ITEM(id, kind, what) SENT_##id,
#include "server/stream/sent.def"
    SENT_ALL,
};

static const struct {
    const char *name, *what;
} sent[SENT_ALL] = {
#define SENT(id, name, what) {name, what},
#include "server/stream/sent.def"
#define SENT_ITEM(id, kind, what) {"item_" kind, what},
#include "server/stream/sent.def"
};

static const struct {
    const char *kind;
    enum api_schema schema;
} sent_as[] = {
#define SENT_AS(kind, schema) {kind, SCHEMA_##schema},
#include "server/stream/sent.def"
};

#define F(id) (1u << SENT_##id)
static const struct {
    unsigned frames;
    const char *name;
    bool is_required;
    const char *schema;
} sent_fields[] = {
#define SENT_FIELD(frames, name, is_required, schema) {frames, name, is_required, schema},
#include "server/stream/sent.def"
};

enum {
    KIND_COUNT = sizeof kinds / sizeof *kinds,
    AS_COUNT = sizeof sent_as / sizeof *sent_as,
    SENT_FIELD_COUNT = sizeof sent_fields / sizeof *sent_fields
};

static void add_text(struct json_writer *w, const char *key, const char *text)
{
    jw_key(w, key);
    jw_text(w, text);
}

static void add_raw(struct json_writer *w, const char *key, const char *json)
{
    jw_key(w, key);
    jw_raw(w, slice_text(json));
}

static void open_object(struct json_writer *w, const char *key)
{
    jw_key(w, key);
    jw_open(w, '{');
}

static void add_ref(struct json_writer *w, const char *where, const char *name)
{
    char ref[160];
    snprintf(ref, sizeof ref, "#/%s/%s", where, name);
    jw_open(w, '{');
    add_text(w, "$ref", ref);
    jw_close(w, '}');
}

/* --- the client's frames ------------------------------------------------------------------------------ */

#define TEXT_LIST "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}"
#define TEXT_MAP  "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}}"

/* The JSON schema of the values that each reader of frame.c takes; %llu is the field's limit. Limits of texts are in bytes,
 * which JSON Schema cannot express; a limit of characters is never smaller. */
static const struct {
    const char *reader, *schema;
} readers[] = {
    {"read_uint", "{\"type\":\"integer\",\"minimum\":0,\"maximum\":%llu}"},
    {"read_sid", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":%llu}"},
    {"read_bool", "{\"type\":\"boolean\"}"},
    {"read_text", "{\"type\":\"string\",\"maxLength\":%llu}"},
    {"read_only", "{\"const\":\"only\"}"},
    {"read_md5", "{\"type\":\"string\",\"pattern\":\"^[0-9a-f]{32}$\"}"},
    {"read_object", "{\"$ref\":\"#/components/schemas/Instance\"}"},
    {"read_map",
     "{\"type\":\"object\",\"maxProperties\":%llu,\"additionalProperties\":{\"type\":\"string\"}}"},
    {"read_resume",
     "{\"type\":\"object\",\"properties\":{\"cluster_id\":{\"type\":\"string\",\"pattern\":\"^[0-9]+"
     "$\"},\"revision\":{\"type\":\"integer\",\"minimum\":0}},\"required\":[\"cluster_id\","
     "\"revision\"],\"additionalProperties\":false}"},
    {"read_session",
     "{\"type\":\"object\",\"properties\":{\"ttl\":{\"type\":\"integer\",\"minimum\":3,\"maximum\":"
     "86400},\"id\":{\"type\":\"string\"},\"key\":{\"type\":\"string\"}},\"additionalProperties\":"
     "false}"},
    {"read_known",
     "{\"type\":\"array\",\"maxItems\":%llu,\"items\":{\"type\":\"object\",\"properties\":{\"id\":{"
     "\"type\":\"string\"},\"revision\":{\"type\":\"integer\",\"minimum\":0},\"seq\":{\"type\":"
     "\"integer\",\"minimum\":0},\"settings_revision\":{\"type\":\"integer\",\"minimum\":0}},\"required\":["
     "\"id\",\"revision\"],\"additionalProperties\":false}}"},
    {"read_filter",
     "{\"type\":\"object\",\"properties\":{\"healthy\":{\"type\":\"boolean\"},\"guarded\":{\"type\":"
     "\"boolean\"},\"cluster\":{\"type\":\"string\"},\"version\":{\"type\":\"string\"},\"protocol\":{"
     "\"type\":\"string\"},\"tags\":" TEXT_LIST ",\"labels\":" TEXT_MAP "},\"additionalProperties\":false}"},
    {"read_groups",
     "{\"type\":\"array\",\"minItems\":1,\"maxItems\":%llu,\"items\":{\"type\":\"string\",\"minLength\":1}}"},
};

static const char *schema_of(const char *reader)
{
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        if (strcmp(readers[i].reader, reader) == 0)
            return readers[i].schema;
    return NULL;
}

const char *api_asyncapi_unknown_reader(void)
{
    for (size_t i = 0; i < STREAM_FIELDS; i++)
        if (!schema_of(fields[i].reader))
            return fields[i].reader;
    return NULL;
}

static void add_value(struct json_writer *w, size_t field)
{
    char text[24];
    struct buf schema = {0};
    const char *form = schema_of(fields[field].reader), *at = form ? strstr(form, "%llu") : NULL;
    snprintf(text, sizeof text, "%llu", (unsigned long long)fields[field].limit);
    if (at) {
        buf_add(&schema, form, (size_t)(at - form));
        buf_add_text(&schema, text);
        buf_add_text(&schema, at + strlen("%llu"));
    } else {
        buf_add_text(&schema, form ? form : "{}");
    }
    jw_key(w, fields[field].name);
    jw_raw(w, buf_slice(&schema));
    buf_done(&schema);
}

static void add_type(struct json_writer *w, const char *name)
{
    open_object(w, "type");
    add_text(w, "const", name);
    jw_close(w, '}');
}

/* Closed: the member refuses an unknown field. */
static void add_client_schema(struct json_writer *w, size_t type)
{
    open_object(w, types[type].name);
    add_text(w, "type", "object");
    open_object(w, "properties");
    add_type(w, types[type].name);
    for (size_t i = 0; i < STREAM_FIELDS; i++)
        if ((types[type].must | types[type].may) >> i & 1)
            add_value(w, i);
    jw_close(w, '}');
    jw_key(w, "required");
    jw_open(w, '[');
    jw_text(w, "type");
    for (size_t i = 0; i < STREAM_FIELDS; i++)
        if (types[type].must >> i & 1)
            jw_text(w, fields[i].name);
    jw_close(w, ']');
    jw_key(w, "additionalProperties");
    jw_bool(w, false);
    jw_close(w, '}');
}

/* --- the server's frames ------------------------------------------------------------------------------ */

/* Open: a newer member may send more fields. */
static void add_sent_schema(struct json_writer *w, unsigned s)
{
    open_object(w, sent[s].name);
    add_text(w, "type", "object");
    add_text(w, "description", sent[s].what);
    open_object(w, "properties");
    if (s < SENT_FRAMES)
        add_type(w, sent[s].name);
    for (size_t i = 0; i < SENT_FIELD_COUNT; i++) {
        if (!(sent_fields[i].frames >> s & 1))
            continue;
        open_object(w, sent_fields[i].name);
        jw_raw(w, slice_text(sent_fields[i].schema));
        jw_close(w, '}');
    }
    jw_close(w, '}');
    jw_key(w, "required");
    jw_open(w, '[');
    if (s < SENT_FRAMES)
        jw_text(w, "type");
    for (size_t i = 0; i < SENT_FIELD_COUNT; i++)
        if ((sent_fields[i].frames >> s & 1) && sent_fields[i].is_required)
            jw_text(w, sent_fields[i].name);
    jw_close(w, ']');
    jw_close(w, '}');
}

/* The name of the schema of a kind's items; NULL: no table has it. */
static const char *item_of(const char *kind)
{
    for (unsigned s = SENT_FRAMES; s < SENT_ALL; s++)
        if (strcmp(sent[s].name + strlen("item_"), kind) == 0)
            return sent[s].name;
    for (size_t i = 0; i < AS_COUNT; i++)
        if (strcmp(sent_as[i].kind, kind) == 0)
            return api_schemas[sent_as[i].schema].name;
    return NULL;
}

static void add_item_schema(struct json_writer *w)
{
    open_object(w, "item");
    add_text(w, "description", "An item of a subscription, by its kind.");
    jw_key(w, "anyOf");
    jw_open(w, '[');
    for (size_t i = 0; i < KIND_COUNT; i++) {
        const char *name = item_of(kinds[i].name);
        if (name)
            add_ref(w, "components/schemas", name);
        else
            jw_raw(w,
                   slice_text("{\"type\":\"object\",\"required\":[\"id\"],\"additionalProperties\":true}"));
    }
    jw_close(w, ']');
    jw_close(w, '}');
}

/* --- components ---------------------------------------------------------------------------------------- */

static void add_schemas(struct json_writer *w)
{
    open_object(w, "schemas");
    for (size_t i = 0; i < STREAM_TYPES; i++)
        add_client_schema(w, i);
    for (unsigned s = 0; s < SENT_ALL; s++)
        add_sent_schema(w, s);
    add_item_schema(w);
    bool is_used[SCHEMAS] = {[SCHEMA_INSTANCE] = true, [SCHEMA_INSTANCE_VIEW] = true};
    for (size_t i = 0; i < AS_COUNT; i++)
        is_used[sent_as[i].schema] = true;
    api_openapi_add_schemas(w, is_used);
    jw_close(w, '}');
}

static void add_message(struct json_writer *w, const char *name, const char *what)
{
    open_object(w, name);
    add_text(w, "name", name);
    add_text(w, "contentType", "application/json");
    if (what)
        add_text(w, "summary", what);
    jw_key(w, "payload");
    add_ref(w, "components/schemas", name);
    jw_close(w, '}');
}

static void add_components(struct json_writer *w)
{
    open_object(w, "components");
    open_object(w, "messages");
    for (size_t i = 0; i < STREAM_TYPES; i++)
        add_message(w, types[i].name, NULL);
    for (unsigned s = 0; s < SENT_FRAMES; s++)
        add_message(w, sent[s].name, sent[s].what);
    jw_close(w, '}');
    add_schemas(w);
    add_raw(w, "securitySchemes",
            "{\"token\":{\"type\":\"http\",\"scheme\":\"bearer\"},\"password\":{\"type\":\"http\",\"scheme\":"
            "\"basic\"}}");
    jw_close(w, '}');
}

/* --- channels and operations --------------------------------------------------------------------------- */

static void add_messages_of(struct json_writer *w, bool with_client)
{
    open_object(w, "messages");
    for (size_t i = 0; i < STREAM_TYPES && with_client; i++) {
        jw_key(w, types[i].name);
        add_ref(w, "components/messages", types[i].name);
    }
    for (unsigned s = 0; s < SENT_FRAMES; s++) {
        jw_key(w, sent[s].name);
        add_ref(w, "components/messages", sent[s].name);
    }
    jw_close(w, '}');
}

static void add_channels(struct json_writer *w)
{
    open_object(w, "channels");
    open_object(w, "websocket");
    add_text(w, "address", "/api/v1/stream");
    add_text(w, "description",
             "A WebSocket with the subprotocol cairn.v1+json; each message is one frame. hello comes first.");
    add_messages_of(w, true);
    add_raw(w, "bindings", "{\"ws\":{\"method\":\"GET\",\"bindingVersion\":\"0.1.0\"}}");
    jw_close(w, '}');
    open_object(w, "events");
    add_text(w, "address", "/api/v1/stream");
    struct buf what = {0};
    buf_add_text(
        &what,
        "Server-Sent Events: the data of an event is one frame, its name is the frame's type, its id is "
        "the resume token. The subscriptions are in the query, each begins with `kind`:");
    for (size_t i = 0; i < KIND_COUNT; i++)
        buf_addf(&what, "%s `%s` (%s)", i ? "," : "", kinds[i].name, kinds[i].what);
    buf_add_byte(&what, '.');
    add_text(w, "description", buf_text(&what));
    buf_done(&what);
    add_messages_of(w, false);
    jw_close(w, '}');
    jw_close(w, '}');
}

static void add_reply(struct json_writer *w, size_t type)
{
    bool is_request = types[type].must >> STREAM_HAS_RID & 1;
    if (type != STREAM_HELLO && !is_request)
        return;
    open_object(w, "reply");
    jw_key(w, "channel");
    add_ref(w, "channels", "websocket");
    jw_key(w, "messages");
    jw_open(w, '[');
    add_ref(w, "channels/websocket/messages", sent[is_request ? SENT_RESULT : SENT_WELCOME].name);
    add_ref(w, "channels/websocket/messages", sent[SENT_ERROR].name);
    jw_close(w, ']');
    jw_close(w, '}');
}

static void add_operation(struct json_writer *w, const char *name, const char *action, const char *channel)
{
    open_object(w, name);
    add_text(w, "action", action);
    jw_key(w, "channel");
    add_ref(w, "channels", channel);
}

static void add_send(struct json_writer *w, const char *name, const char *channel, const char *bindings)
{
    char where[64];
    snprintf(where, sizeof where, "channels/%s/messages", channel);
    add_operation(w, name, "send", channel);
    jw_key(w, "messages");
    jw_open(w, '[');
    for (unsigned s = 0; s < SENT_FRAMES; s++)
        add_ref(w, where, sent[s].name);
    jw_close(w, ']');
    if (bindings)
        add_raw(w, "bindings", bindings);
    jw_close(w, '}');
}

static void add_operations(struct json_writer *w)
{
    open_object(w, "operations");
    for (size_t i = 0; i < STREAM_TYPES; i++) {
        add_operation(w, types[i].name, "receive", "websocket");
        jw_key(w, "messages");
        jw_open(w, '[');
        add_ref(w, "channels/websocket/messages", types[i].name);
        jw_close(w, ']');
        add_reply(w, i);
        jw_close(w, '}');
    }
    add_send(w, "push", "websocket", NULL);
    add_send(w, "events", "events", "{\"http\":{\"method\":\"GET\",\"bindingVersion\":\"0.3.0\"}}");
    jw_close(w, '}');
}

static void describe(struct json_writer *w)
{
    add_text(w, "asyncapi", "3.0.0");
    open_object(w, "info");
    add_text(w, "title", "Cairn stream");
    add_text(w, "version", CAIRN_VERSION);
    add_text(
        w, "description",
        "Changes of services, configurations and keys, pushed by any member. A client ignores frames and "
        "fields that it does not know; a member refuses them.");
    add_raw(w, "license", "{\"name\":\"Apache-2.0\"}");
    jw_close(w, '}');
    add_text(w, "defaultContentType", "application/json");
    add_raw(
        w, "servers",
        "{\"member\":{\"host\":\"{address}\",\"protocol\":\"ws\",\"description\":\"Any member; wss with "
        "TLS.\","
        "\"variables\":{\"address\":{\"default\":\"127.0.0.1:2379\"}},\"security\":[{\"$ref\":"
        "\"#/components/securitySchemes/token\"},{\"$ref\":\"#/components/securitySchemes/password\"}]}}");
    add_channels(w);
    add_operations(w);
    add_components(w);
    jw_close(w, '}');
    buf_add_byte(w->out, '\n');
}

/* The document never changes: it is written once. */
void api_asyncapi_get(struct api_call *c)
{
    struct api *a = c->api;
    struct registry *registry = api_registry(c);
    if (!a->asyncapi.size) {
        struct json_writer *w = api_json(c, -1);
        describe(w);
        buf_add_slice(&a->asyncapi, buf_slice(w->out));
    }
    api_respond(c, 200, registry && registry_is_ready(registry) ? registry_revision(registry) : 0, NULL,
                buf_slice(&a->asyncapi));
}
