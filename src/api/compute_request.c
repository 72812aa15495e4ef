/* What a client may ask for in a new server:
 * https://docs.openstack.org/api-ref/compute/#create-server */
#include "api/compute.h"
#include "api/image.h"
#include "api/quota.h"

#include "base/id.h"
#include "base/json.h"
#include <arpa/inet.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_MAX 100
#define NETWORKS_MAX 8 /* NICs of one guest, GUEST_NICS_MAX of the drivers */

int compute_check_metadata(struct api_req *req, const json_t *metadata)
{
    const char *key;
    json_t *value;
    int64_t most;

    if (!json_is_object(metadata))
        return compute_bad(req, "Invalid input for field/attribute metadata. It must be an object");
    most = quota_limit(req, &resource_compute_quota, req->auth.project_id, "metadata_items");
    if ((int64_t)json_object_size(metadata) > most) {
        api_fail(req, 403, NULL, "Maximum number of metadata items exceeds %lld", (long long)most);
        return -EPERM;
    }
    json_object_foreach((json_t *)metadata, key, value)
    {
        if (!key[0] || strlen(key) > 255 || !json_is_string(value) ||
            json_string_length(value) > 255)
            return compute_bad(req,
                               "Invalid input for field/attribute %.60s. Keys and values of "
                               "metadata are texts of at most 255 characters",
                               key);
    }
    return 0;
}

/* ---- members ---- */

/* Those that are no fields of the row, or other ones there. */
static const char *const others[] = {"imageRef",
                                     "flavorRef",
                                     "networks",
                                     "security_groups",
                                     "min_count",
                                     "max_count",
                                     "adminPass",
                                     "personality",
                                     "block_device_mapping_v2",
                                     "block_device_mapping",
                                     "return_reservation_id",
                                     NULL};

/* Lists of what is not offered; a client may send empty ones. */
static int check_empty(struct api_req *req, const json_t *body, const char *key, const char *why)
{
    const json_t *value = json_object_get(body, key);

    if (!value || json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0))
        return 0;
    if (json_is_array(value))
        return compute_bad(req, "%s", why);
    return compute_bad(req, "Invalid input for field/attribute %s. It must be a list", key);
}

static int check_offered(struct api_req *req, const json_t *body)
{
    static const char no_volumes[] = "This cloud has no volumes yet: boot from an image (imageRef)";
    const json_t *returns = json_object_get(body, "return_reservation_id");
    const json_t *password = json_object_get(body, "adminPass");

    if (check_empty(req, body, "block_device_mapping_v2", no_volumes) < 0 ||
        check_empty(req, body, "block_device_mapping", no_volumes) < 0 ||
        check_empty(req, body, "personality", "Personality files are not offered: use user_data") <
            0)
        return -EINVAL;
    if (returns && !json_is_boolean(returns))
        return compute_bad(req, "Invalid input for field/attribute return_reservation_id. It must "
                                "be a boolean");
    if (password && !json_is_string(password))
        return compute_bad(req, "Invalid input for field/attribute adminPass. It must be a text");
    return 0;
}

/* An address of the family, or nothing. */
static bool is_address(const json_t *value, int family)
{
    const char *text = json_string_value(value);
    unsigned char address[16];

    return !text || !text[0] || inet_pton(family, text, address) == 1;
}

static int check_user_data(struct api_req *req, const char *text)
{
    size_t size = text ? strlen(text) : 0, n;
    unsigned char *plain;
    int rc;

    if (!text)
        return 0;
    plain = malloc(size + 1);
    rc = plain && sodium_base642bin(plain, size + 1, text, size, "\r\n ", &n, NULL,
                                    sodium_base64_VARIANT_ORIGINAL) == 0
             ? 0
             : compute_bad(req, "Invalid input for field/attribute user_data. It is not base64");
    free(plain);
    return rc;
}

