/* The metadata service of a server, in OpenStack's form and the part of EC2's that cloud-init and
 * small images read: https://docs.openstack.org/nova/latest/user/metadata.html */
#include "base/buf.h"
#include "base/json.h"
#include "model/port.h"
#include "node/agent_rows.h"
#include "node/node.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define USER_DATA_MAX (64 * 1024)

json_t *metadata_document(struct mirror *db, const json_t *server)
{
    json_t *doc = json_object();
    const char *key = json_str(server, "public_key", NULL);
    const char *key_name = json_str(server, "key_name", "default");
    json_t *host = mirror_get(db, "host", json_str(server, "host_id", ""), NULL);
    char name[256];
    size_t n = 0;

    /* A host name may hold only letters, digits and dashes (RFC 1123). */
    for (const char *at = json_str(server, "name", "server"); *at && n < 63; at++) {
        bool fine = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
                    (*at >= '0' && *at <= '9') || *at == '-' || *at == '.';

        name[n++] = fine ? *at : '-';
    }
    name[n] = '\0';
    json_put_str(doc, "uuid", json_str(server, "id", ""));
    json_put_str(doc, "name", json_str(server, "name", ""));
    json_put_str(doc, "hostname", name);
    json_put_str(doc, "project_id", json_str(server, "project_id", ""));
    json_put_str(doc, "availability_zone", json_str(host, "cabinet", "nova"));
    json_put_int(doc, "launch_index", 0);
    json_object_set_new(doc, "devices", json_array());
    if (json_object_size(json_object_get(server, "metadata")) > 0)
        json_object_set(doc, "meta", json_object_get(server, "metadata"));
    if (key) {
        json_object_set_new(doc, "public_keys", json_pack("{s:s}", key_name, key));
        json_object_set_new(
            doc, "keys",
            json_pack("[{s:s, s:s, s:s}]", "name", key_name, "type", "ssh", "data", key));
    }
    json_decref(host);
    return doc;
}

static json_t *network_entry(struct mirror *db, const json_t *port, const char *link, size_t index)
{
    json_t *fixed = json_array_get(json_object_get(port, "fixed_ips"), 0);
    json_t *subnet = mirror_get(db, "subnet", json_str(fixed, "subnet_id", ""), NULL), *out;
    char id[32];

    snprintf(id, sizeof(id), "network%zu", index);
    out = json_pack("{s:s, s:s, s:s, s:s}", "id", id, "link", link, "network_id",
                    json_str(port, "network_id", ""), "type",
                    json_int(subnet, "ip_version", 4) == 6 ? "ipv6_dhcp" : "ipv4_dhcp");
    json_decref(subnet);
    return out;
}

json_t *metadata_network(struct mirror *db, const json_t *server)
{
    json_t *links = json_array(), *networks = json_array(), *port;
    json_t *ports = agent_ports_of(db, json_str(server, "id", ""));
    size_t i;

    json_array_foreach(ports, i, port)
    {
        char link[32];
        json_t *network = mirror_get(db, "network", json_str(port, "network_id", ""), NULL);

        snprintf(link, sizeof(link), "tap%zu", i);
        json_array_append_new(links,
                              json_pack("{s:s, s:s, s:s, s:I, s:s}", "id", link, "type", "phy",
                                        "ethernet_mac_address", json_str(port, "mac_address", ""),
                                        "mtu", (json_int_t)json_int(network, "mtu", 1450), "vif_id",
                                        json_str(port, "id", "")));
        json_array_append_new(networks, network_entry(db, port, link, i));
        json_decref(network);
    }
    json_decref(ports);
    return json_pack("{s:o, s:o, s:[]}", "links", links, "networks", networks, "services");
}

char *metadata_user_data(const json_t *server, size_t *ret_size)
{
    const char *text = json_str(server, "user_data", NULL);
    unsigned char *out;
    size_t size = 0;

    if (!text || !*text)
        return NULL;
    out = malloc(USER_DATA_MAX + 1);
    if (!out || sodium_base642bin(out, USER_DATA_MAX, text, strlen(text), "\r\n ", &size, NULL,
                                  sodium_base64_VARIANT_ORIGINAL) != 0) {
        free(out);
        return NULL;
    }
    out[size] = '\0';
    *ret_size = size;
    return (char *)out;
}

/* ---- over HTTP ---- */

/* The server that has `ip` on `network_id`; NULL if nobody has. `ret_port` gets its port. */
static json_t *server_of(struct mirror *db, const char *network_id, const char *ip,
                         json_t **ret_port)
{
    json_t *ports, *port, *fixed, *server = NULL;
    size_t i, k;

    ports = mirror_select(db, "port", "WHERE network_id = ? AND device_owner LIKE 'compute:%'", "s",
                          network_id);
    json_array_foreach(ports, i, port)
    {
        json_array_foreach(json_object_get(port, "fixed_ips"), k, fixed)
        {
            if (server || strcmp(json_str(fixed, "ip_address", ""), ip) != 0)
                continue;
            server = mirror_get(db, "server", json_str(port, "device_id", ""), NULL);
            /* What a server is told is its project's secret. */
            if (port_serves(port, server)) {
                *ret_port = json_incref(port);
                continue;
            }
            json_decref(server);
            server = NULL;
        }
    }
    json_decref(ports);
    return server;
}

