/* The file of `vling backup`: all rows of a cloud.
 *
 * Form.     JSON {"vling_backup": 1, "version", "revision", "time", "row_count", "rows":
 *           [{"table", "row"}...], "sha512"}. It has everything but what the hosts say of
 *           themselves (their rows, leases, the modules they hold): they say it again. It holds
 *           secrets (password hashes, the key of tokens): mode 0600. The bytes of images and disks
 *           are the storage's and not in it.
 * Checksum. SHA-512, in hex, of the whole object without the member "sha512", written compactly
 *           with the members of each object sorted; so it holds for the content, not for how the
 *           file is indented. Files of releases before it had one are taken, too.
 */
#ifndef VLING_MODEL_BACKUP_H
#define VLING_MODEL_BACKUP_H

#include "base/err.h"
#include <jansson.h>
#include <stdbool.h>

#define BACKUP_FORMAT 1
#define BACKUP_SIZE_MAX ((size_t)256 * 1024 * 1024) /* of the file, made or restored */

/* Do hosts say the rows of this table themselves? */
bool backup_leaves_out(const char *table);

/* Adds "row_count" and "sha512". */
void backup_seal(json_t *backup);

/* Is it a backup that this version reads, and what it was when it was made? 0 or -EINVAL, -ENOTSUP.
 * `ret_sealed`: does it have a checksum at all? */
int backup_check(const json_t *backup, bool *ret_sealed, struct err *err);

#endif
