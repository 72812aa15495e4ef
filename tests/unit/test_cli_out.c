/* What the commands print, in each format, and how they take the format out of their arguments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/cli.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const columns[] = {"id", "state", "roles", "note", NULL};

/* A stream goes into a file without a name from capture_begin to capture_end. */
struct capture {
    FILE *stream, *file;
    int kept;
    char text[65536];
};

static void capture_begin(struct capture *c, FILE *stream)
{
    c->stream = stream;
    c->file = tmpfile();
    assert_non_null(c->file);
    fflush(stream);
    c->kept = dup(fileno(stream));
    assert_true(c->kept >= 0);
    assert_int_equal(dup2(fileno(c->file), fileno(stream)), fileno(stream));
}

static const char *capture_end(struct capture *c)
{
    ssize_t got;

    fflush(c->stream);
    dup2(c->kept, fileno(c->stream));
    close(c->kept);
    got = pread(fileno(c->file), c->text, sizeof(c->text) - 1, 0);
    fclose(c->file);
    assert_true(got >= 0);
    c->text[got] = '\0';
    return c->text;
}

static struct capture out;

static const char *print_rows(enum cli_format format, const char *rows_text,
                              const char *const *names)
{
    json_t *rows = json_loads(rows_text, 0, NULL);

    assert_non_null(rows);
    capture_begin(&out, stdout);
    cli_print_rows(format, rows, names);
    json_decref(rows);
    return capture_end(&out);
}

static const char *print_object(enum cli_format format, const char *text)
{
    json_t *object = json_loads(text, 0, NULL);

    assert_non_null(object);
    capture_begin(&out, stdout);
    cli_print_object(format, object);
    json_decref(object);
    return capture_end(&out);
}

static const char hosts[] =
    "[{\"id\": \"c1h1\", \"state\": \"up\", \"roles\": [\"controller\", \"compute\"],"
    "  \"note\": \"first\", \"extra\": 1},"
    " {\"id\": \"c1h2-long-name\", \"state\": null, \"roles\": [], \"note\": \"\"},"
    " {\"id\": 3, \"state\": true}]";

/* ---- rows ---- */

static void test_table(void **state)
{
    assert_string_equal(print_rows(CLI_TABLE, hosts, columns),
                        "id              state  roles               note\n"
                        "c1h1            up     controller,compute  first\n"
                        "c1h2-long-name  -      -                   -\n"
                        "3               yes    -                   -\n");
    assert_string_equal(print_rows(CLI_TABLE, "[]", columns), "id  state  roles  note\n");
}

static void test_tab_separated(void **state)
{
    assert_string_equal(print_rows(CLI_TSV, hosts, columns), "id\tstate\troles\tnote\n"
                                                             "c1h1\tup\tcontroller,compute\tfirst\n"
                                                             "c1h2-long-name\t-\t-\t-\n"
                                                             "3\tyes\t-\t-\n");
    assert_string_equal(print_rows(CLI_TSV, "[]", columns), "id\tstate\troles\tnote\n");
    /* A tab or a line's end in a value must not make a column or a row. */
    assert_string_equal(
        print_rows(CLI_TSV, "[{\"id\": \"a\\tb\\nc\", \"state\": [\"\\t\"]}]", columns),
        "id\tstate\troles\tnote\na b c\t \t-\t-\n");
}

static void test_values(void **state)
{
    assert_string_equal(print_rows(CLI_VALUE, hosts, columns), "c1h1 up controller,compute first\n"
                                                               "c1h2-long-name - - -\n"
                                                               "3 yes - -\n");
    assert_string_equal(print_rows(CLI_VALUE, "[]", columns), "");
}

static void test_json_is_all_of_it(void **state)
{
    const char *text = print_rows(CLI_JSON, hosts, columns);
    json_t *want = json_loads(hosts, 0, NULL), *got = json_loads(text, 0, NULL);

    assert_non_null(got);
    assert_true(json_equal(want, got));
    assert_int_equal(text[strlen(text) - 1], '\n');
    json_decref(want);
    json_decref(got);
    assert_string_equal(print_rows(CLI_JSON, "[]", columns), "[]\n");
}

