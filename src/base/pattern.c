#include "base/pattern.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 600
#define REPEAT_MAX 255
#define DEPTH_MAX 64

/* A pattern is compiled into steps. All jumps are relative, so a piece of the program can be copied
 * and moved as it is. A text is matched by walking all ways through the program at once. */
enum kind { ONE_OF, SPLIT, JUMP, AT_START, AT_END, MATCH };

struct step {
    enum kind kind;
    int to[2];             /* SPLIT: both; JUMP: the first */
    unsigned char set[32]; /* ONE_OF: a bit for each byte */
};

struct pattern {
    size_t count;
    struct step steps[STEPS_MAX];
};

struct parser {
    struct pattern *pattern;
    const char *at;
    const char *why; /* NULL: all is well so far */
    int depth;
};

/* ---- writing steps ---- */

static bool fail(struct parser *p, const char *why)
{
    if (!p->why)
        p->why = why;
    return false;
}

/* Makes room for `n` steps at `where`. */
static struct step *insert(struct parser *p, size_t where, size_t n)
{
    struct pattern *pattern = p->pattern;
    struct step *step = &pattern->steps[where];

    if (n > STEPS_MAX - pattern->count) {
        fail(p, "it is too long with all its repetitions");
        return NULL;
    }
    memmove(step + n, step, (pattern->count - where) * sizeof(*step));
    memset(step, 0, n * sizeof(*step));
    pattern->count += n;
    return step;
}

static struct step *append(struct parser *p, enum kind kind)
{
    struct step *step = insert(p, p->pattern->count, 1);

    if (step)
        step->kind = kind;
    return step;
}

static bool put_jump(struct parser *p, size_t where, enum kind kind, int first, int second)
{
    struct step *step = insert(p, where, 1);

    if (step)
        *step = (struct step){.kind = kind, .to = {first, second}};
    return step != NULL;
}

/* ---- one character ---- */

static void add_byte(unsigned char set[32], unsigned char c)
{
    set[c / 8] |= (unsigned char)(1u << c % 8);
}

static bool has_byte(const unsigned char set[32], unsigned char c)
{
    return set[c / 8] >> c % 8 & 1;
}

static bool is_word(unsigned char c)
{
    return isalnum(c) || c == '_';
}

/* \d and its like; false if `letter` is no such. */
static bool add_escape(unsigned char set[32], char letter)
{
    for (int c = 1; c < 256; c++) {
        int in = tolower(letter) == 'd'   ? isdigit(c)
                 : tolower(letter) == 'w' ? is_word((unsigned char)c)
                 : tolower(letter) == 's' ? isspace(c)
                                          : -1;

        if (in < 0)
            return false;
        if ((in != 0) == (islower(letter) != 0))
            add_byte(set, (unsigned char)c);
    }
    return true;
}

/* After the backslash. */
static bool read_escape(struct parser *p, unsigned char set[32])
{
    char c = *p->at;

    if (!c)
        return fail(p, "a backslash stands at its end");
    p->at++;
    if (add_escape(set, c))
        return true;
    if (isalnum((unsigned char)c))
        return fail(p, "of letters and digits only d, w, s, D, W and S may follow a backslash");
    add_byte(set, (unsigned char)c);
    return true;
}

/* "[:alpha:]" inside brackets. */
static bool read_named(struct parser *p, unsigned char set[32])
{
    static const struct {
        const char *name;
        int (*is)(int c);
    } classes[] = {{"alnum", isalnum}, {"alpha", isalpha}, {"blank", isblank},
                   {"cntrl", iscntrl}, {"digit", isdigit}, {"graph", isgraph},
                   {"lower", islower}, {"print", isprint}, {"punct", ispunct},
                   {"space", isspace}, {"upper", isupper}, {"xdigit", isxdigit}};

    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        size_t n = strlen(classes[i].name);

        if (strncmp(p->at + 2, classes[i].name, n) != 0 || strncmp(p->at + 2 + n, ":]", 2) != 0)
            continue;
        p->at += n + 4;
        for (int c = 1; c < 256; c++) {
            if (classes[i].is(c))
                add_byte(set, (unsigned char)c);
        }
        return true;
    }
    return fail(p, "after [: stands a name like alpha, digit or space, and :]");
}

