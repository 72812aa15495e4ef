/* What this process keeps in memory. */
#ifndef VLING_BASE_MEMORY_H
#define VLING_BASE_MEMORY_H

/* Gives back the pages of the program and its libraries. Most were touched by the start only: the
 * dynamic linker reads every library's symbols, also of those that libcurl brings along and nothing
 * here uses. What is needed comes back from the page cache with the next touch, a microsecond each.
 * Only segments that nobody can have written are given back. Any thread, at any time. */
void memory_drop_start_pages(void);

#endif
