/* Handlers for what the table of a resource tells all of; see docs/adding-a-resource.md. */
#include "api/network.h"

static const struct net_kind *const kinds[] = {&net_networks,
                                               &net_subnets,
                                               &net_ports,
                                               &net_routers,
                                               &net_floatingips,
                                               &net_security_groups,
                                               &net_security_group_rules};

/* Of the resource that the route names. */
static struct net_kind kind_of(const struct api_req *req)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (kinds[i]->resource == req->route->resource)
            return *kinds[i];
    }
    return (struct net_kind){.resource = req->route->resource};
}

static json_t *make(struct api_req *req, const json_t *body)
{
    const struct net_kind kind = kind_of(req);
    json_t *row = net_new(req, &kind, body);

    if (row)
        net_create(req, kind.resource->table, row);
    return row;
}

void net_plain_create(struct api_req *req)
{
    const struct net_kind kind = kind_of(req);

    net_post(req, &kind, make);
}

void net_plain_list(struct api_req *req)
{
    const struct net_kind kind = kind_of(req);

    net_list(req, &kind);
}

void net_plain_show(struct api_req *req)
{
    const struct net_kind kind = kind_of(req);

    net_show(req, &kind);
}

void net_plain_update(struct api_req *req)
{
    const struct net_kind kind = kind_of(req);
    json_t *row = net_own_param(req, &kind);

    if (row && net_change(req, &kind, row) == 0) {
        net_put(req, kind.resource->table, row);
        net_reply(req, 200, &kind, row);
    }
    json_decref(row);
}

void net_plain_delete(struct api_req *req)
{
    const struct net_kind kind = kind_of(req);
    json_t *row = net_own_param(req, &kind);

    if (row) {
        net_remove(req, kind.resource->table, row);
        api_reply(req, 204, NULL);
    }
    json_decref(row);
}
