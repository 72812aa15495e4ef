#!/usr/bin/python3
"""A session of openstacksdk against the cloud of the environment (OS_*), prepared as by cloud.sh."""
import hashlib
import os
import tempfile

import keystoneauth1.exceptions
import openstack
from openstack import exceptions


def check(text, condition):
    if not condition:
        raise SystemExit(f"FAILED: {text}")
    print(f"ok: {text}", flush=True)


def refused(text, status, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except (exceptions.HttpException, keystoneauth1.exceptions.HttpError) as error:
        got = getattr(error, "status_code", None) or error.http_status
        check(f"{text} ({got})", got == status)
        return
    raise SystemExit(f"FAILED: {text}: nothing was refused")


def images(cloud):
    content = os.urandom(200000)
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        image = cloud.create_image("sdk-image", filename=file.name, disk_format="raw",
                                   container_format="bare", wait=True, purpose="test")
    check("image active", image.status == "active")
    check("its checksum", image.checksum == hashlib.md5(content).hexdigest())
    check("its SHA-512", image.hash_value == hashlib.sha512(content).hexdigest())
    check("its bytes", cloud.image.download_image(image.id).content == content)
    cloud.update_image_properties(image=image.id, meta={"purpose": "changed"})
    check("found by name", cloud.get_image("sdk-image").id == image.id)
    names = [found.name for found in cloud.image.images(limit=1)]
    check("pages of one", {"sdk-image", "vling-test"} <= set(names) and len(names) == len(set(names)))
    cloud.delete_image(image.id)
    check("deleted", cloud.get_image("sdk-image") is None)


def networks(cloud):
    network = cloud.create_network("sdk-net")
    subnet = cloud.create_subnet(network.id, cidr="10.8.0.0/24", subnet_name="sdk-subnet")
    port = cloud.create_port(network.id, name="sdk-port")
    check("port has an address", port.fixed_ips[0]["ip_address"].startswith("10.8.0."))
    refused("a network in use stays", 409,
            cloud.network.delete_network, network.id)
    refused("an address outside the subnet", 400, cloud.create_port,
            network.id, fixed_ips=[{"subnet_id": subnet.id, "ip_address": "10.9.0.1"}])
    refused("no such network", 404, cloud.network.get_network, "nowhere")
    ports = list(cloud.network.ports(network_id=network.id, limit=1))
    check("ports in pages", port.id in [found.id for found in ports])
    cloud.delete_port(port.id)
    cloud.delete_network(network.id)
    check("deleted", cloud.get_network("sdk-net") is None)


def servers(cloud):
    server = cloud.create_server("sdk-server", image="vling-test", flavor="m1.micro",
                                 network="private", key_name="key1", wait=True, auto_ip=False,
                                 meta={"role": "test"})
    check("server active", server.status == "ACTIVE")
    check("its metadata", server.metadata == {"role": "test"})
    address = cloud.add_auto_ip(server, wait=True)
    check("it has a floating IP", address.startswith("172.24.4."))
    check("it is listed", "sdk-server" in [found.name for found in cloud.compute.servers()])
    check("found by name", cloud.compute.find_server("sdk-server").id == server.id)
    check("console", isinstance(cloud.get_server_console(server.id), str))
    cloud.compute.pause_server(server.id)
    cloud.compute.wait_for_server(cloud.compute.get_server(server.id), status="PAUSED", wait=60)
    refused("a paused server cannot be stopped", 409,
            cloud.compute.stop_server, server.id)
    cloud.compute.unpause_server(server.id)
    cloud.compute.wait_for_server(cloud.compute.get_server(server.id), status="ACTIVE", wait=60)
    cloud.compute.reboot_server(server.id, "HARD")
    cloud.compute.wait_for_server(cloud.compute.get_server(server.id), status="ACTIVE", wait=60)
    cloud.set_server_metadata(server.id, {"more": "yes"})
    check("metadata merged", cloud.get_server(server.id).metadata == {"role": "test", "more": "yes"})
    refused("no such image", 400, cloud.compute.create_server, name="x",
            image_id="00000000-0000-4000-8000-000000000000", flavor_id="84", networks=[])
    cloud.delete_server(server.id, wait=True, delete_ips=True)
    check("deleted", cloud.get_server(server.id) is None)


def identity(cloud):
    project = cloud.create_project(name="sdk-project", domain_id="default")
    user = cloud.create_user(name="sdk-user", password="a-password", domain_id="default",
                             default_project=project.id)
    cloud.grant_role("member", user=user.id, project=project.id)
    member = openstack.connect(auth_url=os.environ["OS_AUTH_URL"], username="sdk-user",
                               password="a-password", project_name="sdk-project",
                               user_domain_name="Default", project_domain_name="Default",
                               region_name=os.environ.get("OS_REGION_NAME"))
    check("a member sees no servers of others", not list(member.compute.servers()))
    refused("and creates no users", 403, member.identity.create_user,
            name="another", password="p")
    refused("and no flavors", 403, member.compute.create_flavor,
            name="f", ram=1, vcpus=1, disk=1)
    cloud.delete_user(user.id)
    refused("a deleted user's token is void", 401, list,
            member.network.networks())
    cloud.delete_project(project.id)


def main():
    cloud = openstack.connect()
    images(cloud)
    networks(cloud)
    servers(cloud)
    identity(cloud)


main()
