#!/usr/bin/python3
"""Every route of the services through openstacksdk, against the cloud of the environment (OS_*):
by the SDK's own method where it has one, otherwise by a plain call of its adapter. What needs a
booted guest is in sdk_session.py and test_clients.sh."""
import io
import sys

import openstack
from openstack import exceptions

USER, PASSWORD = "tour-user", "a-password"


def check(text, condition):
    if not condition:
        raise SystemExit(f"FAILED: {text}")
    print(f"ok: {text}", flush=True)


def ask(proxy, method, path, **arguments):
    """A call that the SDK has no method for; the answer's body, or None."""
    answer = getattr(proxy, method)(path, **arguments)
    exceptions.raise_from_response(answer)
    return answer.json() if answer.content else None


def gone(text, call, *arguments):
    try:
        call(*arguments)
    except exceptions.NotFoundException:
        print(f"ok: {text}", flush=True)
        return
    raise SystemExit(f"FAILED: {text}")


def discovery(cloud):
    roots = {}
    for name in ("identity", "image", "compute", "network"):
        root = cloud.session.get_endpoint(service_type=name, interface="public").split("/v")[0]
        roots[name] = root.rstrip("/")
        check(f"versions of {name}", cloud.session.get(roots[name] + "/", authenticated=False).ok)
    for url in (roots["identity"] + "/v3", roots["image"] + "/versions",
                roots["compute"] + "/v2.1/", roots["network"] + "/v2.0/"):
        check(url, cloud.session.get(url).ok)
    for kind in ("image", "images", "member", "members"):
        check(f"schema of {kind}", ask(cloud.image, "get", f"/schemas/{kind}")["name"] == kind)
    ask(cloud.image, "get", "/info/import")
    extensions = ask(cloud.compute, "get", "/extensions")["extensions"]
    ask(cloud.compute, "get", f"/extensions/{extensions[0]['alias']}")
    aliases = [found.alias for found in cloud.network.extensions()]
    check("network extensions", {"router", "security-group", "quotas"} <= set(aliases))
    check("one extension", cloud.network.find_extension("router").alias == "router")


def tokens(cloud):
    for what in ("catalog", "projects", "domains", "system"):
        ask(cloud.identity, "get", f"/auth/{what}")
    mine = cloud.session.auth.get_token(cloud.session)
    shown = ask(cloud.identity, "get", "/auth/tokens", headers={"X-Subject-Token": mine})
    check("a token is validated", shown["token"]["user"]["name"] == "admin")
    body = {"auth": {"identity": {"methods": ["token"], "token": {"id": mine}},
                     "scope": {"project": {"id": cloud.current_project_id}}}}
    second = cloud.identity.post("/auth/tokens", json=body).headers["X-Subject-Token"]
    ask(cloud.identity, "delete", "/auth/tokens", headers={"X-Subject-Token": second})
    gone("a revoked token is void", lambda: ask(cloud.identity, "get", "/auth/tokens",
                                                headers={"X-Subject-Token": second}))


def people(cloud):
    identity = cloud.identity
    domain = identity.create_domain(name="tour-domain")
    identity.update_domain(domain, description="changed")
    check("domain", identity.get_domain(domain.id).description == "changed")
    check("domains", domain.id in [found.id for found in identity.domains()])
    project = identity.create_project(name="tour-project", domain_id="default")
    identity.update_project(project, description="changed")
    check("project", identity.get_project(project.id).description == "changed")
    check("projects", project.id in [found.id for found in identity.projects(name="tour-project")])
    project.set_tags(identity, ["one", "two"])
    project.add_tag(identity, "three")
    project.remove_tag(identity, "one")
    check("a tag of a project", project.check_tag(identity, "three"))
    check("its tags", sorted(project.fetch_tags(identity).tags) == ["three", "two"])
    check("projects by tag", [found.id for found in identity.projects(tags="two")] == [project.id])
    project.remove_all_tags(identity)
    check("no tags", project.fetch_tags(identity).tags == [])
    user = identity.create_user(name=USER, password=PASSWORD, domain_id="default")
    identity.update_user(user, email="tour@example.org")
    check("user", identity.get_user(user.id).email == "tour@example.org")
    check("users", user.id in [found.id for found in identity.users(name=USER)])
    role = identity.create_role(name="tour-role")
    identity.update_role(role, name="tour-role-2")
    check("role", identity.get_role(role.id).name == "tour-role-2")
    check("roles", role.id in [found.id for found in identity.roles()])
    ask(identity, "post", f"/users/{user.id}/password",
        json={"user": {"original_password": PASSWORD, "password": PASSWORD + "2"}})
    for scope in (f"/projects/{project.id}", f"/domains/{domain.id}", "/system"):
        path = f"{scope}/users/{user.id}/roles"
        ask(identity, "put", f"{path}/{role.id}")
        check(f"a role on {scope.split('/')[1]}",
              [found["id"] for found in ask(identity, "get", path)["roles"]] == [role.id])
        ask(identity, "get", f"{path}/{role.id}")
        check("is listed", [found for found in identity.role_assignments(user_id=user.id)])
        ask(identity, "delete", f"{path}/{role.id}")
        gone("and taken away", lambda: ask(identity, "get", f"{path}/{role.id}"))
    check("projects of a user", ask(identity, "get", f"/users/{user.id}/projects")["projects"] == [])
    check("groups of a user", ask(identity, "get", f"/users/{user.id}/groups")["groups"] == [])
    check("groups", list(identity.groups()) == [])
    identity.delete_role(role)
    gone("role deleted", identity.get_role, role.id)
    identity.update_domain(domain, is_enabled=False)
    identity.delete_domain(domain)
    gone("domain deleted", identity.get_domain, domain.id)
    identity.delete_user(user)
    identity.delete_project(project)
    gone("project deleted", identity.get_project, project.id)


