#!/usr/bin/env python3
"""A connector for Gatehouse that keeps its accounts in an SQLite file.

It speaks the connector protocol over standard input and output, or, started with
--http PORT, over HTTP. Put your own system where `Store` is; the rest stays.

    connector.py FILE                 one call on standard input, for `exec`
    connector.py FILE --http PORT     a server on loopback, for `http`; it wants the
                                      token in the variable CONNECTOR_TOKEN, if set
"""

import hmac
import json
import os
import sqlite3
import sys


class No(Exception):
    """An answer that says no: a class that Gatehouse knows, and why."""

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


class Store:
    """The system that holds the accounts. Every method is one transaction."""

    def __init__(self, path):
        self.db = sqlite3.connect(path, timeout=20, isolation_level=None)
        self.db.execute(
            "create table if not exists account (id integer primary key autoincrement,"
            " external_id text, user_name text unique, active integer, attributes text)"
        )

    def one(self, where, value):
        return [
            {"id": str(r[0]), "external_id": r[1] or "", "user_name": r[2], "active": bool(r[3]), "attributes": json.loads(r[4])}
            for r in self.db.execute("select * from account where " + where + " = ? order by id limit 5", (value,))
        ]

    def get(self, id):
        # What is no ID of ours is nobody's.
        found = self.one("id", id) if id.isascii() and id.isdigit() else []
        return found[0] if found else None

    def write(self, statement, values):
        try:
            return self.db.execute(statement, values)
        except sqlite3.IntegrityError:
            raise No("conflict", "the user name is taken") from None

    def create(self, a):
        done = self.write(
            "insert into account (external_id, user_name, active, attributes) values (?, ?, ?, ?)",
            (a.get("external_id"), a["user_name"], a["active"], json.dumps(a.get("attributes", {}))),
        )
        return {"id": str(done.lastrowid)}

    def update(self, id, a, changed):
        self.db.execute("begin immediate")
        try:
            there = self.get(id)
            if not there:
                raise No("gone", "there is no such account")
            # Only what differs: other attributes belong to somebody else.
            for name in changed:
                if name in ("user_name", "external_id", "active"):
                    there[name] = a[name]
                else:
                    there["attributes"][name] = a["attributes"][name]
            self.write(
                "update account set external_id = ?, user_name = ?, active = ?, attributes = ? where id = ?",
                (there["external_id"], there["user_name"], there["active"], json.dumps(there["attributes"]), id),
            )
            self.db.execute("commit")
        except BaseException:
            self.db.execute("rollback")
            raise

    def delete(self, id):
        if not self.get(id):
            raise No("gone", "there is no such account")
        self.db.execute("delete from account where id = ?", (id,))

    def page(self, after):
        rows = self.db.execute("select id from account where id > ? order by id limit 100", (int(after or 0),)).fetchall()
        return [a for a in (self.get(str(r[0])) for r in rows) if a], str(rows[-1][0]) if len(rows) == 100 else ""


def answer(store, call):
    if call.get("protocol") != 1:
        raise No("route", "this connector speaks protocol 1")
    op = call["op"]
    if op == "test":
        return {}
    if op == "get":
        return {"account": store.get(call["id"])}
    if op == "find":
        by = "external_id" if "external_id" in call else "user_name"
        return {"accounts": store.one(by, call[by])}
    if op == "create":
        return {"account": store.create(call["account"])}
    if op == "update":
        store.update(call["id"], call["account"], call["changed"])
        return {}
    if op == "delete":
        store.delete(call["id"])
        return {}
    if op == "list":
        accounts, after = store.page(call.get("cursor"))
        return {"accounts": accounts, "next": after}
    raise No("invalid", "there is no such operation")


def safe(path, raw):
    try:
        return answer(Store(path), json.loads(raw))
    except No as no:
        return {"error": {"class": no.kind, "text": str(no)}}
    except sqlite3.OperationalError:
        # Busy or full: later may help. A write may or may not have happened.
        return {"error": {"class": "transient", "text": "the file is busy", "ambiguous": True}}


def serve(path, port):
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    want = "Bearer " + os.environ.get("CONNECTOR_TOKEN", "")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            given = self.headers.get("Authorization", "")
            if want != "Bearer " and not hmac.compare_digest(given.encode(), want.encode()):
                self.send_response(401)
                self.end_headers()
                return
            raw = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 1 << 20))
            out = json.dumps(safe(path, raw)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(out)))
            self.end_headers()
            self.wfile.write(out)

        def log_message(self, *_):
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[2] == "--http":
        serve(sys.argv[1], int(sys.argv[3]))
    elif len(sys.argv) == 2:
        print(json.dumps(safe(sys.argv[1], sys.stdin.read())))
    else:
        sys.exit(__doc__)
