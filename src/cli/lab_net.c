#include "cli/lab_net.h"
#include "base/file.h"
#include "cli/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

struct lab_net {
    struct nl_sock *sock;
};

static int fail(struct err *err, int nl_error, const char *name)
{
    int code = nl_error == -NLE_EXIST                                    ? -EEXIST
               : nl_error == -NLE_NODEV || nl_error == -NLE_OBJ_NOTFOUND ? -ENODEV
               : nl_error == -NLE_NOMEM                                  ? -ENOMEM
               : nl_error == -NLE_PERM                                   ? -EPERM
                                                                         : -EIO;

    return err_why(err, code, "cannot set up the lab's network", "%s: %s", name,
                   nl_geterror(nl_error));
}

struct open_work {
    struct lab_net *net;
    int nl_error;
};

static int open_inside(void *arg, struct err *err)
{
    struct open_work *work = arg;

    work->nl_error = nl_connect(work->net->sock, NETLINK_ROUTE);
    return work->nl_error < 0 ? fail(err, work->nl_error, "netlink") : 0;
}

int lab_net_open(const char *path, struct lab_net **ret, struct err *err)
{
    struct lab_net *net = calloc(1, sizeof(*net));
    struct open_work work = {.net = net};
    int rc;

    if (!net)
        return -ENOMEM;
    net->sock = nl_socket_alloc();
    if (!net->sock) {
        free(net);
        return -ENOMEM;
    }
    rc = path ? lab_ns_inside(path, open_inside, &work, err) : open_inside(&work, err);
    if (rc < 0) {
        lab_net_close(net);
        return rc;
    }
    *ret = net;
    return 0;
}

void lab_net_close(struct lab_net *net)
{
    if (!net)
        return;
    nl_socket_free(net->sock);
    free(net);
}

int lab_net_bridge(struct lab_net *net, const char *name, struct err *err)
{
    struct rtnl_link *link = rtnl_link_alloc();
    int rc;

    if (!link)
        return -ENOMEM;
    rtnl_link_set_name(link, name);
    rtnl_link_set_type(link, "bridge");
    rtnl_link_set_mtu(link, LAB_MTU);
    rtnl_link_set_flags(link, IFF_UP);
    rc = rtnl_link_add(net->sock, link, NLM_F_CREATE | NLM_F_EXCL);
    rtnl_link_put(link);
    return rc < 0 ? fail(err, rc, name) : 0;
}

static int set_mac(struct rtnl_link *link, const char *text)
{
    struct nl_addr *mac;
    int rc = nl_addr_parse(text, AF_LLC, &mac);

    if (rc < 0)
        return rc;
    rtnl_link_set_addr(link, mac);
    nl_addr_put(mac);
    return 0;
}

int lab_net_veth(struct lab_net *net, const struct lab_net_veth *veth, struct err *err)
{
    struct rtnl_link *link = rtnl_link_veth_alloc(), *peer;
    int rc = 0;

    if (!link)
        return -ENOMEM;
    rtnl_link_set_name(link, veth->name);
    rtnl_link_set_mtu(link, LAB_MTU);
    peer = rtnl_link_veth_get_peer(link);
    rtnl_link_set_name(peer, veth->peer);
    rtnl_link_set_mtu(peer, LAB_MTU);
    if (veth->peer_ns >= 0)
        rtnl_link_set_ns_fd(peer, veth->peer_ns);
    if (veth->peer_mac)
        rc = set_mac(peer, veth->peer_mac);
    rtnl_link_put(peer);
    if (rc == 0)
        rc = rtnl_link_add(net->sock, link, NLM_F_CREATE | NLM_F_EXCL);
    rtnl_link_put(link);
    if (rc < 0)
        return fail(err, rc, veth->name);
    if (veth->bridge)
        return lab_net_port(net, veth->name, veth->bridge, err);
    return lab_net_set_up(net, veth->name, true, err);
}

/* Applies `change` (its flags, master) to the device `name`. */
static int change_link(struct lab_net *net, const char *name, struct rtnl_link *change,
                       struct err *err)
{
    struct rtnl_link *link;
    int rc = rtnl_link_get_kernel(net->sock, 0, name, &link);

    if (rc < 0)
        return fail(err, rc, name);
    rc = rtnl_link_change(net->sock, link, change, 0);
    rtnl_link_put(link);
    return rc < 0 ? fail(err, rc, name) : 0;
}

int lab_net_port(struct lab_net *net, const char *name, const char *bridge, struct err *err)
{
    struct rtnl_link *master, *change;
    int rc = rtnl_link_get_kernel(net->sock, 0, bridge, &master);

    if (rc < 0)
        return fail(err, rc, bridge);
    change = rtnl_link_alloc();
    if (!change) {
        rtnl_link_put(master);
        return -ENOMEM;
    }
    rtnl_link_set_master(change, rtnl_link_get_ifindex(master));
    rtnl_link_set_flags(change, IFF_UP);
    rc = change_link(net, name, change, err);
    rtnl_link_put(change);
    rtnl_link_put(master);
    return rc;
}

