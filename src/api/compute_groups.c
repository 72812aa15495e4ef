/* Security groups as the compute service shows them (the proxies that stayed in 2.1): some commands
 * still look groups up here. Changes are made through the network service. */
#include "api/compute.h"

#include "base/json.h"
#include <stdio.h>
#include <string.h>

/* Nova's rules are those for ingress: {from_port, to_port, ip_protocol, ip_range, group}. */
static json_t *rule_view(struct api_req *req, const json_t *rule, const char *project)
{
    const char *protocol = json_str(rule, "protocol", NULL);
    const char *remote = json_str(rule, "remote_group_id", NULL);
    const char *cidr = json_str(rule, "remote_ip_prefix", NULL);
    const char *any = strcmp(json_str(rule, "ethertype", ""), "IPv6") == 0 ? "::/0" : "0.0.0.0/0";
    json_t *view = json_object(), *group;
    json_t *from = json_object_get(rule, "port_range_min"), *to;

    to = json_object_get(rule, "port_range_max");
    json_put_str(view, "id", json_str(rule, "id", ""));
    json_put_str(view, "parent_group_id", json_str(rule, "security_group_id", ""));
    json_put_str(view, "ip_protocol", protocol);
    json_object_set_new(view, "from_port",
                        json_is_integer(from) ? json_incref(from)
                                              : (protocol ? json_integer(-1) : json_null()));
    json_object_set_new(view, "to_port",
                        json_is_integer(to) ? json_incref(to)
                                            : (protocol ? json_integer(-1) : json_null()));
    group = remote ? mirror_get(req->db, "security_group", remote, NULL) : NULL;
    json_object_set_new(view, "group",
                        group ? json_pack("{s:s, s:s}", "name", json_str(group, "name", ""),
                                          "tenant_id", json_str(group, "project_id", project))
                              : json_object());
    json_object_set_new(view, "ip_range",
                        remote ? json_object() : json_pack("{s:s}", "cidr", cidr ? cidr : any));
    json_decref(group);
    return view;
}

static json_t *group_view(struct api_req *req, const json_t *group)
{
    const char *id = json_str(group, "id", ""), *project = json_str(group, "project_id", "");
    json_t *rules = mirror_select(req->db, "security_group_rule",
                                  "WHERE security_group_id = ? AND direction = 'ingress' "
                                  "ORDER BY id",
                                  "s", id);
    json_t *views = json_array(), *rule;
    size_t i;

    json_array_foreach(rules, i, rule) json_array_append_new(views, rule_view(req, rule, project));
    json_decref(rules);
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "id", id, "name", json_str(group, "name", ""),
                     "description", json_str(group, "description", ""), "tenant_id", project,
                     "rules", views);
}

void compute_group_list(struct api_req *req)
{
    json_t *rows =
        mirror_select(req->db, "security_group", "WHERE project_id = ? ORDER BY name, id", "s",
                      req->auth.project_id);
    json_t *list = json_array(), *row;
    size_t i;

    json_array_foreach(rows, i, row) json_array_append_new(list, group_view(req, row));
    api_reply(req, 200, json_pack("{s:o}", "security_groups", list));
    json_decref(rows);
}

void compute_group_show(struct api_req *req)
{
    const char *id = api_param(req, "id");
    json_t *group = mirror_get(req->db, "security_group", id, NULL);

    if (group && api_owns(req, json_str(group, "project_id", "")))
        api_reply(req, 200, json_pack("{s:o}", "security_group", group_view(req, group)));
    else
        api_fail(req, 404, NULL, "Security group %.100s not found.", id);
    json_decref(group);
}

void compute_server_groups(struct api_req *req)
{
    json_t *server = compute_server(req), *ports, *list = json_array(), *seen = json_object(),
           *group;
    const json_t *port, *id;
    size_t i, j;

    if (server) {
        ports = compute_server_ports(req, json_str(server, "id", ""));
        json_array_foreach(ports, i, port)
        {
            json_array_foreach(json_object_get(port, "security_groups"), j, id)
            {
                group = mirror_get(req->db, "security_group", json_string_value(id), NULL);
                if (group && !json_object_get(seen, json_string_value(id)))
                    json_array_append_new(list, group_view(req, group));
                json_put_int(seen, json_string_value(id), 1);
                json_decref(group);
            }
        }
        json_decref(ports);
        api_reply(req, 200, json_pack("{s:O}", "security_groups", list));
    }
    json_decref(list);
    json_decref(seen);
    json_decref(server);
}
