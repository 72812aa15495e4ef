#include "base/file.h"
#include "base/json.h"
#include "drv/compute/qemu.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONSOLE_MAX (1024 * 1024)
#define CONSOLE_KEEP (256 * 1024)

int qemu_dir(const char *run_dir, const char *id, char *ret, size_t size)
{
    size_t length = strlen(id);

    if (length == 0 || length > 60 || strspn(id, "0123456789abcdefABCDEF-") != length)
        return -EINVAL;
    return snprintf(ret, size, "%s/guests/%s", run_dir, id) < (int)size ? 0 : -ENAMETOOLONG;
}

int qemu_dir_write_spec(const char *dir, const struct guest_spec *spec)
{
    json_t *doc =
        json_pack("{s:s, s:I, s:s, s:i}", "id", spec->id, "generation",
                  (json_int_t)spec->generation, "name", spec->name, "ram_mb", spec->ram_mb);
    char path[PATH_MAX], *text = json_dumps(doc, JSON_INDENT(1));
    int rc;

    json_decref(doc);
    if (!text)
        return -ENOMEM;
    snprintf(path, sizeof(path), "%s/spec.json", dir);
    rc = file_write_atomic(path, text, strlen(text), 0600);
    free(text);
    return rc;
}

int64_t qemu_dir_generation(const char *dir)
{
    char path[PATH_MAX], *text = NULL;
    int64_t generation;
    size_t size;
    json_t *doc;

    snprintf(path, sizeof(path), "%s/spec.json", dir);
    if (file_read(path, 65536, &text, &size) < 0)
        return -1;
    doc = json_parse(text, size, NULL, 0);
    generation = json_int(doc, "generation", -1);
    json_decref(doc);
    free(text);
    return generation;
}

/* One that was killed while it waited for its disk: its first thread is gone, and the command line
 * with it, but another one still is to finish its write. */
static bool is_dying_qemu(int pid)
{
    char path[64], *name = NULL;
    struct dirent *entry;
    size_t threads = 0;
    bool qemu;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    if (file_read(path, 64, &name, NULL) < 0)
        return false;
    qemu = strcmp(name, QEMU_COMM "\n") == 0;
    free(name);
    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    dir = qemu ? opendir(path) : NULL;
    while (dir && (entry = readdir(dir)))
        threads += entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return threads > 1;
}

bool qemu_runs(int pid, const char *id)
{
    char path[64], *line = NULL;
    size_t size = 0;
    bool runs;

    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    if (file_read(path, 65536, &line, &size) < 0)
        return false;
    runs = size > 0 ? memmem(line, size, id, strlen(id)) != NULL : is_dying_qemu(pid);
    free(line);
    return runs;
}

int qemu_dir_pid(const char *dir, const char *id)
{
    char path[PATH_MAX], *text = NULL;
    int pid;

    snprintf(path, sizeof(path), "%s/pid", dir);
    if (file_read(path, 32, &text, NULL) < 0)
        return 0;
    pid = atoi(text);
    free(text);
    return pid > 1 && qemu_runs(pid, id) ? pid : 0;
}

int qemu_dir_write_pid(const char *dir, int pid)
{
    char path[PATH_MAX], text[16];
    int size = snprintf(text, sizeof(text), "%d\n", pid);

    snprintf(path, sizeof(path), "%s/pid", dir);
    return file_write_atomic(path, text, (size_t)size, 0644);
}

/* Does the command line (words that end with zeroes) say that this is the guest's QEMU? */
static bool is_qemu_of(const char *line, size_t size, const char *id)
{
    char words[80];
    int n = snprintf(words, sizeof(words), "-uuid%c%s", '\0', id) + 1;

    return size > sizeof(QEMU_BINARY) && memcmp(line, QEMU_BINARY, sizeof(QEMU_BINARY)) == 0 &&
           memmem(line, size, words, (size_t)n);
}

int qemu_find(const char *id)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    int pid = 0;

    while (proc && pid == 0 && (entry = readdir(proc))) {
        char path[PATH_MAX], *line = NULL;
        size_t size = 0;

        if (atoi(entry->d_name) <= 1)
            continue;
        snprintf(path, sizeof(path), "/proc/%s/cmdline", entry->d_name);
        if (file_read(path, 65536, &line, &size) == 0 && is_qemu_of(line, size, id))
            pid = atoi(entry->d_name);
        free(line);
    }
    if (proc)
        closedir(proc);
    return pid;
}

