/* vling console: a server's serial console, from the host that it runs on (or from the machine of a
 * lab). Bytes go both ways as they are until the connection ends or Ctrl-] is typed. */
#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#define DETACH 0x1d    /* Ctrl-] */
#define LINGER_MS 2000 /* after the end of a piped input, for the answer */
#define CONFIG_MAX 65536

static const char help[] =
    "usage: vling console SERVER [--lab]\n\n"
    "The serial console of a server (id or name). Ctrl-] leaves it; the guest goes on. Runs on\n"
    "the host that has the server, or on the machine of a lab. What was printed before:\n"
    "openstack console log show SERVER\n";

/* ---- which server, where ---- */

static int find_server(const json_t *rows, const char *name, const json_t **ret, struct err *err)
{
    const json_t *row;
    size_t i, found = 0;

    json_array_foreach(rows, i, row)
    {
        if (strcmp(json_str(row, "id", ""), name) == 0) {
            *ret = row;
            return 0;
        }
        if (strcmp(json_str(row, "name", ""), name) == 0) {
            *ret = row;
            found++;
        }
    }
    if (found == 1)
        return 0;
    return err_set(err, found ? -EEXIST : -ENOENT,
                   found ? "several servers have that name" : "no such server", name,
                   found ? "give its id" : "see: openstack server list --all-projects");
}

/* This host's name and run_dir; -ENOENT on a machine that is no host. */
static int read_config(char *host, size_t host_size, char *run_dir, size_t run_size)
{
    char *text = NULL;
    size_t size;
    json_t *config;
    int rc = file_read("/etc/vling/vlingd.json", CONFIG_MAX, &text, &size);

    if (rc < 0)
        return rc;
    config = json_parse(text, size, NULL, 0);
    free(text);
    snprintf(host, host_size, "%s", json_str(config, "host", ""));
    snprintf(run_dir, run_size, "%s", json_str(config, "run_dir", "/run/vling"));
    json_decref(config);
    return 0;
}

/* The folder of the host's guests, as this process sees it. */
static int guests_folder(bool lab, const char *host, char *ret, size_t size, struct err *err)
{
    char own[64], run_dir[200], remedy[160];
    struct lab_host *found;
    struct lab l;
    int rc = lab ? -ENOENT : read_config(own, sizeof(own), run_dir, sizeof(run_dir));

    if (rc == 0) {
        snprintf(ret, size, "%s/guests", run_dir);
        snprintf(remedy, sizeof(remedy), "run it there: vling console ...");
        return strcmp(own, host) == 0
                   ? 0
                   : err_set(err, -EXDEV, "the server runs on another host", host, remedy);
    }
    rc = lab_load(&l, err);
    if (rc < 0)
        return rc;
    found = lab_find(&l, host);
    if (found && lab_host_alive(found))
        snprintf(ret, size, "/proc/%d/root/run/vling/guests", (int)found->pid);
    else
        rc = err_set(err, -EHOSTDOWN, "the server's host is not running", host,
                     "vling lab power on");
    lab_close(&l);
    return rc;
}

static int locate(bool lab, const char *name, char *path, size_t size, struct err *err)
{
    struct cli_daemon *daemon;
    const json_t *server = NULL;
    char folder[256];
    json_t *answer = NULL;
    int rc = cli_daemon_open(lab, &daemon, err);

    if (rc < 0)
        return rc;
    rc = cli_ask(daemon, "/v1/rows?table=server", NULL, &answer, err);
    cli_daemon_close(daemon);
    if (rc == 0)
        rc = find_server(json_object_get(answer, "rows"), name, &server, err);
    if (rc == 0 && !json_str(server, "host_id", NULL))
        rc = err_set(err, -EAGAIN, "the server has no host yet", name, "wait until it is ACTIVE");
    if (rc == 0)
        rc = guests_folder(lab, json_str(server, "host_id", ""), folder, sizeof(folder), err);
    if (rc == 0)
        snprintf(path, size, "%s/%s/qemu/serial.sock", folder, json_str(server, "id", ""));
    json_decref(answer);
    return rc;
}

static int dial(const char *path, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof(address.sun_path))
        return err_set(err, -ENAMETOOLONG, "cannot open the console", path, NULL);
    memcpy(address.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int rc = err_why(err, -errno, "cannot open the console", "%s: %s (is the server ACTIVE?)",
                         path, strerror(errno));

        if (fd >= 0)
            close(fd);
        return rc;
    }
    return fd;
}

/* ---- the connection ---- */

/* 1: go on; 0: the end. */
static int pass(int from, int to, bool keys)
{
    char bytes[4096];
    ssize_t got = read(from, bytes, sizeof(bytes)), put;
    char *detach;

    if (got < 0)
        return errno == EINTR || errno == EAGAIN;
    detach = keys ? memchr(bytes, DETACH, (size_t)got) : NULL;
    if (detach)
        got = detach - bytes;
    for (ssize_t at = 0; at < got; at += put) {
        put = write(to, bytes + at, (size_t)(got - at));
        if (put < 0 && errno != EINTR)
            return 0;
        put = put < 0 ? 0 : put;
    }
    return got > 0 && !detach;
}

static void talk(int fd, bool keys)
{
    struct pollfd polls[2] = {{.fd = fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    int timeout = -1;

    for (;;) {
        int n = poll(polls, 2, timeout);

        if (n == 0 || (n < 0 && errno != EINTR))
            return;
        if (n < 0)
            continue;
        if (polls[0].revents && !pass(fd, STDOUT_FILENO, false))
            return;
        if (polls[1].revents && !pass(STDIN_FILENO, fd, keys)) {
            if (keys)
                return;
            polls[1].fd = -1;
            timeout = LINGER_MS;
        }
    }
}

static int run(const char *name, bool lab, struct err *err)
{
    struct termios before, raw;
    bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
    char path[400];
    int fd, rc = locate(lab, name, path, sizeof(path), err);

    if (rc < 0)
        return rc;
    fd = dial(path, err);
    if (fd < 0)
        return fd;
    if (terminal) {
        fprintf(stderr, "connected to %s; Ctrl-] leaves\r\n", name);
        raw = before;
        cfmakeraw(&raw);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    talk(fd, terminal);
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSANOW, &before);
        fputs("\nleft\n", stderr);
    }
    close(fd);
    return 0;
}

int cmd_console(int argc, char **argv)
{
    struct err err = {0};
    bool lab = cli_take_flag(&argc, argv, "--lab");
    int rc;

    if (argc != 2 || cli_is_help(argv[1])) {
        fputs(help, argc == 2 ? stdout : stderr);
        return argc == 2 ? 0 : 2;
    }
    rc = run(argv[1], lab, &err);
    return rc < 0 ? cli_failed(rc, &err) : 0;
}
