#include "base/clock.h"
#include "base/json.h"
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COLUMNS_MAX 16
#define CELL_SIZE 512

static void drop(int *argc, char **argv, int at, int count)
{
    memmove(&argv[at], &argv[at + count], sizeof(char *) * (size_t)(*argc - at - count + 1));
    *argc -= count;
}

int cli_take_format(int *argc, char **argv, enum cli_format *ret, struct err *err)
{
    static const char *const names[] = {"table", "json", "value", "tsv"};

    for (int i = 1; i < *argc; i++) {
        const char *value = NULL;
        int words = 1;

        if (strcmp(argv[i], "-f") == 0 || strcmp(argv[i], "--format") == 0) {
            value = i + 1 < *argc ? argv[i + 1] : "";
            words = 2;
        } else if (strncmp(argv[i], "--format=", 9) == 0) {
            value = argv[i] + 9;
        } else if (strncmp(argv[i], "-f", 2) == 0 && argv[i][2]) {
            value = argv[i] + 2;
        }
        for (size_t k = 0; value && k < sizeof(names) / sizeof(names[0]); k++) {
            if (strcmp(value, names[k]) == 0) {
                *ret = (enum cli_format)k;
                drop(argc, argv, i, words);
                return 0;
            }
        }
        if (value)
            return err_why(err, -EINVAL, "cannot understand the command",
                           "the formats are table, json, value and tsv, not \"%s\"", value);
    }
    return 0;
}

bool cli_take_flag(int *argc, char **argv, const char *name)
{
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            drop(argc, argv, i, 1);
            return true;
        }
    }
    return false;
}

bool cli_is_help(const char *argument)
{
    return strcmp(argument, "-h") == 0 || strcmp(argument, "--help") == 0 ||
           strcmp(argument, "help") == 0;
}

bool cli_wants_help(int argc, char **argv)
{
    bool wanted = argc > 1 && cli_is_help(argv[1]);

    for (int i = 1; i < argc; i++)
        wanted = wanted || strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
    return wanted;
}

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80; /* of a UTF-8 character */
}

/* Texts are valid UTF-8 until they are cut where the cell ends: drops what the cut left of the last
 * character. */
static void drop_cut_character(char *text)
{
    size_t end = strlen(text), lead = end;
    unsigned char first;

    while (lead > 0 && is_continuation(text[lead - 1]))
        lead--;
    if (lead == 0)
        return;
    first = (unsigned char)text[--lead];
    if (end - lead < (first >= 0xf0 ? 4U : first >= 0xe0 ? 3U : first >= 0xc0 ? 2U : 1U))
        text[lead] = '\0';
}

/* What comes from rows must not steer the terminal: neither by the control characters of ASCII nor
 * by U+0080 to U+009F. */
static void blank_controls(char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)text[0], next = (unsigned char)text[1];

        if (c == 0xc2 && next >= 0x80 && next < 0xa0)
            text[0] = text[1] = ' ';
        else if (c < 0x20 || c == 0x7f)
            text[0] = ' ';
    }
}

static void cell_of_list(const json_t *list, char *ret, size_t size)
{
    const json_t *item;
    size_t i, used = 0;

    snprintf(ret, size, "%s", json_array_size(list) ? "" : "-");
    json_array_foreach(list, i, item)
    {
        char one[CELL_SIZE];

        cli_cell(item, one, sizeof(one));
        if (used < size)
            used += (size_t)snprintf(ret + used, size - used, "%s%s", i ? "," : "", one);
    }
}

void cli_cell(const json_t *value, char *ret, size_t size)
{
    char *text;

    if (!value || json_is_null(value)) {
        snprintf(ret, size, "-");
    } else if (json_is_string(value)) {
        snprintf(ret, size, "%s", json_string_value(value)[0] ? json_string_value(value) : "-");
    } else if (json_is_boolean(value)) {
        snprintf(ret, size, "%s", json_is_true(value) ? "yes" : "no");
    } else if (json_is_integer(value)) {
        snprintf(ret, size, "%lld", (long long)json_integer_value(value));
    } else if (json_is_array(value)) {
        cell_of_list(value, ret, size);
    } else {
        text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
        snprintf(ret, size, "%s", text ? text : "");
        free(text);
    }
    drop_cut_character(ret);
    blank_controls(ret);
}

void cli_age(int64_t ms, char *ret, size_t size)
{
    long long s = (long long)((ms < 0 ? 0 : ms) / 1000);

    if (s < 120)
        snprintf(ret, size, "%llds", s);
    else if (s < 7200)
        snprintf(ret, size, "%lldm", s / 60);
    else if (s < 172800)
        snprintf(ret, size, "%lldh", s / 3600);
    else
        snprintf(ret, size, "%lldd", s / 86400);
}

