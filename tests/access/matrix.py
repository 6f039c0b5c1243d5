#!/usr/bin/env python3
"""Tries every cell of the table of permissions on a real server: matrix.py ACCESS SERVER.json [fast]

The rows come from `access rows` (tests/access/table.c), so a row that has no example here fails the test. Each row is tried with users
disabled, and then with users enabled as each caller, on each transport that the server has. A cell holds when the server refuses exactly those
callers that the row's permission does not name. A request that fails for another reason (no such member, for example) was not refused.
"""
import base64, json, os, ssl, subprocess, sys
from client import Grpc, Http, Tls, WebSocket, connect, dns

BY_ROOT, BY_GRANTED, BY_USER, BY_ANYBODY = 1, 2, 4, 8
# An empty set of callers' rights: NONE, LEASE and ROOT of VARIANTS are in neither.
READS = {'OPEN', 'USER', 'READ', 'OWN', 'ANONYMOUS'}  # rights of a user that has only READ, on everything
WRITES = {'OPEN', 'USER', 'WRITE', 'OWN'}             # and of one that has WRITE
PASSWORD = 'pw'
USERS = ('root', 'granted', 'reader', 'writer', 'user')
ALIASES = {'/v3/lease/revoke': '/v3/kv/lease/revoke', '/v3/lease/timetolive': '/v3/kv/lease/timetolive',
           '/v3/lease/leases': '/v3/kv/lease/leases'}
ENDLESS = ('Watch/Watch', 'Health/Watch', 'Election/Observe', 'Maintenance/Snapshot')
REFUSALS = ('permission denied', 'user name is empty', 'invalid auth token', 'PermissionDenied', 'forbidden')