int compute_check_plain(struct api_req *req, const json_t *given)
{
    const char *name = json_str(given, "name", NULL);
    const json_t *metadata = json_object_get(given, "metadata");

    if (name && !name[strspn(name, " ")])
        return compute_bad(req, "Invalid input for field/attribute name. '%s' is too short", name);
    if (!is_address(json_object_get(given, "accessIPv4"), AF_INET))
        return compute_bad(req, "Invalid input for field/attribute accessIPv4. It is not a 'ipv4'");
    if (!is_address(json_object_get(given, "accessIPv6"), AF_INET6))
        return compute_bad(req, "Invalid input for field/attribute accessIPv6. It is not a 'ipv6'");
    return metadata ? compute_check_metadata(req, metadata) : 0;
}

/* Clients write the truth in more ways than the table knows. */
static void tidy_config_drive(json_t *given)
{
    const json_t *value = json_object_get(given, "config_drive");
    const char *text = json_string_value(value);

    if (json_is_null(value) || (text && (!text[0] || strcmp(text, "0") == 0)))
        json_put_bool(given, "config_drive", false);
    else if (text && strcmp(text, "1") == 0)
        json_put_bool(given, "config_drive", true);
}

static int take_plain(struct api_req *req, struct compute_request *request)
{
    json_t *given =
        compute_plain_members(req, &resource_server, request->body, FIELD_CREATE, others);
    struct err err = {0};
    int rc = given ? compute_check_plain(req, given) : -EINVAL;

    if (rc == 0) {
        tidy_config_drive(given);
        rc = resource_create(&resource_server, given, req->auth.admin, &request->row, &err);
        if (rc < 0)
            api_fail_err(req, &err);
    }
    json_decref(given);
    return rc < 0 ? rc : check_user_data(req, json_str(request->row, "user_data", NULL));
}

/* An optional text: `*ret` stays NULL if it is missing or null. */
static int take_text(struct api_req *req, const json_t *body, const char *key, size_t max,
                     const char **ret)
{
    const json_t *value = json_object_get(body, key);

    if (!value || json_is_null(value))
        return 0;
    if (!json_is_string(value) || json_string_length(value) > max)
        return compute_bad(req,
                           "Invalid input for field/attribute %s. It must be a text of at most "
                           "%zu characters",
                           key, max);
    *ret = json_string_value(value);
    return 0;
}

static int take_zone(struct api_req *req, struct compute_request *request)
{
    const char *zone = json_str(request->row, "availability_zone", NULL);

    if (!zone)
        return 0;
    if (!zone[0] || strcmp(zone, "nova") == 0) {
        /* the name that stands for "any" where nobody set up zones */
        json_put_str(request->row, "availability_zone", NULL);
        return 0;
    }
    if (!compute_zone_exists(req, zone))
        return compute_bad(req,
                           "The requested availability zone is not available: %.60s is no "
                           "cabinet with compute hosts",
                           zone);
    return 0;
}

static int take_count(struct api_req *req, struct compute_request *request)
{
    const json_t *least = json_object_get(request->body, "min_count");
    const json_t *most = json_object_get(request->body, "max_count");
    int64_t min = least ? compute_whole(least, COUNT_MAX) : 1;
    int64_t max = most ? compute_whole(most, COUNT_MAX) : min;

    if (min < 1 || max < 1)
        return compute_bad(req,
                           "Invalid input for field/attribute min_count or max_count. It must be "
                           "a number from 1 to %d",
                           COUNT_MAX);
    if (min > max)
        return compute_bad(req, "min_count must be <= max_count");
    request->count = max;
    return 0;
}

/* ---- image and flavor ---- */

static int take_image(struct api_req *req, struct compute_request *request)
{
    const char *ref = NULL, *id, *format;
    int rc = take_text(req, request->body, "imageRef", 1024, &ref);
    int64_t rev = 0;

    if (rc < 0)
        return rc;
    if (!ref || !ref[0])
        return compute_bad(req, "Invalid imageRef provided. A server boots from an image");
    id = strrchr(ref, '/') ? strrchr(ref, '/') + 1 : ref;
    if (!id_is_uuid(id))
        return compute_bad(req, "Invalid imageRef provided.");
    request->image = mirror_get(req->db, "image", id, &rev);
    if (!request->image || !image_may_see(req, request->image))
        return compute_bad(req, "Can not find requested image");
    if (strcmp(json_str(request->image, "status", ""), "active") != 0)
        return compute_bad(req, "Image %s is not active.", id);
    format = json_str(request->image, "disk_format", "");
    if (strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0)
        return compute_bad(req,
                           "Image %s cannot be booted: its disk_format is %.20s, and servers boot "
                           "from raw and qcow2",
                           id, format);
    /* It must not be deleted between this look and the commit. */
    store_txn_expect(req->txn, "image", id, rev);
    return 0;
}

