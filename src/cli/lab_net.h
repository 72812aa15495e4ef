/* The few things the lab asks of rtnetlink, over libnl. A lab_net is a socket that stays in the
 * network namespace it was opened in, so one process can work in several. All return 0 or -errno;
 * the text of a failure names the device. Not for several threads (opening changes the caller's
 * namespace for a moment). */
#ifndef VLING_CLI_LAB_NET_H
#define VLING_CLI_LAB_NET_H

#include "base/err.h"
#include <stdbool.h>

struct lab_net;

/* `path` NULL: the caller's namespace. */
int lab_net_open(const char *path, struct lab_net **ret, struct err *err);
void lab_net_close(struct lab_net *net);

/* A bridge, up. */
int lab_net_bridge(struct lab_net *net, const char *name, struct err *err);

struct lab_net_veth {
    const char *name, *peer;
    int peer_ns;          /* descriptor, or -1: the same namespace */
    const char *peer_mac; /* or NULL */
    const char *bridge;   /* `name` becomes its port, or NULL */
};
int lab_net_veth(struct lab_net *net, const struct lab_net_veth *veth, struct err *err);

int lab_net_port(struct lab_net *net, const char *name, const char *bridge, struct err *err);
int lab_net_set_up(struct lab_net *net, const char *name, bool up, struct err *err);
/* 1, 0 or -ENODEV. */
int lab_net_is_up(struct lab_net *net, const char *name);
int lab_net_address(struct lab_net *net, const char *name, const char *address, struct err *err);
/* No such device is no failure. */
int lab_net_delete(struct lab_net *net, const char *name, struct err *err);

/* Named network namespaces under LAB_NS. */
int lab_ns_create(const char *name, struct err *err);
void lab_ns_delete(const char *name);
/* Runs `work` inside; its result is returned. */
int lab_ns_inside(const char *path, int (*work)(void *arg, struct err *err), void *arg,
                  struct err *err);

#endif
