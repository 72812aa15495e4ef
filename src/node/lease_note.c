#include "node/lease_note.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>

static void note_path(const char *run_dir, char *ret, size_t size)
{
    snprintf(ret, size, "%s/lease", run_dir);
}

int lease_note_write(const char *run_dir, int64_t lease, int64_t epoch)
{
    char path[400], text[64];
    int n = snprintf(text, sizeof(text), "%lld %lld\n", (long long)lease, (long long)epoch);

    note_path(run_dir, path, sizeof(path));
    return file_write_atomic(path, text, (size_t)n, 0600);
}

bool lease_note_read(const char *run_dir, int64_t *ret_lease, int64_t *ret_epoch)
{
    long long lease = 0, epoch = 0;
    char path[400], *text = NULL;
    bool found;

    note_path(run_dir, path, sizeof(path));
    found = file_read(path, 200, &text, NULL) == 0 &&
            sscanf(text, "%lld %lld", &lease, &epoch) == 2 && lease != 0;
    free(text);
    *ret_lease = found ? lease : 0;
    *ret_epoch = found ? epoch : 0;
    return found;
}
