#include "cli/lab.h"
#include "base/clock.h"
#include "base/file.h"
#include "cli/cli.h"
#include "cli/lab_net.h"
#include "model/backup.h"

#include <errno.h>
#include <ftw.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TOKEN_WAIT_MS 60000
#define EXIT_ANOTHER_LAB 3
#define READY_WAIT_MS 180000

static const char usage[] =
    "usage: vling lab COMMAND\n"
    "\n"
    "The cloud in a box: cabinets of hosts as namespaces of this machine, each with its own "
    "vlingd.\n"
    "\n"
    "  up [--cabinets N] [--hosts N] [--vlingd FILE] [--restore FILE] [--no-wait]\n"
    "                          start N cabinets (3) of N hosts (3) and wait until the API answers;"
    "\n"
    "                          status 3: another lab is there, and was left as it is\n"
    "  down                    remove all of it, with its disks; also what a crash left\n"
    "  status [-f FORMAT]      hosts, their power and their links\n"
    "  power off|on WHAT...    cut or give the power of hosts (c1h2), cabinets (c1) or all\n"
    "  freeze|thaw HOST        let all processes of a host stand still, or go on\n"
    "  link down|up HOST PLANE cut or mend a cable; planes: mgmt, tenant, ext, stor\n"
    "  partition A B           no packet passes between A and B (hosts or cabinets)\n"
    "  heal                    end all partitions\n"
    "  exec HOST CMD...        run a command inside a host, or in `internet`\n"
    "  openrc                  what the openstack command needs: eval $(vling lab openrc)\n";

static const char *const mount_points[] = {"/etc/vling", "/var/lib/vling", "/run/vling",
                                           "/srv/vling", "/run/netns"};

static int bad_usage(struct err *err, const char *why)
{
    return err_set(err, -EINVAL, "cannot understand the command", why, "see: vling lab --help");
}

/* A word that is not understood may have been meant to limit what is done: `down c1`. */
static int no_arguments(int argc, char **argv, struct err *err)
{
    return argc > 1 ? bad_usage(err, argv[1]) : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    /* A folder that is busy stays; the report comes from looking whether LAB_DIR is gone. */
    remove(path);
    return 0;
}

/* Disks that were put into hosts' folders. */
static void unmount_all(void)
{
    FILE *mounts = setmntent("/proc/self/mounts", "r");
    struct mntent *each;

    while (mounts && (each = getmntent(mounts))) {
        if (strncmp(each->mnt_dir, LAB_DIR "/", strlen(LAB_DIR "/")) == 0)
            umount2(each->mnt_dir, MNT_DETACH);
    }
    if (mounts)
        endmntent(mounts);
}

static int remove_all(struct lab *lab, struct err *err)
{
    lab_host_kill_all(lab);
    lab_wire_down();
    unmount_all();
    nftw(LAB_DIR, remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    /* Only the empty ones go: a real host's configuration is not the lab's. */
    for (size_t i = 0; i < sizeof(mount_points) / sizeof(mount_points[0]); i++)
        rmdir(mount_points[i]);
    if (access(LAB_DIR, F_OK) == 0)
        return err_set(err, -EBUSY, "something is left in " LAB_DIR, "a file is in use or mounted",
                       "end what uses it and call vling lab down again");
    return 0;
}

struct up_options {
    unsigned cabinets, hosts;
    const char *vlingd, *restore;
    bool wait;
};

static int take_number(const char *text, unsigned max, unsigned *ret, struct err *err)
{
    char *end;
    unsigned long value = text ? strtoul(text, &end, 10) : 0;

    if (!text || *end != '\0' || value < 1 || value > max)
        return err_why(err, -EINVAL, "cannot understand the command",
                       "a number from 1 to %u is "
                       "needed, not \"%s\"",
                       max, text ? text : "");
    *ret = (unsigned)value;
    return 0;
}

static int up_parse(int argc, char **argv, struct up_options *o, struct err *err)
{
    int rc = 0;

    *o = (struct up_options){.cabinets = 3, .hosts = 3, .wait = true};
    for (int i = 1; rc == 0 && i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(argv[i], "--cabinets") == 0) {
            rc = take_number(value, LAB_CABINETS_MAX, &o->cabinets, err);
            i++;
        } else if (strcmp(argv[i], "--hosts") == 0) {
            rc = take_number(value, LAB_HOSTS_MAX, &o->hosts, err);
            i++;
        } else if (strcmp(argv[i], "--vlingd") == 0 && value) {
            o->vlingd = value;
            i++;
        } else if (strcmp(argv[i], "--restore") == 0 && value) {
            o->restore = value;
            i++;
        } else if (strcmp(argv[i], "--no-wait") == 0) {
            o->wait = false;
        } else {
            rc = bad_usage(err, argv[i]);
        }
    }
    return rc;
}

