#!/usr/bin/env python3
"""The rounds of bench_api.sh: each call at Vling and at Keystone in turns; medians and ratios."""
import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import urllib.request

CLIENTS = (1, 8)
USERS = 100
DOMAIN = {"id": "default"}


def auth(identity):
    return json.dumps({"auth": {"identity": identity,
                                "scope": {"project": {"name": "admin", "domain": DOMAIN}}}})


def by_password(password):
    return auth({"methods": ["password"], "password": {
        "user": {"name": "admin", "domain": DOMAIN, "password": password}}})


def by_token(token):
    return auth({"methods": ["token"], "token": {"id": token}})


class Side:
    """One of the two: where it is, a token of its administrator, some users to list."""

    def __init__(self, address, password):
        self.identity = address
        self.password = password
        request = urllib.request.Request(f"http://{address}/v3/auth/tokens",
                                         by_password(password).encode(),
                                         {"Content-Type": "application/json"})
        self.token = urllib.request.urlopen(request).headers["X-Subject-Token"]
        for i in range(USERS):
            self.post(address, "/v3/users", {"user": {"name": f"user-{i}"}})

    def post(self, address, path, body):
        request = urllib.request.Request(
            f"http://{address}{path}", json.dumps(body).encode(),
            {"Content-Type": "application/json", "X-Auth-Token": self.token})
        return json.load(urllib.request.urlopen(request))

    def at(self, port):
        return self.identity if port == 5000 else f"{self.identity.split(':')[0]}:{port}"


class Call:
    """`arguments(side)`: of the load client. `peer`: the row of Keystone to hold it against."""

    def __init__(self, name, port, status, method, path, body=None, subject=False, peer=None,
                 goal=None, beside=None):
        self.name, self.port, self.peer, self.goal = name, port, peer or name, goal
        self.beside = beside or (lambda *_: contextlib.nullcontext())
        self.request = [str(status), method, path]
        self.body, self.subject, self.own = body, subject, peer is not None

    def arguments(self, side):
        options = [] if self.body else ["-H", f"X-Auth-Token: {side.token}"]
        if self.subject:
            options += ["-H", f"X-Subject-Token: {side.token}"]
        if self.body:
            options += ["-d", self.body(side)]
        return options, side.at(self.port), self.request


class Writer:
    """One client that renames a network of its own, again and again, while something else is
    measured."""
    networks = {}  # side -> path
    per_second = []

    def __init__(self, client, side, seconds):
        address = side.at(9696)
        if side not in self.networks:
            made = side.post(address, "/v2.0/networks", {"network": {"name": "renamed"}})
            self.networks[side] = f"/v2.0/networks/{made['network']['id']}"
        self.command = [client, "-H", f"X-Auth-Token: {side.token}", "-d",
                        json.dumps({"network": {"name": "renamed-COUNTER"}}), address, "1",
                        str(seconds), "200", "PUT", self.networks[side]]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE)

    def __exit__(self, *_):
        self.per_second.append(json.loads(self.process.communicate()[0])["per_second"])


CALLS = (
    Call("POST /v3/auth/tokens, password", 5000, 201, "POST", "/v3/auth/tokens",
         body=lambda side: by_password(side.password)),
    Call("POST /v3/auth/tokens, token", 5000, 201, "POST", "/v3/auth/tokens",
         body=lambda side: by_token(side.token)),
    Call("GET /v3/auth/tokens", 5000, 200, "GET", "/v3/auth/tokens", subject=True, goal=100),
    Call(f"GET /v3/users ({USERS})", 5000, 200, "GET", "/v3/users", goal=100),
    Call("GET /v2.1/servers/detail (100)", 8774, 200, "GET", "/v2.1/servers/detail",
         peer=f"GET /v3/users ({USERS})"),
    Call("GET /v2.0/networks (20)", 9696, 200, "GET", "/v2.0/networks",
         peer=f"GET /v3/users ({USERS})"),
    Call("  the same beside a writer", 5000, 200, "GET", "/v3/auth/tokens", subject=True,
         peer="GET /v3/auth/tokens", beside=Writer),
    Call("  users beside a writer", 5000, 200, "GET", "/v3/users",
         peer=f"GET /v3/users ({USERS})", beside=Writer),
    # Another request each time, as if rows had changed: nothing is known of the answer.
    Call("  users, worked out anew", 5000, 200, "GET", "/v3/users?x=COUNTER",
         peer=f"GET /v3/users ({USERS})"),
    Call("  servers/detail, anew", 8774, 200, "GET", "/v2.1/servers/detail?x=COUNTER",
         peer=f"GET /v3/users ({USERS})"),
    Call("  networks, anew", 9696, 200, "GET", "/v2.0/networks?x=COUNTER",
         peer=f"GET /v3/users ({USERS})"),
)


def measure(client, side, call, clients, seconds):
    options, address, request = call.arguments(side)
    with call.beside(client, side, seconds):
        done = subprocess.run([client, *options, address, str(clients), str(seconds), *request],
                              stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(f"{call.name}: the load client failed")
    return json.loads(done.stdout)


def median(results, key):
    return statistics.median(result[key] for result in results) if results else None


def row(call, clients, vling, keystone):
    ours, theirs = median(vling, "per_second"), median(keystone, "per_second")
    goal = f"{call.goal}" if call.goal else ""
    print(f"{call.name:34} {clients:2} {ours:9.1f} {median(vling, 'p50_ms'):8.2f} "
          f"{median(vling, 'p99_ms'):8.2f} {theirs:9.1f} {median(keystone, 'p50_ms'):8.1f} "
          f"{median(keystone, 'p99_ms'):8.1f} {ours / theirs:8.1f}   {goal}")


def main():
    parser = argparse.ArgumentParser()
    for name in ("client", "vling", "keystone", "password"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    args = parser.parse_args()
    vling, keystone = (Side(address, args.password)
                       for address in (f"{args.vling}:5000", args.keystone))
    results = {}
    for _ in range(args.rounds):
        for clients in CLIENTS:
            for call in CALLS:
                for side in (vling, keystone):
                    if side is vling or not call.own:
                        results.setdefault((side, call.name, clients), []).append(
                            measure(args.client, side, call, clients, args.seconds))
    print(f"{'':37} {'Vling':>9} {'':17} {'Keystone':>9}")
    print(f"{'':34} {'n':>2} {'req/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'req/s':>9} {'p50 ms':>8} "
          f"{'p99 ms':>8} {'ratio':>8}   goal")
    for call in CALLS:
        for clients in CLIENTS:
            row(call, clients, results[vling, call.name, clients],
                results[keystone, call.peer, clients])
    print(f"The writer: {statistics.median(Writer.per_second):.0f} changes of a network a second")
    rest = median(results[vling, CALLS[1].name, 1], "p50_ms")
    print("A login by password without its hash is the same call by token: "
          f"{rest:.2f} ms; goal: less than 1 ms")


main()