def catalog(cloud):
    identity = cloud.identity
    service = next(identity.services())
    check("service", identity.get_service(service.id).type == service.type)
    endpoint = next(identity.endpoints())
    check("endpoint", identity.get_endpoint(endpoint.id).url == endpoint.url)
    region = next(identity.regions())
    check("region", identity.get_region(region.id).id == region.id)


def credentials(cloud):
    identity, user = cloud.identity, cloud.current_user_id
    made = identity.create_application_credential(user, name="tour")
    check("application credential", identity.get_application_credential(user, made.id).name == "tour")
    check("their list", made.id in [found.id for found in identity.application_credentials(user)])
    identity.delete_application_credential(user, made.id)
    gone("and deleted", identity.get_application_credential, user, made.id)


def images(cloud):
    image = cloud.image
    content = b"0123456789" * 50000
    made = image.create_image("tour-image", data=io.BytesIO(content), disk_format="raw",
                              container_format="bare", visibility="shared", allow_duplicates=True)
    made = image.get_image(made.id)
    check("an upload in chunks", made.status == "active" and made.size == len(content))
    check("its bytes", image.download_image(made).content == content)
    part = image.get(f"/images/{made.id}/file", headers={"Range": "bytes=10-19"})
    check("a part of them", part.status_code == 206 and part.content == content[10:20])
    image.update_image(made, min_disk=1)
    check("update", image.get_image(made.id).min_disk == 1)
    image.add_tag(made, "blue")
    check("filter by tag", [found.id for found in image.images(tag="blue")] == [made.id])
    image.remove_tag(made, "blue")
    image.deactivate_image(made)
    check("deactivated", image.get_image(made.id).status == "deactivated")
    image.reactivate_image(made)
    project = cloud.identity.create_project(name="tour-reader", domain_id="default")
    image.add_member(made.id, member=project.id)
    check("member", image.get_member(project.id, made.id).status == "pending")
    image.update_member(project.id, made.id, status="accepted")
    check("members", [found.status for found in image.members(made.id)] == ["accepted"])
    image.remove_member(project.id, made.id)
    cloud.identity.delete_project(project)
    image.delete_image(made)
    gone("image deleted", image.get_image, made.id)


def flavors_and_keys(cloud):
    compute = cloud.compute
    flavor = compute.create_flavor(name="tour-flavor", ram=64, vcpus=1, disk=1)
    check("flavors", "tour-flavor" in [found.name for found in compute.flavors(details=False)])
    check("in detail", flavor.id in [found.id for found in compute.flavors(details=True)])
    compute.create_flavor_extra_specs(flavor, {"hw:shape": "round"})
    compute.update_flavor_extra_specs_property(flavor, "hw:shape", "flat")
    check("extra spec", compute.get_flavor_extra_specs_property(flavor, "hw:shape") == "flat")
    check("extra specs", compute.fetch_flavor_extra_specs(flavor).extra_specs == {"hw:shape": "flat"})
    compute.delete_flavor_extra_specs_property(flavor, "hw:shape")
    private = compute.create_flavor(name="tour-private", ram=64, vcpus=1, disk=1, is_public=False)
    compute.flavor_add_tenant_access(private, cloud.current_project_id)
    check("access to a private flavor", [found["tenant_id"] for found
                                         in compute.get_flavor_access(private)]
          == [cloud.current_project_id])
    compute.delete_flavor(private)
    compute.delete_flavor(flavor)
    gone("flavor deleted", compute.get_flavor, flavor.id)
    key = compute.create_keypair(name="tour-key")
    check("keypair", compute.get_keypair("tour-key").fingerprint == key.fingerprint)
    check("keypairs", "tour-key" in [found.name for found in compute.keypairs()])
    compute.delete_keypair("tour-key")