static int characters(const char *text)
{
    int n = 0;

    for (; *text; text++)
        n += !is_continuation(*text);
    return n;
}

static void print_cell(const char *text, int width, bool last)
{
    printf("%s%*s", text, last ? 0 : width - characters(text) + 2, "");
    if (last)
        putchar('\n');
}

static void print_table(const json_t *rows, const char *const *columns)
{
    int width[COLUMNS_MAX] = {0};
    char cell[CELL_SIZE];
    const json_t *row;
    size_t i, count = 0;

    while (columns[count] && count < COLUMNS_MAX) {
        width[count] = (int)strlen(columns[count]);
        json_array_foreach(rows, i, row)
        {
            cli_cell(json_object_get(row, columns[count]), cell, sizeof(cell));
            if (characters(cell) > width[count])
                width[count] = characters(cell);
        }
        count++;
    }
    for (size_t c = 0; c < count; c++)
        print_cell(columns[c], width[c], c + 1 == count);
    json_array_foreach(rows, i, row)
    {
        for (size_t c = 0; c < count; c++) {
            cli_cell(json_object_get(row, columns[c]), cell, sizeof(cell));
            print_cell(cell, width[c], c + 1 == count);
        }
    }
}

void cli_print_rows(enum cli_format format, const json_t *rows, const char *const *columns)
{
    char cell[CELL_SIZE];
    const json_t *row;
    size_t i;

    if (format == CLI_JSON) {
        json_dumpf(rows, stdout, JSON_INDENT(2));
        putchar('\n');
        return;
    }
    if (format == CLI_TABLE) {
        print_table(rows, columns);
        return;
    }
    for (size_t c = 0; format == CLI_TSV && columns[c]; c++)
        printf("%s%c", columns[c], columns[c + 1] ? '\t' : '\n');
    json_array_foreach(rows, i, row)
    {
        for (size_t c = 0; columns[c]; c++) {
            cli_cell(json_object_get(row, columns[c]), cell, sizeof(cell));
            printf("%s%c", cell, columns[c + 1] ? (format == CLI_TSV ? '\t' : ' ') : '\n');
        }
    }
}

void cli_print_listed(enum cli_format format, const json_t *rows, const struct resource *resource)
{
    const char *columns[COLUMNS_MAX + 1] = {NULL};
    size_t n = 0;

    for (size_t i = 0; i < resource->field_count && n < COLUMNS_MAX; i++) {
        if (resource->fields[i].flags & FIELD_LISTED)
            columns[n++] = resource->fields[i].name;
    }
    cli_print_rows(format, rows, columns);
}

void cli_print_object(enum cli_format format, const json_t *object)
{
    static const char *const columns[] = {"field", "value", NULL};
    static const char *const value_only[] = {"value", NULL};
    json_t *rows, *value;
    const char *key;

    if (format == CLI_JSON) {
        json_dumpf(object, stdout, JSON_INDENT(2));
        putchar('\n');
        return;
    }
    rows = json_array();
    json_object_foreach((json_t *)object, key, value)
        json_array_append_new(rows, json_pack("{s:s, s:O}", "field", key, "value", value));
    cli_print_rows(format, rows, format == CLI_VALUE ? value_only : columns);
    json_decref(rows);
}

/* They are renewed 60 to 90 days before their end; later than this something is wrong. */
#define CERTIFICATE_ALERT_MS ((int64_t)30 * 86400 * 1000)

bool cli_certificate_alert(const json_t *host, int64_t now_ms, char *ret, size_t size)
{
    const char *text = json_str(host, "certificate_ends", "");
    int64_t end = text[0] ? clock_parse_iso(text) : 0;

    if (end <= 0 || end - now_ms >= CERTIFICATE_ALERT_MS)
        return false;
    snprintf(ret, size,
             "%s: its certificate %s at %s and was not renewed: vlingd asks the controllers for a "
             "new one, its log says why it gets none",
             json_str(host, "id", "?"), end < now_ms ? "ended" : "ends", text);
    return true;
}

int cli_failed(int rc, const struct err *err)
{
    char line[700];

    if (err->what[0])
        fprintf(stderr, "vling: %s%s\n", err_line(err, line, sizeof(line)),
                (rc == -EACCES || rc == -EPERM) && geteuid() != 0 ? " - try it with sudo" : "");
    else
        fprintf(stderr, "vling: %s\n", strerror(-rc));
    return rc == -EINVAL ? 2 : 1;
}
