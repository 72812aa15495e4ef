/* The list of all services; apart from server.c so that a test can offer fewer. */
#include "api/internal.h"

struct api *api_start(const struct api_options *options, struct err *err)
{
    static const struct api_service_ops *const services[] = {&api_identity, &api_compute,
                                                             &api_network, &api_image, NULL};

    return api_start_services(options, services, 0, err);
}