/* The daemon beside this program, or the one that was named. */
static int find_vlingd(struct lab *lab, const char *named, struct err *err)
{
    char beside[PATH_MAX + 16], *slash;

    snprintf(beside, sizeof(beside), "%s", lab->self);
    slash = strrchr(beside, '/');
    snprintf(slash, sizeof(beside) - (size_t)(slash - beside), "/vlingd");
    if (!named && access(beside, X_OK) < 0)
        snprintf(beside, sizeof(beside), "/usr/local/sbin/vlingd");
    if (!realpath(named ? named : beside, lab->vlingd) || access(lab->vlingd, X_OK) < 0)
        return err_why(err, -errno, "cannot find vlingd", "%s: %s", named ? named : beside,
                       strerror(errno));
    return 0;
}

static void nap(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    nanosleep(&t, NULL);
}

/* The first host makes the cluster; its token lets the others in. */
static int wait_token(struct lab *lab, char **ret, struct err *err)
{
    int64_t end = clock_now_ms() + TOKEN_WAIT_MS;

    while (clock_now_ms() < end) {
        if (file_read(LAB_DIR "/hosts/c1h1/etc/join-token", 4096, ret, NULL) == 0)
            return 0;
        if (!lab_host_alive(&lab->host[0]))
            return err_set(err, -ESRCH, "the first host ended", "c1h1",
                           "read " LAB_DIR "/hosts/c1h1/vlingd.log");
        nap(50);
    }
    return err_set(err, -ETIMEDOUT, "c1h1 made no cluster", "there is no join token after 60 s",
                   "read " LAB_DIR "/hosts/c1h1/vlingd.log");
}

static int start_hosts(struct lab *lab, struct err *err)
{
    char path[PATH_MAX], *token = NULL;
    int rc = lab_host_on(lab, &lab->host[0], err);

    if (rc == 0)
        rc = wait_token(lab, &token, err);
    for (size_t i = 1; rc == 0 && i < lab->count; i++) {
        snprintf(path, sizeof(path), LAB_DIR "/hosts/%s/etc/join-token", lab->host[i].name);
        rc = file_write_atomic(path, token, strlen(token), 0600);
        if (rc == 0)
            rc = lab_host_on(lab, &lab->host[i], err);
    }
    free(token);
    return rc;
}

static int make_mount_points(struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof(mount_points) / sizeof(mount_points[0]); i++)
        rc = file_mkdirs(mount_points[i], 0755);
    return rc < 0 ? err_set(err, rc, "cannot create a folder", strerror(-rc), NULL) : 0;
}

/* The first host begins with what a backup holds. */
static int put_backup(const struct lab *lab, const char *file, struct err *err)
{
    char path[PATH_MAX], *text = NULL;
    size_t size;
    int rc = file_read(file, BACKUP_SIZE_MAX, &text, &size);

    if (rc < 0)
        return err_why(err, rc, "cannot read the backup", "%s: %s", file, strerror(-rc));
    snprintf(path, sizeof(path), LAB_DIR "/hosts/%s/lib/restore.json", lab->host[0].name);
    rc = file_write_atomic(path, text, size, 0600);
    free(text);
    return rc < 0 ? err_why(err, rc, "cannot keep the backup", "%s: %s", path, strerror(-rc)) : 0;
}

