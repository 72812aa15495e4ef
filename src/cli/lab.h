/* The cloud in a box: cabinets of hosts as namespaces of one Linux machine.
 *
 * A host is a set of namespaces (network, mount, PID, UTS, IPC) whose process 1 is `vling
 * lab-init`, which starts `vlingd` and starts it again when it ends. A cabinet has a switch (a
 * network namespace with one bridge a plane); the switches hang on a core. The namespace `internet`
 * stands outside of the external plane. The machine itself has one leg (LAB_ROOT_DEV) in the
 * management plane, so that API clients can be run from it.
 *
 * What is kept: LAB_DIR (state, the hosts' disks, the shared disk) survives a crash of the lab;
 * LAB_RUN (bound namespaces) does not survive a restart of the machine.
 * One process at a time changes the lab: lab_open takes a lock. Not for several threads. */
#ifndef VLING_CLI_LAB_H
#define VLING_CLI_LAB_H

#include "base/err.h"
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define LAB_DIR "/var/lib/vling-lab"
#define LAB_RUN "/run/vling-lab"
#define LAB_NS LAB_RUN "/ns"
#define LAB_ROOT_DEV "vl-lab0"
#define LAB_ROOT_ADDRESS "10.10.255.254/16"
#define LAB_VIP "10.10.0.100"
#define LAB_CORE "sw-core"
#define LAB_INTERNET "internet"
#define LAB_INTERNET_ADDRESS "172.24.4.1/24"
#define LAB_MTU 9000

#define LAB_CABINETS_MAX 9
#define LAB_HOSTS_MAX 9 /* in a cabinet */
#define LAB_NAME_SIZE 16

/* The planes of a host, in the order of lab_planes. */
#define LAB_PLANES 4
struct lab_plane {
    const char *name; /* "mgmt": also names the bridge */
    const char *dev;  /* "mgmt0", in the host */
    int net;          /* second byte of 10.X.<cabinet>.<n>/16; 0: no address */
};
extern const struct lab_plane lab_planes[LAB_PLANES];

struct lab_host {
    char name[LAB_NAME_SIZE];
    unsigned cabinet, number; /* both from 1 */
    pid_t pid;                /* process 1 of the host seen from the machine; 0: powered off */
    unsigned long long start; /* its start time, so that a reused pid is not mistaken for it */
};

struct lab {
    int lock; /* descriptor */
    unsigned cabinets, hosts_each;
    char vlingd[PATH_MAX], self[PATH_MAX];
    struct lab_host host[LAB_CABINETS_MAX * LAB_HOSTS_MAX];
    size_t count;
    json_t *partitions; /* array of [A, B] */
};

/* lab_state.c ------------------------------------------------------------------------------- */

/* Opens the recorded lab under its lock. -ENOENT with a remedy when there is none, unless `create`.
 * lab_load reads it without lock (for looking only). Release both with lab_close. */
int lab_open(struct lab *lab, bool create, struct err *err);
int lab_load(struct lab *lab, struct err *err);
void lab_close(struct lab *lab);
int lab_save(struct lab *lab, struct err *err);
/* Fills `lab` with the hosts of that many cabinets, all powered off. */
void lab_shape(struct lab *lab, unsigned cabinets, unsigned hosts_each);
struct lab_host *lab_find(struct lab *lab, const char *name);
/* 1..cabinets for "c2", 0 if `name` is no cabinet of this lab. */
unsigned lab_cabinet(const struct lab *lab, const char *name);
bool lab_host_alive(const struct lab_host *host);
bool lab_is_controller(const struct lab *lab, const struct lab_host *host);
/* Start time of a process in clock ticks (field 22 of /proc/<pid>/stat), 0 if there is none or
 * it has ended and only its parent has not noticed. */
unsigned long long lab_start_time(pid_t pid);

/* lab_config.c ------------------------------------------------------------------------------ */

/* Folders and vlingd.json of one host; the first host's also gets the administrator's password. */
int lab_write_config(const struct lab *lab, const struct lab_host *host, struct err *err);
int lab_print_openrc(struct err *err);

/* lab_wire.c: switches and links -------------------------------------------------------------- */

int lab_wire_up(const struct lab *lab, struct err *err);
/* Is the core switch there? It is not after a restart of the machine. */
bool lab_wire_stands(void);
/* Plugs the host whose network namespace is `netns` (a descriptor) into its switch. */
int lab_wire_host(const struct lab_host *host, int netns, struct err *err);
/* Takes the host's links away; no packet leaves it after the return. Missing links are fine. */
int lab_wire_unplug(const struct lab_host *host, struct err *err);
int lab_wire_link(const struct lab_host *host, const char *plane, bool up, struct err *err);
/* 1, 0, or -errno; no link (powered off) is 0. */
int lab_wire_link_is_up(const struct lab_host *host, const char *plane);
/* The uplinks of a cabinet's switch. */
int lab_wire_uplink(unsigned cabinet, bool up, struct err *err);
/* Removes everything, by name. */
void lab_wire_down(void);
/* Loads the rules that keep the pairs of lab->partitions apart (none: removes them). */
int lab_wire_partitions(struct lab *lab, struct err *err);

/* lab_host.c ---------------------------------------------------------------------------------- */

int lab_host_on(struct lab *lab, struct lab_host *host, struct err *err);
/* Cuts the power of all `hosts` at once. */
int lab_host_off(struct lab *lab, struct lab_host **hosts, size_t count, struct err *err);
/* Stops all processes of a host (SIGSTOP), as when its machine stands still, or lets them go on.
 * Processes that were stopped before go on, too. */
int lab_host_freeze(const struct lab_host *host, bool freeze, struct err *err);
/* Kills every process 1 of a lab host, recorded or not. */
void lab_host_kill_all(struct lab *lab);
/* Runs `argv` inside a host (or in LAB_INTERNET) and returns its exit status. */
int lab_exec(struct lab *lab, const char *name, char **argv, struct err *err);
/* `vling lab-init HOST`: process 1 of a host. Does not return unless it fails. */
int lab_init_main(int argc, char **argv);

/* lab.c --------------------------------------------------------------------------------------- */

int cmd_lab(int argc, char **argv);

#endif
