/* What must hold in a fuzz target: an assert() that is there in every build. */
#ifndef VLING_TESTS_FUZZ_MUST_H
#define VLING_TESTS_FUZZ_MUST_H

#include <stdio.h>
#include <stdlib.h>

#define must(condition)                                                                            \
    ((condition) ? (void)0 : must_fail(__FILE__, __LINE__, __func__, #condition))

static inline _Noreturn void must_fail(const char *file, int line, const char *function,
                                       const char *condition)
{
    fprintf(stderr, "%s:%d: %s: does not hold: %s\n", file, line, function, condition);
    abort();
}

#endif