/* Columns stand below each other also behind letters of several bytes. */
static void test_table_counts_characters(void **state)
{
    static const char *const names[] = {"name", "n", NULL};

    assert_string_equal(
        print_rows(CLI_TABLE,
                   "[{\"name\": \"gr\\u00fc\\u00df\", \"n\": 1}, {\"name\": \"abcdef\", \"n\": 2}]",
                   names),
        "name    n\ngr\xc3\xbc\xc3\x9f    1\nabcdef  2\n");
}

static void test_many_and_long(void **state)
{
    static const char *const names[] = {"a", "b", NULL};
    json_t *rows = json_array();
    char text[3000];
    size_t lines = 0;

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (int i = 0; i < 100; i++)
        json_array_append_new(rows, json_pack("{s:i, s:s}", "a", i, "b", i == 50 ? text : "y"));
    capture_begin(&out, stdout);
    cli_print_rows(CLI_TABLE, rows, names);
    for (const char *at = capture_end(&out); *at; at++)
        lines += *at == '\n';
    assert_int_equal(lines, 101);
    assert_non_null(strstr(out.text, "\n49  y\n50  xxx"));
    json_decref(rows);
}

/* ---- what an operator should look after ---- */

static void test_certificates(void **state)
{
    json_t *host =
        json_pack("{s:s, s:s}", "id", "c1h1", "certificate_ends", "2026-12-31T00:00:00Z");
    int64_t end = clock_parse_iso("2026-12-31T00:00:00Z"), day = (int64_t)86400 * 1000;
    char text[300] = "";

    assert_false(cli_certificate_alert(host, end - 31 * day, text, sizeof(text)));
    assert_true(cli_certificate_alert(host, end - 29 * day, text, sizeof(text)));
    assert_non_null(strstr(text, "c1h1: its certificate ends at 2026-12-31"));
    assert_true(cli_certificate_alert(host, end + day, text, sizeof(text)));
    assert_non_null(strstr(text, "ended"));
    json_object_del(host, "certificate_ends"); /* of an older daemon */
    assert_false(cli_certificate_alert(host, end + day, text, sizeof(text)));
    json_decref(host);
}

/* ---- one object ---- */

static void test_columns_of_a_table(void **state)
{
    json_t *rows = json_loads("[{\"id\": \"api-vip\", \"master\": \"c1h1\", \"standby\": null, "
                              "\"generation\": 3, \"age\": \"2m\", \"since\": \"x\"}]",
                              0, NULL);

    capture_begin(&out, stdout);
    cli_print_listed(CLI_TSV, rows, &resource_module);
    assert_string_equal(capture_end(&out), "id\tmaster\tstandby\tbackup\tgeneration\tage\n"
                                           "api-vip\tc1h1\t-\t-\t3\t2m\n");
    json_decref(rows);
    /* Scripts read them by their places. */
    capture_begin(&out, stdout);
    cli_print_listed(CLI_TSV, NULL, &resource_host);
    assert_string_equal(capture_end(&out),
                        "id\tcabinet\tstate\tlease\troles\tservers\trouters\taccel\t"
                        "version\tdisabled\tmgmt_ip\tage\treason\n");
}

static void test_objects(void **state)
{
    static const char text[] = "{\"id\": \"c1h1\", \"up\": false, \"lease\": null,"
                               " \"planes\": {\"mgmt\": \"up\", \"ext\": \"down\"}}";
    json_t *want = json_loads(text, 0, NULL), *got;

    assert_string_equal(print_object(CLI_TABLE, text),
                        "field   value\n"
                        "id      c1h1\n"
                        "up      no\n"
                        "lease   -\n"
                        "planes  {\"ext\":\"down\",\"mgmt\":\"up\"}\n");
    assert_string_equal(print_object(CLI_TSV, text),
                        "field\tvalue\n"
                        "id\tc1h1\n"
                        "up\tno\n"
                        "lease\t-\n"
                        "planes\t{\"ext\":\"down\",\"mgmt\":\"up\"}\n");
    assert_string_equal(print_object(CLI_VALUE, text),
                        "c1h1\nno\n-\n{\"ext\":\"down\",\"mgmt\":\"up\"}\n");
    got = json_loads(print_object(CLI_JSON, text), 0, NULL);
    assert_true(json_equal(want, got));
    json_decref(want);
    json_decref(got);
    assert_string_equal(print_object(CLI_TABLE, "{}"), "field  value\n");
}

