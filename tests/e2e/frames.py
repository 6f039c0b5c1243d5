"""frames.py: checks frames of the stream against the member's own /asyncapi.json, for stream_client.py. A field that the document does not
name is an error here, though clients ignore such fields."""
import json, re, urllib.request

TYPES = {'object': dict, 'array': list, 'string': str, 'boolean': bool, 'integer': int, 'null': type(None)}
KNOWN = {'type', 'const', 'enum', 'pattern', 'minimum', 'maximum', 'minLength', 'maxLength', 'maxItems', 'minItems', 'maxProperties',
         'properties', 'required', 'additionalProperties', 'items', 'anyOf', '$ref', 'description', 'examples', 'format',
         'contentEncoding', 'not'}


class Frames:
    def __init__(self, port):
        with urllib.request.urlopen(f'http://127.0.0.1:{port}/asyncapi.json', timeout=60) as answer:
            self.document = json.load(answer)
        self.schemas = self.document['components']['schemas']
        self.sent = {m['$ref'].rsplit('/', 1)[1] for m in self.document['operations']['push']['messages']}
        self.seen = set()

    def resolve(self, ref):
        at = self.document
        for part in ref[2:].split('/'):
            at = at[part]
        return at

    def why(self, value, schema, path):
        """A sentence when the value does not fit, else None."""
        assert set(schema) <= KNOWN, f'{path}: frames.py does not know {set(schema) - KNOWN}'
        if '$ref' in schema:
            return self.why(value, self.resolve(schema['$ref']), path)
        if 'anyOf' in schema:
            reasons = [self.why(value, s, path) for s in schema['anyOf']]
            return None if None in reasons else ' / '.join(reasons)
        if 'const' in schema and (value != schema['const'] or type(value) is not type(schema['const'])):
            return f'{path} is {value!r}, not {schema["const"]!r}'
        if 'enum' in schema and value not in schema['enum']:
            return f'{path} is {value!r}, none of {schema["enum"]}'
        kinds = schema.get('type', [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if kinds and not any(isinstance(value, TYPES[k]) and (k != 'integer' or not isinstance(value, bool)) for k in kinds):
            return f'{path} is {value!r}, not of type {kinds}'
        if isinstance(value, str):
            if 'pattern' in schema and not re.search(schema['pattern'], value):
                return f'{path} is {value!r}, not as {schema["pattern"]}'
            if not schema.get('minLength', 0) <= len(value) <= schema.get('maxLength', 1 << 60):
                return f'{path} has {len(value)} characters'
        elif isinstance(value, int) and not schema.get('minimum', value) <= value <= schema.get('maximum', value):
            return f'{path} is {value}'
        elif isinstance(value, list):
            if not schema.get('minItems', 0) <= len(value) <= schema.get('maxItems', 1 << 60):
                return f'{path} has {len(value)} items'
            for i, one in enumerate(value):
                reason = self.why(one, schema.get('items', {}), f'{path}[{i}]')
                if reason:
                    return reason
        elif isinstance(value, dict):
            return self.why_object(value, schema, path)
        return None

    def why_object(self, value, schema, path):
        if len(value) > schema.get('maxProperties', 1 << 60):
            return f'{path} has {len(value)} fields'
        fields, others = schema.get('properties', {}), schema.get('additionalProperties', 'properties' not in schema)
        for name in schema.get('required', []):
            if name not in value:
                return f'{path} has no {name}'
        for name, one in value.items():
            if name not in fields and others is False:
                return f'{path} has the unknown field {name}'
            reason = self.why(one, fields.get(name, others if isinstance(others, dict) else {}), f'{path}.{name}')
            if reason:
                return reason
        return None

    def check(self, frame):
        """Raises AssertionError for a frame of the server that the document does not describe."""
        kind = frame['type']
        assert kind in self.sent, f'the server sends {kind}, which /asyncapi.json does not have'
        reason = self.why(frame, self.schemas[kind], kind)
        assert not reason, f'{reason}\n{json.dumps(frame)[:600]}'
        self.seen.add(kind)
