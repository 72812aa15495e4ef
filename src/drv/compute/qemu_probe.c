/* Whether KVM can run an ordinary guest. That /dev/kvm opens and makes virtual machines proves
 * nothing: under some hypervisors a guest then never gets past its firmware. So a real one is run:
 * SeaBIOS loads a boot sector that leaves through the isa-debug-exit device. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "drv/compute/qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBE_MS 1000
#define EXIT_VALUE 0x21                     /* what the boot sector writes */
#define EXIT_STATUS ((EXIT_VALUE << 1) | 1) /* what QEMU then exits with */

/* mov al, 0x21; out 0xf4, al; cli; hlt; jmp to hlt; boot signature */
static const unsigned char boot_code[] = {0xb0, EXIT_VALUE, 0xe6, 0xf4, 0xfa, 0xf4, 0xeb, 0xfd};

static int write_boot_disk(const char *path)
{
    unsigned char sector[512] = {0};
    int rc;

    memcpy(sector, boot_code, sizeof(boot_code));
    sector[510] = 0x55;
    sector[511] = 0xaa;
    rc = file_write_atomic(path, sector, sizeof(sector), 0600);
    /* The firmware does not read a disk of less than a cylinder. */
    return rc == 0 && truncate(path, 1024 * 1024) < 0 ? -errno : rc;
}

/* Exit status, or -1 when it had to be killed. */
static int wait_or_kill(pid_t pid)
{
    int64_t end = clock_now_ms() + PROBE_MS;
    int status;

    while (clock_now_ms() < end) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        usleep(10000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return -1;
}

/* As whom a guest would: what root may use, it may not. */
static void run_as(const struct qemu_user *user, char *const argv[], char *const envp[])
{
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = 0; fd < 3; fd++)
        dup2(null_fd, fd);
    if (setgroups(0, NULL) == 0 && setgid(user->gid) == 0 && setuid(user->uid) == 0)
        execve(QEMU_BINARY, argv, envp);
    _exit(127);
}

static bool kvm_runs_a_guest(const char *disk, const struct qemu_user *user)
{
    char drive[400];
    char *const argv[] = {QEMU_BINARY,
                          "-machine",
                          "pc,accel=kvm",
                          "-cpu",
                          "host",
                          "-m",
                          "16",
                          "-nodefaults",
                          "-no-user-config",
                          "-display",
                          "none",
                          "-no-reboot",
                          "-device",
                          "isa-debug-exit,iobase=0xf4,iosize=1",
                          "-drive",
                          drive,
                          NULL};
    char *const envp[] = {"PATH=/usr/bin:/bin", NULL};
    pid_t pid;

    snprintf(drive, sizeof(drive), "file=%s,format=raw,if=ide,readonly=off", disk);
    pid = fork();
    if (pid == 0)
        run_as(user, argv, envp);
    return pid > 0 && wait_or_kill(pid) == EXIT_STATUS;
}

const char *qemu_probe_accel(const char *run_dir, const struct qemu_user *user)
{
    char disk[300], kept[300], *text = NULL;
    const char *accel;

    snprintf(kept, sizeof(kept), "%s/accelerator", run_dir);
    if (file_read(kept, 16, &text, NULL) == 0) {
        accel = strcmp(text, "kvm") == 0 ? "kvm" : "tcg";
        free(text);
        return accel;
    }
    snprintf(disk, sizeof(disk), "%s/probe.img", run_dir);
    if (access("/dev/kvm", R_OK | W_OK) < 0) {
        accel = "tcg";
    } else if (write_boot_disk(disk) < 0 || chown(disk, user->uid, user->gid) < 0) {
        unlink(disk);
        return "tcg";
    } else {
        accel = kvm_runs_a_guest(disk, user) ? "kvm" : "tcg";
        unlink(disk);
        if (strcmp(accel, "tcg") == 0)
            log_warn("/dev/kvm is there, but a guest does not run under it: guests are emulated");
    }
    file_write_atomic(kept, accel, strlen(accel), 0644);
    return accel;
}
