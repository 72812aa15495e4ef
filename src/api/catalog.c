/* The catalog: which services there are and where. It follows from the services that run, so there
 * is nothing to keep in step; ids are hashes of names and stay the same for ever. */
#include "api/identity.h"

#include "base/json.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

static const char *const interfaces[] = {"public", "internal", "admin"};

static void stable_id(const char *kind, const char *name, const char *more, char out[33])
{
    unsigned char hash[16];
    char text[200];

    snprintf(text, sizeof(text), "%s/%s/%s", kind, name, more);
    crypto_generichash(hash, sizeof(hash), (const unsigned char *)text, strlen(text), NULL, 0);
    sodium_bin2hex(out, 33, hash, sizeof(hash));
}

/* "https://10.10.0.100" or, without a public address and through a proxy, as the client reached us.
 */
static void root_url(const struct api_req *req, char *out, size_t size)
{
    const struct api_options *options = api_get_options(req->api);
    const char *address = options->public_address;
    char *colon;

    if (address && address[0] && !api_by_tls_proxy(req)) {
        snprintf(out, size, strchr(address, ':') ? "http%s://[%s]" : "http%s://%s",
                 options->cert_file ? "s" : "", address);
        return;
    }
    snprintf(out, size, "%s", req->base_url);
    colon = strrchr(out, ':');
    if (colon && colon[1] != '/' && !strchr(colon, ']'))
        *colon = '\0';
}

static void service_url(const struct api_req *req, const struct api_service_ops *service, char *out,
                        size_t size)
{
    char root[300];

    root_url(req, root, sizeof(root));
    snprintf(out, size, "%s:%u%s", root, api_port(req->api, service->service),
             service->catalog_path ? service->catalog_path : "");
}

static json_t *endpoint(const struct api_req *req, const struct api_service_ops *service,
                        const char *interface)
{
    const char *region = api_get_options(req->api)->region;
    char id[33], url[400];

    stable_id("endpoint", service->name, interface, id);
    service_url(req, service, url, sizeof(url));
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", id, "interface", interface, "region",
                     region, "region_id", region, "url", url);
}

json_t *catalog_build(const struct api_req *req)
{
    const struct api_service_ops *service;
    json_t *catalog = json_array();

    for (size_t i = 0; (service = api_service_at(req->api, i)); i++) {
        json_t *endpoints = json_array();
        char id[33];

        stable_id("service", service->name, "", id);
        for (size_t j = 0; j < 3; j++)
            json_array_append_new(endpoints, endpoint(req, service, interfaces[j]));
        json_array_append_new(catalog,
                              json_pack("{s:s, s:s, s:s, s:o}", "id", id, "type", service->type,
                                        "name", service->name, "endpoints", endpoints));
    }
    return catalog;
}

/* ---- /v3/auth/catalog, /v3/services, /v3/endpoints, /v3/regions ---- */

static json_t *list_links(const struct api_req *req)
{
    char self[600];

    snprintf(self, sizeof(self), "%s%.250s", req->base_url, req->path);
    return json_pack("{s:n, s:s, s:n}", "next", "self", self, "previous");
}

static void put_links(const struct api_req *req, json_t *object, const char *plural)
{
    char self[400];

    snprintf(self, sizeof(self), "%s/v3/%s/%s", req->base_url, plural, json_str(object, "id", ""));
    json_object_set_new(object, "links", json_pack("{s:s}", "self", self));
}

void catalog_list(struct api_req *req)
{
    api_reply(req, 200,
              json_pack("{s:o, s:o}", "catalog", catalog_build(req), "links", list_links(req)));
}

static bool passes(const struct api_req *req, const json_t *object, const char *const *filters)
{
    for (size_t i = 0; filters[i]; i++) {
        const char *wanted = api_query(req, filters[i]);

        if (wanted && strcmp(wanted, json_str(object, filters[i], "")) != 0)
            return false;
    }
    return true;
}

