#!/usr/bin/python3
"""Which routes of the services did real clients use?

    coverage.py REFERENCE LOG...

REFERENCE is docs/api, whose tables are made from the routes themselves; the logs are those of
vlingd -v. A route counts when a request for it was answered with less than 400. Lists those that
nobody used and fails if there are any."""
import re
import sys
from pathlib import Path

SERVICES = {"identity": "keystone", "image": "glance", "compute": "nova", "network": "neutron"}
ROUTE = re.compile(r"^\| (GET|POST|PUT|PATCH|DELETE) \| `([^`]+)` \|")
REQUEST = re.compile(r" api: (\S+) (\S+) (\S+) (\d+) ")


class Route:
    def __init__(self, service, method, path):
        self.service, self.method, self.path = service, method, path
        self.pattern = re.compile(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(path)) + "/?")
        self.variables = path.count("{")
        self.used = 0


def routes_of(folder):
    routes = []
    for name in SERVICES:
        for line in (folder / f"{name}.md").read_text().splitlines():
            found = ROUTE.match(line)
            if found:
                routes.append(Route(name, *found.groups()))
    return routes


def count(routes, log):
    names = {name: kind for kind, name in SERVICES.items()}
    for line in log:
        found = REQUEST.search(line)
        if not found or int(found[4]) >= 400:
            continue
        service, method = names.get(found[1], found[1]), found[2].replace("HEAD", "GET")
        fits = [route for route in routes if route.service == service and route.method == method
                and route.pattern.fullmatch(found[3])]
        if fits:
            min(fits, key=lambda route: route.variables).used += 1


def main():
    routes = routes_of(Path(sys.argv[1]))
    for name in sys.argv[2:]:
        with open(name, errors="replace") as log:
            count(routes, log)
    unused = [route for route in routes if not route.used]
    for route in unused:
        print(f"nobody used: {route.service} {route.method} {route.path}")
    print(f"{len(routes) - len(unused)} of {len(routes)} routes used")
    sys.exit(1 if unused or not routes else 0)


main()