class Samples:
    """An example request for each operation. Names that must be new each time have a number."""

    def __init__(self):
        self.number = 0

    def grpc(self, path):
        self.number += 1
        n, key, leader = self.number, b64('app/a'), {'name': b64('app/elect'), 'key': b64('app/elect/1'), 'rev': 1, 'lease': 1}
        return {
            'KV/Range': {'key': key}, 'KV/RangeStream': {'key': key}, 'KV/Put': {'key': key, 'value': key},
            'KV/DeleteRange': {'key': b64('app/gone')},
            'KV/Txn': {'compare': [{'key': key, 'target': 'VERSION', 'version': 0}], 'success': [{'request_put': {'key': key}}]},
            'KV/Compact': {'revision': 1}, 'Watch/Watch': {'create_request': {'key': key}},
            'Lease/LeaseGrant': {'TTL': 60}, 'Lease/LeaseRevoke': {'ID': 7777}, 'Lease/LeaseKeepAlive': {'ID': 7777},
            'Lease/LeaseTimeToLive': {'ID': 7777, 'keys': True}, 'Lease/LeaseLeases': {},
            'Cluster/MemberAdd': {'peerURLs': ['no url']}, 'Cluster/MemberRemove': {'ID': 1}, 'Cluster/MemberList': {},
            'Cluster/MemberUpdate': {'ID': 1, 'peerURLs': ['http://127.0.0.1:1']}, 'Cluster/MemberPromote': {'ID': 1},
            'Maintenance/Alarm': {}, 'Maintenance/Status': {}, 'Maintenance/Defragment': {}, 'Maintenance/Hash': {},
            'Maintenance/HashKV': {}, 'Maintenance/Snapshot': {}, 'Maintenance/MoveLeader': {'targetID': 1},
            'Maintenance/Downgrade': {'action': 'VALIDATE', 'version': '3.6.0'},
            'Auth/AuthEnable': {}, 'Auth/AuthDisable': {}, 'Auth/AuthStatus': {},
            'Auth/Authenticate': {'name': 'user', 'password': PASSWORD},
            'Auth/UserAdd': {'name': f'new{n}', 'options': {'no_password': True}}, 'Auth/UserGet': {'name': 'granted'},
            'Auth/UserList': {}, 'Auth/UserDelete': {'name': 'nobody'},
            'Auth/UserChangePassword': {'name': 'nobody', 'password': 'x'}, 'Auth/UserGrantRole': {'user': 'nobody', 'role': 'app'},
            'Auth/UserRevokeRole': {'name': 'nobody', 'role': 'app'}, 'Auth/RoleAdd': {'name': f'new{n}'},
            'Auth/RoleGet': {'role': 'app'}, 'Auth/RoleList': {}, 'Auth/RoleDelete': {'role': 'none'},
            'Auth/RoleGrantPermission': {'name': 'none', 'perm': {'key': key}},
            'Auth/RoleRevokePermission': {'role': 'none', 'key': key},
            'Lock/Lock': {'name': b64(f'app/lock{n}')}, 'Lock/Unlock': {'key': b64('app/lock/1')},
            'Election/Campaign': {'name': b64(f'app/elect{n}'), 'value': key}, 'Election/Proclaim': {'leader': leader, 'value': key},
            'Election/Leader': {'name': b64('app/elected')}, 'Election/Observe': {'name': b64('app/elected')},
            'Election/Resign': {'leader': leader},
            'Health/Check': {}, 'Health/Watch': {},
        }.get(path.split('.')[-1])

    NATIVE = {  # handler: body
        'service_list': None, 'service_get': None, 'settings_put': {}, 'settings_delete': None, 'subscribers_get': None, 'service_events': None,
        'instance_get': None, 'instance_put': {'host': '10.0.0.1', 'port': 80},
        'instance_list_put': {'instances': [{'service': 'orders', 'id': 'o1', 'host': '10.0.0.1', 'port': 80}]}, 'instance_delete': None,
        'check_put': {'state': 'up'}, 'override_put': {'weight': 1}, 'override_delete': None, 'drain_post': None, 'session_post': None,
        'session_heartbeat': None, 'session_delete': None, 'config_list': None, 'config_get': None, 'config_put': 'a: 1',
        'config_delete': None, 'config_history': None, 'config_diff': None, 'config_rollback': {'seq': 1}, 'draft_get': None,
        'draft_put': 'a: 2', 'draft_delete': None, 'draft_publish': None, 'gray_get': None,
        'gray_put': {'match': {'zone': ['b']}, 'content': 'a: 3'}, 'gray_delete': None, 'gray_promote': None,
        'listeners_get': None, 'delivery_get': None, 'config_poll': {'configs': [{'name': 'app.yaml'}]}, 'bundle_post': {'publish': [{'name': 'app.yaml', 'content': 'a: 4'}]},
        'config_compare': None, 'promote_post': {'from': 'default', 'to': 'copied', 'items': [{'name': 'app.yaml', 'seq': 1, 'to_seq': 0}]},
        'config_export': None, 'config_import': 'no archive', 'draft_submit': {}, 'review_get': None, 'draft_approve': {'draft_revision': 1}, 'draft_reject': {'draft_revision': 1},
        'review_list': None, 'schedule_get': None, 'schedule_delete': None, 'schedule_list': None, 'rollout_get': None,
        'rollout_put': {'seq': 1, 'steps': [{'percent': 5, 'for': '1h'}]}, 'rollout_pause': {}, 'rollout_resume': {},
        'rollout_promote': {}, 'rollout_abort': {}, 'rollout_list': None, 'policy_get': None, 'policy_put': {'review': []},
        'policy_delete': None, 'config_seal': None, 'schema_list': None, 'schema_get': None, 'schema_put': 'true', 'schema_delete': None, 'prometheus_get': None, 'audit_get': None,
        'namespace_list': None, 'namespace_get': None, 'namespace_put': {'title': 'x'}, 'namespace_delete': None, 'namespace_deletion': None,
        'openapi_get': None, 'asyncapi_get': None, 'errors_get': None,
    }
    FRAMES = {
        'hello': {}, 'subscribe': {'sid': 1, 'kind': 'service', 'name': 'orders'}, 'unsubscribe': {'sid': 9},
        'register': {'rid': 1, 'name': 'orders', 'id': 'ws', 'instance': {'host': '10.0.0.2', 'port': 80}},
        'deregister': {'rid': 1, 'name': 'orders', 'id': 'gone'}, 'publish': {'rid': 1, 'name': 'app.yaml', 'content': 'a: 5'},
        'heartbeat': {}, 'ack': {'revision': 1}, 'applied': {'sid': 9, 'name': 'app.yaml', 'seq': 1, 'ok': True},
        'subscribe service': {'sid': 1, 'kind': 'service', 'name': 'orders'}, 'subscribe services': {'sid': 1, 'kind': 'services'},
        'subscribe config': {'sid': 1, 'kind': 'config', 'name': 'app.yaml'}, 'subscribe configs': {'sid': 1, 'kind': 'configs'},
        'subscribe kv': {'sid': 1, 'kind': 'kv', 'prefix': 'app/'},
        'subscribe instances': {'sid': 1, 'kind': 'instances', 'name': 'ord*'},
        'subscribe audit': {'sid': 1, 'kind': 'audit', 'name': 'orders'},
    }
    EVENTS = {'service': 'name=orders', 'services': 'prefix=', 'config': 'name=app.yaml', 'configs': 'prefix=', 'instances': 'name=ord*', 'kv': 'prefix=app/', 'audit': 'name=orders'}
    DNS = {'A': 'found.svc.cairn', 'AAAA': 'found6.svc.cairn', 'SRV': 'found.svc.cairn', 'TXT': 'found.svc.cairn',
           'PTR': '9.0.0.10.in-addr.arpa', 'NS': 'cairn', 'SOA': 'cairn', 'ANY': 'found.svc.cairn'}


