#!/usr/bin/env python3
"""recordings.py: what the first edition of /api/v1 answered, and whether a member of today still answers so.

  recordings.py replay PORT FILE     sends the requests of FILE, in order, to a member without data. Exit 1 with a line for each answer
                                     that lacks a field or a header, or whose status, type of a field, error code or content is another
  recordings.py record PORT FILE     writes FILE: the requests of STEPS below with the answers of a member of that edition

An answer may have more: fields, headers, parameters and routes are added to v1, and never removed. The recorded file is committed and
stays as it is; a route that is added later is no part of this edition."""
import base64, http.client, json, re, socket, sys

HEADERS = ('Content-Type', 'ETag', 'X-Cairn-Revision', 'X-Cairn-Seq', 'Allow', 'Content-Security-Policy', 'Content-Disposition')
EXACT = {'code', 'type', 'state', 'operation', 'action', 'format', 'transport', 'id', 'name', 'group', 'namespace', 'md5', 'sha256', 'seq',
         'unchanged', 'valid', 'complete', 'serving', 'content', 'title', 'note', 'applied', 'changed', 'targets'}
# Differences that no request of the first edition meets, with the reason.
ACCEPTED = {
    'Registered.heartbeat_ms is optional now': 'an instance with a check has no session; registrations of the first edition have no check',
}
YAML = {'Content-Type': 'application/yaml'}

