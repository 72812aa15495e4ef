/* What is done for the store's members, and when: against members that are played, so that each
 * answer can be chosen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/json.h"
#include "io/http_server.h"
#include "store/etcd_care.h"
#include "store/etcd_compare.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1024 * 1024)
#define PATIENCE_MS 20000

static uv_loop_t loop;

/* The member 1 of three: 2 answers nobody, 3 is in no list any more. */
static struct {
    struct http_server *server;
    const char *alarms;
    long long size, used;
    int compactions, defragments;
    int disarmed[5]; /* by id */
} fake;
static const struct etcd_server_peer peers[] = {
    {"m1", "127.0.0.1"}, {"m2", "127.0.0.2"}, {"m3", "127.0.0.3"}};
static struct etcd_server_options options = {
    .name = "m1", .listen_ip = "127.0.0.1", .peers = peers, .peer_count = 3};

static void reply(struct http_request *request, const char *text)
{
    http_reply(request, 200, text, strlen(text));
}

static void on_alarm(struct http_request *request)
{
    size_t size;
    const char *body = http_body(request, &size);
    json_t *question = json_parse(body, size, NULL, 0);
    int id = atoi(json_str(question, "memberID", "0"));

    if (strcmp(json_str(question, "action", ""), "DEACTIVATE") == 0) {
        assert_in_range(id, 1, 4);
        fake.disarmed[id]++;
        reply(request, "{}");
    } else {
        reply(request, fake.alarms);
    }
    json_decref(question);
}

static void on_request(void *arg, struct http_request *request)
{
    const char *path = http_path(request);
    char text[300];

    if (strcmp(path, "/v3/maintenance/status") == 0) {
        snprintf(text, sizeof(text),
                 "{\"header\": {\"member_id\": \"1\", \"revision\": \"9\"}, "
                 "\"dbSize\": \"%lld\", \"dbSizeInUse\": \"%lld\"}",
                 fake.size, fake.used);
        reply(request, text);
    } else if (strcmp(path, "/v3/maintenance/alarm") == 0) {
        on_alarm(request);
    } else if (strcmp(path, "/v3/cluster/member/list") == 0) {
        snprintf(text, sizeof(text),
                 "{\"members\": [{\"ID\": \"1\", \"clientURLs\": [\"http://127.0.0.1:%d\"]}, "
                 "{\"ID\": \"2\", \"clientURLs\": [\"http://127.0.0.1:1\"]}, "
                 "{\"ID\": \"4\", \"clientURLs\": [\"http://127.0.0.1:%d\"]}]}",
                 options.client_port, options.client_port);
        reply(request, text);
    } else if (strcmp(path, "/v3/kv/compaction") == 0) {
        fake.compactions++;
        http_reply(request, 400, "{}", 2); /* as when it is compacted already */
    } else {
        assert_string_equal(path, "/v3/maintenance/defragment");
        fake.defragments++;
        reply(request, "{}");
    }
}

static int setup(void **state)
{
    struct err err;

    uv_loop_init(&loop);
    memset(&fake, 0, sizeof(fake));
    fake.alarms = "{}";
    fake.server = http_server_start(&loop,
                                    &(struct http_server_options){.address = "127.0.0.1",
                                                                  .body_max = 4096,
                                                                  .connections_max = 10,
                                                                  .idle_seconds = 30,
                                                                  .handle = on_request},
                                    &err);
    assert_non_null(fake.server);
    options.client_port = http_server_port(fake.server);
    return 0;
}