def b64(text):
    return base64.b64encode(text.encode()).decode()


# Requests that need another permission than their row, or the same: operation, difference, permission.
VARIANTS = (
    ('Maintenance/Alarm', {'action': 'DEACTIVATE', 'memberID': 1, 'alarm': 'NOSPACE'}, 'ROOT'),
    ('Maintenance/Alarm', {'action': 'ACTIVATE', 'memberID': 1, 'alarm': 'NONE'}, 'ROOT'),
    ('KV/Put', {'key': b64('app/a'), 'value': b64('1'), 'prev_kv': True}, 'READ_WRITE'),
    ('KV/DeleteRange', {'key': b64('app/gone'), 'prev_kv': True}, 'READ_WRITE'),
    ('KV/Range', {'key': b64('other')}, 'NONE'), ('KV/Range', {'key': b64('app/a'), 'range_end': b64('z')}, 'NONE'),
    ('KV/Range', {'key': b64('app/a'), 'range_end': b64('\0')}, 'NONE'), ('KV/Put', {'key': b64('other')}, 'NONE'),
    ('KV/Put', {'key': b64('app/a'), 'value': b64('1'), 'lease': 9999}, 'LEASE'),
    ('KV/DeleteRange', {'key': b64('app/zz'), 'range_end': b64('\0')}, 'NONE'),
    ('KV/Txn', {'failure': [{'request_put': {'key': b64('other')}}], 'success': []}, 'NONE'),
    ('KV/Txn', {'success': [{'request_txn': {'failure': [{'request_range': {'key': b64('other')}}]}}]}, 'NONE'),
    ('KV/Txn', {'compare': [{'key': b64('other'), 'target': 'VERSION', 'version': 0}]}, 'NONE'),
    ('Watch/Watch', {'create_request': {'key': b64('app/a'), 'range_end': b64('\0')}}, 'NONE'),
    ('Lease/LeaseRevoke', {'ID': 9999}, 'NONE'), ('Lease/LeaseKeepAlive', {'ID': 9999}, 'NONE'),
    ('Lease/LeaseTimeToLive', {'ID': 9999, 'keys': True}, 'NONE'),
    ('Auth/UserGet', {'name': 'root'}, 'ROOT'), ('Auth/RoleGet', {'role': 'root'}, 'ROOT'),
    ('Election/Leader', {'name': b64('other')}, 'NONE'), ('Lock/Unlock', {'key': b64('other')}, 'NONE'),
)


class Row:
    def __init__(self, surface, operation, path, need, callers, what=''):
        self.surface, self.operation, self.path, self.need, self.callers, self.what = surface, operation, path, need, int(callers), what
        self.sample = self.method = None

    def variant(self, need, sample=None, method=None, path=None):
        """NONE: of the test's users only root has the right. LEASE: the lease holds keys that they may not write."""
        callers = {'ROOT': BY_ROOT, 'NONE': BY_ROOT, 'LEASE': BY_ROOT, 'READ_WRITE': BY_ROOT | BY_GRANTED}.get(need, self.callers)
        row = Row(self.surface, self.operation, path or self.path, need, callers, self.what)
        row.sample, row.method = sample, method
        return row

    def allows(self, caller):
        if caller == 'reader':
            return self.need in READS
        if caller == 'writer':
            return self.need in WRITES
        bit = {'root': BY_ROOT, 'granted': BY_GRANTED, 'user': BY_USER, 'anybody': BY_ANYBODY, 'wrong': BY_ANYBODY}[caller]
        if caller == 'wrong' and self.operation.endswith('AuthStatus'):
            return False  # a token that is sent must be valid, also where none is needed
        return bool(self.callers & bit)