S, C = '/api/v1/services', '/api/v1/configs'
STEPS = [
    # services, instances, overrides
    {'m': 'GET', 'p': S}, {'m': 'GET', 'p': S + '/shop'},
    {'m': 'PUT', 'p': S + '/shop', 'b': {'metadata': {'team': 'a'}}}, {'m': 'PUT', 'p': S + '/shop', 'b': {'metadata': {'team': 'a'}}},
    {'m': 'PUT', 'p': S + '/shop/instances/i1',
     'b': {'host': '10.0.0.5', 'port': 8080, 'ports': {'metrics': 9100}, 'protocol': 'http', 'zone': 'b', 'region': 'eu', 'cluster': 'blue',
           'version': '1.4.0', 'weight': 10, 'tags': ['canary'], 'metadata': {'k': 'v'}, 'ttl': 60, 'grace': 30, 'state': 'up'},
     'save': {'lease': 'session'}},
    {'m': 'PUT', 'p': S + '/shop/instances/i1',
     'b': {'host': '10.0.0.5', 'port': 8080, 'ports': {'metrics': 9100}, 'protocol': 'http', 'zone': 'b', 'region': 'eu', 'cluster': 'blue',
           'version': '1.4.0', 'weight': 10, 'tags': ['canary'], 'metadata': {'k': 'v'}, 'ttl': 60, 'grace': 30, 'state': 'up'}},
    {'m': 'GET', 'p': S + '/shop/instances/i1'}, {'m': 'GET', 'p': S + '/shop/instances/none'}, {'m': 'GET', 'p': S + '/shop'},
    {'m': 'GET', 'p': S + '/shop?healthy=true&zone=a&region=eu&cluster=blue&version=1.4.0&protocol=http&tag=canary&label=k%3Dv'},
    {'m': 'GET', 'p': S + '?group=*&prefix=sh&limit=1'}, {'m': 'GET', 'p': S + '?consistency=local'},
    {'m': 'PUT', 'p': S + '/shop/instances/i1/override', 'b': {'weight': 0, 'enabled': True, 'reason': 'test'}},
    {'m': 'GET', 'p': S + '/shop/instances/i1'}, {'m': 'DELETE', 'p': S + '/shop/instances/i1/override'},
    {'m': 'DELETE', 'p': S + '/shop/instances/i1/override'},
    {'open': '/api/v1/stream?client_id=reader&labels=zone=b&kind=service&name=shop'}, {'m': 'GET', 'p': S + '/shop/subscribers', 'until': 'subscribers'},
    {'m': 'GET', 'p': '/sd/prometheus?service=shop'}, {'m': 'POST', 'p': S + '/shop/instances/i1/drain', 'b': {'wait': False}},
    {'m': 'GET', 'p': S + '/shop?wait_revision=1&timeout=10s'}, {'m': 'DELETE', 'p': S + '/shop/instances/i1'},
    {'m': 'DELETE', 'p': S + '/shop/instances/i1'}, {'m': 'DELETE', 'p': S + '/shop'}, {'m': 'DELETE', 'p': S + '/shop'},
    # sessions
    {'m': 'POST', 'p': '/api/v1/sessions', 'b': {'ttl': 30}, 'save': {'session': 'session', 'key': 'session_key'}},
    {'m': 'PUT', 'p': '/api/v1/sessions/${session}/heartbeat'},
    {'m': 'PUT', 'p': S + '/shop/instances/i2?session=${session}', 'b': {'host': 'h'}},
    {'m': 'DELETE', 'p': '/api/v1/sessions/${session}'}, {'m': 'PUT', 'p': '/api/v1/sessions/${session}/heartbeat'},
    # configurations
    {'m': 'GET', 'p': C}, {'m': 'GET', 'p': C + '/app.yaml'}, {'m': 'PUT', 'p': C + '/app.yaml?title=first&note=why', 'raw': 'port: 80', 'h': YAML},
    {'m': 'PUT', 'p': C + '/app.yaml', 'raw': 'port: 80', 'h': YAML}, {'m': 'PUT', 'p': C + '/app.yaml', 'raw': 'port: 81', 'h': YAML},
    {'m': 'PUT', 'p': C + '/app.yaml?validate=only', 'raw': 'port: 82'}, {'m': 'PUT', 'p': C + '/app.yaml', 'raw': 'port: ['},
    {'m': 'PUT', 'p': C + '/app.yaml?if_seq=1', 'raw': 'port: 83'}, {'m': 'GET', 'p': C + '/app.yaml'}, {'m': 'GET', 'p': C + '/app.yaml?meta=true'},
    {'m': 'GET', 'p': C + '/app.yaml?seq=1&consistency=local'}, {'m': 'GET', 'p': C + '?prefix=app&limit=1'},
    {'m': 'GET', 'p': C + '/app.yaml/history'}, {'m': 'GET', 'p': C + '/app.yaml/history?limit=1'}, {'m': 'GET', 'p': C + '/app.yaml/diff?from=1&to=2', 'hunks': True},
    {'m': 'GET', 'p': C + '/app.yaml/diff?from=1&to=2&meta=true'}, {'m': 'POST', 'p': C + '/app.yaml/rollback', 'b': {'seq': 1, 'note': 'back'}},
    {'m': 'POST', 'p': C + '/app.yaml/rollback', 'b': {'seq': 99}}, {'m': 'POST', 'p': C + '/app.yaml/rollback', 'b': {'colour': 1}},
    {'m': 'PUT', 'p': C + '/app.yaml/draft?title=d', 'raw': 'port: 90', 'h': YAML}, {'m': 'GET', 'p': C + '/app.yaml/draft'},
    {'m': 'GET', 'p': C + '/app.yaml/draft?meta=true'}, {'m': 'POST', 'p': C + '/app.yaml/publish', 'b': {'title': 't'}},
    {'m': 'POST', 'p': C + '/app.yaml/publish'}, {'m': 'PUT', 'p': C + '/app.yaml/draft', 'raw': 'x'}, {'m': 'DELETE', 'p': C + '/app.yaml/draft'},
    {'m': 'DELETE', 'p': C + '/app.yaml/draft'},
    {'m': 'PUT', 'p': C + '/app.yaml/gray/canary', 'b': {'match': {'zone': ['b']}, 'percent': 50, 'priority': 3, 'content': 'port: 91'}},
    {'m': 'GET', 'p': C + '/app.yaml/gray/canary'}, {'m': 'GET', 'p': C + '/app.yaml?labels=zone%3Db&client_id=c1'},
    {'open': '/api/v1/stream?client_id=reader&labels=zone=c&kind=config&name=app.yaml'}, {'m': 'GET', 'p': C + '/app.yaml/listeners', 'until': 'listeners'},
    {'m': 'GET', 'p': C + '/app.yaml/releases/4/delivery'}, {'m': 'POST', 'p': C + '/app.yaml/gray/canary/promote', 'b': {'note': 'go'}},
    {'m': 'PUT', 'p': C + '/app.yaml/gray/canary', 'b': {'match': {}, 'seq': 1}}, {'m': 'DELETE', 'p': C + '/app.yaml/gray/canary'},
    {'m': 'DELETE', 'p': C + '/app.yaml/gray/canary'}, {'m': 'DELETE', 'p': C + '/app.yaml?note=gone'}, {'m': 'DELETE', 'p': C + '/app.yaml'},
    {'m': 'GET', 'p': C + '?deleted=true'},
    {'m': 'POST', 'p': '/api/v1/bundles', 'b': {'publish': [{'name': 'b.json', 'content': '{}', 'type': 'json', 'title': 'b'}, {'name': 'c.txt', 'content': '1'}]}},
    {'m': 'POST', 'p': '/api/v1/bundles?validate=only', 'b': {'publish': [{'name': 'b.json', 'content': '[]'}]}},
    {'m': 'POST', 'p': '/api/v1/bundles', 'b': {'publish': [{'name': 'b.json', 'content': '{'}]}},
    {'m': 'POST', 'p': '/api/v1/bundles', 'b': {'delete': [{'name': 'c.txt', 'if_seq': 1}]}},
    {'m': 'GET', 'p': '/api/v1/export?namespace=default', 'archive': True},
    {'m': 'POST', 'p': '/api/v1/import?namespace=copy&dry_run=true', 'send_archive': True},
    {'m': 'POST', 'p': '/api/v1/import?namespace=copy&policy=overwrite', 'send_archive': True},
    {'m': 'POST', 'p': '/api/v1/import', 'raw': 'no archive', 'h': {'Content-Type': 'application/octet-stream'}},
    # errors of every route
    {'m': 'GET', 'p': '/api/v1/nope'}, {'m': 'POST', 'p': S}, {'m': 'GET', 'p': S + '?colour=red'}, {'m': 'GET', 'p': S + '?limit=0'},
    {'m': 'PUT', 'p': S + '/shop/instances/i1', 'raw': '{'}, {'m': 'PUT', 'p': S + '/shop/instances/i1', 'b': {'hots': 'x'}},
    {'m': 'POST', 'p': '/api/v1/sessions', 'raw': 'a=b', 'h': {'Content-Type': 'text/plain'}}, {'m': 'GET', 'p': C + '/a%2Fb'},
    {'m': 'GET', 'p': '/openapi.json'},
]