static int take_flavor(struct api_req *req, struct compute_request *request)
{
    const json_t *ref = json_object_get(request->body, "flavorRef");
    char number[24];
    const char *text = json_string_value(ref);

    if (json_is_integer(ref)) {
        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(ref));
        text = number;
    }
    if (!text)
        return compute_bad(req, "Invalid input for field/attribute server. 'flavorRef' is a "
                                "required property");
    request->flavor = compute_flavor_find(req, text, 400);
    return request->flavor ? 0 : -EINVAL;
}

static int check_fit(struct api_req *req, struct compute_request *request)
{
    const json_t *image = request->image, *flavor = request->flavor;
    int64_t disk = json_int(flavor, "disk", 0), gib = 1024LL * 1024 * 1024;
    int64_t size = json_int(image, "virtual_size", 0);

    if (size < json_int(image, "size", 0))
        size = json_int(image, "size", 0);
    if (json_int(flavor, "ram", 0) < json_int(image, "min_ram", 0))
        return compute_bad(req, "Flavor's memory is too small for requested image.");
    if (disk > 0 && disk < json_int(image, "min_disk", 0))
        return compute_bad(req,
                           "The created instance's disk would be too small: the image's "
                           "min_disk is %lld GB.",
                           (long long)json_int(image, "min_disk", 0));
    if (disk > 0 && disk * gib < size)
        return compute_bad(req,
                           "Flavor's disk is too small for requested image. Flavor disk is "
                           "%lld bytes, image is %lld bytes.",
                           (long long)(disk * gib), (long long)size);
    return 0;
}

static int take_key(struct api_req *req, struct compute_request *request)
{
    const char *name = json_str(request->row, "key_name", NULL);
    char id[COMPUTE_KEYPAIR_ID_SIZE];

    if (!name)
        return 0;
    compute_keypair_id(req->auth.user_id, name, id);
    request->key = mirror_get(req->db, "keypair", id, NULL);
    if (!request->key)
        return compute_bad(req, "Invalid key_name provided.");
    return 0;
}

/* ---- networks ---- */

/* No network was named: the project's only one, or none. */
static int default_networks(struct api_req *req, struct compute_request *request)
{
    json_t *rows = mirror_select(req->db, "network",
                                 "WHERE (project_id = ? OR shared = 1) AND external IS NOT 1", "s",
                                 req->auth.project_id);
    size_t n = json_array_size(rows);

    if (n == 1)
        json_array_append_new(
            request->networks,
            json_pack("{s:s}", "network_id", json_str(json_array_get(rows, 0), "id", "")));
    json_decref(rows);
    if (n <= 1)
        return 0;
    api_fail(req, 409, NULL,
             "Multiple possible networks found, use a Network ID to be more specific.");
    return -EEXIST;
}

static int take_network(struct api_req *req, struct compute_request *request, const json_t *want)
{
    const char *id = NULL, *port = NULL, *fixed = NULL;
    json_t *entry;

    if (!json_is_object(want))
        return compute_bad(req, "Invalid input for field/attribute networks. An element must be "
                                "an object");
    if (take_text(req, want, "uuid", 64, &id) < 0 || take_text(req, want, "port", 64, &port) < 0 ||
        take_text(req, want, "fixed_ip", 64, &fixed) < 0)
        return -EINVAL;
    if (!id && !port)
        return compute_bad(req, "Bad networks format: network uuid or port is needed");
    if (fixed && port)
        return compute_bad(req,
                           "Specified Fixed IP '%s' cannot be used with port '%s': the port "
                           "has its own",
                           fixed, port);
    entry = json_object();
    if (id && !port)
        json_put_str(entry, "network_id", id);
    if (port)
        json_put_str(entry, "port_id", port);
    if (fixed)
        json_put_str(entry, "fixed_ip", fixed);
    json_array_append_new(request->networks, entry);
    return 0;
}

