#include "store/etcd_server.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARGS_MAX 64
#define CHECK_MS 500 /* an adopted member is no child: it is looked at */
#define PAUSE_MIN_MS 200
#define PAUSE_MAX_MS 10000
#define HEALTHY_MS 30000 /* after such a life the pause begins small again */
#define LOG_SIZE_MAX ((off_t)16 * 1024 * 1024)
#define PEERS_MAX 9

struct etcd_server {
    uv_loop_t *loop;
    char *args[ARGS_MAX];
    int arg_count;
    char *data_dir, *pid_file, *log_file;
    uv_timer_t *timer;
    uv_process_t *process; /* our child; NULL: adopted or none */
    int pid;
    int pause_ms;
    int64_t started_ms;
};

static void look(uv_timer_t *timer);

static void arg(struct etcd_server *s, const char *name, const char *value)
{
    if (s->arg_count + 3 > ARGS_MAX || !(s->args[s->arg_count++] = strdup(name)))
        abort();
    if (value && !(s->args[s->arg_count++] = strdup(value)))
        abort();
}

/* ---- the command line ---- */

static void add_tls(struct etcd_server *s, const struct etcd_server_options *options)
{
    if (!options->ca_file)
        return;
    arg(s, "--client-cert-auth", NULL);
    arg(s, "--trusted-ca-file", options->ca_file);
    arg(s, "--cert-file", options->cert_file);
    arg(s, "--key-file", options->key_file);
    arg(s, "--peer-client-cert-auth", NULL);
    arg(s, "--peer-trusted-ca-file", options->ca_file);
    arg(s, "--peer-cert-file", options->cert_file);
    arg(s, "--peer-key-file", options->key_file);
}

static void add_urls(struct etcd_server *s, const struct etcd_server_options *options)
{
    const char *scheme = options->ca_file ? "https" : "http";
    int client = options->client_port ? options->client_port : 2379;
    int peer = options->peer_port ? options->peer_port : 2380;
    char text[256];
    struct buf cluster;

    snprintf(text, sizeof(text), "%s://%s:%d", scheme, options->listen_ip, client);
    arg(s, "--advertise-client-urls", text);
    if (strcmp(options->listen_ip, "127.0.0.1") != 0)
        snprintf(text, sizeof(text), "%s://%s:%d,%s://127.0.0.1:%d", scheme, options->listen_ip,
                 client, scheme, client);
    arg(s, "--listen-client-urls", text);
    snprintf(text, sizeof(text), "%s://%s:%d", scheme, options->listen_ip, peer);
    arg(s, "--listen-peer-urls", text);
    arg(s, "--initial-advertise-peer-urls", text);
    buf_init(&cluster, 4096);
    for (int i = 0; i < options->peer_count; i++)
        buf_printf(&cluster, "%s%s=%s://%s:%d", i ? "," : "", options->peers[i].name, scheme,
                   options->peers[i].ip, peer);
    arg(s, "--initial-cluster", buf_text(&cluster));
    buf_free(&cluster);
}

static void build_args(struct etcd_server *s, const struct etcd_server_options *options)
{
    arg(s, options->binary ? options->binary : "etcd", NULL);
    arg(s, "--name", options->name);
    arg(s, "--data-dir", options->data_dir);
    add_urls(s, options);
    /* Ignored once there is data: a member that restarts goes on with its own. */
    arg(s, "--initial-cluster-state", "new");
    arg(s, "--initial-cluster-token", options->token ? options->token : "vling");
    add_tls(s, options);
    arg(s, "--heartbeat-interval", "50");
    arg(s, "--election-timeout", "500");
    arg(s, "--pre-vote", NULL);
    arg(s, "--experimental-initial-corrupt-check", NULL);
    arg(s, "--experimental-corrupt-check-time", "1h");
    arg(s, "--auto-compaction-mode", "periodic");
    arg(s, "--auto-compaction-retention", "10m");
    arg(s, "--quota-backend-bytes", "2147483648");
    arg(s, "--snapshot-count", "10000");
    arg(s, "--logger", "zap");
    arg(s, "--log-level", "warn");
}