def server_details(cloud):
    """A server that is only looked at."""
    compute = cloud.compute
    group = compute.create_server_group(name="tour-servers", policies=["anti-affinity"])
    check("server group", compute.get_server_group(group.id).name == "tour-servers")
    check("server groups", group.id in [found.id for found in compute.server_groups()])
    made = compute.create_server(name="tour-server", image_id=cloud.get_image("vling-test").id,
                                 flavor_id=cloud.get_flavor("m1.micro").id, metadata={"a": "1"},
                                 networks=[{"uuid": cloud.get_network("private").id}],
                                 scheduler_hints={"group": group.id})
    compute.wait_for_server(made, wait=120)
    server = f"/servers/{made.id}"
    check("servers", made.id in [found.id for found in compute.servers(details=False)])
    check("in detail", made.id in [found.id for found in compute.servers(name="tour-server")])
    check("its group has it", compute.get_server_group(group.id).member_ids == [made.id])
    compute.update_server(made, description="looked at")
    ask(compute, "put", f"{server}/metadata", json={"metadata": {"b": "2"}})
    ask(compute, "post", f"{server}/metadata", json={"metadata": {"c": "3"}})
    ask(compute, "put", f"{server}/metadata/d", json={"meta": {"d": "4"}})
    ask(compute, "delete", f"{server}/metadata/b")
    check("a member of metadata", ask(compute, "get", f"{server}/metadata/c")["meta"] == {"c": "3"})
    check("metadata", ask(compute, "get", f"{server}/metadata")["metadata"] == {"c": "3", "d": "4"})
    address = ask(compute, "get", f"{server}/ips")["addresses"]["private"][0]["addr"]
    check("addresses", ask(compute, "get", f"{server}/ips/private")["private"][0]["addr"] == address)
    check("interfaces", [found.fixed_ips[0]["ip_address"]
                         for found in compute.server_interfaces(made)] == [address])
    groups = ask(compute, "get", f"{server}/os-security-groups")["security_groups"]
    check("its security groups", [found["name"] for found in groups] == ["default"])
    groups = ask(compute, "get", "/os-security-groups")["security_groups"]
    ask(compute, "get", f"/os-security-groups/{groups[0]['id']}")
    cloud.delete_server(made.id, wait=True)
    gone("server deleted", compute.get_server, made.id)
    compute.delete_server_group(group)


def compute_operator(cloud):
    compute, project = cloud.compute, cloud.current_project_id
    check("zones", {found.name for found in compute.availability_zones()} >= {"c1", "c2", "c3"})
    check("with hosts", [found for found in compute.availability_zones(details=True) if found.hosts])
    hypervisors = list(compute.hypervisors(details=True))
    check("hypervisors in detail", len(hypervisors) == 9)
    check("hypervisors", len(list(compute.hypervisors())) == 9)
    check("one", compute.get_hypervisor(hypervisors[0].id).name == hypervisors[0].name)
    check("their sum", ask(compute, "get", "/os-hypervisors/statistics",
                           headers={"OpenStack-API-Version": "compute 2.1"})
          ["hypervisor_statistics"]["count"] == 9)
    check("services", len(list(compute.services())) >= 9)
    check("limits", compute.get_limits().absolute.instances_used == 0)
    cloud.set_compute_quotas(project, instances=77)
    check("quota", cloud.get_compute_quotas(project).instances == 77)
    ask(compute, "get", f"/os-quota-sets/{project}/detail")
    ask(compute, "get", f"/os-quota-sets/{project}/defaults")
    cloud.delete_compute_quotas(project)
    check("quota as it was", cloud.get_compute_quotas(project).instances != 77)
    default = ask(compute, "get", "/os-quota-class-sets/default")["quota_class_set"]
    ask(compute, "put", "/os-quota-class-sets/default",
        json={"quota_class_set": {"instances": default["instances"]}})
    ask(compute, "get", f"/os-simple-tenant-usage/{project}")