/* "a" or "a-z" inside brackets. */
static bool read_range(struct parser *p, unsigned char set[32])
{
    unsigned char from = (unsigned char)*p->at++, to = from;

    if (p->at[0] == '-' && p->at[1] && p->at[1] != ']') {
        p->at++;
        if (*p->at == '\\' && p->at[1])
            p->at++;
        to = (unsigned char)*p->at++;
    }
    if (to < from)
        return fail(p, "a range in brackets ends before it begins");
    for (int c = from; c <= to; c++)
        add_byte(set, (unsigned char)c);
    return true;
}

/* After the opening bracket. */
static bool read_brackets(struct parser *p, unsigned char set[32])
{
    bool inverse = *p->at == '^', first = true;

    p->at += inverse;
    for (; *p->at != ']' || first; first = false) {
        bool good;

        if (!*p->at)
            return fail(p, "a [ has no ]");
        if (p->at[0] == '[' && p->at[1] == ':') {
            good = read_named(p, set);
        } else if (p->at[0] == '\\') {
            p->at++;
            good = read_escape(p, set);
        } else {
            good = read_range(p, set);
        }
        if (!good)
            return false;
    }
    p->at++;
    for (size_t i = 0; inverse && i < 32; i++)
        set[i] = (unsigned char)~set[i];
    return true;
}

/* ---- pieces ---- */

static bool read_any(struct parser *p);

static bool read_group(struct parser *p)
{
    if (++p->depth > DEPTH_MAX)
        return fail(p, "its groups are too deep");
    p->at++;
    if (!read_any(p))
        return false;
    p->depth--;
    if (*p->at != ')')
        return fail(p, "a ( has no )");
    p->at++;
    return true;
}

static bool read_atom(struct parser *p)
{
    char c = *p->at;
    struct step *step;

    if (c == '(')
        return read_group(p);
    if (strchr("*+?{", c))
        return fail(p, "there is nothing before a repetition");
    p->at++;
    step = append(p, c == '^' ? AT_START : c == '$' ? AT_END : ONE_OF);
    if (!step)
        return false;
    if (c == '.')
        memset(step->set, 0xff, sizeof(step->set));
    else if (c == '[')
        return read_brackets(p, step->set);
    else if (c == '\\')
        return read_escape(p, step->set);
    else
        add_byte(step->set, (unsigned char)c);
    return true;
}

/* A number up to REPEAT_MAX; -1 if there is none. */
static int read_number(struct parser *p)
{
    int number = -1;

    while (isdigit((unsigned char)*p->at) && number <= REPEAT_MAX)
        number = (number < 0 ? 0 : number) * 10 + *p->at++ - '0';
    return number;
}

/* Copies of the `size` steps from `from` on, appended; `optional` ones can be passed over. */
static bool put_copies(struct parser *p, size_t from, size_t size, int n, bool optional)
{
    for (int i = 0; i < n; i++) {
        struct step *copy;

        if (optional && !put_jump(p, p->pattern->count, SPLIT, 1, (int)size + 1))
            return false;
        copy = insert(p, p->pattern->count, size);
        if (!copy)
            return false;
        memcpy(copy, &p->pattern->steps[from], size * sizeof(*copy));
    }
    return true;
}

/* The steps from `from` to the end, at least `min` times, at most `max` (-1: without end). */
static bool repeat(struct parser *p, size_t from, int min, int max)
{
    struct pattern *pattern = p->pattern;
    size_t size = pattern->count - from;

    if (max == 0) {
        pattern->count = from;
        return true;
    }
    if (min == 0 && max < 0)
        return put_jump(p, from, SPLIT, 1, (int)size + 2) &&
               put_jump(p, pattern->count, JUMP, -(int)size - 1, 0);
    if (min == 0) {
        if (!put_jump(p, from, SPLIT, 1, (int)size + 1))
            return false;
        return put_copies(p, from + 1, size, max - 1, true);
    }
    if (!put_copies(p, from, size, min - 1, false))
        return false;
    if (max < 0)
        return put_jump(p, pattern->count, SPLIT, -(int)size, 1);
    return put_copies(p, from, size, max - min, true);
}