static json_t *all_services(const struct api_req *req)
{
    static const char *const filters[] = {"type", "name", NULL};
    json_t *catalog = catalog_build(req), *list = json_array(), *entry;
    size_t i;

    json_array_foreach(catalog, i, entry)
    {
        if (!passes(req, entry, filters))
            continue;
        json_object_del(entry, "endpoints");
        json_object_set_new(entry, "enabled", json_true());
        json_object_set_new(entry, "description", json_string(""));
        put_links(req, entry, "services");
        json_array_append(list, entry);
    }
    json_decref(catalog);
    return list;
}

static json_t *all_endpoints(const struct api_req *req)
{
    static const char *const filters[] = {"interface", "service_id", "region_id", "region", NULL};
    json_t *catalog = catalog_build(req), *list = json_array(), *service, *entry;
    size_t i, j;

    json_array_foreach(catalog, i, service)
    {
        json_array_foreach(json_object_get(service, "endpoints"), j, entry)
        {
            json_object_set(entry, "service_id", json_object_get(service, "id"));
            json_object_set_new(entry, "enabled", json_true());
            put_links(req, entry, "endpoints");
            if (passes(req, entry, filters))
                json_array_append(list, entry);
        }
    }
    json_decref(catalog);
    return list;
}

static json_t *all_regions(const struct api_req *req)
{
    json_t *region = json_pack("{s:s, s:s, s:n}", "id", api_get_options(req->api)->region,
                               "description", "", "parent_region_id");

    put_links(req, region, "regions");
    return json_pack("[o]", region);
}

static void reply_list(struct api_req *req, const char *plural, json_t *list)
{
    api_reply(req, 200, json_pack("{s:o, s:o}", plural, list, "links", list_links(req)));
}

/* Answers the one of `list` (stolen) whose id is asked for. */
static void reply_one(struct api_req *req, const char *singular, json_t *list)
{
    const char *id = api_param(req, "id");
    json_t *entry = NULL;
    size_t i;

    json_array_foreach(list, i, entry)
    {
        if (strcmp(json_str(entry, "id", ""), id) == 0)
            break;
    }
    if (entry && i < json_array_size(list))
        api_reply(req, 200, json_pack("{s:O}", singular, entry));
    else
        api_fail(req, 404, NULL, "Could not find %s: %.100s.", singular, id);
    json_decref(list);
}

void catalog_services(struct api_req *req)
{
    reply_list(req, "services", all_services(req));
}

void catalog_service(struct api_req *req)
{
    reply_one(req, "service", all_services(req));
}

void catalog_endpoints(struct api_req *req)
{
    reply_list(req, "endpoints", all_endpoints(req));
}

void catalog_endpoint(struct api_req *req)
{
    reply_one(req, "endpoint", all_endpoints(req));
}

void catalog_regions(struct api_req *req)
{
    reply_list(req, "regions", all_regions(req));
}

void catalog_region(struct api_req *req)
{
    reply_one(req, "region", all_regions(req));
}

/* ---- version documents ---- */

static json_t *version(const struct api_req *req)
{
    char self[320];

    snprintf(self, sizeof(self), "%s/v3/", req->base_url);
    return json_pack("{s:s, s:s, s:s, s:[{s:s, s:s}], s:[{s:s, s:s}]}", "id", "v3.14", "status",
                     "stable", "updated", "2020-04-07T00:00:00Z", "links", "rel", "self", "href",
                     self, "media-types", "base", "application/json", "type",
                     "application/vnd.openstack.identity-v3+json");
}

void identity_versions(struct api_req *req)
{
    char location[320];

    snprintf(location, sizeof(location), "%s/v3/", req->base_url);
    api_header(req, "Location", location);
    api_reply(req, 300, json_pack("{s:{s:[o]}}", "versions", "values", version(req)));
}

void identity_version(struct api_req *req)
{
    api_reply(req, 200, json_pack("{s:o}", "version", version(req)));
}
