#!/usr/bin/python3
"""Cuts the power of a cabinet and prints when what came back, in seconds from the cut.

Watches from outside every 0.1 s: the guest (TCP connect to port 7 in the namespace `internet`), the
API (a write through the virtual IP), the log of events and where the guest's process runs. Exits 0
when everything came back within --timeout, 1 otherwise.
"""
import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

PERIOD = 0.1


class Timeline:
    """What was seen when; the first time of each thing counts."""

    def __init__(self):
        self.lock = threading.Lock()
        self.seen = {}
        self.last_good = None
        self.cut = None  # when the order was given; all times count from here
        self.dark = None  # when it had been carried out
        self.done = threading.Event()

    def mark(self, what, detail=""):
        with self.lock:
            if what not in self.seen:
                self.seen[what] = (time.monotonic(), detail)

    def has(self, what):
        with self.lock:
            return what in self.seen


def enter_internet():
    """Puts the calling thread into the outside; sockets made by it belong there."""
    libc = __import__("ctypes").CDLL(None, use_errno=True)
    with open("/run/vling-lab/ns/internet", "rb") as namespace:
        if libc.setns(namespace.fileno(), 0x40000000) != 0:
            raise OSError("cannot enter the namespace internet")


def watch_guest(line, address):
    enter_internet()
    while not line.done.is_set():
        began = time.monotonic()
        good = False
        try:
            # A connection that was established answers at once; the echo proves the guest is there.
            with socket.create_connection((address, 7), timeout=0.5):
                good = True
        except OSError:
            pass
        if good and line.cut is None:
            line.last_good = began
        elif good and began > line.cut:
            if line.has("guest silent"):
                line.mark("guest answers", address)
            else:
                line.last_good = began
        elif not good and line.cut is not None and began > line.cut:
            line.mark("guest silent")
        time.sleep(max(0.0, PERIOD - (time.monotonic() - began)))


def request(method, url, token=None, body=None, timeout=1.0):
    data = json.dumps(body).encode() if body is not None else None
    headers = {"Content-Type": "application/json"}
    if token:
        headers["X-Auth-Token"] = token
    call = urllib.request.Request(url, data=data, headers=headers, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        call, timeout=timeout
    ) as answer:
        return answer.headers, answer.read()


def get_token():
    user = {
        "name": os.environ["OS_USERNAME"],
        "password": os.environ["OS_PASSWORD"],
        "domain": {"name": os.environ.get("OS_USER_DOMAIN_NAME", "Default")},
    }
    scope = {"project": {"name": os.environ["OS_PROJECT_NAME"], "domain": user["domain"]}}
    auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}
    headers, _ = request(
        "POST", os.environ["OS_AUTH_URL"] + "/auth/tokens", body={"auth": auth}, timeout=10
    )
    return headers["X-Subject-Token"]


def api_base():
    return os.environ["OS_AUTH_URL"].rsplit(":", 1)[0]


def write_once(line, url, token, made):
    began = time.monotonic()
    try:
        body = {"security_group": {"name": f"probe-{began}"}}
        _, text = request("POST", url, token, body, timeout=5)
        made.append(json.loads(text)["security_group"]["id"])
        if line.dark is not None and began > line.dark:
            line.mark("API write accepted")
    except (OSError, ValueError, KeyError):
        pass


def watch_api(line, token):
    """A write each 0.1 s, each on its own: one that waits for a dead host must not hold up the
    next. A security group is the smallest thing to create."""
    url = api_base() + ":9696/v2.0/security-groups"
    made, tries = [], []
    while not line.done.is_set() and not line.has("API write accepted"):
        attempt = threading.Thread(target=write_once, args=(line, url, token, made), daemon=True)
        attempt.start()
        tries.append(attempt)
        time.sleep(PERIOD)
    for attempt in tries:
        attempt.join(6)
    for group in made:
        try:
            request("DELETE", f"{url}/{group}", token, timeout=5)
        except OSError:
            pass


def vling(options, *words):
    return subprocess.run(
        [options.vling, *words], capture_output=True, text=True, timeout=30, check=False
    )


def watch_cluster(line, options):
    while not line.done.is_set():
        answer = vling(options, "host", "list", "--lab", "-f", "json")
        try:
            hosts = {host["id"]: host for host in json.loads(answer.stdout)}
        except (ValueError, KeyError, TypeError):
            hosts = {}
        state = hosts.get(options.host, {}).get("state")
        if line.cut is not None and state not in (None, "up", "suspect"):
            line.mark("host declared lost", f"{options.host}: {state}")
        time.sleep(PERIOD)


def runs_where(server, but_not):
    """The process of the guest, looked for among all of the machine: which host's is it?"""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read().decode("utf-8", "replace").split("\0")
            if "qemu-system" not in words[0] or not any(server in word for word in words):
                continue
            # The host name of its UTS namespace is its lab host.
            name = subprocess.run(
                ["nsenter", "-t", entry, "-u", "hostname"], capture_output=True, text=True,
                check=False,
            ).stdout.strip()
        except OSError:
            continue
        if name and name != but_not:
            return name
    return None


def watch_process(line, options):
    while not line.done.is_set() and not line.has("VPS process started"):
        name = runs_where(options.server, options.host)
        if name and line.cut is not None:
            line.mark("VPS process started", f"on {name}")
        time.sleep(PERIOD / 2)


WANTED = ["API write accepted", "host declared lost", "VPS process started", "guest answers"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vling", required=True)
    parser.add_argument("--address", required=True, help="floating IP of the guest")
    parser.add_argument("--server", required=True, help="its id")
    parser.add_argument("--host", required=True, help="where it runs")
    parser.add_argument("--cabinet", required=True, help="whose power is cut")
    parser.add_argument("--timeout", type=float, default=180)
    parser.add_argument("--json", action="store_true", help="one object: seconds from the cut")
    options = parser.parse_args()

    line = Timeline()
    token = get_token()
    watchers = [
        threading.Thread(target=watch_guest, args=(line, options.address), daemon=True),
        threading.Thread(target=watch_api, args=(line, token), daemon=True),
        threading.Thread(target=watch_cluster, args=(line, options), daemon=True),
        threading.Thread(target=watch_process, args=(line, options), daemon=True),
    ]
    for watcher in watchers:
        watcher.start()
    time.sleep(1)
    if line.last_good is None:
        print("the guest does not answer before the cut", file=sys.stderr)
        return 1
    line.cut = time.monotonic()
    cut = vling(options, "lab", "power", "off", options.cabinet)
    line.dark = time.monotonic()
    if cut.returncode != 0:
        print(cut.stderr, file=sys.stderr)
        return 1
    end = line.cut + options.timeout
    while time.monotonic() < end and not all(line.has(what) for what in WANTED):
        time.sleep(0.05)
    line.done.set()
    watchers[1].join(10)

    if options.json:
        print(json.dumps({what: round(when - line.cut, 3) for what, (when, _) in line.seen.items()}))
        return 0 if all(line.has(what) for what in WANTED) else 1
    print(f"{'last good answer of the guest':34} {line.last_good - line.cut:+8.2f} s")
    print(f"{'power cut':34} {0:+8.2f} s")
    for what, (when, detail) in sorted(line.seen.items(), key=lambda item: item[1][0]):
        print(f"{what:34} {when - line.cut:+8.2f} s  {detail}")
    missing = [what for what in WANTED if not line.has(what)]
    for what in missing:
        print(f"{what:34}    never (in {options.timeout:.0f} s)")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
