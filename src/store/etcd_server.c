#include "store/etcd_server.h"
#include "store/etcd_care.h"
#include "store/etcd_heal.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "io/http_client.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARGS_MAX 64
#define CHECK_MS 500 /* an adopted member is no child: it is looked at */
#define PAUSE_MIN_MS 200
#define PAUSE_MAX_MS 10000
#define HEALTHY_MS 30000 /* after such a life the pause begins small again */
#define LOG_SIZE_MAX ((off_t)16 * 1024 * 1024)
#define PEERS_MAX 9
#define SETTLED_MS 2000 /* a death before that is a quick one */
#define QUICK_DEATHS 3  /* in a row, before its data are suspected */
#define SAYS_MAX 65536  /* of its log since it was started */
#define REFUSED_MS 10000
#define REMOVED_PAUSE_MS                                                                           \
    10000 /* the list of controllers may say that it was meant: etcd_server_retire */
#define UNKNOWN_PAUSE_MS 2000 /* the others want to be together for 5 s before they change */
#define REFUSALS_MAX 10
#define OTHERS_DIFFER "found data inconsistency with peers"
#define FULL_BYTES ((uint64_t)1024 * 1024)
#define QUOTA_BYTES ((int64_t)2 * 1024 * 1024 * 1024)

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

    struct etcd_server_options options; /* as far as etcd_heal needs them; copies */
    int state_arg;                      /* index of "new" or "existing" in args */
    int check_arg;                      /* of the comparison with the others at its start */
    char *joined_file;                  /* this member took part before */
    char *damaged_dir;                  /* where suspected data are now, or NULL */
    struct etcd_heal *heal;
    struct etcd_care *care;
    struct http_client *client; /* to the member itself */
    bool asking;
    bool fresh; /* etcd was started on an empty folder */
    int quick_deaths, refusals;
    off_t log_from; /* where its words since the start begin */
};

static void look(uv_timer_t *timer);

static void arg(struct etcd_server *s, const char *name, const char *value)
{
    if (s->arg_count + 3 > ARGS_MAX || !(s->args[s->arg_count++] = strdup(name)))
        abort();
    if (value && !(s->args[s->arg_count++] = strdup(value)))
        abort();
}

static void set_arg(struct etcd_server *s, int which, const char *value)
{
    free(s->args[which]);
    s->args[which] = strdup(value);
    if (!s->args[which])
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
    arg(s, "--peer-cert-file",
        options->peer_cert_file ? options->peer_cert_file : options->cert_file);
    arg(s, "--peer-key-file", options->peer_key_file ? options->peer_key_file : options->key_file);
    if (options->peer_cn)
        arg(s, "--peer-cert-allowed-cn", options->peer_cn);
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
    if (strcmp(options->listen_ip, "127.0.0.1") != 0 && !options->own_ip_only)
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
    char quota[32];

    arg(s, options->binary ? options->binary : "etcd", NULL);
    arg(s, "--name", options->name);
    arg(s, "--data-dir", options->data_dir);
    add_urls(s, options);
    /* Ignored once there is data: a member that restarts goes on with its own. */
    arg(s, "--initial-cluster-state", "new");
    s->state_arg = s->arg_count - 1;
    arg(s, "--initial-cluster-token", options->token ? options->token : "vling");
    add_tls(s, options);
    /* A leader is missed after 500 ms. Five heartbeats in that time are as good as ten: what counts
     * is the silence, and an idle cloud's work is mostly these. */
    arg(s, "--heartbeat-interval", "100");
    arg(s, "--election-timeout", "500");
    arg(s, "--pre-vote", NULL);
    arg(s, "--experimental-initial-corrupt-check=true", NULL);
    s->check_arg = s->arg_count - 1;
    arg(s, "--experimental-corrupt-check-time", "1h");
    arg(s, "--auto-compaction-mode", "periodic");
    arg(s, "--auto-compaction-retention", "10m");
    snprintf(quota, sizeof(quota), "%lld",
             (long long)(options->quota_bytes ? options->quota_bytes : QUOTA_BYTES));
    arg(s, "--quota-backend-bytes", quota);
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

/* Neither etcd nor its log can write then, so that it ends again and again; its data are fine. */
static bool is_full(const struct etcd_server *s)
{
    struct statvfs st;

    return statvfs(s->data_dir, &st) == 0 && (uint64_t)st.f_bavail * st.f_frsize < FULL_BYTES;
}

static off_t log_size(const struct etcd_server *s)
{
    struct stat st;

    return stat(s->log_file, &st) == 0 ? st.st_size : 0;
}

/* Did etcd log one of `words` since it was started? */
static bool says(const struct etcd_server *s, const char *const words[])
{
    char *text = calloc(1, SAYS_MAX + 1);
    int fd = open(s->log_file, O_RDONLY | O_CLOEXEC);
    /* Shorter than it was: it was begun again meanwhile (etcd_care.h). */
    off_t from = log_size(s) >= s->log_from ? s->log_from : 0;
    ssize_t size = text && fd >= 0 ? pread(fd, text, SAYS_MAX, from) : -1;
    bool said = false;

    for (size_t i = 0; size > 0 && words[i]; i++)
        said = said || strstr(text, words[i]);
    if (fd >= 0)
        close(fd);
    free(text);
    return said;
}

/* What etcd logged since it was started looks like damage of its files. */
static bool says_damage(const struct etcd_server *s)
{
    static const char *const damage[] = {"panic",
                                         "corrupt",
                                         "crc mismatch",
                                         "checksum",
                                         "invalid database",
                                         "file size too small",
                                         "unexpected EOF",
                                         "wal: ",
                                         NULL};
    static const char *const not [] = {"no space left", "corrupt cluster", OTHERS_DIFFER, NULL};

    return says(s, damage) && !says(s, not );
}

/* Some other member holds something else, and one of the two is wrong. It must run to be compared
 * (etcd_care.h). */
static bool says_others_differ(const struct etcd_server *s)
{
    static const char *const differ[] = {OTHERS_DIFFER, NULL};

    return says(s, differ);
}

/* The others removed this member while it was away; its data are of no use under any id. */
static bool says_removed(const struct etcd_server *s)
{
    static const char *const removed[] = {"removed from the cluster", NULL};

    return says(s, removed);
}

/* ---- the data ---- */

/* The log of transactions makes a member what it is. Its file alone (member/snap/db) is not enough:
 * with it etcd would begin an empty log under its old id, and vote. */
static bool has_data(const struct etcd_server *s)
{
    char pattern[4096];
    glob_t found = {0};
    struct stat st;
    bool there = false;

    snprintf(pattern, sizeof(pattern), "%s/member/wal/*.wal", s->data_dir);
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            there = there || (stat(found.gl_pathv[i], &st) == 0 && st.st_size > 0);
    }
    globfree(&found);
    return there;
}