static int take_networks(struct api_req *req, struct compute_request *request)
{
    const json_t *wanted = json_object_get(request->body, "networks"), *one;
    size_t i;

    request->networks = json_array();
    if (!wanted || json_is_null(wanted))
        return default_networks(req, request);
    if (!json_is_array(wanted))
        return compute_bad(req, "Invalid input for field/attribute networks. It must be a list");
    if (json_array_size(wanted) > NETWORKS_MAX)
        return compute_bad(req, "A server has at most %d networks.", NETWORKS_MAX);
    json_array_foreach(wanted, i, one)
    {
        if (take_network(req, request, one) < 0)
            return -EINVAL;
    }
    if (json_array_size(wanted) == 0)
        return default_networks(req, request);
    return 0;
}

static bool is_listed(const struct compute_request *request, const char *group)
{
    for (size_t i = 0; i < request->group_count; i++) {
        if (strcmp(request->group_list[i], group) == 0)
            return true;
    }
    return false;
}

static int take_groups(struct api_req *req, struct compute_request *request)
{
    const json_t *wanted = json_object_get(request->body, "security_groups"), *one;
    const char *name;
    size_t i;

    if (!wanted || json_is_null(wanted))
        return 0;
    if (!json_is_array(wanted) || json_array_size(wanted) > COMPUTE_GROUPS_MAX)
        return compute_bad(req,
                           "Invalid input for field/attribute security_groups. It must be a list "
                           "of at most %d objects with a name",
                           COMPUTE_GROUPS_MAX);
    json_array_foreach(wanted, i, one)
    {
        char *id = request->groups[request->group_count];

        name = json_str(one, "name", NULL);
        if (!name)
            return compute_bad(req, "Invalid input for field/attribute security_groups. 'name' is "
                                    "a required property");
        if (api_security_group_find(req, req->auth.project_id, name, id) < 0) {
            if (req->status == 404)
                return compute_bad(req, "Security group %.100s not found for project %s.", name,
                                   req->auth.project_id);
            return -EINVAL;
        }
        if (!is_listed(request, id))
            request->group_list[request->group_count++] = id;
    }
    return 0;
}

/* They stand beside "server" in the body. Of all hints the group is the one that is followed. */
static int take_hints(struct api_req *req, struct compute_request *request)
{
    static const char *const names[] = {"os:scheduler_hints", "OS-SCH-HNT:scheduler_hints"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const json_t *hints = json_object_get(req->body, names[i]);
        const json_t *group = json_object_get(hints, "group");

        if (hints && !json_is_object(hints))
            return compute_bad(req, "Invalid input for field/attribute %s. It must be an object",
                               names[i]);
        if (group && !json_is_string(group))
            return compute_bad(req, "Invalid input for field/attribute group. It must be the id of "
                                    "a server group");
        if (group)
            request->server_group = json_string_value(group);
    }
    return request->server_group ? compute_servergroup_use(req, request->server_group) : 0;
}

/* ---- all of it ---- */

int compute_request_read(struct api_req *req, struct compute_request *request)
{
    static int (*const steps[])(struct api_req *, struct compute_request *) = {
        take_plain, take_flavor, take_image,    check_fit,   take_key,
        take_zone,  take_count,  take_networks, take_groups, take_hints,
    };

    memset(request, 0, sizeof(*request));
    request->body = api_body_object(req, "server");
    if (!request->body || check_offered(req, request->body) < 0)
        return -EINVAL;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        int rc = steps[i](req, request);

        if (rc < 0)
            return rc;
    }
    return 0;
}

void compute_request_free(struct compute_request *request)
{
    json_decref(request->row);
    json_decref(request->image);
    json_decref(request->flavor);
    json_decref(request->key);
    json_decref(request->networks);
}