static int build(struct lab *lab, const char *restore, struct err *err)
{
    int rc = make_mount_points(err);

    printf("network: %u switches, the core, internet\n", lab->cabinets);
    if (rc == 0)
        rc = lab_wire_up(lab, err);
    for (size_t i = 0; rc == 0 && i < lab->count; i++)
        rc = lab_write_config(lab, &lab->host[i], err);
    if (rc == 0 && restore)
        rc = put_backup(lab, restore, err);
    if (rc == 0)
        rc = lab_save(lab, err);
    printf("hosts: %zu in %u cabinets\n", lab->count, lab->cabinets);
    fflush(stdout);
    if (rc == 0)
        rc = start_hosts(lab, err);
    return rc;
}

/* Is it only the rest of a lab? Its switches go with a restart of the machine, all of its hosts at
 * once when something kills their processes, and a start that was cut off leaves no record. A lab
 * that was switched off is whole. */
static bool is_wreck(const struct lab *lab)
{
    size_t on = 0, alive = 0;

    if (lab->count == 0 || !lab_wire_stands())
        return lab->count > 0 || lab_wire_stands();
    for (size_t i = 0; i < lab->count; i++) {
        on += lab->host[i].pid > 0;
        alive += lab_host_alive(&lab->host[i]);
    }
    return on > 0 && alive == 0;
}

static int open_to_build(struct lab *lab, struct err *err)
{
    int rc = lab_open(lab, true, err);

    if (rc < 0 || !is_wreck(lab))
        return rc;
    printf("what is left of a lab that ended unasked is removed\n");
    rc = remove_all(lab, err);
    lab_close(lab);
    return rc < 0 ? rc : lab_open(lab, true, err);
}

/* Another lab is there and was not touched: a status of its own tells scripts not to remove it. */
static int refused(int rc, const struct err *err)
{
    cli_failed(rc, err);
    return EXIT_ANOTHER_LAB;
}

static int lab_up(int argc, char **argv, struct err *err)
{
    struct up_options options;
    struct lab lab;
    int rc = up_parse(argc, argv, &options, err);

    if (rc == 0)
        rc = open_to_build(&lab, err);
    if (rc == -EBUSY)
        return refused(rc, err);
    if (rc < 0)
        return rc;
    if (lab.count > 0) {
        rc = err_set(err, -EEXIST, "there is a lab already", "it is recorded in " LAB_DIR,
                     "look at it: vling lab status; remove it: vling lab down");
        rc = refused(rc, err);
    } else {
        lab_shape(&lab, options.cabinets, options.hosts);
        rc = find_vlingd(&lab, options.vlingd, err);
        if (rc == 0)
            rc = build(&lab, options.restore, err);
        if (rc == 0 && options.wait)
            rc = lab_wait_ready(&lab, READY_WAIT_MS, err);
    }
    if (rc == 0)
        printf("\nThe cloud is up. Go on with:\n"
               "  eval $(%s lab openrc)\n  openstack server list\n  %s status\n",
               lab.self, lab.self);
    lab_close(&lab);
    return rc;
}

static int lab_down(int argc, char **argv, struct err *err)
{
    struct lab lab;
    int rc = no_arguments(argc, argv, err);

    if (rc < 0)
        return rc;
    rc = lab_open(&lab, true, err);
    /* Damaged state must not keep the rest from being removed: it is found by name. */
    if (rc == -EINVAL) {
        lab.count = 0;
        rc = 0;
    }
    if (rc < 0)
        return rc;
    rc = remove_all(&lab, err);
    lab_close(&lab);
    return rc;
}

/* `what`: a host, a cabinet or "all". Fills `ret` and returns how many; 0 if there is none. */
static size_t select_hosts(struct lab *lab, const char *what, struct lab_host **ret)
{
    unsigned cabinet = lab_cabinet(lab, what);
    size_t count = 0;

    for (size_t i = 0; i < lab->count; i++) {
        struct lab_host *host = &lab->host[i];

        if (strcmp(what, "all") == 0 || host->cabinet == cabinet || strcmp(what, host->name) == 0)
            ret[count++] = host;
    }
    return count;
}

