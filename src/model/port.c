#include "model/port.h"

#include "base/json.h"
#include <string.h>

bool port_serves(const json_t *port, const json_t *device)
{
    const char *project = json_str(port, "device_project", json_str(port, "project_id", ""));

    return device && strcmp(project, json_str(device, "project_id", "")) == 0;
}

void port_put_device_project(json_t *port, const char *project_id)
{
    bool own = strcmp(project_id, json_str(port, "project_id", "")) == 0;

    json_put_str(port, "device_project", own ? NULL : project_id);
}
