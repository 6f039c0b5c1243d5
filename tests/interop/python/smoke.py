# SPDX-License-Identifier: Apache-2.0
"""python-etcd3 (PyPI etcd3) against a running server: smoke.py HOST PORT [MEMBERS]"""
import sys
import threading
import time

import etcd3

client = etcd3.client(host=sys.argv[1], port=int(sys.argv[2]), timeout=10)
passed = 0


def check(name, condition):
    global passed
    if not condition:
        sys.exit(f"FAIL {name}")
    passed += 1


for kind in ("a", "b", "p/", "t", "w/", "leased"):
    client.delete_prefix(kind)
client.put("a", "1")
value, meta = client.get("a")
check("get", value == b"1" and meta.version == 1)
check("previous", client.put("a", "2", prev_kv=True).prev_kv.value == b"1")
check("absent", client.get("none") == (None, None))
for i in range(10):
    client.put(f"p/{i}", str(9 - i))
check("prefix", len(list(client.get_prefix("p/"))) == 10)
check("sorted", [v for v, _ in client.get_prefix("p/", sort_order="ascend", sort_target="value")][:2] == [b"0", b"1"])
check("range", len(list(client.get_range("p/3", "p/6"))) == 3)
check("replace", client.replace("a", "2", "3") and not client.replace("a", "2", "4"))
check("put if absent", client.put_if_not_exists("b", "x") and not client.put_if_not_exists("b", "y"))
check("delete", client.delete("b") and not client.delete("b"))

ok, responses = client.transaction(
    compare=[client.transactions.value("a") == "3", client.transactions.version("none") == 0],
    success=[client.transactions.put("t", "1"), client.transactions.get("a")],
    failure=[client.transactions.delete("a")])
check("txn", ok and responses[1][0][0] == b"3")
ok, _ = client.transaction(compare=[client.transactions.create("a") == 0], success=[], failure=[])
check("txn that fails", not ok)

seen = []
done = threading.Event()


def on_event(response):
    for event in response.events:
        seen.append((type(event).__name__, event.key, event.value))
    if len(seen) >= 3:
        done.set()


watch = client.add_watch_prefix_callback("w/", on_event)
client.put("w/1", "a")
client.put("w/2", "b")
client.delete("w/1")
check("watch arrives", done.wait(10))
check("watch", seen == [("PutEvent", b"w/1", b"a"), ("PutEvent", b"w/2", b"b"), ("DeleteEvent", b"w/1", b"")])
client.cancel_watch(watch)

lease = client.lease(2)
client.put("leased", "1", lease=lease)
check("lease", lease.granted_ttl == 2 and lease.keys == [b"leased"])
for _ in range(3):
    time.sleep(1)
    lease.refresh()
check("refreshed", client.get("leased")[0] == b"1")
lease.revoke()
check("revoked", client.get("leased")[0] is None)

with client.lock("mutex", ttl=10) as lock:
    check("locked", lock.is_acquired())
check("members", len(list(client.members)) == int((sys.argv + [1])[3]))
check("status", client.status().version == "3.7.1" and client.status().db_size > 0)
check("hash", client.hash() > 0)
client.compact(meta.mod_revision + 1)
check("alarms", list(client.list_alarms()) == [])
client.defragment()
with open("/dev/null", "wb") as out:
    client.snapshot(out)
client.close()
print(f"{passed} checks")