/* ---- cells ---- */

static void test_cells(void **state)
{
    static const struct {
        const char *json, *cell;
    } table[] = {
        {"null", "-"},
        {"\"\"", "-"},
        {"[]", "-"},
        {"\"text\"", "text"},
        {"true", "yes"},
        {"false", "no"},
        {"0", "0"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"1.5", "1.5"},
        {"{}", "{}"},
        {"{\"b\": 1, \"a\": [true]}", "{\"a\":[true],\"b\":1}"},
        {"[1, \"two\", null, [3, 4], {\"five\": 6}]", "1,two,-,3,4,{\"five\":6}"},
        {"\"%s%n\"", "%s%n"},
        {"\"gr\\u00fc\\u00df\"", "gr\xc3\xbc\xc3\x9f"},
        /* Nothing of what steers a terminal: C0, DEL, and C1 in its two bytes. */
        {"\"a\\u001b[2Jb\\u007fc\\rd\"", "a [2Jb c d"},
        {"\"a\\u009b2Jb\\u0080c\\u00a0\"", "a  2Jb  c\xc2\xa0"},
        {"{\"k\": \"\\u009b\"}", "{\"k\":\"  \"}"},
    };
    char cell[128];

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        json_t *value = json_loads(table[i].json, JSON_DECODE_ANY, NULL);

        assert_non_null(value);
        memset(cell, '#', sizeof(cell));
        cli_cell(value, cell, sizeof(cell));
        assert_string_equal(cell, table[i].cell);
        json_decref(value);
    }
    cli_cell(NULL, cell, sizeof(cell));
    assert_string_equal(cell, "-");
}

/* Every kind of value into every small size: terminated, within bounds, and never a part of a
 * character at the end. */
static void test_cells_are_cut(void **state)
{
    static const char *const values[] = {"\"\\u00fc\\u20ac\\ud83d\\ude00\\u00fc\\u20ac\"",
                                         "[\"\\u20ac\", \"\\u20ac\", 7, null]",
                                         "{\"a\": \"\\ud83d\\ude00\"}",
                                         "1234567890",
                                         "null",
                                         "true"};

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        json_t *value = json_loads(values[i], JSON_DECODE_ANY, NULL);

        for (size_t size = 1; size < 40; size++) {
            char cell[48];
            json_t *text;

            memset(cell, '#', sizeof(cell));
            cli_cell(value, cell, size);
            assert_non_null(memchr(cell, '\0', size));
            assert_int_equal(cell[size], '#');
            text = json_string(cell); /* refuses what is no UTF-8 */
            if (!text)
                fail_msg("%s in %zu bytes ends in a part of a character", values[i], size);
            json_decref(text);
        }
        json_decref(value);
    }
}

static void test_ages(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } table[] = {
        {-5000, "0s"},
        {0, "0s"},
        {999, "0s"},
        {1000, "1s"},
        {119999, "119s"},
        {120000, "2m"},
        {7199999, "119m"},
        {7200000, "2h"},
        {172799999, "47h"},
        {172800000, "2d"},
        {INT64_MAX, "106751991167d"},
    };
    char text[32];

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        cli_age(table[i].ms, text, sizeof(text));
        assert_string_equal(text, table[i].text);
    }
}

/* ---- arguments ---- */

