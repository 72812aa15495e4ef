/* The commands of vlingd besides running: each returns an exit status and prints what it did. */
#ifndef VLING_NODE_COMMANDS_H
#define VLING_NODE_COMMANDS_H

int command_init(const char *config_path, const char *password_file);
int command_join(const char *config_path, const char *token);
int command_restore(const char *config_path, const char *file);
int command_check(const char *config_path);

#endif
