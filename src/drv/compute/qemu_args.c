#include "drv/compute/qemu.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void add(struct qemu_args *args, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add(struct qemu_args *args, const char *format, ...)
{
    va_list ap;
    char *text = NULL;

    va_start(ap, format);
    if (args->count + 1 >= QEMU_ARGS_MAX || vasprintf(&text, format, ap) < 0)
        args->failed = true;
    else
        args->argv[args->count++] = text;
    va_end(ap);
}

/* QEMU's option parser splits at commas; names keep only harmless characters. */
static void safe(const char *from, char *to, size_t size)
{
    size_t n = 0;

    for (; *from && n + 1 < size; from++) {
        bool fine = (*from >= 'a' && *from <= 'z') || (*from >= 'A' && *from <= 'Z') ||
                    (*from >= '0' && *from <= '9') || *from == '-' || *from == '.';

        to[n++] = fine ? *from : '_';
    }
    to[n] = '\0';
}

static bool direct_io_works(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);

    if (fd < 0)
        return false;
    close(fd);
    return true;
}

static void add_machine(struct qemu_args *args, const struct guest_spec *spec, const char *accel)
{
    char name[64];

    safe(spec->name, name, sizeof(name));
    add(args, QEMU_BINARY);
    add(args, "-name");
    add(args, "guest=%s,debug-threads=on", name);
    add(args, "-uuid");
    add(args, "%s", spec->id);
    add(args, "-machine");
    add(args, "pc,accel=%s", accel);
    add(args, "-cpu");
    add(args, "%s", strcmp(accel, "kvm") == 0 ? "host" : "max");
    add(args, "-smp");
    add(args, "%d", spec->vcpus);
    add(args, "-m");
    add(args, "%d", spec->ram_mb);
    add(args, "-S");
    add(args, "-no-shutdown");
    add(args, "-no-user-config");
    add(args, "-nodefaults");
    add(args, "-display");
    add(args, "none");
    add(args, "-sandbox");
    add(args, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
}

static void add_control(struct qemu_args *args, const char *dir)
{
    add(args, "-qmp");
    add(args, "unix:%s/" QEMU_OWN "/qmp.sock,server=on,wait=off", dir);
    add(args, "-chardev");
    add(args,
        "socket,id=serial0,path=%s/" QEMU_OWN "/serial.sock,server=on,wait=off,"
        "logfile=%s/" QEMU_OWN "/console.log,logappend=on",
        dir, dir);
    add(args, "-serial");
    add(args, "chardev:serial0");
    add(args, "-device");
    add(args, "virtio-rng-pci");
}

/* Without QEMU's own lock on the file: when a host is cut off, its guard stops its guests and they
 * keep such a lock for as long as the host is away, so nobody could take them over. Who may write
 * is decided by lease and generation (node/guard.h, ha/lease.h). */
static void add_disks(struct qemu_args *args, const struct guest_spec *spec)
{
    add(args, "-blockdev");
    add(args, "driver=file,node-name=root-file,filename=%s,locking=off,aio=threads,cache.direct=%s",
        spec->root_disk, direct_io_works(spec->root_disk) ? "on" : "off");
    add(args, "-blockdev");
    add(args, "driver=%s,node-name=root,file=root-file", spec->root_format);
    add(args, "-device");
    add(args, "virtio-blk-pci,drive=root,bootindex=1");
    if (!spec->config_drive)
        return;
    add(args, "-blockdev");
    add(args, "driver=file,node-name=config-file,filename=%s,read-only=on", spec->config_drive);
    add(args, "-blockdev");
    add(args, "driver=raw,node-name=config,file=config-file,read-only=on");
    add(args, "-device");
    add(args, "virtio-blk-pci,drive=config");
}

void qemu_args_build(struct qemu_args *args, const struct guest_spec *spec, const char *dir,
                     const char *accel)
{
    memset(args, 0, sizeof(*args));
    add_machine(args, spec, accel);
    add_control(args, dir);
    add_disks(args, spec);
    for (size_t i = 0; i < spec->nic_count; i++) {
        add(args, "-netdev");
        add(args, "tap,id=net%zu,fd=%zu", i, i + 3);
        add(args, "-device");
        /* Without an option ROM the firmware does not try to boot from the network. */
        add(args, "virtio-net-pci,netdev=net%zu,mac=%s,romfile=,host_mtu=%d", i, spec->nics[i].mac,
            spec->nics[i].mtu);
    }
    args->argv[args->count] = NULL;
}

void qemu_args_free(struct qemu_args *args)
{
    for (size_t i = 0; i < args->count; i++)
        free(args->argv[i]);
    args->count = 0;
}