static bool name_ok(const char *name)
{
    return name && *name && !strpbrk(name, ",= ");
}

static int check(const struct etcd_server_options *options, struct err *err)
{
    bool found = false, some_tls = options->ca_file || options->cert_file || options->key_file;
    bool all_tls = options->ca_file && options->cert_file && options->key_file;

    if (!options->data_dir || !options->listen_ip || !options->pid_file || !options->log_file)
        return err_set(err, -EINVAL, "cannot run etcd", "a path or the address is missing", NULL);
    if (some_tls != all_tls)
        return err_set(err, -EINVAL, "cannot run etcd", "CA, certificate and key go together",
                       NULL);
    if (options->peer_count < 1 || options->peer_count > PEERS_MAX)
        return err_set(err, -EINVAL, "cannot run etcd", "there must be 1 to 9 members", NULL);
    for (int i = 0; i < options->peer_count; i++) {
        if (!name_ok(options->peers[i].name) || !name_ok(options->peers[i].ip))
            return err_set(err, -EINVAL, "cannot run etcd", "a member's name or address is wrong",
                           NULL);
        if (options->name && strcmp(options->peers[i].name, options->name) == 0)
            found = true;
    }
    if (!found)
        return err_set(err, -EINVAL, "cannot run etcd", "this member is not among the members",
                       NULL);
    return 0;
}

/* ---- processes ---- */

/* Is `pid` an etcd on our data folder? Process ids are used again, so its command line decides. */
static bool is_ours(const struct etcd_server *s, int pid)
{
    char path[64], line[8192];
    ssize_t size;
    int fd;

    if (pid <= 1)
        return false;
    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size = read(fd, line, sizeof(line) - 1);
    close(fd);
    if (size <= 0)
        return false;
    line[size] = '\0';
    for (char *at = line; at < line + size; at += strlen(at) + 1) {
        char *value = at + strlen(at) + 1;

        if (strcmp(at, "--data-dir") == 0 && value < line + size)
            return strcmp(value, s->data_dir) == 0;
    }
    return false;
}

static int pid_from_file(const struct etcd_server *s)
{
    char *text;
    int pid;

    if (file_read(s->pid_file, 64, &text, NULL) < 0)
        return 0;
    pid = atoi(text);
    free(text);
    return is_ours(s, pid) ? pid : 0;
}

static void again(struct etcd_server *s, int after_ms)
{
    uv_timer_start(s->timer, look, (uint64_t)after_ms, 0);
}

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

static void died(struct etcd_server *s, const char *how)
{
    if (clock_now_ms() - s->started_ms > HEALTHY_MS)
        s->pause_ms = PAUSE_MIN_MS;
    log_warn("etcd %s; starting it again in %d ms (its log: %s)", how, s->pause_ms, s->log_file);
    s->pid = 0;
    again(s, s->pause_ms);
    s->pause_ms = 2 * s->pause_ms < PAUSE_MAX_MS ? 2 * s->pause_ms : PAUSE_MAX_MS;
}

static void on_exit_of_child(uv_process_t *process, int64_t status, int signal)
{
    struct etcd_server *s = process->data;
    char how[64];

    uv_close((uv_handle_t *)process, free_handle);
    if (!s)
        return;
    s->process = NULL;
    snprintf(how, sizeof(how), signal ? "was killed by signal %d" : "ended with status %d",
             signal ? signal : (int)status);
    died(s, how);
}

