#!/usr/bin/python3
"""Reads and writes of one register at all controllers, and whether one order explains them.

    reads_history.py SECONDS TOKEN_FILE URL...

The register is the name of a network, which one writer sets to 1, 2, 3 ... through one controller
after the other; two readers at each controller read it all the time. Whatever anybody was told
before a read began, the read must tell at least that. After a write whose outcome is unknown the
writer goes on with a new register, because such a write may still come. Failures are counted, not
judged: controllers die while this runs. Prints, for each controller, "reads N failed N"; status 1
and a line "STALE ..." if a read was too old, or if there was nothing to judge: a controller without
a read, or no write.
"""
import http.client
import json
import sys
import threading
import time
import urllib.parse

READERS = 2
TIMEOUT = 3


class Client:
    """One connection to one controller."""

    def __init__(self, url, token):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.headers = {"X-Auth-Token": token, "Content-Type": "application/json"}
        self.connection = None

    def ask(self, method, path, body=None):
        """(status, JSON); (0, None) without an answer."""
        try:
            if not self.connection:
                self.connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
            self.connection.request(method, path, body and json.dumps(body), self.headers)
            answer = self.connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        except (OSError, http.client.HTTPException, ValueError):
            if self.connection:
                self.connection.close()
            self.connection = None
            return 0, None


class History:
    def __init__(self, urls, token, seconds):
        self.urls, self.token = urls, token
        self.end = time.monotonic() + seconds
        self.lock = threading.Lock()
        self.register = None
        self.told = {}  # register -> the highest number that anybody was told
        self.reads = [0] * len(urls)
        self.failed = [0] * len(urls)
        self.writes = 0
        self.stale = []

    def goes_on(self):
        return time.monotonic() < self.end and not self.stale

    def tell(self, register, number):
        with self.lock:
            self.told[register] = max(self.told[register], number)

    def new_register(self, clients):
        at = 0
        while self.goes_on():
            status, body = clients[at % len(clients)].ask(
                "POST", "/v2.0/networks", {"network": {"name": "0"}})
            if status == 201:
                with self.lock:
                    self.told[body["network"]["id"]] = 0
                self.register = body["network"]["id"]
                return
            at += 1
            time.sleep(0.05)

    def write(self):
        clients = [Client(url, self.token) for url in self.urls]
        self.new_register(clients)
        number = 0
        while self.goes_on():
            number += 1
            register = self.register
            status, _ = clients[number % len(clients)].ask(
                "PUT", "/v2.0/networks/" + register, {"network": {"name": str(number)}})
            if status == 200:
                self.tell(register, number)
                self.writes += 1
            else:
                self.new_register(clients)
            time.sleep(0.004)

    def read(self, at):
        client = Client(self.urls[at], self.token)
        while self.goes_on():
            with self.lock:
                register = self.register
                least = self.told.get(register, 0)
            if not register:
                time.sleep(0.05)
                continue
            status, body = client.ask("GET", "/v2.0/networks/" + register)
            if status == 404:  # it was told of when it was created
                self.stale.append(f"STALE {self.urls[at]}: no register {register}")
            elif status != 200:
                self.failed[at] += 1
                time.sleep(0.02)
            else:
                number = int(body["network"]["name"])
                if number < least:
                    self.stale.append(f"STALE {self.urls[at]}: {number} after {least}")
                self.tell(register, number)
                self.reads[at] += 1


def main():
    with open(sys.argv[2], encoding="ascii") as file:
        token = file.read().strip()
    history = History(sys.argv[3:], token, float(sys.argv[1]))
    threads = [threading.Thread(target=history.write)]
    for at in range(len(history.urls)):
        threads += [threading.Thread(target=history.read, args=(at,)) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for at, url in enumerate(history.urls):
        print(url, "reads", history.reads[at], "failed", history.failed[at])
    print("writes", history.writes, "registers", len(history.told))
    for line in history.stale:
        print(line)
    if not history.writes or not all(history.reads):
        print("nothing to judge")
        return 1
    return 1 if history.stale else 0


sys.exit(main())
