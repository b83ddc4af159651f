#!/usr/bin/env python3
"""Puts many delivered messages on file, in the embedded store's own file, while the runner is stopped.

usage: million.py FOLDER APP ENDPOINT COUNT

Copies of a message of APP that was delivered to ENDPOINT, a second apart and the newest a minute old, under IDs of
their own. Statistics begin with the endpoint: those that are older than it are in no chart.
"""

import hashlib
import json
import secrets
import sqlite3
import sys
import time

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
EPOCH = 1_400_000_000
DAY = 86_400
# What a message has to itself, behind its time.
RANDOM = 15


def text_of(raw):
    number, text = int.from_bytes(raw, "big"), ""
    for _ in range(27):
        number, digit = divmod(number, 62)
        text = ALPHABET[digit] + text
    return text


def ksuid(ms, random):
    return (ms // 1000 - EPOCH).to_bytes(4, "big") + bytes([ms % 1000 // 4]) + random


def prefix_of(pk):
    return hashlib.md5(b"Outliers" + pk.encode()).hexdigest().zfill(32)[:6]


folder, app, endpoint, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
store = sqlite3.connect(f"{folder}/dynamodb.sqlite")
store.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;")

# A message and the state of its delivery, to copy.
app_pk, endpoint_pk = f"APP#{app}#", f"EP#{endpoint}#"
find = 'select pk, sk, item_json, item_size from "postrider-log" where pk like ? and sk like ?'
states = store.execute(find, (f"S:{endpoint_pk}_", "S:MSG#%")).fetchall()
state = next(row for row in states if json.loads(row[2]).get("s") == {"N": "0"})
message = store.execute(find, (f"S:{app_pk}_", state[1])).fetchone()
identifier = state[1].removeprefix("S:MSG#")
at, ttl = json.loads(state[2])["at"]["N"], json.loads(state[2])["ttl"]["N"]
ttl_message = json.loads(message[2])["ttl"]["N"]


def rows():
    newest = int(time.time() * 1000) - 60_000
    for nth in range(count):
        ms = (newest - (count - nth) * 1000) // 4 * 4
        raw = ksuid(ms, secrets.token_bytes(RANDOM))
        new, shard = f"msg_{text_of(raw)}", f"{raw[19] % 8:x}"
        for (pk, sk, item, size), begins, expires in ((message, app_pk, ttl_message), (state, endpoint_pk, ttl)):
            own = begins + shard
            item = item.replace(pk.removeprefix("S:"), own).replace(identifier, new).replace(at, str(ms + 20))
            item = item.replace(f'"{expires}"', f'"{ms // 1000 + 90 * DAY}"')
            yield f"S:{own}", f"S:MSG#{new}", item, size, prefixes[own]


prefixes = {begins + f"{shard:x}": prefix_of(begins + f"{shard:x}") for begins in (app_pk, endpoint_pk) for shard in range(8)}
columns = "(pk, sk, item_json, item_size, hash_prefix)"
store.executemany(f'insert into "postrider-log" {columns} values (?, ?, ?, ?, ?)', rows())
store.commit()
store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
