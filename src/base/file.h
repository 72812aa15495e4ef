/* Whole small files. All return 0 or -errno. */
#ifndef VLING_BASE_FILE_H
#define VLING_BASE_FILE_H

#include <stddef.h>
#include <sys/types.h>

/* Reads at most `limit` bytes; -EFBIG if there are more. `*ret_data` is zero-terminated and the
 * caller's to free; `ret_size` may be NULL. */
int file_read(const char *path, size_t limit, char **ret_data, size_t *ret_size);

/* Replaces `path` so that after a crash there is the old or the new content, never a mixture:
 * writes a temporary file beside it, fsyncs, renames, fsyncs the folder. */
int file_write_atomic(const char *path, const void *data, size_t size, mode_t mode);

/* mkdir -p. */
int file_mkdirs(const char *path, mode_t mode);

#endif