static int power_one(struct lab *lab, const char *what, bool on, struct err *err)
{
    struct lab_host *hosts[LAB_CABINETS_MAX * LAB_HOSTS_MAX];
    size_t count = select_hosts(lab, what, hosts);
    unsigned cabinet = lab_cabinet(lab, what);
    int rc = 0;

    if (count == 0)
        return err_why(err, -ENOENT, "no such host or cabinet in the lab",
                       "%s (see: vling lab status)", what);
    /* The cabinet's switch goes dark first: then nothing of it reaches the others. */
    if (!on && cabinet)
        rc = lab_wire_uplink(cabinet, false, err);
    if (!on && rc == 0)
        rc = lab_host_off(lab, hosts, count, err);
    for (size_t i = 0; on && rc == 0 && i < count; i++)
        rc = lab_host_on(lab, hosts[i], err);
    return rc;
}

static int lab_power(int argc, char **argv, struct err *err)
{
    struct lab lab;
    bool on = argc > 1 && strcmp(argv[1], "on") == 0;
    int rc;

    if (argc < 3 || (!on && strcmp(argv[1], "off") != 0))
        return bad_usage(err, "power off|on HOST|CABINET|all");
    rc = lab_open(&lab, false, err);
    if (rc < 0)
        return rc;
    for (int i = 2; rc == 0 && i < argc; i++)
        rc = power_one(&lab, argv[i], on, err);
    lab_close(&lab);
    return rc;
}

static int lab_freeze(int argc, char **argv, struct err *err)
{
    struct lab lab;
    struct lab_host *host;
    int rc;

    if (argc != 2)
        return bad_usage(err, "freeze|thaw HOST");
    rc = lab_open(&lab, false, err);
    if (rc < 0)
        return rc;
    host = lab_find(&lab, argv[1]);
    if (!host)
        rc =
            err_why(err, -ENOENT, "no such host in the lab", "%s (see: vling lab status)", argv[1]);
    else
        rc = lab_host_freeze(host, strcmp(argv[0], "freeze") == 0, err);
    lab_close(&lab);
    return rc;
}

static int lab_link(int argc, char **argv, struct err *err)
{
    struct lab lab;
    struct lab_host *host;
    size_t p = 0;
    bool up = argc > 1 && strcmp(argv[1], "up") == 0;
    int rc;

    if (argc != 4 || (!up && strcmp(argv[1], "down") != 0))
        return bad_usage(err, "link down|up HOST PLANE");
    while (p < LAB_PLANES && strcmp(lab_planes[p].name, argv[3]) != 0)
        p++;
    if (p == LAB_PLANES)
        return bad_usage(err, "the planes are mgmt, tenant, ext and stor");
    rc = lab_open(&lab, false, err);
    if (rc < 0)
        return rc;
    host = lab_find(&lab, argv[2]);
    if (!host)
        rc =
            err_why(err, -ENOENT, "no such host in the lab", "%s (see: vling lab status)", argv[2]);
    else
        rc = lab_wire_link(host, argv[3], up, err);
    lab_close(&lab);
    return rc;
}

static int lab_partition(int argc, char **argv, struct err *err)
{
    struct lab lab;
    int rc;

    if (argc != 3 || strcmp(argv[1], argv[2]) == 0)
        return bad_usage(err, "partition A B, two different hosts or cabinets");
    rc = lab_open(&lab, false, err);
    if (rc < 0)
        return rc;
    for (int i = 1; rc == 0 && i <= 2; i++) {
        if (!lab_cabinet(&lab, argv[i]) && !lab_find(&lab, argv[i]))
            rc = err_why(err, -ENOENT, "no such host or cabinet in the lab",
                         "%s (see: vling lab status)", argv[i]);
    }
    if (rc == 0) {
        json_array_append_new(lab.partitions, json_pack("[s, s]", argv[1], argv[2]));
        rc = lab_wire_partitions(&lab, err);
    }
    if (rc == 0)
        rc = lab_save(&lab, err);
    lab_close(&lab);
    return rc;
}