int lab_net_set_up(struct lab_net *net, const char *name, bool up, struct err *err)
{
    struct rtnl_link *change = rtnl_link_alloc();
    int rc;

    if (!change)
        return -ENOMEM;
    if (up)
        rtnl_link_set_flags(change, IFF_UP);
    else
        rtnl_link_unset_flags(change, IFF_UP);
    rc = change_link(net, name, change, err);
    rtnl_link_put(change);
    return rc;
}

int lab_net_is_up(struct lab_net *net, const char *name)
{
    struct rtnl_link *link;
    int rc = rtnl_link_get_kernel(net->sock, 0, name, &link);

    if (rc < 0)
        return -ENODEV;
    rc = (rtnl_link_get_flags(link) & IFF_UP) != 0;
    rtnl_link_put(link);
    return rc;
}

int lab_net_address(struct lab_net *net, const char *name, const char *address, struct err *err)
{
    struct rtnl_link *link = NULL;
    struct rtnl_addr *addr = NULL;
    struct nl_addr *local = NULL;
    int rc = rtnl_link_get_kernel(net->sock, 0, name, &link);

    if (rc == 0)
        rc = nl_addr_parse(address, AF_UNSPEC, &local);
    if (rc == 0) {
        addr = rtnl_addr_alloc();
        rc = addr ? 0 : -NLE_NOMEM;
    }
    if (rc == 0) {
        rtnl_addr_set_ifindex(addr, rtnl_link_get_ifindex(link));
        rc = rtnl_addr_set_local(addr, local);
    }
    if (rc == 0)
        rc = rtnl_addr_add(net->sock, addr, 0);
    if (addr)
        rtnl_addr_put(addr);
    if (local)
        nl_addr_put(local);
    if (link)
        rtnl_link_put(link);
    return rc < 0 ? fail(err, rc, name) : 0;
}

int lab_net_delete(struct lab_net *net, const char *name, struct err *err)
{
    struct rtnl_link *link;
    int rc = rtnl_link_get_kernel(net->sock, 0, name, &link);

    if (rc < 0)
        return rc == -NLE_NODEV || rc == -NLE_OBJ_NOTFOUND ? 0 : fail(err, rc, name);
    rc = rtnl_link_delete(net->sock, link);
    rtnl_link_put(link);
    return rc < 0 && rc != -NLE_NODEV ? fail(err, rc, name) : 0;
}

int lab_ns_inside(const char *path, int (*work)(void *arg, struct err *err), void *arg,
                  struct err *err)
{
    int here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    int there = open(path, O_RDONLY | O_CLOEXEC);
    int rc;

    if (here < 0 || there < 0 || setns(there, CLONE_NEWNET) < 0) {
        rc = err_why(err, -errno, "cannot enter a namespace of the lab", "%s: %s", path,
                     strerror(errno));
    } else {
        rc = work(arg, err);
        /* Staying in the wrong namespace would do the next steps in the wrong place. */
        if (setns(here, CLONE_NEWNET) < 0)
            abort();
    }
    if (here >= 0)
        close(here);
    if (there >= 0)
        close(there);
    return rc;
}

int lab_ns_create(const char *name, struct err *err)
{
    char path[128];
    int here, file, rc = 0;

    snprintf(path, sizeof(path), LAB_NS "/%s", name);
    rc = file_mkdirs(LAB_NS, 0755);
    if (rc < 0)
        return err_set(err, rc, "cannot create " LAB_NS, strerror(-rc), NULL);
    file = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    if (file < 0)
        return err_why(err, -errno, "cannot create a namespace", "%s: %s", path, strerror(errno));
    close(file);
    here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (here < 0 || unshare(CLONE_NEWNET) < 0) {
        rc = err_why(err, -errno, "cannot create a namespace", "%s: %s", path, strerror(errno));
    } else {
        if (mount("/proc/thread-self/ns/net", path, NULL, MS_BIND, NULL) < 0)
            rc = err_why(err, -errno, "cannot keep a namespace", "%s: %s", path, strerror(errno));
        if (setns(here, CLONE_NEWNET) < 0)
            abort();
    }
    if (here >= 0)
        close(here);
    if (rc < 0)
        unlink(path);
    return rc;
}

void lab_ns_delete(const char *name)
{
    char path[128];

    snprintf(path, sizeof(path), LAB_NS "/%s", name);
    while (umount2(path, MNT_DETACH) == 0)
        ;
    unlink(path);
}