static void test_take_format(void **state)
{
    static const struct {
        const char *in[6];
        int rc;
        enum cli_format format;
        const char *left[6];
    } table[] = {
        {{"status"}, 0, CLI_TABLE, {"status"}},
        {{"status", "-f", "json"}, 0, CLI_JSON, {"status"}},
        {{"status", "-fjson"}, 0, CLI_JSON, {"status"}},
        {{"host", "--format", "value", "list"}, 0, CLI_VALUE, {"host", "list"}},
        {{"host", "list", "--format=tsv", "--lab"}, 0, CLI_TSV, {"host", "list", "--lab"}},
        {{"host", "-f", "table", "show", "c1"}, 0, CLI_TABLE, {"host", "show", "c1"}},
        {{"-f", "json"}, 0, CLI_TABLE, {"-f", "json"}}, /* the command's own name is none */
        {{"status", "-f"}, -EINVAL, CLI_TABLE, {"status", "-f"}},
        {{"status", "--format="}, -EINVAL, CLI_TABLE, {"status", "--format="}},
        {{"status", "-f", "yaml"}, -EINVAL, CLI_TABLE, {"status", "-f", "yaml"}},
        {{"status", "-fJSON"}, -EINVAL, CLI_TABLE, {"status", "-fJSON"}},
        {{"status", "--formatx"}, 0, CLI_TABLE, {"status", "--formatx"}},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        enum cli_format format = CLI_TABLE;
        char *argv[7] = {NULL};
        struct err err = {0};
        int argc = 0, left = 0;

        for (; table[i].in[argc]; argc++)
            argv[argc] = (char *)table[i].in[argc];
        assert_int_equal(cli_take_format(&argc, argv, &format, &err), table[i].rc);
        assert_int_equal(format, table[i].format);
        for (; table[i].left[left]; left++)
            assert_string_equal(argv[left], table[i].left[left]);
        assert_int_equal(argc, left);
        assert_null(argv[argc]);
        assert_true(table[i].rc == 0 || strstr(err.why, "table, json, value and tsv"));
    }
}

static void test_take_flag(void **state)
{
    char *argv[] = {"--lab", "list", "--lab", "x", "--lab", NULL};
    int argc = 5;

    assert_true(cli_take_flag(&argc, argv, "--lab"));
    assert_int_equal(argc, 4);
    assert_string_equal(argv[2], "x");
    assert_true(cli_take_flag(&argc, argv, "--lab"));
    assert_int_equal(argc, 3);
    assert_null(argv[3]);
    assert_false(cli_take_flag(&argc, argv, "--lab")); /* argv[0] is the command */
    assert_int_equal(argc, 3);
    assert_true(cli_is_help("-h") && cli_is_help("--help") && cli_is_help("help"));
    assert_false(cli_is_help("") || cli_is_help("-help") || cli_is_help("helpx"));
}

static void test_failures(void **state)
{
    struct err err = {0};

    err_set(&err, -ENOENT, "no such host", "c9h9", "see: vling host list");
    capture_begin(&out, stderr);
    assert_int_equal(cli_failed(-ENOENT, &err), 1);
    assert_string_equal(capture_end(&out), "vling: no such host: c9h9 (see: vling host list)\n");
    err_set(&err, -EINVAL, "cannot understand the command", "x", NULL);
    capture_begin(&out, stderr);
    assert_int_equal(cli_failed(-EINVAL, &err), 2);
    assert_string_equal(capture_end(&out), "vling: cannot understand the command: x\n");
    memset(&err, 0, sizeof(err));
    capture_begin(&out, stderr);
    assert_int_equal(cli_failed(-EIO, &err), 1);
    assert_string_equal(capture_end(&out), "vling: Input/output error\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_tab_separated),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_json_is_all_of_it),
        cmocka_unit_test(test_table_counts_characters),
        cmocka_unit_test(test_many_and_long),
        cmocka_unit_test(test_columns_of_a_table),
        cmocka_unit_test(test_objects),
        cmocka_unit_test(test_cells),
        cmocka_unit_test(test_cells_are_cut),
        cmocka_unit_test(test_ages),
        cmocka_unit_test(test_take_format),
        cmocka_unit_test(test_take_flag),
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
