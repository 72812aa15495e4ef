#include "base/file.h"
#include "base/json.h"
#include "cli/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define STATE_FILE LAB_DIR "/lab.json"
#define STATE_SIZE_MAX (1024 * 1024)

const struct lab_plane lab_planes[LAB_PLANES] = {
    {"mgmt", "mgmt0", 10},
    {"tenant", "tenant0", 20},
    {"ext", "ext0", 0},
    {"stor", "stor0", 30},
};

void lab_shape(struct lab *lab, unsigned cabinets, unsigned hosts_each)
{
    lab->cabinets = cabinets;
    lab->hosts_each = hosts_each;
    lab->count = 0;
    for (unsigned c = 1; c <= cabinets; c++) {
        for (unsigned n = 1; n <= hosts_each; n++) {
            struct lab_host *host = &lab->host[lab->count++];

            memset(host, 0, sizeof(*host));
            snprintf(host->name, sizeof(host->name), "c%uh%u", c, n);
            host->cabinet = c;
            host->number = n;
        }
    }
}

static int take_state(struct lab *lab, const json_t *state, struct err *err)
{
    const json_t *host;
    size_t i;
    int64_t cabinets = json_int(state, "cabinets", 0), hosts = json_int(state, "hosts_each", 0);

    if (cabinets < 1 || cabinets > LAB_CABINETS_MAX || hosts < 1 || hosts > LAB_HOSTS_MAX)
        return err_set(err, -EINVAL, "the lab's state is damaged", STATE_FILE,
                       "vling lab down, then up again");
    lab_shape(lab, (unsigned)cabinets, (unsigned)hosts);
    snprintf(lab->vlingd, sizeof(lab->vlingd), "%s", json_str(state, "vlingd", ""));
    json_array_foreach(json_object_get(state, "hosts"), i, host)
    {
        struct lab_host *to = lab_find(lab, json_str(host, "name", ""));

        if (to) {
            to->pid = (pid_t)json_int(host, "pid", 0);
            to->start = (unsigned long long)json_int(host, "start", 0);
        }
    }
    lab->partitions = json_deep_copy(json_object_get(state, "partitions"));
    return 0;
}

static int find_self(struct lab *lab, struct err *err)
{
    ssize_t size = readlink("/proc/self/exe", lab->self, sizeof(lab->self) - 1);

    if (size < 0)
        return err_set(err, -errno, "cannot find the vling program", strerror(errno), NULL);
    lab->self[size] = '\0';
    return 0;
}

int lab_load(struct lab *lab, struct err *err)
{
    char *text = NULL, why[160];
    json_t *state = NULL;
    size_t size;
    int rc;

    memset(lab, 0, sizeof(*lab));
    lab->lock = -1;
    rc = find_self(lab, err);
    if (rc < 0)
        return rc;
    rc = file_read(STATE_FILE, STATE_SIZE_MAX, &text, &size);
    if (rc == -ENOENT)
        return err_set(err, rc, "there is no lab", "nothing is recorded in " LAB_DIR,
                       "start one: vling lab up");
    if (rc < 0)
        return err_why(err, rc, "cannot read the lab's state", STATE_FILE ": %s", strerror(-rc));
    state = json_parse(text, size, why, sizeof(why));
    free(text);
    if (!state)
        return err_set(err, -EINVAL, "the lab's state is damaged", why, "vling lab down");
    rc = take_state(lab, state, err);
    json_decref(state);
    if (rc == 0 && !json_is_array(lab->partitions)) {
        json_decref(lab->partitions);
        lab->partitions = json_array();
    }
    return rc;
}

int lab_open(struct lab *lab, bool create, struct err *err)
{
    int lock, rc;

    if (geteuid() != 0)
        return err_set(err, -EPERM, "the lab needs root", "it makes namespaces", "use sudo");
    rc = create ? file_mkdirs(LAB_DIR, 0755) : 0;
    if (rc < 0)
        return err_set(err, rc, "cannot create " LAB_DIR, strerror(-rc), NULL);
    lock = open(LAB_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) < 0) {
        rc = err_set(err, -EBUSY, "the lab is busy", "another vling lab command is at work",
                     "try again when it has ended");
        close(lock);
        return rc;
    }
    rc = lab_load(lab, err);
    if (rc == -ENOENT && create) {
        lab->partitions = json_array();
        rc = 0;
    }
    lab->lock = lock;
    if (rc < 0)
        lab_close(lab);
    return rc;
}

void lab_close(struct lab *lab)
{
    /* Not only closed: a host that was just started may still hold its copy, and the next command
     * would find the lab busy. */
    if (lab->lock >= 0) {
        flock(lab->lock, LOCK_UN);
        close(lab->lock);
    }
    lab->lock = -1;
    json_decref(lab->partitions);
    lab->partitions = NULL;
}

int lab_save(struct lab *lab, struct err *err)
{
    json_t *hosts = json_array(), *state;
    char *text;
    int rc;

    for (size_t i = 0; i < lab->count; i++) {
        const struct lab_host *host = &lab->host[i];

        json_array_append_new(hosts, json_pack("{s:s, s:i, s:I}", "name", host->name, "pid",
                                               (int)host->pid, "start", (json_int_t)host->start));
    }
    state = json_pack("{s:i, s:i, s:s, s:o, s:O}", "cabinets", (int)lab->cabinets, "hosts_each",
                      (int)lab->hosts_each, "vlingd", lab->vlingd, "hosts", hosts, "partitions",
                      lab->partitions);
    text = state ? json_dumps(state, JSON_INDENT(1)) : NULL;
    json_decref(state);
    if (!text)
        return -ENOMEM;
    rc = file_write_atomic(STATE_FILE, text, strlen(text), 0644);
    free(text);
    return rc < 0 ? err_why(err, rc, "cannot record the lab", STATE_FILE ": %s", strerror(-rc)) : 0;
}

struct lab_host *lab_find(struct lab *lab, const char *name)
{
    for (size_t i = 0; i < lab->count; i++) {
        if (strcmp(lab->host[i].name, name) == 0)
            return &lab->host[i];
    }
    return NULL;
}

unsigned lab_cabinet(const struct lab *lab, const char *name)
{
    if (name[0] != 'c' || name[1] < '1' || name[1] > '9' || name[2] != '\0')
        return 0;
    return (unsigned)(name[1] - '0') <= lab->cabinets ? (unsigned)(name[1] - '0') : 0;
}

bool lab_is_controller(const struct lab *lab, const struct lab_host *host)
{
    /* Two controllers would survive less than one: with fewer than three cabinets there is one. */
    unsigned cabinets = lab->cabinets >= 3 ? 3 : 1;

    return host->number == 1 && host->cabinet <= cabinets;
}

unsigned long long lab_start_time(pid_t pid)
{
    unsigned long long start = 0;
    char path[64], *text = NULL, *after, state;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (pid <= 0 || file_read(path, 4096, &text, NULL) < 0)
        return 0;
    /* The command in parentheses may hold blanks; fields are counted after the last one. */
    after = strrchr(text, ')');
    if (!after ||
        sscanf(after + 1,
               " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
               "%*d %*d %llu",
               &state, &start) != 2 ||
        state == 'Z' || state == 'X')
        start = 0;
    free(text);
    return start;
}

bool lab_host_alive(const struct lab_host *host)
{
    return host->pid > 0 && lab_start_time(host->pid) == host->start;
}