static int open_log(const struct etcd_server *s)
{
    char old[4096];
    int fd = open(s->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    if (fd < 0 || lseek(fd, 0, SEEK_END) < LOG_SIZE_MAX)
        return fd;
    close(fd);
    snprintf(old, sizeof(old), "%s.1", s->log_file);
    rename(s->log_file, old);
    return open(s->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int spawn(struct etcd_server *s, int log_fd)
{
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = log_fd},
        {.flags = UV_INHERIT_FD, .data.fd = log_fd},
    };
    uv_process_options_t options = {
        .file = s->args[0],
        .args = s->args,
        .exit_cb = on_exit_of_child,
        .flags = UV_PROCESS_DETACHED, /* own session: it outlives us */
        .stdio_count = 3,
        .stdio = stdio,
    };
    uv_process_t *process = calloc(1, sizeof(*process));
    int rc;

    if (!process)
        return -ENOMEM;
    process->data = s;
    rc = uv_spawn(s->loop, process, &options);
    if (rc < 0) {
        process->data = NULL;
        uv_close((uv_handle_t *)process, free_handle);
        return rc;
    }
    s->process = process;
    s->pid = process->pid;
    return 0;
}

static void start(struct etcd_server *s)
{
    char text[32], how[128];
    int fd, rc;

    s->started_ms = clock_now_ms();
    fd = open_log(s);
    rc = fd < 0 ? -errno : spawn(s, fd);
    if (fd >= 0)
        close(fd);
    if (rc < 0) {
        snprintf(how, sizeof(how), "cannot be started (%s)", strerror(-rc));
        died(s, how);
        return;
    }
    snprintf(text, sizeof(text), "%d\n", s->pid);
    rc = file_write_atomic(s->pid_file, text, strlen(text), 0644);
    if (rc < 0)
        log_warn("cannot write %s: %s", s->pid_file, strerror(-rc));
    log_info("etcd started, process %d", s->pid);
}

static void look(uv_timer_t *timer)
{
    struct etcd_server *s = timer->data;

    if (s->process)
        return;
    if (s->pid > 0 && is_ours(s, s->pid)) {
        again(s, CHECK_MS);
    } else if (s->pid > 0) {
        died(s, "is gone");
    } else {
        start(s);
    }
}

static void server_free(struct etcd_server *s)
{
    for (int i = 0; i < s->arg_count; i++)
        free(s->args[i]);
    free(s->data_dir);
    free(s->pid_file);
    free(s->log_file);
    free(s);
}

struct etcd_server *etcd_server_start(uv_loop_t *loop, const struct etcd_server_options *options,
                                      struct err *err)
{
    struct etcd_server *s;
    int rc = check(options, err);

    if (rc < 0)
        return NULL;
    rc = file_mkdirs(options->data_dir, 0700);
    if (rc < 0) {
        err_why(err, rc, "cannot run etcd", "%s: %s", options->data_dir, strerror(-rc));
        return NULL;
    }
    s = calloc(1, sizeof(*s));
    if (!s || !(s->timer = calloc(1, sizeof(*s->timer))))
        abort();
    s->loop = loop;
    s->data_dir = strdup(options->data_dir);
    s->pid_file = strdup(options->pid_file);
    s->log_file = strdup(options->log_file);
    if (!s->data_dir || !s->pid_file || !s->log_file)
        abort();
    s->pause_ms = PAUSE_MIN_MS;
    build_args(s, options);
    uv_timer_init(loop, s->timer);
    s->timer->data = s;
    s->pid = pid_from_file(s);
    if (s->pid > 0) {
        log_info("etcd is running already, process %d", s->pid);
        s->started_ms = clock_now_ms();
        again(s, CHECK_MS);
    } else {
        start(s);
    }
    return s;
}

int etcd_server_pid(const struct etcd_server *server)
{
    return server->pid;
}

void etcd_server_stop(struct etcd_server *s, bool kill_it)
{
    if (!s)
        return;
    if (s->process) {
        s->process->data = NULL;
        if (!kill_it)
            uv_close((uv_handle_t *)s->process, free_handle);
    }
    if (kill_it && s->pid > 0 && is_ours(s, s->pid))
        kill(s->pid, SIGTERM);
    uv_close((uv_handle_t *)s->timer, free_handle);
    server_free(s);
}