static int lab_heal(int argc, char **argv, struct err *err)
{
    struct lab lab;
    int rc = no_arguments(argc, argv, err);

    if (rc == 0)
        rc = lab_open(&lab, false, err);
    if (rc < 0)
        return rc;
    json_array_clear(lab.partitions);
    rc = lab_wire_partitions(&lab, err);
    if (rc == 0)
        rc = lab_save(&lab, err);
    lab_close(&lab);
    return rc;
}

static json_t *status_row(const struct lab *lab, const struct lab_host *host)
{
    bool alive = lab_host_alive(host);
    char cabinet[16], down[64] = "";

    for (size_t p = 0; alive && p < LAB_PLANES; p++) {
        size_t used = strlen(down);

        if (lab_wire_link_is_up(host, lab_planes[p].name) == 0)
            snprintf(down + used, sizeof(down) - used, "%s%s", used ? "," : "", lab_planes[p].name);
    }
    snprintf(cabinet, sizeof(cabinet), "c%u", host->cabinet);
    return json_pack("{s:s, s:s, s:s, s:i, s:b, s:s}", "host", host->name, "cabinet", cabinet,
                     "power", alive ? "on" : "off", "pid", alive ? (int)host->pid : 0, "controller",
                     lab_is_controller(lab, host), "links_down", down);
}

static int lab_status(int argc, char **argv, struct err *err)
{
    static const char *const columns[] = {"host", "cabinet",    "power", "controller",
                                          "pid",  "links_down", NULL};
    enum cli_format format = CLI_TABLE;
    struct lab lab;
    json_t *rows;
    int rc = cli_take_format(&argc, argv, &format, err);

    if (rc == 0)
        rc = no_arguments(argc, argv, err);
    if (rc == 0)
        rc = lab_load(&lab, err);
    if (rc < 0)
        return rc;
    rows = json_array();
    for (size_t i = 0; i < lab.count; i++)
        json_array_append_new(rows, status_row(&lab, &lab.host[i]));
    cli_print_rows(format, rows, columns);
    for (size_t i = 0; format == CLI_TABLE && i < json_array_size(lab.partitions); i++) {
        const json_t *pair = json_array_get(lab.partitions, i);

        printf("partition between %s and %s\n", json_string_value(json_array_get(pair, 0)),
               json_string_value(json_array_get(pair, 1)));
    }
    json_decref(rows);
    lab_close(&lab);
    return 0;
}

static int lab_exec_cmd(int argc, char **argv, struct err *err)
{
    struct lab lab;
    int rc;

    if (argc < 3)
        return bad_usage(err, "exec HOST CMD...");
    rc = lab_load(&lab, err);
    if (rc < 0)
        return rc;
    rc = lab_exec(&lab, argv[1], argv + 2, err);
    lab_close(&lab);
    return rc;
}

static int lab_openrc(int argc, char **argv, struct err *err)
{
    int rc = no_arguments(argc, argv, err);

    return rc < 0 ? rc : lab_print_openrc(err);
}

int cmd_lab(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv, struct err *err);
    } commands[] = {
        {"up", lab_up},         {"down", lab_down},     {"status", lab_status},
        {"power", lab_power},   {"link", lab_link},     {"partition", lab_partition},
        {"freeze", lab_freeze}, {"thaw", lab_freeze},   {"heal", lab_heal},
        {"exec", lab_exec_cmd}, {"openrc", lab_openrc},
    };
    struct err err = {0};
    int rc;

    if (argc < 2 || cli_is_help(argv[1]) || (argc == 3 && cli_is_help(argv[2]))) {
        fputs(usage, argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        rc = commands[i].run(argc - 1, argv + 1, &err);
        return rc < 0 ? cli_failed(rc, &err) : rc;
    }
    bad_usage(&err, argv[1]);
    return cli_failed(-EINVAL, &err);
}