bool qemu_dir_has(const char *dir, const char *file)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", dir, file);
    return access(path, F_OK) == 0;
}

void qemu_dir_touch(const char *dir, const char *file)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", dir, file);
    file_write_atomic(path, "", 0, 0600);
}

static void remove_file(const char *dir, const char *file)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", dir, file);
    unlink(path);
}

void qemu_dir_clean(const char *dir)
{
    remove_file(dir, "pid");
    remove_file(dir, "stopped");
    remove_file(dir, QEMU_OWN "/qmp.sock");
    remove_file(dir, QEMU_OWN "/serial.sock");
    remove_file(dir, "qemu.log");
}

static void remove_folder(const char *dir)
{
    struct dirent *entry;
    DIR *d = opendir(dir);

    while (d && (entry = readdir(d))) {
        if (entry->d_name[0] != '.')
            remove_file(dir, entry->d_name);
    }
    if (d)
        closedir(d);
    rmdir(dir);
}

void qemu_dir_remove(const char *dir)
{
    char own[PATH_MAX];

    snprintf(own, sizeof(own), "%s/" QEMU_OWN, dir);
    remove_folder(own);
    remove_folder(dir);
}

/* Of a file that the guest's QEMU may have put something else in the place of. */
static int read_tail(const char *path, size_t max, char **ret, size_t *ret_size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;
    ssize_t got = -1;
    char *text;

    if (fd < 0)
        return -errno;
    text = malloc(max + 1);
    if (text && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        got = pread(fd, text, max, st.st_size > (off_t)max ? st.st_size - (off_t)max : 0);
    close(fd);
    if (got < 0) {
        free(text);
        return -EIO;
    }
    text[got] = '\0';
    *ret = text;
    *ret_size = (size_t)got;
    return 0;
}

void qemu_dir_last_words(const char *dir, char *ret, size_t size)
{
    char path[PATH_MAX], *text = NULL, *line;
    size_t length = 0;

    snprintf(path, sizeof(path), "%s/qemu.log", dir);
    ret[0] = '\0';
    if (read_tail(path, 1000, &text, &length) < 0)
        return;
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r'))
        text[--length] = '\0';
    line = strrchr(text, '\n');
    snprintf(ret, size, "%s", line ? line + 1 : text);
    free(text);
}

int qemu_dir_console(const char *dir, size_t max, char **ret, size_t *ret_size)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/" QEMU_OWN "/console.log", dir);
    return read_tail(path, max, ret, ret_size);
}

void qemu_dir_trim_console(const char *dir)
{
    char path[PATH_MAX], *tail = NULL;
    size_t size = 0;
    struct stat st;
    int fd;

    snprintf(path, sizeof(path), "%s/" QEMU_OWN "/console.log", dir);
    if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= CONSOLE_MAX ||
        read_tail(path, CONSOLE_KEEP, &tail, &size) < 0)
        return;
    /* QEMU appends (O_APPEND), so a truncated file goes on from its new end. */
    fd = open(path, O_WRONLY | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0) {
        if (write(fd, tail, size) < 0)
            size = 0;
        close(fd);
    }
    free(tail);
}

/* Debian lets root and the group kvm use the device. */
static gid_t kvm_group(gid_t otherwise)
{
    struct stat st;

    if (stat("/dev/kvm", &st) < 0 || (st.st_mode & 06) == 06 || (st.st_mode & 060) != 060 ||
        st.st_gid == 0)
        return otherwise;
    return st.st_gid;
}

int qemu_guest_user(const char *name, struct qemu_user *ret, struct err *err)
{
    char *const argv[] = {"useradd", "--system",          "--no-create-home", "--user-group",
                          "--shell", "/usr/sbin/nologin", (char *)name,       NULL};
    char *const envp[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    struct passwd *user = getpwnam(name);
    pid_t pid;

    /* Several daemons of one machine (a lab) may do this at once: the account file is locked by
     * useradd, and whoever loses finds the user on a later look. */
    for (int tries = 0; !user && tries < 20; tries++) {
        if (posix_spawn(&pid, "/usr/sbin/useradd", NULL, NULL, argv, envp) == 0)
            waitpid(pid, NULL, 0);
        user = getpwnam(name);
        if (!user)
            usleep(100000);
    }
    if (!user)
        return err_why(err, -ENOENT, "there is no user for guests to run as",
                       "user %s cannot be made", name);
    *ret = (struct qemu_user){user->pw_uid, kvm_group(user->pw_gid)};
    return 0;
}
