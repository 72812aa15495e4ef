#!/usr/bin/env python3
"""Fills a cloud through its API: networks with a subnet each, servers with a port each.

    fill.py http://HOST PASSWORD --networks N --servers N      waits until all servers are ACTIVE
    fill.py http://HOST PASSWORD --token                       prints a token of user admin
    fill.py http://HOST PASSWORD --list                        asks for lists of everything
    fill.py http://HOST PASSWORD --check                       is there a host that takes servers?
"""
import argparse
import http.client
import json
import sys
import time
import urllib.parse

PORTS = {"identity": 5000, "compute": 8774, "network": 9696, "image": 9292}
LISTS = (("compute", "/v2.1/servers/detail"), ("network", "/v2.0/ports"),
         ("network", "/v2.0/networks"), ("network", "/v2.0/subnets"))
WAIT_SECONDS = 600


class Cloud:
    def __init__(self, url, password):
        self.host = urllib.parse.urlparse(url).hostname
        self.lines = {}
        self.headers = {"Content-Type": "application/json"}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": {
            "name": "admin", "domain": {"id": "default"}, "password": password}}},
            "scope": {"project": {"name": "admin", "domain": {"id": "default"}}}}}
        answer, headers = self.ask("identity", "POST", "/v3/auth/tokens", body)
        self.token = self.headers["X-Auth-Token"] = headers["X-Subject-Token"]
        self.project = answer["token"]["project"]["id"]

    def ask(self, service, method, path, body=None, raw=None, tries=10):
        if service not in self.lines:
            self.lines[service] = http.client.HTTPConnection(self.host, PORTS[service], timeout=60)
        line = self.lines[service]
        headers = dict(self.headers)
        if raw is not None:
            headers["Content-Type"] = "application/octet-stream"
        data = raw if raw is not None else json.dumps(body) if body is not None else None
        line.request(method, path, data, headers)
        answer = line.getresponse()
        text = answer.read()
        if answer.status == 503 and tries > 1:  # an overloaded machine
            time.sleep(1)
            return self.ask(service, method, path, body, raw, tries - 1)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()[:300]}")
        return json.loads(text) if text else None, answer.headers

    def make(self, service, path, body):
        return next(iter(self.ask(service, "POST", path, body)[0].values()))


def is_ready(cloud):
    hosts = cloud.ask("compute", "GET", "/v2.1/os-services?binary=nova-compute")[0]["services"]
    return any(host["state"] == "up" for host in hosts)


def raise_quotas(cloud):
    many = 100000
    cloud.ask("compute", "PUT", f"/v2.1/os-quota-sets/{cloud.project}", {"quota_set": {
        "instances": many, "cores": many, "ram": many * 64}})
    cloud.ask("network", "PUT", f"/v2.0/quotas/{cloud.project}", {"quota": {
        "network": many, "subnet": many, "port": many}})


def make_image(cloud):
    image = cloud.ask("image", "POST", "/v2/images", {
        "name": "bench", "disk_format": "raw", "container_format": "bare"})[0]["id"]
    cloud.ask("image", "PUT", f"/v2/images/{image}/file", raw=b"\0" * 512)
    return image


def wait_until_active(cloud, count):
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        done = len(cloud.ask("compute", "GET", "/v2.1/servers?status=ACTIVE&limit=1000")[0]["servers"])
        if done >= count:
            return
        time.sleep(1)
    sys.exit(f"only {done} of {count} servers are ACTIVE after {WAIT_SECONDS} s")


def fill(cloud, networks, servers):
    raise_quotas(cloud)
    image = make_image(cloud)
    flavor = cloud.make("compute", "/v2.1/flavors", {"flavor": {
        "name": "bench", "vcpus": 1, "ram": 64, "disk": 1}})["id"]
    made = []
    for i in range(networks):
        network = cloud.make("network", "/v2.0/networks", {"network": {"name": f"net-{i}"}})["id"]
        cloud.make("network", "/v2.0/subnets", {"subnet": {
            "network_id": network, "ip_version": 4, "cidr": f"10.{i // 256}.{i % 256}.0/24"}})
        made.append(network)
    for i in range(servers):
        port = cloud.make("network", "/v2.0/ports", {"port": {
            "name": f"port-{i}", "network_id": made[i % networks]}})["id"]
        cloud.make("compute", "/v2.1/servers", {"server": {
            "name": f"server-{i}", "imageRef": image, "flavorRef": flavor,
            "networks": [{"port": port}]}})
    wait_until_active(cloud, servers)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("password")
    parser.add_argument("--networks", type=int, default=1)
    parser.add_argument("--servers", type=int, default=0)
    parser.add_argument("--token", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    cloud = Cloud(args.url, args.password)
    if args.token:
        print(cloud.token)
    elif args.check:
        sys.exit(0 if is_ready(cloud) else 1)
    elif args.list:
        for service, path in LISTS:
            cloud.ask(service, "GET", path)
    else:
        fill(cloud, args.networks, args.servers)


main()
