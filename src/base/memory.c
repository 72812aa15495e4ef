#include "base/memory.h"

#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* Was code corrected while it was loaded (DT_TEXTREL)? Then its pages are not those of the file. */
static bool has_text_relocations(const struct dl_phdr_info *info)
{
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        const ElfW(Dyn) * entry;

        if (header->p_type != PT_DYNAMIC)
            continue;
        entry = (const ElfW(Dyn) *)(info->dlpi_addr + header->p_vaddr);
        for (; entry->d_tag != DT_NULL; entry++) {
            if (entry->d_tag == DT_TEXTREL ||
                (entry->d_tag == DT_FLAGS && entry->d_un.d_val & DF_TEXTREL))
                return true;
        }
    }
    return false;
}

static int drop(struct dl_phdr_info *info, size_t size, void *arg)
{
    uintptr_t page = *(const uintptr_t *)arg;

    if (has_text_relocations(info))
        return 0;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + header->p_vaddr, end = start + header->p_memsz;

        if (header->p_type != PT_LOAD || header->p_flags & PF_W)
            continue;
        start &= ~(page - 1);
        end = (end + page - 1) & ~(page - 1);
        madvise((void *)start, end - start, MADV_DONTNEED); /* a refusal costs nothing but memory */
    }
    return 0;
}

void memory_drop_start_pages(void)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    dl_iterate_phdr(drop, &page);
}