class Member:
    def __init__(self, port, is_recording=False):
        self.port, self.saved, self.archive, self.open, self.is_recording = port, {}, b'', [], is_recording

    def fill(self, text):
        return re.sub(r'\$\{(\w+)\}', lambda m: self.saved[m.group(1)], text)

    def send(self, step):
        body = json.dumps(step['b']).encode() if 'b' in step else step['raw'].encode() if 'raw' in step else None
        headers = dict(step.get('h', {'Content-Type': 'application/json'} if 'b' in step else {}))
        if step.get('send_archive'):
            body, headers['Content-Type'] = self.archive, 'application/octet-stream'
        if 'key' in self.saved and '${session}' in step['p']:
            headers['X-Cairn-Session-Key'] = self.saved['key']
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        c.request(step['m'], self.fill(step['p']), body, headers)
        answer = c.getresponse()
        text = answer.read()
        c.close()
        return answer.status, {h: answer.getheader(h) for h in HEADERS if answer.getheader(h) is not None}, text

    def hold(self, path):
        """A stream that stays open: its client is a subscriber, a listener."""
        s = socket.create_connection(('127.0.0.1', self.port), timeout=60)
        s.sendall(f'GET {path} HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
        while b'snapshot' not in s.recv(65536):
            pass
        self.open.append(s)

    def run(self, step):
        """None for a step without an answer."""
        if 'open' in step:
            return self.hold(step['open'])
        for _ in range(600):
            status, headers, text = self.send(step)
            is_json = headers.get('Content-Type', '').startswith('application/json')
            value = json.loads(text) if is_json else None
            if 'until' not in step or value.get(step['until']):
                break
        for name, field in step.get('save', {}).items():
            self.saved[name] = value[field]
        if step['p'] == '/openapi.json' and self.is_recording:
            value = outline(value)
        if step.get('archive'):
            self.archive, text = text, text[:2]
        return {'status': status, 'headers': headers,
                **({'json': value} if is_json else {'base64': base64.b64encode(text).decode()})}


def differences(was, now, path='', key=''):
    """Yields a sentence for each thing of `was` that `now` does not have."""
    kinds = {bool: 'boolean', int: 'number', float: 'number', str: 'text', list: 'list', dict: 'object', type(None): 'null'}
    if kinds[type(was)] != kinds[type(now)]:
        yield f'{path or "the answer"} was {kinds[type(was)]}, is {kinds[type(now)]}'
    elif isinstance(was, dict):
        for name, value in was.items():
            if name not in now:
                yield f'{path}.{name} is gone'
            else:
                yield from differences(value, now[name], f'{path}.{name}', name)
    elif isinstance(was, list):
        if len(was) != len(now):
            yield f'{path} had {len(was)} entries, has {len(now)}'
        for i, (a, b) in enumerate(zip(was, now)):
            yield from differences(a, b, f'{path}[{i}]', key)
    elif key in EXACT and was != now:
        yield f'{path} was {was!r}, is {now!r}'


def openapi_differences(was, now):
    """Operations, parameters, fields of answers and statuses that are gone; request fields that have become required."""
    for path, operations in was['paths'].items():
        for method, operation in operations.items():
            other = now['paths'].get(path, {}).get(method)
            if not other:
                yield f'{method} {path} is gone'
                continue
            have = {(p['name'], p['in']) for p in other['parameters']}
            yield from (f'{method} {path}: the parameter {p["name"]} is gone' for p in operation['parameters'] if (p['name'], p['in']) not in have)
            yield from (f'{method} {path}: the status {s} is gone' for s in operation['responses'] if s not in other['responses'])
            was_needed = {p['name'] for p in operation['parameters'] if p.get('required')}
            yield from (f'{method} {path}: {p["name"]} is required now' for p in other['parameters'] if p.get('required') and p['name'] not in was_needed)
    for name, schema in was['components']['schemas'].items():
        other = now['components']['schemas'].get(name)
        if not other:
            yield f'the schema {name} is gone'
            continue
        yield from (f'{name}.{f} is gone' for f in schema['properties'] if f not in other['properties'])
        if other.get('additionalProperties') is False:  # a request: nothing more may be required
            yield from (f'{name}.{f} is required now' for f in other['required'] if f not in schema['required'])
        else:
            yield from (f'{name}.{f} is optional now' for f in schema['required'] if f not in other['required'])


def outline(openapi):
    """The parts of the document that openapi_differences compares."""
    return {
        'paths': {path: {method: {'parameters': [{k: p[k] for k in ('name', 'in', 'required') if k in p} for p in o['parameters']],
                                  'responses': sorted(o['responses'])} for method, o in operations.items()}
                  for path, operations in openapi['paths'].items()},
        'components': {'schemas': {name: {'properties': sorted(s['properties']), 'required': s['required']}
                                   for name, s in openapi['components']['schemas'].items()}}}


def compare(step, was, now):
    if was['status'] != now['status']:
        yield f'the status was {was["status"]}, is {now["status"]}'
        return
    for name, value in was['headers'].items():
        if name not in now['headers']:
            yield f'the header {name} is gone'
        elif name in ('Content-Type', 'ETag', 'Content-Security-Policy', 'Allow') and 'json' not in was and now['headers'][name] != value:
            yield f'{name} was {value}, is {now["headers"][name]}'
    if step['p'] == '/openapi.json':
        yield from openapi_differences(was['json'], now['json'])
    elif 'json' in was:
        yield from differences(was['json'], now.get('json'))
    elif step.get('hunks'):  # the names before them are for people
        hunks = [base64.b64decode(a.get('base64', '')).partition(b'@@')[2] for a in (was, now)]
        yield from [f'the hunks were {hunks[0]!r}, are {hunks[1]!r}'] if hunks[0] != hunks[1] else []
    elif was['base64'] != now.get('base64'):
        yield f'the content was {base64.b64decode(was["base64"])!r}, is {base64.b64decode(now.get("base64", ""))!r}'


def record(port, file):
    member = Member(port, True)
    steps = [{**step, **({'answer': answer} if (answer := member.run(step)) else {})} for step in STEPS]
    with open(file, 'w') as f:
        f.write('[\n' + ',\n'.join(json.dumps(s, separators=(',', ':'), sort_keys=True) for s in steps) + '\n]\n')
    print(f'{len(steps)} steps')


def replay(port, file):
    member, failed, answers = Member(port), 0, 0
    with open(file) as f:
        steps = json.load(f)
    for step in steps:
        now = member.run(step)
        for sentence in compare(step, step['answer'], now) if 'answer' in step else ():
            if sentence in ACCEPTED:
                continue
            print(f'{step["m"]} {step["p"]}: {sentence}')
            failed += 1
        answers += 'answer' in step
    print(f'{answers} answers of the first edition, {failed} differences')
    return failed > 0


if __name__ == '__main__':
    sys.exit((record if sys.argv[1] == 'record' else replay)(int(sys.argv[2]), sys.argv[3]))
