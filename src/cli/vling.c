#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: vling COMMAND [--help]\n"
    "\n"
    "On a host of the cloud (or with a lab on this machine):\n"
    "  status     the cloud at a glance\n"
    "  events     what it saw and did; -f goes on\n"
    "  host       list, show, enable, disable, drain\n"
    "  cabinet    list, show, enable, disable, drain\n"
    "  controller list, add, remove, replace\n"
    "  token      list, create, withdraw: what hosts join with\n"
    "  backup     all that the cloud knows into a file\n"
    "  restore    a cloud out of such a file; one machine to three controllers\n"
    "  console    the serial console of a server\n"
    "\n"
    "On any machine:\n"
    "  lab        the cloud in a box: up, down, status, power, freeze, link, partition, exec, "
    "openrc\n"
    "\n"
    "Everything that users of the cloud do is done with the openstack command.\n";

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {
        {"status", cmd_status},      {"events", cmd_events},
        {"host", cmd_host},          {"controller", cmd_controller},
        {"cabinet", cmd_cabinet},    {"console", cmd_console},
        {"backup", cmd_backup},      {"restore", cmd_restore},
        {"token", cmd_token},        {"lab", cmd_lab},
        {"lab-init", lab_init_main},
    };

    if (argc < 2 || cli_is_help(argv[1])) {
        fputs(usage, argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("vling " VLING_VERSION);
        return 0;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    fprintf(stderr, "vling: there is no command \"%s\" (see: vling --help)\n", argv[1]);
    return 2;
}
