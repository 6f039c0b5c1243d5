#!/usr/bin/env python3
"""Test vectors of docs/picks.md: pick_vectors.py writes sdk/pick_vectors.json to its output.

The algorithm stands here once more, in another language than the library's, from the words of the page."""
import json
import random

MASK = 0xFFFFFFFF


def murmur3(data, seed):
    def rotl(x, r):
        return (x << r | x >> (32 - r)) & MASK
    h = seed
    whole = len(data) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i:i + 4], "little")
        h ^= rotl(k * 0xCC9E2D51 & MASK, 15) * 0x1B873593 & MASK
        h = (rotl(h, 13) * 5 + 0xE6546B64) & MASK
    if data[whole:]:
        k = int.from_bytes(data[whole:], "little")
        h ^= rotl(k * 0xCC9E2D51 & MASK, 15) * 0x1B873593 & MASK
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & MASK
    h = (h ^ h >> 13) * 0xC2B2AE35 & MASK
    return h ^ h >> 16


def cost(h):
    m = (h >> 6) + 1
    k = m.bit_length() - 1
    y = m << (25 - k) if k <= 25 else m >> 1
    log = k
    for _ in range(20):
        y = y * y >> 25
        log *= 2
        if y >= 1 << 26:
            log += 1
            y >>= 1
    return (26 << 20) - log


def effective(i, warm_up_ms):
    w = i.get("weight", 100)
    if not warm_up_ms or i.get("age_ms", 1 << 40) >= warm_up_ms:
        return w * 100
    return max(w * 10, w * 100 * i["age_ms"] // warm_up_ms)


def tier_of(i, q):
    if q.get("zone") and i.get("zone") == q["zone"]:
        return 0
    if q.get("region") and i.get("region") == q["region"]:
        return 1
    return 2


def loads(instances, q):
    total, serving = [0] * 3, [0] * 3
    for i in instances:
        t = tier_of(i, q)
        total[t] += 1
        serving[t] += i.get("serving", True)
    health = [min(100, 140 * s // t) if t else 0 for s, t in zip(serving, total)]
    result, left = [0] * 3, 100
    if not sum(health):
        return result
    for t in range(3):
        result[t] = min(left, health[t] if sum(health) >= 100 else health[t] * 100 // sum(health))
        left -= result[t]
    result[next(t for t in range(3) if health[t])] += left
    return result


def pick(instances, q):
    share = loads(instances, q)
    if not sum(share):
        return None
    key = q.get("key")
    d = (murmur3(key.encode(), 1) if key is not None else q["draw_tier"]) % 100
    tier = 0
    while d >= share[tier]:
        d -= share[tier]
        tier += 1
    list_ = [i for i in sorted(instances, key=lambda i: i["id"].encode())
             if i.get("serving", True) and tier_of(i, q) == tier]
    weights = [effective(i, q.get("warm_up_ms", 0)) for i in list_]
    if key is None:
        at = q["draw"] % sum(weights)
        for i, w in zip(list_, weights):
            if at < w:
                return i["id"]
            at -= w
    best = None
    for i, w in zip(list_, weights):
        h = murmur3(key.encode() + b"\0" + i["id"].encode(), 0)
        if best is None or (cost(h) * best[1], -h) < (best[0] * w, -best[2]):
            best = (cost(h), w, h, i["id"])
    return best[3]


def main():
    r = random.Random(7)
    sets = {
        "empty": [],
        "one": [{"id": "a"}],
        "three": [{"id": "a"}, {"id": "b", "weight": 50}, {"id": "c", "weight": 1}],
        "none serves": [{"id": "a", "serving": False}, {"id": "b", "serving": False}],
        "zones": [{"id": f"i{n:02}", "zone": "abc"[n % 3], "region": "rs"[n % 3 == 2]} for n in range(12)],
        "zone half down": [{"id": f"i{n:02}", "zone": "ab"[n % 2], "serving": n % 4 != 0} for n in range(16)],
        "zone and region down": [{"id": f"i{n:02}", "zone": "abc"[n % 3], "region": "rrs"[n % 3],
                                  "serving": n % 3 == 2 or n < 2} for n in range(15)],
        "all weak": [{"id": f"i{n:02}", "zone": "ab"[n % 2], "serving": n in (0, 1)} for n in range(12)],
        "warming": [{"id": "old"}, {"id": "new", "age_ms": 0}, {"id": "mid", "age_ms": 15000},
                    {"id": "late", "age_ms": 29999, "weight": 333}, {"id": "due", "age_ms": 30000}],
        "names": [{"id": "ä"}, {"id": "a b"}, {"id": "z"}, {"id": "語"}, {"id": "aa", "weight": 65535}],
        "hundred": [{"id": f"node-{n}", "weight": r.choice([1, 50, 100, 100, 200])} for n in range(100)],
    }
    places = [{}, {"zone": "a"}, {"zone": "a", "region": "r"}, {"zone": "none", "region": "s"}]
    cases = []
    for name, instances in sets.items():
        for place in places if any("zone" in i for i in instances) else places[:2]:
            for warm in (0, 30000) if name == "warming" else (0,):
                picks = []
                for n in range(24):
                    q = {"key": r.choice(["user-", "order/", "ключ"]) + str(n)} if n % 2 else \
                        {"draw_tier": r.randrange(1 << 32), "draw": r.randrange(1 << 53)}
                    picks.append({**q, "pick": pick(instances, {**place, "warm_up_ms": warm, **q})})
                cases.append({"name": name, **place, "warm_up_ms": warm, "instances": instances,
                              "loads": loads(instances, place),
                              "weights": {i["id"]: effective(i, warm) for i in instances}, "picks": picks})
    texts = ["", "a", "ab", "abc", "abcd", "hello, world", "ключ", "user-1\0node-1"]
    hashes = [{"text": t, "seed": s, "hash": murmur3(t.encode(), s)} for t in texts for s in (0, 1)]
    costs = [{"hash": h, "cost": cost(h)} for h in
             [0, 63, 64, 1 << 31, MASK, MASK - 63, MASK - 64] + [r.randrange(1 << 32) for _ in range(20)]]
    out = {"page": "docs/picks.md", "version": 1, "murmur3": hashes, "costs": costs}
    print(json.dumps(out, ensure_ascii=False, indent=1)[:-2] + ',\n "cases": [')
    print(",\n".join("  " + json.dumps(c, ensure_ascii=False) for c in cases) + "\n ]\n}")


main()