static unsigned reply_text(const char *text, char **ret_body, size_t *ret_size)
{
    *ret_body = strdup(text);
    *ret_size = *ret_body ? strlen(text) : 0;
    return *ret_body ? 200 : 500;
}

static unsigned reply_json(json_t *doc, char **ret_body, size_t *ret_size)
{
    *ret_body = json_dumps(doc, JSON_COMPACT);
    *ret_size = *ret_body ? strlen(*ret_body) : 0;
    json_decref(doc);
    return *ret_body ? 200 : 500;
}

static unsigned serve_openstack(struct mirror *db, const json_t *server, const char *file,
                                char **ret_body, size_t *ret_size)
{
    if (strcmp(file, "") == 0)
        return reply_text("meta_data.json\nnetwork_data.json\nuser_data\nvendor_data.json\n",
                          ret_body, ret_size);
    if (strcmp(file, "meta_data.json") == 0)
        return reply_json(metadata_document(db, server), ret_body, ret_size);
    if (strcmp(file, "network_data.json") == 0)
        return reply_json(metadata_network(db, server), ret_body, ret_size);
    if (strcmp(file, "vendor_data.json") == 0 || strcmp(file, "vendor_data2.json") == 0)
        return reply_json(json_object(), ret_body, ret_size);
    if (strcmp(file, "user_data") == 0) {
        *ret_body = metadata_user_data(server, ret_size);
        return *ret_body ? 200 : 404;
    }
    return 404;
}

static unsigned serve_ec2(struct mirror *db, const json_t *server, const json_t *port,
                          const char *file, char **ret_body, size_t *ret_size)
{
    json_t *fixed = json_array_get(json_object_get(port, "fixed_ips"), 0);
    const char *key = json_str(server, "public_key", NULL);
    char text[512];

    if (strcmp(file, "") == 0)
        return reply_text("hostname\ninstance-id\nlocal-hostname\nlocal-ipv4\npublic-ipv4\n"
                          "public-keys/",
                          ret_body, ret_size);
    if (strcmp(file, "instance-id") == 0) {
        snprintf(text, sizeof(text), "i-%s", json_str(server, "id", ""));
        return reply_text(text, ret_body, ret_size);
    }
    if (strcmp(file, "hostname") == 0 || strcmp(file, "local-hostname") == 0) {
        json_t *doc = metadata_document(db, server);
        unsigned status = reply_text(json_str(doc, "hostname", ""), ret_body, ret_size);

        json_decref(doc);
        return status;
    }
    if (strcmp(file, "local-ipv4") == 0)
        return reply_text(json_str(fixed, "ip_address", ""), ret_body, ret_size);
    if (strcmp(file, "public-ipv4") == 0) {
        json_t *fips =
            mirror_select(db, "floatingip", "WHERE port_id = ?", "s", json_str(port, "id", ""));
        unsigned status = reply_text(json_str(json_array_get(fips, 0), "floating_ip_address", ""),
                                     ret_body, ret_size);

        json_decref(fips);
        return status;
    }
    if (!key)
        return 404;
    if (strcmp(file, "public-keys") == 0 || strcmp(file, "public-keys/") == 0) {
        snprintf(text, sizeof(text), "0=%s", json_str(server, "key_name", "default"));
        return reply_text(text, ret_body, ret_size);
    }
    if (strcmp(file, "public-keys/0") == 0 || strcmp(file, "public-keys/0/") == 0)
        return reply_text("openssh-key", ret_body, ret_size);
    if (strcmp(file, "public-keys/0/openssh-key") == 0)
        return reply_text(key, ret_body, ret_size);
    return 404;
}

/* Splits "/<version>/<rest>" after `prefix`; returns rest ("" if none) or NULL. */
static const char *after_version(const char *path)
{
    const char *slash = path[0] == '/' ? strchr(path + 1, '/') : NULL;

    return slash ? slash + 1 : "";
}

unsigned metadata_serve(void *arg, const char *network_id, const char *client_ip,
                        const char *method, const char *path, char **ret_body, size_t *ret_size)
{
    struct node *node = arg;
    json_t *port = NULL, *server;
    const char *rest;
    unsigned status = 404;

    *ret_body = NULL;
    *ret_size = 0;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return 405;
    server = server_of(node->mirror, network_id, client_ip, &port);
    if (!server)
        return 404;
    if (strcmp(path, "/") == 0 || strcmp(path, "") == 0) {
        status = reply_text("latest\nopenstack\n2009-04-04\n", ret_body, ret_size);
    } else if (strncmp(path, "/openstack", 10) == 0) {
        rest = after_version(path + 10);
        status = path[10] == '\0' || strcmp(path + 10, "/") == 0
                     ? reply_text("2012-08-10\n2018-08-27\nlatest\n", ret_body, ret_size)
                     : serve_openstack(node->mirror, server, rest, ret_body, ret_size);
    } else {
        rest = after_version(path);
        if (strcmp(rest, "") == 0)
            status = reply_text("meta-data/\nuser-data\n", ret_body, ret_size);
        else if (strcmp(rest, "user-data") == 0 || strcmp(rest, "user-data/") == 0)
            status = serve_openstack(node->mirror, server, "user_data", ret_body, ret_size);
        else if (strncmp(rest, "meta-data", 9) == 0)
            status =
                serve_ec2(node->mirror, server, port, rest[9] ? rest + 10 : "", ret_body, ret_size);
    }
    json_decref(server);
    json_decref(port);
    return status;
}