static bool has_folder(const struct etcd_server *s)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/member", s->data_dir);
    return access(path, F_OK) == 0;
}

static int delete_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    return remove(path);
}

/* What an etcd left that ended before it had a log. It began with nothing, so nothing is lost, and
 * a rebuild that is tried all night does not fill the disk. */
static void drop_beginning(struct etcd_server *s)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/member", s->data_dir);
    if (s->fresh && !has_data(s))
        nftw(path, delete_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Moves the data to "<data_dir>.<as>-<time>". */
static bool move_aside(struct etcd_server *s, const char *as, char path[4096])
{
    snprintf(path, 4096, "%s.%s-%lld", s->data_dir, as, (long long)time(NULL));
    return rename(s->data_dir, path) == 0;
}

/* Before the data are moved, so that whenever the power fails it does not begin anew. */
static void note_joined(struct etcd_server *s)
{
    int rc = file_write_atomic(s->joined_file, "1\n", 2, 0600);

    if (rc < 0)
        log_warn("cannot write %s: %s", s->joined_file, strerror(-rc));
}

/* Puts data that etcd cannot read aside, so that this member gets them from the others. */
static void put_aside(struct etcd_server *s)
{
    char path[4096];

    s->quick_deaths = 0;
    if (s->options.peer_count < 2) {
        log_error("etcd's data in %s are damaged (see %s) and there is no other member: restore a "
                  "backup",
                  s->data_dir, s->log_file);
        return;
    }
    note_joined(s);
    if (!move_aside(s, "damaged", path))
        return;
    free(s->damaged_dir);
    s->damaged_dir = strdup(path);
    log_error("etcd's data are damaged (see %s): put aside as %s; this member gets them from the "
              "others",
              s->log_file, path);
}

/* The data of a member that is none any more: never tried again, unlike damaged ones. */
static void put_removed_aside(struct etcd_server *s)
{
    char path[4096];

    s->quick_deaths = 0;
    if (s->options.peer_count < 2)
        return;
    note_joined(s);
    if (move_aside(s, "removed", path))
        log_error("etcd: the others removed this member: its data are put aside as %s; it asks to "
                  "be taken back",
                  path);
}

/* A folder without a log. */
static int put_rest_aside(struct etcd_server *s, bool joined)
{
    char path[4096];

    if (!move_aside(s, "incomplete", path)) {
        log_error("etcd's folder %s has no log (member/wal) and cannot be put aside: %s",
                  s->data_dir, strerror(errno));
        return -EIO;
    }
    log_error("etcd's folder has no log (member/wal): put aside as %s%s", path,
              joined ? "; this member gets its data from the others" : "");
    return file_mkdirs(s->data_dir, 0700);
}

static void died(struct etcd_server *s, const char *how)
{
    int pause_ms;

    if (clock_now_ms() - s->started_ms > HEALTHY_MS)
        s->pause_ms = PAUSE_MIN_MS;
    s->quick_deaths = clock_now_ms() - s->started_ms < SETTLED_MS ? s->quick_deaths + 1 : 0;
    if (is_full(s))
        log_error("the disk of %s is full: free some space, etcd then goes on by itself",
                  s->data_dir);
    else if (s->quick_deaths >= QUICK_DEATHS && has_data(s) && says_damage(s))
        put_aside(s);
    pause_ms = s->pause_ms;
    if (says_others_differ(s))
        etcd_care_doubt(s->care);
    if (says_removed(s)) {
        put_removed_aside(s);
        pause_ms = REMOVED_PAUSE_MS;
    }
    drop_beginning(s);
    log_warn("etcd %s; starting it again in %d ms (its log: %s)", how, pause_ms, s->log_file);
    s->pid = 0;
    again(s, pause_ms);
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

static void run(struct etcd_server *s)
{
    char text[32], how[128];
    int fd, rc;

    s->started_ms = clock_now_ms();
    s->fresh = !has_folder(s);
    set_arg(s, s->check_arg,
            etcd_care_doubts(s->care) ? "--experimental-initial-corrupt-check=false"
                                      : "--experimental-initial-corrupt-check=true");
    fd = open_log(s);
    s->log_from = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
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
    again(s, SETTLED_MS);
}

/* ---- which place to take ---- */

static void set_state(struct etcd_server *s, const char *state)
{
    set_arg(s, s->state_arg, state);
}

/* Data that seem damaged are better than none when the others cannot help for long. */
static void try_old_data(struct etcd_server *s)
{
    if (!s->damaged_dir || ++s->refusals < REFUSALS_MAX)
        return;
    s->refusals = 0;
    if (rmdir(s->data_dir) == 0 && rename(s->damaged_dir, s->data_dir) == 0)
        log_warn("etcd: trying the old data again");
}

static void on_place(void *arg, enum etcd_place place)
{
    struct etcd_server *s = arg;
    bool joined = access(s->joined_file, F_OK) == 0;

    s->heal = NULL;
    if (place == ETCD_PLACE_EXISTING) {
        note_joined(s); /* from now on the others count it */
        free(s->damaged_dir);
        s->damaged_dir = NULL;
        s->refusals = 0;
        set_state(s, "existing");
        run(s);
    } else if (place == ETCD_PLACE_NEW || !joined) {
        set_state(s, "new"); /* nobody knows of an earlier life: the cluster is being founded */
        run(s);
    } else {
        log_warn("etcd: this member's data are gone and the others cannot take it back yet");
        try_old_data(s);
        again(s, UNKNOWN_PAUSE_MS);
    }
}

static void refuse(struct etcd_server *s)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/member", s->data_dir);
    log_error("etcd's %s in %s %s gone and there is no other member: restore a backup, or remove "
              "%s%s%s to begin with an empty cloud",
              has_folder(s) ? "log (member/wal)" : "data", s->data_dir,
              has_folder(s) ? "is" : "are", s->joined_file, has_folder(s) ? " and " : "",
              has_folder(s) ? path : "");
    again(s, REFUSED_MS);
}

static void start(struct etcd_server *s)
{
    bool joined = access(s->joined_file, F_OK) == 0;

    if (has_data(s)) {
        run(s);
    } else if (s->options.peer_count == 1 && joined) {
        refuse(s);
    } else if (has_folder(s) && put_rest_aside(s, joined) < 0) {
        again(s, REFUSED_MS);
    } else if (s->options.peer_count == 1) {
        run(s);
    } else {
        file_mkdirs(s->data_dir, 0700);
        s->heal = etcd_heal_start(s->loop, &s->options, on_place, s);
        if (!s->heal)
            again(s, s->pause_ms);
    }
}

static void on_own_answer(void *arg, const struct http_answer *answer)
{
    struct etcd_server *s = arg;

    s->asking = false;
    if (answer->rc == 0 && answer->status == 200)
        note_joined(s);
}

/* Remembers that this member took part in a cluster that was founded: a linearizable read of its
 * own is answered only then. */
static void note_part(struct etcd_server *s)
{
    static const char body[] = "{\"key\": \"AA==\"}";
    char url[128];
    struct err err;

    if (s->asking || access(s->joined_file, F_OK) == 0)
        return;
    if (s->process)
        again(s, SETTLED_MS);
    if (!s->client)
        s->client = http_client_new(s->loop,
                                    &(struct http_client_options){.ca_file = s->options.ca_file,
                                                                  .cert_file = s->options.cert_file,
                                                                  .key_file = s->options.key_file},
                                    &err);
    snprintf(url, sizeof(url), "%s://%s:%d/v3/kv/range", s->options.ca_file ? "https" : "http",
             s->options.listen_ip, s->options.client_port ? s->options.client_port : 2379);
    s->asking =
        s->client && http_call(s->client, &(struct http_call_options){.method = "POST",
                                                                      .url = url,
                                                                      .body = body,
                                                                      .body_size = sizeof(body) - 1,
                                                                      .timeout_ms = 3000,
                                                                      .done = on_own_answer,
                                                                      .arg = s});
}

static void look(uv_timer_t *timer)
{
    struct etcd_server *s = timer->data;

    if (s->heal)
        return;
    if (s->pid > 0)
        note_part(s);
    if (s->process)
        return;
    if (s->pid > 0 && is_ours(s, s->pid)) {
        again(s, CHECK_MS);
    } else if (s->pid > 0) {
        waitpid(s->pid, NULL, WNOHANG); /* ours from before the program started itself again? */
        died(s, "is gone");
    } else {
        start(s);
    }
}

static void free_options(struct etcd_server_options *o)
{
    for (int i = 0; i < o->peer_count; i++) {
        free((char *)o->peers[i].name);
        free((char *)o->peers[i].ip);
    }
    free((void *)o->peers);
    free((char *)o->name);
    free((char *)o->listen_ip);
    free((char *)o->ca_file);
    free((char *)o->cert_file);
    free((char *)o->key_file);
    free((char *)o->log_file);
}

static const char *copy(const char *text)
{
    char *copied = text ? strdup(text) : NULL;

    if (text && !copied)
        abort();
    return copied;
}

/* What etcd_heal needs, as long as this lives. */
static void copy_options(struct etcd_server *s, const struct etcd_server_options *o)
{
    struct etcd_server_peer *peers = calloc((size_t)o->peer_count, sizeof(*peers));

    if (!peers)
        abort();
    for (int i = 0; i < o->peer_count; i++) {
        peers[i].name = copy(o->peers[i].name);
        peers[i].ip = copy(o->peers[i].ip);
    }
    s->options = (struct etcd_server_options){.name = copy(o->name),
                                              .listen_ip = copy(o->listen_ip),
                                              .client_port = o->client_port,
                                              .peer_port = o->peer_port,
                                              .peers = peers,
                                              .peer_count = o->peer_count,
                                              .ca_file = copy(o->ca_file),
                                              .cert_file = copy(o->cert_file),
                                              .key_file = copy(o->key_file),
                                              .log_file = copy(o->log_file),
                                              .log_bytes = o->log_bytes,
                                              .tell = o->tell,
                                              .tell_arg = o->tell_arg};
}

static void server_free(struct etcd_server *s)
{
    free_options(&s->options);
    free(s->joined_file);
    free(s->damaged_dir);
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
    s->joined_file = malloc(strlen(s->data_dir) + 8);
    if (!s->joined_file)
        abort();
    sprintf(s->joined_file, "%s.joined", s->data_dir);
    s->pause_ms = PAUSE_MIN_MS;
    copy_options(s, options);
    build_args(s, options);
    uv_timer_init(loop, s->timer);
    s->timer->data = s;
    s->care = etcd_care_start(loop, &s->options, options->care_ms);
    s->pid = pid_from_file(s);
    if (s->pid > 0) {
        log_info("etcd is running already, process %d", s->pid);
        s->started_ms = clock_now_ms();
        s->log_from = log_size(s); /* earlier lives' words are not this one's */
        again(s, CHECK_MS);
    } else {
        start(s);
    }
    return s;
}

void etcd_server_retire(const char *data_dir, const char *pid_file)
{
    struct etcd_server s = {.data_dir = (char *)data_dir, .pid_file = (char *)pid_file};
    char from[4096], to[4096];
    int pid = pid_from_file(&s);

    if (pid > 0)
        kill(pid, SIGKILL);
    snprintf(from, sizeof(from), "%s.joined", data_dir);
    unlink(from);
    if (!has_folder(&s))
        return;
    snprintf(to, sizeof(to), "%s.removed-%lld", data_dir, (long long)time(NULL));
    if (rename(data_dir, to) == 0)
        log_info("etcd: this host is no member any more; its data are in %s", to);
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
    etcd_heal_cancel(s->heal);
    etcd_care_stop(s->care);
    if (s->client)
        http_client_free(s->client);
    uv_close((uv_handle_t *)s->timer, free_handle);
    server_free(s);
}