def networks(cloud):
    network = cloud.network
    external = network.find_network("public")
    made = network.create_network(name="tour-net")
    network.update_network(made, description="changed")
    check("network", network.get_network(made.id).description == "changed")
    check("networks", made.id in [found.id for found in network.networks(name="tour-net")])
    subnet = network.create_subnet(network_id=made.id, ip_version=4, cidr="10.9.0.0/24")
    network.update_subnet(subnet, name="tour-subnet")
    check("subnet", network.get_subnet(subnet.id).name == "tour-subnet")
    check("subnets", subnet.id in [found.id for found in network.subnets(network_id=made.id)])
    port = network.create_port(network_id=made.id)
    network.update_port(port, name="tour-port")
    check("port", network.get_port(port.id).name == "tour-port")
    check("ports", port.id in [found.id for found in network.ports(network_id=made.id)])
    router = network.create_router(name="tour-router",
                                   external_gateway_info={"network_id": external.id})
    network.update_router(router, description="changed")
    check("router", network.get_router(router.id).description == "changed")
    check("routers", router.id in [found.id for found in network.routers()])
    network.add_interface_to_router(router, subnet_id=subnet.id)
    address = network.create_ip(floating_network_id=external.id)
    network.update_ip(address, port_id=port.id)
    check("floating IP", network.get_ip(address.id).port_id == port.id)
    check("floating IPs", address.id in [found.id for found in network.ips()])
    for kind in ("networks", "subnets", "ports", "routers", "floatingips"):
        thing = {"networks": made, "subnets": subnet, "ports": port, "routers": router,
                 "floatingips": address}[kind]
        tags(network, f"/{kind}/{thing.id}/tags")
    network.delete_ip(address)
    network.remove_interface_from_router(router, subnet_id=subnet.id)
    network.delete_router(router)
    network.delete_port(port)
    network.delete_subnet(subnet)
    network.delete_network(made)
    for get, thing in ((network.get_ip, address), (network.get_router, router),
                       (network.get_port, port), (network.get_network, made)):
        gone("deleted", get, thing.id)


def tags(network, path):
    ask(network, "put", path, json={"tags": ["green", "blue"]})
    ask(network, "put", f"{path}/red")
    ask(network, "get", f"{path}/red")
    ask(network, "delete", f"{path}/green")
    check("tags", sorted(ask(network, "get", path)["tags"]) == ["blue", "red"])
    ask(network, "delete", path)


def security(cloud):
    network = cloud.network
    group = network.create_security_group(name="tour-group")
    network.update_security_group(group, description="changed")
    check("security group", network.get_security_group(group.id).description == "changed")
    check("security groups", group.id in [found.id for found in network.security_groups()])
    rule = network.create_security_group_rule(security_group_id=group.id, direction="ingress",
                                              protocol="tcp", port_range_min=1, port_range_max=2)
    check("rule", network.get_security_group_rule(rule.id).port_range_max == 2)
    check("rules", rule.id in [found.id for found in
                               network.security_group_rules(security_group_id=group.id)])
    network.delete_security_group_rule(rule)
    network.delete_security_group(group)
    gone("deleted", network.get_security_group, group.id)


def network_operator(cloud):
    network, project = cloud.network, cloud.current_project_id
    agents = list(network.agents())
    check("agents", len(agents) >= 9)
    check("one agent", network.get_agent(agents[0].id).host == agents[0].host)
    check("zones", [found.name for found in network.availability_zones()])
    network.update_quota(project, networks=55)
    check("quota", network.get_quota(project).networks == 55)
    check("quotas", [found for found in network.quotas()])
    check("in detail", network.get_quota(project, details=True).networks["limit"] == 55)
    for form in ("details", "details.json"):
        ask(network, "get", f"/quotas/{project}/{form}")
    check("default quota", network.get_quota_default(project).networks != 55)
    network.delete_quota(project)
    check("subnet pools", list(network.subnet_pools()) == [])
    check("address groups", list(network.address_groups()) == [])
    check("address scopes", list(network.address_scopes()) == [])


def main():
    cloud = openstack.connect()
    parts = (discovery, tokens, people, catalog, credentials, images, flavors_and_keys,
             server_details, compute_operator, networks, security, network_operator)
    for part in parts:
        if len(sys.argv) < 2 or part.__name__ in sys.argv[1:]:
            print(f"== {part.__name__}", flush=True)
            part(cloud)


main()
