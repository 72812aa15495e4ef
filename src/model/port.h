/* Whose device a port serves.
 *
 * A port names its device, a server or a router, by id, and ids are no secrets. So the name alone
 * joins nothing: the device must be of the port's own project, or of the one that the port's row
 * says (device_project), which only an administrator's request puts there.
 */
#ifndef VLING_MODEL_PORT_H
#define VLING_MODEL_PORT_H

#include <jansson.h>
#include <stdbool.h>

/* Is the row `device` (of a server or a router; NULL: no) one that the port may be joined with?
 * Whether the port names it is the caller's to know. */
bool port_serves(const json_t *port, const json_t *device);

/* The same in SQL, of rows of the table `port`: its project to compare, and a condition with the
 * device's project as its parameter. */
#define PORT_DEVICE_PROJECT "IFNULL(json_extract(port.body, '$.device_project'), port.project_id)"
#define PORT_SERVES PORT_DEVICE_PROJECT " = ?"

/* Notes in the port's row whose the device is. */
void port_put_device_project(json_t *port, const char *project_id);

#endif
