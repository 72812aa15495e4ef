/* Network namespaces kept alive by a bind mount on a file.
 *
 * Concept.   A process can stay in its own namespace and still own sockets of others: a short-lived
 *            helper thread enters the namespace, opens what is needed and ends; the sockets are
 * then used from the caller's thread. The caller's own namespace is never changed. Errors.    0 (or
 * a descriptor) or -errno. Blocks for the time of the helper thread. Threads.   Any; the calls
 * share nothing.
 */
#ifndef VLING_IO_NETNS_H
#define VLING_IO_NETNS_H

/* Makes `dir` (and its parents) a private mount, so that namespaces kept in it are not copied into
 * other mount namespaces. */
int netns_dir(const char *dir);

/* Makes the namespace kept at `path` unless there is one; its loopback device is not set up. */
int netns_ensure(const char *path);

/* Lets go of the namespace at `path`; absent is success. */
int netns_remove(const char *path);

/* A descriptor of the namespace at `path`; -ENOENT if no namespace is kept there. */
int netns_open(const char *path);

/* Runs `work` inside namespace `fd` (-1: the caller's own) and returns what it returns. */
int netns_run(int fd, int (*work)(void *arg), void *arg);

/* Writes /proc/sys/net/<name> of namespace `fd` (-1: the caller's own). */
int netns_sysctl(int fd, const char *name, const char *value);

#endif
