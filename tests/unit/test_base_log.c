/* The log: one whole line an event, whatever is in it and whoever logs at the same time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/log.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define CAPTURE_MAX 400000

/* Standard error goes into a file without a name from capture_begin to capture_end. */
struct capture {
    FILE *file;
    int kept;
    char text[CAPTURE_MAX];
};

static int make_capture(void **state)
{
    *state = calloc(1, sizeof(struct capture));
    log_set_level(LOG_LEVEL_INFO);
    unsetenv("JOURNAL_STREAM");
    return *state ? 0 : -1;
}

static int free_capture(void **state)
{
    free(*state);
    return 0;
}

static void capture_begin(struct capture *c)
{
    c->file = tmpfile();
    assert_non_null(c->file);
    fflush(stderr);
    c->kept = dup(STDERR_FILENO);
    assert_true(c->kept >= 0);
    assert_int_equal(dup2(fileno(c->file), STDERR_FILENO), STDERR_FILENO);
}

static const char *capture_end(struct capture *c)
{
    ssize_t got;

    fflush(stderr);
    dup2(c->kept, STDERR_FILENO);
    close(c->kept);
    got = pread(fileno(c->file), c->text, sizeof(c->text) - 1, 0);
    fclose(c->file);
    assert_true(got >= 0);
    c->text[got] = '\0';
    return c->text;
}

static size_t lines_of(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

/* Checks "2026-11-22T13:55:39.123Z level message" up to the end of the line. */
static void expect_line(const char *line, const char *level, const char *message)
{
    char stamp[32], got_level[8];
    int used = 0;
    int64_t ms;

    assert_int_equal(sscanf(line, "%25[0-9TZ.:-] %7s %n", stamp, got_level, &used), 2);
    assert_int_equal(strlen(stamp), 24);
    ms = clock_parse_iso(stamp);
    assert_true(llabs((long long)(ms - clock_wall_ms())) < 600000);
    assert_string_equal(got_level, level);
    assert_true(strncmp(line + used, message, strlen(message)) == 0);
    assert_int_equal(line[(size_t)used + strlen(message)], '\n');
}

static void test_form(void **state)
{
    struct capture *c = *state;
    const char *at;

    capture_begin(c);
    log_error("host %s is %s", "c1h1", "lost");
    log_warn("%d%%", 93);
    log_info("%s", "%s%n");
    at = capture_end(c);
    assert_int_equal(lines_of(at), 3);
    expect_line(at, "error", "host c1h1 is lost");
    at = strchr(at, '\n') + 1;
    expect_line(at, "warn", "93%");
    expect_line(strchr(at, '\n') + 1, "info", "%s%n");
}

static void test_levels(void **state)
{
    static const enum log_level levels[] = {LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO,
                                            LOG_LEVEL_DEBUG};
    struct capture *c = *state;

    assert_int_equal(log_get_level(), LOG_LEVEL_INFO);
    for (size_t i = 0; i < 4; i++) {
        const char *text;

        log_set_level(levels[i]);
        assert_int_equal(log_get_level(), levels[i]);
        capture_begin(c);
        log_debug("a debug");
        log_info("an info");
        log_warn("a warning");
        log_error("an error");
        text = capture_end(c);
        assert_int_equal(lines_of(text), i + 1);
        assert_true((strstr(text, "a debug") != NULL) == (levels[i] >= LOG_LEVEL_DEBUG));
        assert_true((strstr(text, "an info") != NULL) == (levels[i] >= LOG_LEVEL_INFO));
        assert_true((strstr(text, "a warning") != NULL) == (levels[i] >= LOG_LEVEL_WARN));
        assert_non_null(strstr(text, "an error"));
    }
}

/* Names and answers from outside get into messages: they must not make lines of their own, nor
 * steer the terminal of whoever reads the log. */
static void test_one_line_whatever_is_in_it(void **state)
{
    struct capture *c = *state;
    const char *at;

    capture_begin(c);
    log_warn("name \"%s\"", "x\n2026-01-01T00:00:00.000Z error forged\r\t\x1b[2J\x7f");
    log_info("%s", "gr\xc3\xbc\xc3\x9f\x65");
    log_info("%s", "");
    at = capture_end(c);
    assert_int_equal(lines_of(at), 3);
    expect_line(at, "warn", "name \"x 2026-01-01T00:00:00.000Z error forged   [2J \"");
    at = strchr(at, '\n') + 1;
    expect_line(at, "info", "gr\xc3\xbc\xc3\x9f\x65");
    assert_null(strpbrk(at, "\r\t\x1b\x7f"));
}

static void test_long_lines_are_cut(void **state)
{
    struct capture *c = *state;
    static char text[5000];
    const char *got;

    memset(text, 'x', sizeof(text) - 1);
    capture_begin(c);
    log_info("%s", text);
    log_info("next");
    got = capture_end(c);
    assert_int_equal(lines_of(got), 2);
    assert_true(strlen(got) < 2200);
    assert_non_null(strstr(got, "xxx\n"));
    expect_line(strchr(got, '\n') + 1, "info", "next");
}

/* systemd names the stream that it reads; on any other one the number would only be noise. */
static void test_priority_for_the_journal(void **state)
{
    struct capture *c = *state;
    char stream[64];
    const char *at;
    struct stat st;

    capture_begin(c);
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_error("one");
    log_info("two");
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino + 1);
    setenv("JOURNAL_STREAM", stream, 1);
    log_info("three");
    setenv("JOURNAL_STREAM", "nonsense", 1);
    log_info("four");
    unsetenv("JOURNAL_STREAM");
    log_info("five");
    at = capture_end(c);
    assert_int_equal(lines_of(at), 5);
    assert_true(strncmp(at, "<3>", 3) == 0);
    expect_line(at + 3, "error", "one");
    at = strchr(at, '\n') + 1;
    assert_true(strncmp(at, "<6>", 3) == 0);
    expect_line(at + 3, "info", "two");
    at = strchr(at, '\n') + 1;
    expect_line(at, "info", "three");
    at = strchr(at, '\n') + 1;
    expect_line(at, "info", "four");
    expect_line(strchr(at, '\n') + 1, "info", "five");
}

#define THREADS 4
#define LINES_EACH 250

static void *log_many(void *argument)
{
    int who = *(int *)argument;

    for (int i = 0; i < LINES_EACH; i++)
        log_info("thread %d line %d %0*d end", who, i, i, 0);
    return NULL;
}

static void test_threads_do_not_mix(void **state)
{
    int next[THREADS] = {0}, who[THREADS];
    struct capture *c = *state;
    pthread_t threads[THREADS];
    const char *at;
    size_t lines = 0;

    capture_begin(c);
    for (int i = 0; i < THREADS; i++) {
        who[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, &who[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    at = capture_end(c);
    for (; *at; at = strchr(at, '\n') + 1, lines++) {
        const char *message = strstr(at, "thread ");
        char want[LINES_EACH + 64];
        int thread, line;

        assert_non_null(message);
        assert_int_equal(sscanf(message, "thread %d line %d", &thread, &line), 2);
        assert_in_range(thread, 0, THREADS - 1);
        assert_int_equal(line, next[thread]++);
        snprintf(want, sizeof(want), "thread %d line %d %0*d end", thread, line, line, 0);
        expect_line(at, "info", want);
    }
    assert_int_equal(lines, THREADS * LINES_EACH);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_capture, free_capture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_form),
        TEST(test_levels),
        TEST(test_one_line_whatever_is_in_it),
        TEST(test_long_lines_are_cut),
        TEST(test_priority_for_the_journal),
        TEST(test_threads_do_not_mix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