static bool read_repetition(struct parser *p, size_t from)
{
    char c = *p->at++;
    int min, max;

    if (c == '*')
        return repeat(p, from, 0, -1);
    if (c == '+')
        return repeat(p, from, 1, -1);
    if (c == '?')
        return repeat(p, from, 0, 1);
    min = max = read_number(p);
    if (*p->at == ',') {
        p->at++;
        max = read_number(p);
    }
    if (*p->at != '}' || min < 0 || (max >= 0 && max < min) || min > REPEAT_MAX || max > REPEAT_MAX)
        return fail(p, "in braces stand one or two numbers up to 255");
    p->at++;
    return repeat(p, from, min, max);
}

static bool read_sequence(struct parser *p)
{
    while (*p->at && *p->at != '|' && *p->at != ')') {
        size_t from = p->pattern->count;

        if (!read_atom(p))
            return false;
        while (*p->at && strchr("*+?{", *p->at)) {
            if (!read_repetition(p, from))
                return false;
        }
    }
    return true;
}

/* Sequences with | between them. */
static bool read_any(struct parser *p)
{
    size_t from = p->pattern->count, jump;

    if (!read_sequence(p))
        return false;
    if (*p->at != '|')
        return true;
    p->at++;
    if (++p->depth > DEPTH_MAX)
        return fail(p, "it has too many alternatives");
    if (!put_jump(p, from, SPLIT, 1, (int)(p->pattern->count - from) + 2))
        return false;
    jump = p->pattern->count;
    if (!put_jump(p, jump, JUMP, 0, 0) || !read_any(p))
        return false;
    p->depth--;
    p->pattern->steps[jump].to[0] = (int)(p->pattern->count - jump);
    return true;
}

struct pattern *pattern_new(const char *text, char *why, size_t why_size)
{
    struct pattern *pattern = malloc(sizeof(*pattern));
    struct parser p = {.pattern = pattern, .at = text};

    if (!pattern)
        abort();
    pattern->count = 0;
    if (strlen(text) > PATTERN_SIZE_MAX)
        fail(&p, "it is longer than 256 bytes");
    else if (read_any(&p) && *p.at)
        fail(&p, "a ) has no (");
    else if (!p.why)
        append(&p, MATCH);
    if (!p.why)
        return pattern;
    snprintf(why, why_size, "%s", p.why);
    free(pattern);
    return NULL;
}

void pattern_free(struct pattern *pattern)
{
    free(pattern);
}

/* ---- matching ---- */

/* The steps that are reached at one place of the text, each once. */
struct front {
    size_t count;
    unsigned short steps[STEPS_MAX];
    bool reached[STEPS_MAX];
};

/* Adds a step and where the jumps from there lead. True if the end of the pattern is reached. */
static bool reach(const struct pattern *pattern, struct front *front, size_t first, bool at_start,
                  bool at_end)
{
    size_t stack[2 * STEPS_MAX + 1], height = 0;

    stack[height++] = first;
    while (height > 0) {
        size_t at = stack[--height];
        const struct step *step = &pattern->steps[at];

        if (front->reached[at])
            continue;
        front->reached[at] = true;
        if (step->kind == MATCH)
            return true;
        if (step->kind == ONE_OF)
            front->steps[front->count++] = (unsigned short)at;
        if (step->kind == SPLIT || step->kind == JUMP)
            stack[height++] = at + (size_t)step->to[0];
        if (step->kind == SPLIT)
            stack[height++] = at + (size_t)step->to[1];
        if ((step->kind == AT_START && at_start) || (step->kind == AT_END && at_end))
            stack[height++] = at + 1;
    }
    return false;
}

bool pattern_find(const struct pattern *pattern, const char *text)
{
    struct front fronts[2], *now = &fronts[0], *next = &fronts[1], *swap;

    memset(now, 0, sizeof(*now));
    for (const char *at = text;; at++) {
        if (reach(pattern, now, 0, at == text, !*at))
            return true;
        if (!*at)
            return false;
        memset(next, 0, sizeof(*next));
        for (size_t i = 0; i < now->count; i++) {
            size_t step = now->steps[i];

            if (has_byte(pattern->steps[step].set, (unsigned char)*at) &&
                reach(pattern, next, step + 1, false, !at[1]))
                return true;
        }
        swap = now;
        now = next;
        next = swap;
    }
}