static int teardown(void **state)
{
    http_server_stop(fake.server);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

/* At most; until `*done` is not 0, if it is given. */
static void care_until(const int *done, int ms)
{
    struct etcd_care *care = etcd_care_start(&loop, &options, 20);
    int64_t end = clock_now_ms() + ms;

    assert_non_null(care);
    while (clock_now_ms() < end && !(done && *done)) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    etcd_care_stop(care);
}

static void care_for(int ms)
{
    care_until(NULL, ms);
}

static void alarms_of_the_dead_are_taken_back(void **state)
{
    fake.alarms = "{\"alarms\": [{\"memberID\": \"2\", \"alarm\": \"NOSPACE\"}, "
                  "{\"memberID\": \"3\", \"alarm\": \"NOSPACE\"}, "
                  "{\"memberID\": \"4\", \"alarm\": \"NOSPACE\"}]}";
    care_until(&fake.disarmed[3], PATIENCE_MS); /* the last one */
    assert_true(fake.compactions > 0 && fake.defragments > 0);
    assert_true(fake.disarmed[2]);  /* does not answer */
    assert_true(fake.disarmed[3]);  /* is not listed */
    assert_false(fake.disarmed[4]); /* makes room itself */
    assert_false(fake.disarmed[1]);
}

static void alarms_of_the_living_are_left_to_them(void **state)
{
    fake.alarms = "{\"alarms\": [{\"memberID\": \"4\", \"alarm\": \"NOSPACE\"}]}";
    care_for(500);
    assert_int_equal(fake.defragments, 0);
    assert_false(fake.disarmed[4]);
}

static void the_own_alarm_is_taken_back(void **state)
{
    fake.alarms = "{\"alarms\": [{\"memberID\": \"1\", \"alarm\": \"NOSPACE\"}]}";
    care_until(&fake.disarmed[1], PATIENCE_MS);
    assert_true(fake.disarmed[1]);
    assert_true(fake.defragments > 0);
}

static void one_minute_is_for_one_member(void **state)
{
    for (int64_t minute = 0; minute < 50; minute++) {
        int busy = 0;

        for (int i = 0; i < 3; i++) {
            busy += etcd_care_is_turn(minute * 60000, 3, i);
            assert_int_equal(etcd_care_is_turn(minute * 60000, 3, i),
                             etcd_care_is_turn(minute * 60000 + 59999, 3, i));
        }
        assert_int_equal(busy, 1);
        assert_true(etcd_care_is_turn(minute * 60000, 3, (int)(minute % 3)));
    }
}

/* The options with this member at the place whose minute it is (or is not). */
static void care_in_turn(bool in_turn, const int *done, int ms)
{
    static struct etcd_server_peer order[2];
    const char *saved = options.name;
    int64_t now = clock_wall_ms();
    int turn;

    if (now % 60000 > 50000) { /* not across the end of a minute */
        sleep((unsigned)(61 - now % 60000 / 1000));
        now = clock_wall_ms();
    }
    turn = etcd_care_is_turn(now, 2, 0) ? 0 : 1;
    order[in_turn ? turn : 1 - turn] = (struct etcd_server_peer){"m1", "127.0.0.1"};
    order[in_turn ? 1 - turn : turn] = (struct etcd_server_peer){"m2", "127.0.0.2"};
    options.peers = order;
    options.peer_count = 2;
    care_until(done, ms);
    options.peers = peers;
    options.peer_count = 3;
    options.name = saved;
}

static void a_large_file_is_defragmented_in_its_turn(void **state)
{
    fake.size = 200LL * MIB;
    fake.used = 20LL * MIB;
    care_in_turn(false, NULL, 500);
    assert_int_equal(fake.defragments, 0);
    care_in_turn(true, &fake.defragments, 5000);
    assert_true(fake.defragments > 0);
    fake.defragments = 0;
    fake.used = 150LL * MIB; /* not worth it */
    care_in_turn(true, NULL, 300);
    fake.size = 20LL * MIB;
    fake.used = MIB;
    care_in_turn(true, NULL, 300);
    assert_int_equal(fake.defragments, 0);
}

static void the_log_is_bounded_while_etcd_runs(void **state)
{
    char path[] = "/tmp/vling-test-care-XXXXXX", old[64], line[1000];
    int fd = mkstemp(path);
    struct stat st;

    close(fd);
    fd = open(path, O_WRONLY | O_APPEND);
    memset(line, 'x', sizeof(line));
    for (int i = 0; i < 20; i++)
        assert_int_equal(write(fd, line, sizeof(line)), sizeof(line));
    options.log_file = path;
    options.log_bytes = 10000;
    for (int i = 0; i < 40 && fstat(fd, &st) == 0 && st.st_size > 0; i++)
        care_for(200);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(write(fd, "on\n", 3), 3);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 3); /* not at its old place */
    care_for(200);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 3);
    snprintf(old, sizeof(old), "%s.1", path);
    assert_int_equal(stat(old, &st), 0);
    assert_int_equal(st.st_size, 20000);
    options.log_file = NULL;
    close(fd);
    unlink(path);
    unlink(old);
}

/* ---- who is right ---- */

static struct etcd_answered has(int64_t hash)
{
    return (struct etcd_answered){
        .status = true, .hashed = true, .revision = 9, .hash = hash, .compacted = 3, .id = "7"};
}

static void the_majority_of_all_is_right(void **state)
{
    const struct etcd_answered none = {0};
    struct etcd_answered one_odd[] = {has(1), has(2), has(2)}, dead[] = {none, has(2), has(2)};
    struct etcd_answered two[] = {none, has(1), has(2)}, three[] = {has(1), has(2), has(3)};
    struct etcd_answered compacted[] = {has(1), has(2), has(2)};
    struct etcd_compared c;

    etcd_compare_judge(one_odd, 3, &c);
    assert_int_equal(c.verdict, ETCD_VERDICT_MAJORITY);
    assert_int_equal(c.odd, 0);
    assert_string_equal(c.odd_id, "7");
    assert_int_equal(c.agreed, 1);
    assert_true(c.complete);
    etcd_compare_judge(dead, 3, &c);
    assert_int_equal(c.verdict, ETCD_VERDICT_MAJORITY);
    assert_int_equal(c.odd, -1);
    assert_false(c.complete);
    etcd_compare_judge(two, 3, &c); /* the third will decide */
    assert_int_equal(c.verdict, ETCD_VERDICT_NONE);
    assert_true(c.differ);
    etcd_compare_judge(three, 3, &c);
    assert_int_equal(c.verdict, ETCD_VERDICT_NO_MAJORITY);
    etcd_compare_judge(two + 1, 2, &c);
    assert_int_equal(c.verdict, ETCD_VERDICT_NO_MAJORITY);
    etcd_compare_judge(one_odd, 1, &c);
    assert_int_equal(c.verdict, ETCD_VERDICT_NO_MAJORITY);
    compacted[0].compacted = 4; /* another history: another hash is no sign */
    etcd_compare_judge(compacted, 3, &c);
    assert_int_equal(c.verdict, ETCD_VERDICT_NONE);
    assert_int_equal(c.odd, -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(alarms_of_the_dead_are_taken_back),
        TEST(alarms_of_the_living_are_left_to_them),
        TEST(the_own_alarm_is_taken_back),
        cmocka_unit_test(one_minute_is_for_one_member),
        TEST(a_large_file_is_defragmented_in_its_turn),
        TEST(the_log_is_bounded_while_etcd_runs),
        cmocka_unit_test(the_majority_of_all_is_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