class Matrix:
    def __init__(self, access, server):
        self.access, self.server, self.samples = access, server, Samples()
        self.rows = [Row(*line.split('\t')) for line in subprocess.run([access, 'rows'], check=True, capture_output=True, text=True).stdout.splitlines()]
        self.cells = self.failures = 0
        self.tokens, self.session = {}, None
        self.admin = Http(server['plain'])
        self.encoder = subprocess.Popen([access, 'encode'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    # --- what the cells need -------------------------------------------------------------------------------------------
    def admin_call(self, path, body, token='root'):
        status, text = self.admin.call('POST', path, json.dumps(body), self.tokens.get(token))
        return json.loads(text) if status == 200 else {'error': text}

    def login(self):
        for user in USERS:
            self.tokens[user] = self.admin_call('/v3/auth/authenticate', {'name': user, 'password': PASSWORD}, None)['token']
        self.tokens['wrong'] = 'abcdefghijklmnop.7'

    def enable(self):
        call = self.admin_call
        for user in USERS:
            call('/v3/auth/user/add', {'name': user, 'password': PASSWORD})
        for role, kind in (('app', 'READWRITE'), ('reads', 'READ'), ('writes', 'WRITE')):
            call('/v3/auth/role/add', {'name': role})
            for prefix in ('app/', '/cairn/'):
                end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
                call('/v3/auth/role/grant', {'name': role, 'perm': {'permType': kind, 'key': b64(prefix), 'range_end': b64(end)}})
        for user, role in (('root', 'root'), ('granted', 'app'), ('reader', 'reads'), ('writer', 'writes')):
            call('/v3/auth/user/grant', {'user': user, 'role': role})
        assert 'error' not in call('/v3/auth/enable', {})
        self.login()

    def native(self, method, path, body=None, user='root'):
        return self.admin.call(method, '/api/v1/' + path, body if body is None or isinstance(body, str) else json.dumps(body),
                               self.tokens.get(user))

    def fill(self):
        """Data for reads to find, so that an empty response does not pass for a refusal, nor a refusal for an empty response."""
        self.admin_call('/v3/kv/put', {'key': b64('app/a'), 'value': b64('1')})
        for service, host, name in (('orders', '10.0.0.1', 'i1'), ('found', '10.0.0.9', 'f1'), ('found6', 'fd00::1', 'f1')):
            status, text = self.native('PUT', f'services/{service}/instances/{name}?session={self.make_session()}', {'host': host, 'port': 80})
            assert status == 200, text
        assert self.native('PUT', 'configs/app.yaml', 'a: 1')[0] == 200
        if not self.tokens:  # won once, for as long as the server lives
            self.admin_call('/v3/lease/grant', {'ID': 8888, 'TTL': 3600})
            self.admin_call('/v3/election/campaign', {'name': b64('app/elected'), 'lease': 8888, 'value': b64('x')})

    def make_session(self):
        status, text = self.native('POST', 'sessions', {'ttl': 600})
        assert status == 200, text
        return json.loads(text)['session']

    def make_lease(self, lease, key):
        self.admin_call('/v3/lease/grant', {'ID': lease, 'TTL': 600})
        self.admin_call('/v3/kv/put', {'key': b64(key), 'lease': lease})

    def prepare(self, row):
        """State that an earlier cell may have used up."""
        if row.operation.endswith(('LeaseRevoke', 'LeaseKeepAlive', 'LeaseTimeToLive', 'LeaseLeases')):
            self.make_lease(7777, 'app/leased')
        if row.sample:
            self.make_lease(9999, 'other')
        elif row.operation.endswith('LeaseLeases'):  # the keys of every lease count
            self.admin_call('/v3/lease/revoke', {'ID': 9999})
        if '{lease}' in row.path:
            self.session = self.make_session()
            self.native('PUT', f'services/orders/instances/s1?session={self.session}', {'host': '10.0.0.3', 'port': 80})

    def repair(self, row):
        if row.operation.endswith('AuthDisable') and 'error' not in self.admin_call('/v3/auth/status', {}, None):
            self.admin_call('/v3/auth/enable', {}, None)
            self.login()

    # --- one request of each surface: whether it was refused, and what was said -----------------------------------------
    def try_grpc(self, t, row, token):
        sample = row.sample or self.samples.grpc(row.path)
        assert sample is not None, f'{row.path} has no example in matrix.py'
        self.encoder.stdin.write(f'{row.path}\t{json.dumps(sample)}\n')
        self.encoder.stdin.flush()
        message = bytes.fromhex(self.encoder.stdout.readline())
        is_endless = row.path.endswith(ENDLESS)
        status, text, body = t.grpc.call(row.path, message, token, not is_endless)
        assert status != -1, f'{row.path}: {text}'
        said = text + (body[5:].decode('latin-1') if is_endless else '')
        return status in (7, 16) or any(word in said for word in REFUSALS), f'{status} {text}'

    def try_gateway(self, t, row, token):
        sample = row.sample or self.samples.grpc(row.operation)
        assert sample is not None, f'{row.operation} has no example in matrix.py'
        call = t.http.first if row.operation.endswith(ENDLESS) else t.http.call
        status, text = call('POST', row.path, json.dumps(sample), token)
        return status in (401, 403) or any(word in text for word in REFUSALS), f'{status} {text[:120]}'

    def try_native(self, t, row, token):
        path, handler = row.path, row.what
        assert handler in Samples.NATIVE, f'{row.operation} has no example in matrix.py'
        for part, value in (('{service}', 'orders'), ('{id}', 'i1'), ('{name}', 'app.yaml'), ('{rule}', 'r1'), ('{release}', '1'), ('{ns}', 'app'),
                            ('{lease}', str(self.session))):
            path = path.replace(part, value)
        body = Samples.NATIVE[handler]
        body = body if body is None or isinstance(body, str) else json.dumps(body)
        status, text = t.http.call(row.method or row.operation.split()[0], path + {'config_diff': '?from=1&to=2', 'config_compare': '?to_namespace=copied'}.get(handler, ''), body,
                                   token and 'Bearer ' + token)
        return status in (401, 403), f'{status} {text[:160]}'

    def try_stream(self, t, row, token):
        """With the token in the hello frame, and again with the header of the upgrade alone: both say the same."""
        in_hello, said = self.try_frame(t, row, token, None)
        if not token:
            return in_hello, said
        in_header, said_again = self.try_frame(t, row, None, 'Bearer ' + token)
        if in_hello != in_header:
            self.failures += 1
            print(f'  FAIL {t.name}, STREAM {row.operation}: token in hello: {said}; Authorization on the upgrade: {said_again}')
        return in_hello, said

    def try_frame(self, t, row, token, authorization):
        name = row.operation
        assert name in Samples.FRAMES, f'frame {name} has no example in matrix.py'
        s = WebSocket(t.port, t.tls, authorization=authorization)
        s.say({'type': 'hello', 'client_id': 'm', **({'token': token} if token else {})})
        frames = [s.hear()]
        if frames[0] and frames[0]['type'] == 'welcome' and name != 'hello':
            s.say({'type': name.split()[0], **Samples.FRAMES[name]})
            s.say({'type': 'unsubscribe', 'sid': 77})  # its answer comes after the frame's own
            while frames[-1] and not (frames[-1]['type'] == 'error' and frames[-1].get('sid') == 77):
                frames.append(s.hear())
                if frames[-1] and frames[-1].get('rid') == 1:
                    break
        s.close()
        codes = [f.get('code') for f in frames if f and f['type'] == 'error' and f.get('sid') != 77]
        return frames[0] is None or frames[0]['type'] != 'welcome' or any(c in ('forbidden', 'invalid_auth_token') for c in codes), \
            str(frames)[:200]

    def try_events(self, t, row, token):
        assert row.operation in Samples.EVENTS, f'kind {row.operation} has no example in matrix.py'
        path = f'/api/v1/stream?kind={row.operation}&{Samples.EVENTS[row.operation]}'
        status, text = t.http.first('GET', path, None, token and 'Bearer ' + token,
                                    lambda text: any(f'event: {e}' in text and text.endswith('\n\n') for e in ('error', 'snapshot', 'delta')))
        return status in (401, 403) or any(word in text for word in REFUSALS), f'{status} {text[:200]}'

    def try_open(self, t, row, token):
        status, text = t.http.call('GET', row.path, None, token and 'Bearer ' + token)
        return status in (401, 403), f'{status} {text[:80]}'

    TRIES = {'GRPC': try_grpc, 'GATEWAY': try_gateway, 'NATIVE': try_native, 'STREAM': try_stream, 'EVENTS': try_events,
             'PROCESS': try_open, 'CONSOLE': try_open}

    # --- the walk ----------------------------------------------------------------------------------------------------------
    def cell(self, t, row, caller, wanted, token):
        self.cells += 1
        self.prepare(row)
        if os.environ.get('TRACE'):
            print(f'       {t.name} {row.surface} {row.operation} as {caller}', flush=True)
        is_refused, said = Matrix.TRIES[row.surface](self, t, row, token)
        if is_refused == wanted:
            self.failures += 1
            print(f'  FAIL {t.name}, users {"on" if self.tokens else "off"}, {row.surface} {row.operation} as {caller}: '
                  f'{"refused" if is_refused else "served"}, needs {row.need}: {said}')
        if self.tokens:
            self.repair(row)

    def walk(self, t, callers, rows=None, is_certificate=False):
        """Each caller shows its token, if not a certificate. AuthDisable comes last: root's ends all tokens."""
        before = self.cells
        order = sorted((r for r in rows or self.rows if r.surface in Matrix.TRIES), key=lambda r: r.operation.endswith('AuthDisable'))
        for row in order:
            for caller in callers:
                token = None if caller == 'anybody' or is_certificate else self.tokens.get(caller)
                self.cell(t, row, caller, row.allows(caller) if self.tokens else True, token)
        print(f'  ok   {t.name}, users {"on" if self.tokens else "off"}: {self.cells - before} cells')

    def walk_variants(self, t):
        """Requests that need another permission than their row, each path by its other names, and HEAD where there is GET."""
        rows = []
        self.make_lease(9999, 'other')
        for operation, sample, need in VARIANTS:
            rows += [r.variant(need, sample) for r in self.rows if r.operation.endswith('.' + operation)]
        for r in self.rows:
            if r.surface == 'GATEWAY':
                rows.append(r.variant(r.need, path=r.path.replace('/v3/', '/v3beta/')))
                if r.path in ALIASES:
                    rows.append(r.variant(r.need, path=ALIASES[r.path]))
            elif r.surface == 'NATIVE' and r.operation.startswith('GET '):
                rows.append(r.variant(r.need, method='HEAD'))
        self.walk(t, [*USERS, 'anybody', 'wrong'], rows)

    def walk_gateway_sockets(self, t):
        """The gateway's WebSocket, which takes a token as a subprotocol, as etcd's."""
        callers = [*USERS, 'anybody', 'wrong']
        for row in (r for r in self.rows if r.surface == 'GATEWAY' and r.operation.endswith(('Watch/Watch', 'Lease/LeaseKeepAlive', 'KV/Put'))):
            for caller in callers:
                self.cells += 1
                self.prepare(row)
                s = WebSocket(t.port, t.tls, row.path, protocol=f'Bearer, {self.tokens[caller]}' if caller in self.tokens else None)
                s.say(self.samples.grpc(row.operation))
                said = str(s.hear())
                s.close()
                if any(word in said for word in REFUSALS) == row.allows(caller):
                    self.failures += 1
                    print(f'  FAIL {t.name}, WebSocket of {row.path} as {caller}, needs {row.need}: {said}')

    def walk_other_ports(self, server):
        """The metrics port serves rows that say so and nothing else; the peer port speaks no HTTP."""
        metrics, peer = Http(server['metrics']), server['peer']
        for row in (r for r in self.rows if r.path.startswith('/')):
            self.cells += 2
            status, text = metrics.call('GET', row.path)
            if (status != 404) != ('metrics' in row.what and row.surface == 'PROCESS'):
                self.failures += 1
                print(f'  FAIL metrics port, GET {row.path}: {status} {text[:80]}')
            s = connect(peer)
            try:
                s.sendall(f'POST {row.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n'.encode())
                said = s.recv(100)
            except ConnectionError:
                said = b''
            s.close()
            if said:
                self.failures += 1
                print(f'  FAIL peer port, POST {row.path}: {said}')

    def walk_certificates(self, port, certificates, ca):
        """A port with mutual TLS: the certificate's common name is the user, a token goes before it, and without a certificate there is no
        connection. callers: name of the certificate's user, and a token or None."""
        for name in ('root', 'granted', 'user'):
            t = Transport(f'mutual TLS as CN={name}', port, Tls(ca, *certificates[name]))
            self.walk(t, [name], [r for r in self.rows if r.surface != 'GATEWAY'], is_certificate=True)
        t = Transport('mutual TLS as CN=user with a token', port, Tls(ca, *certificates['user']))
        self.walk(t, ['root', 'granted'], [r for r in self.rows if r.surface != 'GATEWAY'])
        self.walk_gateway_with_name(t)
        t = Transport('mutual TLS without a common name', port, Tls(ca, *certificates['none']))
        self.walk(t, ['root', 'granted', 'user', 'anybody'])
        self.cells += 1
        try:
            connect(port, Tls(ca)).recv(1)  # with TLS 1.3 the server's refusal comes after the handshake
            self.failures += 1
            print('  FAIL mutual TLS: a connection without a certificate is accepted')
        except (ssl.SSLError, ConnectionError):
            pass

    def walk_gateway_with_name(self, t):
        """etcd's gateway does not accept a common name as a user, and says so, whatever the token."""
        for row in (r for r in self.rows if r.surface == 'GATEWAY'):
            self.cells += 1
            status, text = t.http.call('POST', row.path, '{}', self.tokens['root'])
            if status != 400 or 'CommonName' not in text:
                self.failures += 1
                print(f'  FAIL {t.name}, {row.operation}: {status} {text}')

    def walk_dns(self, port):
        """DNS has no credentials: a client sees what the role `anonymous` may read."""
        states = [('users off', True)] if not self.tokens else [('role anonymous is empty', False), ('role anonymous reads', True)]
        for state, is_shown in states:
            if state == 'role anonymous reads':
                self.admin_call('/v3/auth/role/add', {'name': 'anonymous'})
                self.admin_call('/v3/auth/role/grant', {'name': 'anonymous', 'perm': {
                    'permType': 'READ', 'key': b64('/cairn/registry/'), 'range_end': b64('/cairn/registry0')}})
            for row in (r for r in self.rows if r.surface == 'DNS'):
                self.cells += 1
                assert row.operation in Samples.DNS, f'DNS {row.operation} has no example in matrix.py'
                code, types = dns(port, Samples.DNS[row.operation], row.operation)
                wanted = is_shown or row.need == 'OPEN'
                if bool(types) != wanted:
                    self.failures += 1
                    print(f'  FAIL DNS {row.operation}, {state}: response code {code}, records {types}')


class Transport:
    def __init__(self, name, port, tls=None):
        self.name, self.port, self.tls = name, port, tls
        self.grpc, self.http = Grpc(port, tls), Http(port, tls)


def main():
    access, server = sys.argv[1], json.load(open(sys.argv[2]))
    m = Matrix(access, server)
    transports = [Transport('plain', server['plain'])]
    if 'tls' in server:
        transports.append(Transport('TLS', server['tls'], Tls(server['ca'])))
    m.fill()
    for t in transports:
        m.walk(t, ['anybody'])
    m.walk_dns(server['dns'])
    m.enable()
    m.fill()
    for t in transports:
        m.walk(t, [*USERS, 'anybody', 'wrong'])
    m.walk_variants(transports[0])
    m.walk_gateway_sockets(transports[0])
    m.walk_other_ports(server)
    if 'mutual' in server:
        m.walk_certificates(server['mutual'], server['certificates'], server['ca'])
    m.walk_dns(server['dns'])  # the last one, because it gives callers without credentials a role
    print(f'matrix: {m.cells} cells, {m.failures} failed')
    return m.failures != 0


sys.exit(main())
