/* Images over HTTP: rows, bytes, lists, patches, who sees what, members. The bytes are kept in a
 * folder of the test's, in the place of the storage driver. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "cloud.h"

#define IMAGES "/v2/images"
#define RAW "\"disk_format\": \"raw\", \"container_format\": \"bare\""
#define OCTETS "Content-Type: application/octet-stream"
#define SIZE 300000

static char folder[64], bytes[SIZE + 1];

/* ---- storage ---- */

struct file {
    int fd;
    char temp[200], path[200];
};

static void *store_begin(void *arg, const char *id, struct err *err)
{
    struct file *file = calloc(1, sizeof(*file));

    snprintf(file->temp, sizeof(file->temp), "%s/.%s", folder, id);
    snprintf(file->path, sizeof(file->path), "%s/%s", folder, id);
    file->fd = open(file->temp, O_CREAT | O_EXCL | O_WRONLY, 0600);
    return file;
}

static int store_write(void *upload, const void *data, size_t size)
{
    return write(((struct file *)upload)->fd, data, size) == (ssize_t)size ? 0 : -ENOSPC;
}

static int store_commit_file(void *upload, struct err *err)
{
    struct file *file = upload;
    int rc = rename(file->temp, file->path);

    close(file->fd);
    free(file);
    return rc;
}

static void store_abort(void *upload)
{
    struct file *file = upload;

    unlink(file->temp);
    close(file->fd);
    free(file);
}

static int store_open_file(void *arg, const char *id, int *ret_fd, uint64_t *ret_size,
                           struct err *err)
{
    char path[200];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s", folder, id);
    *ret_fd = open(path, O_RDONLY);
    if (*ret_fd < 0 || fstat(*ret_fd, &st) < 0)
        return err_set(err, -ENOENT, "cannot open the image", "it is not there", NULL);
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

static int store_remove(void *arg, const char *id)
{
    char path[200];

    snprintf(path, sizeof(path), "%s/%s", folder, id);
    return unlink(path);
}

static size_t files(void)
{
    DIR *dir = opendir(folder);
    size_t n = 0;

    for (struct dirent *entry; (entry = readdir(dir));)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return n;
}

static void wait_for_files(size_t n)
{
    for (int i = 0; i < 6000 && files() != n; i++)
        usleep(10000);
    assert_int_equal(files(), n);
}

/* ---- requests ---- */

static void ask_image(const struct person *who, const char *method, const char *path,
                      const char *body, long want)
{
    ask_service(API_IMAGE, who, method, fmt(IMAGES "%s", path), body, want);
}

static void make(const struct person *who, const char *more, char id[64])
{
    ask_image(who, "POST", "", fmt("{" RAW "%s}", more), 201);
    keep("id", id);
}

struct source {
    const char *at;
    size_t left;
};

static size_t on_read(char *out, size_t size, size_t n, void *arg)
{
    struct source *from = arg;
    size_t part = from->left < 7000 ? from->left : 7000;

    part = part < size * n ? part : size * n;
    memcpy(out, from->at, part);
    from->at += part;
    from->left -= part;
    return part;
}

static char heads[8192];

static size_t on_heads(char *line, size_t size, size_t n, void *arg)
{
    size_t used = strlen(heads);

    snprintf(heads + used, sizeof(heads) - used, "%.*s", (int)(size * n), line);
    return size * n;
}

/* A request with a header of one's own; a body without a size is sent in chunks. */
static void transfer(const struct person *who, const char *method, const char *path,
                     const char *header, struct source *body, bool chunked, long want)
{
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, header);

    answer_clear(&answer);
    heads[0] = '\0';
    headers = curl_slist_append(headers, fmt("X-Auth-Token: %s", who->token));
    headers = curl_slist_append(headers, "Expect:");
    if (body) {
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(curl, CURLOPT_READDATA, body);
        if (!chunked)
            curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)body->left);
    }
    curl_easy_setopt(curl, CURLOPT_URL,
                     fmt("http://127.0.0.1:%d" IMAGES "%s", cloud.ports[API_IMAGE], path));
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    if (strcmp(method, "HEAD") == 0)
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, CLOUD_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_heads);
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    if (answer.status != want)
        fail_msg("%s %s: %ld instead of %ld: %s", method, path, answer.status, want,
                 answer.text ? answer.text : "");
}

static void upload_as(const struct person *who, const char *id, size_t size, bool chunked,
                      long want)
{
    struct source from = {bytes, size};

    transfer(who, "PUT", fmt("/%s/file", id), OCTETS, &from, chunked, want);
}

static void upload(const char *id, size_t size)
{
    upload_as(&alice, id, size, false, 204);
}

static void patch(const struct person *who, const char *id, const char *operations, long want)
{
    ask_image(who, "PATCH", fmt("/%s", id), fmt("[%s]", operations), want);
}

static void expect_status(const char *id, const char *status)
{
    ask_image(&alice, "GET", fmt("/%s", id), NULL, 200);
    assert_string_equal(text("status"), status);
}

static int setup(void **state)
{
    cloud_wipe(state);
    return system(fmt("rm -f %s/* %s/.[0-9a-f]*", folder, folder));
}

static int start(void **state)
{
    snprintf(folder, sizeof(folder), "/tmp/vling-test-images-XXXXXX");
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (char)('a' + i * 7 % 26);
    cloud.images = (struct api_images){.begin = store_begin,
                                       .write = store_write,
                                       .commit = store_commit_file,
                                       .abort = store_abort,
                                       .open = store_open_file,
                                       .remove = store_remove};
    return cloud_start(state);
}

static int stop(void **state)
{
    return cloud_stop(state) || system(fmt("rm -r %s", folder));
}

/* ---- create ---- */

static void test_create(void **state)
{
    static const char id[] = "12345678-1234-4234-8234-123456789abc";

    ask_image(&alice, "POST", "",
              fmt("{\"id\": \"%s\", \"name\": \"disk\", \"visibility\": \"private\", \"tags\": "
                  "[\"a\", \"b\", \"a\"], \"min_disk\": 3, \"min_ram\": 64, \"protected\": true, "
                  "\"os_hidden\": true, \"disk_format\": \"iso\", \"container_format\": \"bare\", "
                  "\"os_distro\": \"none\", \"hw_disk_bus\": \"virtio\"}",
                  id),
              201);
    assert_string_equal(answer.location,
                        fmt("http://127.0.0.1:%d" IMAGES "/%s", cloud.ports[API_IMAGE], id));
    for (int i = 0; i < 2; i++) {
        assert_string_equal(text("id"), id);
        assert_string_equal(text("name"), "disk");
        assert_string_equal(text("owner"), alice.project);
        assert_string_equal(text("status"), "queued");
        assert_string_equal(text("visibility"), "private");
        assert_string_equal(text("os_distro"), "none");
        assert_string_equal(text("hw_disk_bus"), "virtio");
        assert_string_equal(text("checksum"), "null");
        assert_string_equal(text("size"), "null");
        assert_string_equal(text("file"), fmt(IMAGES "/%s/file", id));
        assert_string_equal(text("self"), fmt(IMAGES "/%s", id));
        assert_string_equal(text("schema"), "/v2/schemas/image");
        assert_int_equal(count("tags"), 2);
        assert_int_equal(num("min_disk"), 3);
        assert_true(json_is_true(at("protected")) && json_is_true(at("os_hidden")));
        assert_null(at("blob"));
        ask_image(&alice, "GET", fmt("/%s", id), NULL, 200);
    }
    ask_image(&alice, "POST", "", fmt("{\"id\": \"%s\"}", id), 409);
    ask_image(&alice, "POST", "", "{}", 201);
    assert_string_equal(text("visibility"), "shared");
    assert_string_equal(text("disk_format"), "null");
    assert_int_equal(row_count("image", ""), 2);
}

static void test_what_create_refuses(void **state)
{
    static const struct {
        const char *body;
        long status;
    } wrong[] = {
        {"[]", 400},
        {"{\"id\": \"x\"}", 400},
        {"{\"name\": 7}", 400},
        {"{\"disk_format\": \"floppy\"}", 400},
        {"{\"container_format\": \"box\"}", 400},
        {"{\"visibility\": \"secret\"}", 400},
        {"{\"min_ram\": -1}", 400},
        {"{\"tags\": [7]}", 400},
        {"{\"os_distro\": 7}", 400},
        {"{\"visibility\": \"public\"}", 403},
        {"{\"owner\": \"somebody\"}", 403},
        {"{\"status\": \"active\"}", 403},
        {"{\"size\": 7}", 403},
        {"{\"checksum\": \"0123456789abcdef0123456789abcdef\"}", 403},
        {"{\"os_hash_value\": \"00\"}", 403},
        {"{\"blob\": \"x\"}", 403},
        {"{\"properties\": {}}", 403},
        {"{\"locations\": []}", 403},
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ask_image(&alice, "POST", "", wrong[i].body, wrong[i].status);
    ask_image(&rita, "POST", "", "{}", 403);
    assert_int_equal(row_count("image", ""), 0);
}

/* Clients send back what they were shown, and name the project that they act in. */
static void test_owner_as_it_is(void **state)
{
    char id[64];

    ask_image(&alice, "POST", "", fmt("{\"name\": \"i\", \"owner\": \"%s\"}", alice.project), 201);
    keep("id", id);
    assert_string_equal(text("owner"), alice.project);
    ask_image(&alice, "PATCH", fmt("/%s", id),
              fmt("[{\"op\": \"replace\", \"path\": \"/owner\", \"value\": \"%s\"}, {\"op\": "
                  "\"replace\", \"path\": \"/name\", \"value\": \"j\"}]",
                  alice.project),
              200);
    assert_string_equal(text("name"), "j");
    assert_string_equal(text("owner"), alice.project);
    ask_image(&alice, "PATCH", fmt("/%s", id),
              fmt("[{\"op\": \"replace\", \"path\": \"/owner\", \"value\": \"%s\"}]", bob.project),
              403);
    ask_image(&alice, "PATCH", fmt("/%s", id), "[{\"op\": \"remove\", \"path\": \"/owner\"}]", 403);
    ask_image(&bob, "PATCH", fmt("/%s", id),
              fmt("[{\"op\": \"replace\", \"path\": \"/owner\", \"value\": \"%s\"}]", bob.project),
              404);
}

/* ---- bytes ---- */

static void check_download(const char *id, size_t size)
{
    transfer(&alice, "GET", fmt("/%s/file", id), "Accept: */*", NULL, false, 200);
    assert_int_equal(answer.size, size);
    assert_memory_equal(answer.text, bytes, size);
    assert_non_null(strstr(heads, "Content-MD5: "));
    assert_non_null(strstr(heads, "Content-Type: application/octet-stream"));
}

static void test_upload_and_download(void **state)
{
    char id[64];

    for (int chunked = 0; chunked < 2; chunked++) {
        make(&alice, "", id);
        transfer(&alice, "GET", fmt("/%s/file", id), "Accept: */*", NULL, false, 204);
        upload_as(&alice, id, SIZE, chunked, 204);
        expect_status(id, "active");
        assert_int_equal(num("size"), SIZE);
        assert_int_equal(num("virtual_size"), SIZE);
        assert_int_equal(strlen(text("checksum")), 32);
        assert_string_equal(text("os_hash_algo"), "sha512");
        assert_int_equal(strlen(text("os_hash_value")), 128);
        check_download(id, SIZE);
        transfer(&alice, "HEAD", fmt("/%s/file", id), "Accept: */*", NULL, false, 200);
        assert_non_null(strstr(heads, fmt("Content-Length: %d", SIZE)));
        upload_as(&alice, id, SIZE, chunked, 409);
        assert_int_equal(files(), 1);
        ask_image(&alice, "DELETE", fmt("/%s", id), NULL, 204);
        ask_image(&alice, "GET", fmt("/%s", id), NULL, 404);
        assert_int_equal(files(), 0);
    }
}

static void test_what_an_upload_refuses(void **state)
{
    struct source from = {bytes, 100};
    char id[64], bare[64], qcow2[64];

    make(&alice, ", \"visibility\": \"private\"", id);
    transfer(&alice, "PUT", fmt("/%s/file", id), "Content-Type: text/plain", &from, false, 415);
    upload_as(&bob, id, 100, false, 404);
    upload_as(&rita, id, 100, false, 403);
    upload_as(&alice, id, 0, true, 415);
    ask_image(&alice, "POST", "", "{}", 201);
    keep("id", bare);
    upload_as(&alice, bare, 100, false, 400);
    ask_image(&alice, "POST", "", "{\"disk_format\": \"qcow2\", \"container_format\": \"bare\"}",
              201);
    keep("id", qcow2);
    upload_as(&alice, qcow2, SIZE, false, 415);
    expect_status(id, "queued");
    assert_int_equal(files(), 0);
}

/* Raw bytes that are a qcow2 with another file behind it must never be read as one. */
static void test_a_format_is_settled_by_the_upload(void **state)
{
    char id[64];

    make(&alice, "", id);
    patch(&alice, id, "{\"op\": \"replace\", \"path\": \"/disk_format\", \"value\": \"iso\"}", 200);
    patch(&alice, id, "{\"op\": \"replace\", \"path\": \"/disk_format\", \"value\": \"raw\"}", 200);
    upload(id, 100);
    patch(&alice, id, "{\"op\": \"replace\", \"path\": \"/disk_format\", \"value\": \"qcow2\"}",
          403);
    patch(&admin, id, "{\"op\": \"replace\", \"path\": \"/container_format\", \"value\": \"ova\"}",
          403);
    patch(&alice, id, "{\"op\": \"replace\", \"path\": \"/disk_format\", \"value\": \"raw\"}", 200);
}

/* Sends half of what was promised and hangs up. */
static void cut_upload(const char *id)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)cloud.ports[API_IMAGE]),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    const char *head =
        fmt("PUT " IMAGES "/%s/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: %s\r\n" OCTETS
            "\r\nContent-Length: %d\r\n\r\n",
            id, alice.token, SIZE);

    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(send(fd, head, strlen(head), MSG_NOSIGNAL), strlen(head));
    assert_int_equal(send(fd, bytes, SIZE / 2, MSG_NOSIGNAL), SIZE / 2);
    wait_for_files(1);
    close(fd);
}

static void test_an_upload_that_is_cut_leaves_nothing(void **state)
{
    char id[64];

    make(&alice, "", id);
    cut_upload(id);
    wait_for_files(0);
    expect_status(id, "queued");
    assert_string_equal(text("size"), "null");
    upload(id, SIZE);
    check_download(id, SIZE);
}

static void test_ranges(void **state)
{
    static const struct {
        const char *range;
        long status;
        size_t from, size;
    } cases[] = {
        {"bytes=0-9", 206, 0, 10},      {"bytes=90-", 206, 90, 10},
        {"bytes=90-1000", 206, 90, 10}, {"bytes=-7", 206, 93, 7},
        {"bytes=-1000", 206, 0, 100},   {"bytes=99-99", 206, 99, 1},
        {"bytes=100-", 416, 0, 0},      {"bytes=-0", 416, 0, 0},
        {"bytes=100-200", 416, 0, 0},   {"bytes=5-2", 200, 0, 100},
        {"bytes=0-1,3-4", 200, 0, 100}, {"bytes=", 200, 0, 100},
        {"bytes=x", 200, 0, 100},       {"bytes=99999999999999999999999-", 416, 0, 0},
        {"lines=1-2", 200, 0, 100},
    };
    char id[64];

    make(&alice, "", id);
    upload(id, 100);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        transfer(&alice, "GET", fmt("/%s/file", id), fmt("Range: %s", cases[i].range), NULL, false,
                 cases[i].status);
        if (cases[i].status == 206)
            assert_non_null(strstr(heads, fmt("Content-Range: bytes %zu-%zu/100", cases[i].from,
                                              cases[i].from + cases[i].size - 1)));
        if (cases[i].status == 416) {
            assert_non_null(strstr(heads, "Content-Range: bytes */100"));
            continue;
        }
        assert_int_equal(answer.size, cases[i].size);
        assert_memory_equal(answer.text, bytes + cases[i].from, cases[i].size);
    }
}

static void damage(const char *id, const char *command)
{
    json_t *row = row_of("image", id);

    assert_int_equal(system(fmt(command, folder, json_str(row, "blob", ""))), 0);
    json_decref(row);
}

static void test_damaged_bytes_are_not_given(void **state)
{
    char id[64];

    make(&alice, "", id);
    upload(id, 1000);
    check_download(id, 1000);
    damage(id, "printf X | dd of=%s/%s bs=1 seek=500 conv=notrunc status=none");
    transfer(&alice, "GET", fmt("/%s/file", id), "Accept: */*", NULL, false, 500);
    assert_non_null(strstr(answer.text, "damaged"));
    transfer(&alice, "GET", fmt("/%s/file", id), "Range: bytes=0-9", NULL, false, 500);
    damage(id, "truncate -s 900 %s/%s");
    transfer(&alice, "GET", fmt("/%s/file", id), "Accept: */*", NULL, false, 500);
    damage(id, "rm %s/%s");
    transfer(&alice, "GET", fmt("/%s/file", id), "Accept: */*", NULL, false, 503);
    ask_image(&alice, "DELETE", fmt("/%s", id), NULL, 204);
}

/* ---- lists ---- */

/* The names of a list, in order: "a b c". */
static const char *names(const struct person *who, const char *query)
{
    char out[1000] = "";

    ask_image(who, "GET", fmt("?%s", query), NULL, 200);
    for (size_t i = 0; i < count("images"); i++)
        snprintf(out + strlen(out), sizeof(out) - strlen(out), "%s%s", i ? " " : "",
                 text(fmt("images/%zu/name", i)));
    return fmt("%s", out);
}

static void put_four(void)
{
    static const struct {
        const char *name, *visibility, *tags, *distro, *created;
        int size;
    } rows[] = {
        {"a", "private", "[\"x\"]", "debian", "2026-01-01T00:00:00Z", 300},
        {"b", "shared", "[\"x\", \"y\"]", "fedora", "2026-01-02T00:00:00Z", 100},
        {"c", "community", "[]", "debian", "2026-01-03T00:00:00Z", 200},
        {"d", "public", "[\"y\"]", "arch", "2026-01-04T00:00:00Z", 200},
    };

    for (size_t i = 0; i < 4; i++)
        put_image(fmt("00000000-0000-4000-8000-00000000000%zu", i),
                  json_pack("{s:s, s:s, s:s, s:s, s:o, s:{s:s}, s:s, s:s, s:i, s:s, s:b}", "name",
                            rows[i].name, "os_hash_value", rows[i].name, "owner", alice.project,
                            "visibility", rows[i].visibility, "tags",
                            json_loads(rows[i].tags, 0, NULL), "properties", "distro",
                            rows[i].distro, "created_at", rows[i].created, "updated_at",
                            rows[i].created, "size", rows[i].size, "disk_format",
                            i < 2 ? "raw" : "qcow2", "protected", i == 1));
}

static void test_filters(void **state)
{
    static const struct {
        const char *query, *names;
    } cases[] = {
        {"sort=name:asc", "a b c d"},
        {"name=b", "b"},
        {"name=in:d,a", "d a"},
        {"name=in:%22d%22,%22a%22", "d a"},
        {"name=in:none", ""},
        {"id=in:00000000-0000-4000-8000-000000000001,00000000-0000-4000-8000-000000000003", "d b"},
        {"status=queued", ""},
        {"status=in:queued,active", "d c b a"},
        {"disk_format=raw", "b a"},
        {"disk_format=in:qcow2", "d c"},
        {"visibility=private", "a"},
        {"visibility=shared", "b"},
        {"visibility=public", "d"},
        {"visibility=community", "c"},
        {"visibility=all", "d c b a"},
        {"tag=x", "b a"},
        {"tag=x&tag=y", "b"},
        {"distro=debian", "c a"},
        {"distro=debian&tag=x", "a"},
        {"distro=none", ""},
        {"nonsense=1", ""},
        {"nonsense=None", "d c b a"},
        {"os_hash_value=b", "b"},
        {"os_hash_value=in:a,c", "c a"},
        {"os_hash_value=none", ""},
        {"os_hash_algo=sha512", ""},
        {"virtual_size=7", ""},
        {"virtual_size=1048576", "d c b a"},
        {"size_min=200", "d c a"},
        {"size_min=101&size_max=299", "d c"},
        {"protected=true", "b"},
        {"protected=False", "d c a"},
        {"created_at=gt:2026-01-02T00:00:00Z", "d c"},
        {"created_at=gte:2026-01-02T00:00:00", "d c b"},
        {"created_at=lt:2026-01-02T00:00:00Z", "a"},
        {"created_at=2026-01-03T00:00:00Z", "c"},
        {"updated_at=neq:2026-01-03T00:00:00Z&updated_at=lte:2026-01-03T00:00:00Z", "b a"},
    };

    put_four();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *got = names(&alice, cases[i].query);

        if (strcmp(got, cases[i].names) != 0)
            fail_msg("%s: '%s' instead of '%s'", cases[i].query, got, cases[i].names);
    }
    assert_string_equal(names(&alice, fmt("owner=%s", bob.project)), "");
    assert_string_equal(names(&alice, fmt("owner=%s", alice.project)), "d c b a");
}

static void test_wrong_queries(void **state)
{
    static const char *const wrong[] = {"visibility=secret", "member_status=maybe",
                                        "size_min=x",        "size_max=-1",
                                        "sort=nothing:asc",  "sort=name:up",
                                        "sort=name:",        "sort_key=blob",
                                        "sort_dir=up",       "limit=-1",
                                        "limit=x",           "marker=none",
                                        "created_at=x",      "created_at=ge:2026",
                                        "name=in:%22a",      "name=in:%22a%22b"};

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ask_image(&alice, "GET", fmt("?%s", wrong[i]), NULL, 400);
}

static void test_order(void **state)
{
    put_four();
    assert_string_equal(names(&alice, ""), "d c b a");
    assert_string_equal(names(&alice, "sort=size:asc,name:desc"), "b d c a");
    assert_string_equal(names(&alice, "sort=name"), "d c b a");
    assert_string_equal(names(&alice, "sort_key=name"), "d c b a");
    assert_string_equal(names(&alice, "sort_key=name&sort_dir=asc"), "a b c d");
    assert_string_equal(names(&alice, "sort_key=size&sort_key=name&sort_dir=asc"), "b c d a");
    assert_string_equal(names(&alice, "sort_key=size&sort_dir=asc&sort_key=name&sort_dir=desc"),
                        "b d c a");
    assert_string_equal(names(&alice, "sort_dir=asc"), "a b c d");
}

static void test_pages(void **state)
{
    char next[500] = "?limit=2&sort_key=name&sort_dir=asc&tag=x%20%26%20y", id[64];
    size_t seen = 0;

    for (int i = 4; i >= 0; i--)
        make(&alice, fmt(", \"name\": \"p%d\", \"tags\": [\"x & y\"]", i), id);
    make(&alice, ", \"name\": \"other\"", id);
    for (int pages = 0; next[0]; pages++) {
        assert_true(pages < 3);
        ask_image(&alice, "GET", next, NULL, 200);
        assert_string_equal(text("schema"), "/v2/schemas/images");
        assert_true(strncmp(text("first"), IMAGES "?", strlen(IMAGES "?")) == 0);
        assert_null(strstr(text("first"), "marker"));
        for (size_t i = 0; i < count("images"); i++)
            assert_string_equal(text(fmt("images/%zu/name", i)), fmt("p%zu", seen + i));
        seen += count("images");
        snprintf(next, sizeof(next), "%s", at("next") ? text("next") + strlen(IMAGES) : "");
    }
    assert_int_equal(seen, 5);
}

/* ---- changes ---- */

static void test_patch(void **state)
{
    char id[64];

    make(&alice, ", \"name\": \"a\", \"old\": \"1\"", id);
    patch(&alice, id,
          "{\"op\": \"replace\", \"path\": \"/name\", \"value\": \"b\"}, "
          "{\"op\": \"add\", \"path\": \"/new\", \"value\": \"2\"}, "
          "{\"op\": \"add\", \"path\": \"/sl~1ash~0\", \"value\": \"3\"}, "
          "{\"op\": \"remove\", \"path\": \"/old\"}, "
          "{\"op\": \"replace\", \"path\": \"/tags\", \"value\": [\"x\", \"x\"]}, "
          "{\"op\": \"replace\", \"path\": \"/min_ram\", \"value\": 7}",
          200);
    assert_string_equal(text("name"), "b");
    assert_string_equal(text("new"), "2");
    assert_string_equal(json_str(answer.body, "sl/ash~", ""), "3");
    assert_null(at("old"));
    assert_int_equal(count("tags"), 1);
    assert_int_equal(num("min_ram"), 7);
    patch(&alice, id, "{\"op\": \"replace\", \"path\": \"/new\", \"value\": \"4\"}", 200);
    assert_string_equal(text("new"), "4");
    patch(&alice, id, "", 200);
}

static void test_wrong_patches(void **state)
{
    static const struct {
        const char *operation;
        long status;
    } wrong[] = {
        {"7", 400},
        {"{\"op\": \"move\", \"path\": \"/name\", \"value\": \"x\"}", 400},
        {"{\"op\": \"add\", \"value\": \"x\"}", 400},
        {"{\"op\": \"add\", \"path\": \"name\", \"value\": \"x\"}", 400},
        {"{\"op\": \"add\", \"path\": \"/\", \"value\": \"x\"}", 400},
        {"{\"op\": \"add\", \"path\": \"/a/b\", \"value\": \"x\"}", 400},
        {"{\"op\": \"add\", \"path\": \"/a~2\", \"value\": \"x\"}", 400},
        {"{\"op\": \"add\", \"path\": \"/a\"}", 400},
        {"{\"op\": \"add\", \"path\": \"/a\", \"value\": 7}", 400},
        {"{\"op\": \"replace\", \"path\": \"/min_ram\", \"value\": -7}", 400},
        {"{\"op\": \"replace\", \"path\": \"/visibility\", \"value\": \"x\"}", 400},
        {"{\"op\": \"replace\", \"path\": \"/id\", \"value\": \"x\"}", 403},
        {"{\"op\": \"replace\", \"path\": \"/status\", \"value\": \"active\"}", 403},
        {"{\"op\": \"replace\", \"path\": \"/size\", \"value\": 7}", 403},
        {"{\"op\": \"replace\", \"path\": \"/checksum\", \"value\": \"x\"}", 403},
        {"{\"op\": \"replace\", \"path\": \"/blob\", \"value\": \"x\"}", 403},
        {"{\"op\": \"replace\", \"path\": \"/owner\", \"value\": \"x\"}", 403},
        {"{\"op\": \"replace\", \"path\": \"/locations\", \"value\": []}", 403},
        {"{\"op\": \"replace\", \"path\": \"/visibility\", \"value\": \"public\"}", 403},
        {"{\"op\": \"remove\", \"path\": \"/name\"}", 403},
        {"{\"op\": \"remove\", \"path\": \"/nothing\"}", 409},
        {"{\"op\": \"replace\", \"path\": \"/nothing\", \"value\": \"x\"}", 409},
    };
    char id[64];

    make(&alice, ", \"name\": \"a\"", id);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        patch(&alice, id,
              fmt("{\"op\": \"replace\", \"path\": \"/name\", \"value\": \"b\"}, %s",
                  wrong[i].operation),
              wrong[i].status);
    }
    ask_image(&alice, "PATCH", fmt("/%s", id), "{}", 400);
    ask_image(&alice, "GET", fmt("/%s", id), NULL, 200);
    assert_string_equal(text("name"), "a");
    patch(&admin, id, "{\"op\": \"replace\", \"path\": \"/visibility\", \"value\": \"public\"}",
          200);
    patch(&alice, id, "{\"op\": \"replace\", \"path\": \"/name\", \"value\": \"c\"}", 200);
}

static void test_protection(void **state)
{
    char id[64];

    make(&alice, ", \"protected\": true", id);
    ask_image(&alice, "DELETE", fmt("/%s", id), NULL, 403);
    ask_image(&admin, "DELETE", fmt("/%s", id), NULL, 403);
    patch(&alice, id, "{\"op\": \"replace\", \"path\": \"/protected\", \"value\": false}", 200);
    ask_image(&alice, "DELETE", fmt("/%s", id), NULL, 204);
    ask_image(&alice, "DELETE", fmt("/%s", id), NULL, 404);
}

static void test_tags(void **state)
{
    char id[64];

    make(&alice, "", id);
    ask_image(&alice, "PUT", fmt("/%s/tags/red", id), NULL, 204);
    ask_image(&alice, "PUT", fmt("/%s/tags/red", id), NULL, 204);
    ask_image(&alice, "PUT", fmt("/%s/tags/sk%%C3%%BD", id), NULL, 204);
    ask_image(&alice, "GET", fmt("/%s", id), NULL, 200);
    assert_int_equal(count("tags"), 2);
    ask_image(&alice, "DELETE", fmt("/%s/tags/red", id), NULL, 204);
    ask_image(&alice, "DELETE", fmt("/%s/tags/red", id), NULL, 404);
    ask_image(&bob, "PUT", fmt("/%s/tags/red", id), NULL, 404);
    ask_image(&alice, "GET", fmt("/%s", id), NULL, 200);
    assert_int_equal(count("tags"), 1);
}

static void test_deactivate(void **state)
{
    char id[64];

    make(&alice, "", id);
    ask_image(&admin, "POST", fmt("/%s/actions/deactivate", id), "", 403);
    upload(id, 100);
    ask_image(&alice, "POST", fmt("/%s/actions/deactivate", id), "", 403);
    ask_image(&admin, "POST", fmt("/%s/actions/deactivate", id), "", 204);
    ask_image(&admin, "POST", fmt("/%s/actions/deactivate", id), "", 204);
    expect_status(id, "deactivated");
    transfer(&alice, "GET", fmt("/%s/file", id), "Accept: */*", NULL, false, 403);
    transfer(&admin, "GET", fmt("/%s/file", id), "Accept: */*", NULL, false, 200);
    ask_image(&admin, "POST", fmt("/%s/actions/reactivate", id), "", 204);
    check_download(id, 100);
}

/* ---- who sees what ---- */

static void test_isolation(void **state)
{
    static const char *const visibilities[] = {"private", "shared"};
    char id[64];

    for (size_t i = 0; i < 2; i++) {
        make(&alice, fmt(", \"visibility\": \"%s\"", visibilities[i]), id);
        ask_image(&bob, "GET", fmt("/%s", id), NULL, 404);
        ask_image(&bob, "DELETE", fmt("/%s", id), NULL, 404);
        patch(&bob, id, "", 404);
        transfer(&bob, "GET", fmt("/%s/file", id), "Accept: */*", NULL, false, 404);
        upload_as(&bob, id, 10, false, 404);
        ask_image(&bob, "GET", fmt("/%s/members", id), NULL, 404);
        ask_image(&rita, "GET", fmt("/%s", id), NULL, 200);
        ask_image(&rita, "DELETE", fmt("/%s", id), NULL, 403);
        ask_image(&admin, "GET", fmt("/%s", id), NULL, 200);
    }
    assert_string_equal(names(&bob, "visibility=all&member_status=all"), "");
}

static void test_public_and_community(void **state)
{
    put_four();
    assert_string_equal(names(&bob, ""), "d");
    assert_string_equal(names(&bob, "visibility=community"), "c");
    assert_string_equal(names(&bob, "visibility=all"), "d c");
    for (int i = 2; i < 4; i++) {
        ask_image(&bob, "GET", fmt("/00000000-0000-4000-8000-00000000000%d", i), NULL, 200);
        ask_image(&bob, "DELETE", fmt("/00000000-0000-4000-8000-00000000000%d", i), NULL, 403);
        patch(&bob, fmt("00000000-0000-4000-8000-00000000000%d", i), "", 403);
    }
    patch(&alice, "00000000-0000-4000-8000-000000000003",
          "{\"op\": \"replace\", \"path\": \"/os_hidden\", \"value\": true}", 200);
    assert_string_equal(names(&bob, ""), "");
    assert_string_equal(names(&bob, "os_hidden=true"), "d");
}

/* ---- members ---- */

static void expect_listed(const char *query, size_t n)
{
    ask_image(&bob, "GET", query, NULL, 200);
    assert_int_equal(count("images"), n);
}

static void answer_as(const struct person *who, const char *id, const char *member,
                      const char *status, long want)
{
    ask_image(who, "PUT", fmt("/%s/members/%s", id, member), fmt("{\"status\": \"%s\"}", status),
              want);
}

static void test_sharing(void **state)
{
    char id[64];

    make(&alice, ", \"name\": \"s\"", id);
    ask_image(&alice, "POST", fmt("/%s/members", id), fmt("{\"member\": \"%s\"}", bob.project),
              200);
    assert_string_equal(text("image_id"), id);
    assert_string_equal(text("member_id"), bob.project);
    assert_string_equal(text("status"), "pending");
    assert_string_equal(text("schema"), "/v2/schemas/member");
    assert_int_equal(count(""), 6);
    ask_image(&bob, "GET", fmt("/%s", id), NULL, 200);
    expect_listed("", 0);
    expect_listed("?visibility=shared&member_status=pending", 1);
    expect_listed("?visibility=shared&member_status=all", 1);
    answer_as(&alice, id, bob.project, "accepted", 403);
    answer_as(&bob, id, bob.project, "maybe", 400);
    ask_image(&bob, "PUT", fmt("/%s/members/%s", id, bob.project), "{}", 400);
    answer_as(&bob, id, bob.project, "accepted", 200);
    assert_string_equal(text("status"), "accepted");
    expect_listed("", 1);
    expect_listed("?visibility=shared", 1);
    expect_listed("?visibility=private", 0);
    expect_listed("?member_status=pending", 0);
    answer_as(&bob, id, bob.project, "rejected", 200);
    expect_listed("", 0);
    expect_listed("?visibility=shared&member_status=rejected", 1);
    answer_as(&admin, id, bob.project, "pending", 200);
    ask_image(&bob, "DELETE", fmt("/%s/members/%s", id, bob.project), NULL, 403);
    ask_image(&bob, "DELETE", fmt("/%s", id), NULL, 403);
    ask_image(&alice, "DELETE", fmt("/%s/members/%s", id, bob.project), NULL, 204);
    ask_image(&alice, "DELETE", fmt("/%s/members/%s", id, bob.project), NULL, 404);
    ask_image(&bob, "GET", fmt("/%s", id), NULL, 404);
}

static void test_members(void **state)
{
    char id[64];

    make(&alice, "", id);
    ask_image(&alice, "POST", fmt("/%s/members", id), fmt("{\"member\": \"%s\"}", bob.project),
              200);
    ask_image(&alice, "POST", fmt("/%s/members", id), fmt("{\"member\": \"%s\"}", bob.project),
              409);
    ask_image(&alice, "POST", fmt("/%s/members", id), "{\"member\": \"others\"}", 200);
    ask_image(&alice, "POST", fmt("/%s/members", id), "{\"member\": \"\"}", 400);
    ask_image(&alice, "POST", fmt("/%s/members", id), "{\"member\": \"a/b\"}", 400);
    ask_image(&alice, "POST", fmt("/%s/members", id), "{\"member\": 7}", 400);
    ask_image(&alice, "POST", fmt("/%s/members", id), "{}", 400);
    ask_image(&bob, "POST", fmt("/%s/members", id), "{\"member\": \"more\"}", 403);
    ask_image(&rita, "POST", fmt("/%s/members", id), "{\"member\": \"more\"}", 403);
    ask_image(&alice, "GET", fmt("/%s/members", id), NULL, 200);
    assert_int_equal(count("members"), 2);
    assert_string_equal(text("schema"), "/v2/schemas/members");
    ask_image(&bob, "GET", fmt("/%s/members", id), NULL, 200);
    assert_int_equal(count("members"), 1);
    assert_string_equal(text("members/0/member_id"), bob.project);
    ask_image(&bob, "GET", fmt("/%s/members/others", id), NULL, 404);
    ask_image(&bob, "GET", fmt("/%s/members/%s", id, bob.project), NULL, 200);
    ask_image(&alice, "GET", fmt("/%s/members/others", id), NULL, 200);
    patch(&alice, id, "{\"op\": \"replace\", \"path\": \"/visibility\", \"value\": \"private\"}",
          200);
    ask_image(&alice, "GET", fmt("/%s/members", id), NULL, 403);
    ask_image(&alice, "POST", fmt("/%s/members", id), "{\"member\": \"more\"}", 403);
    ask_image(&bob, "GET", fmt("/%s", id), NULL, 404);
    ask_image(&alice, "DELETE", fmt("/%s", id), NULL, 204);
    assert_int_equal(row_count("image_member", ""), 0);
}

static void test_members_have_a_limit(void **state)
{
    char id[64];

    make(&alice, "", id);
    for (int i = 0; i < 100; i++)
        ask_image(&alice, "POST", fmt("/%s/members", id), fmt("{\"member\": \"m%d\"}", i), 200);
    ask_image(&alice, "POST", fmt("/%s/members", id), "{\"member\": \"m100\"}", 413);
    ask_image(&alice, "DELETE", fmt("/%s", id), NULL, 204);
    assert_int_equal(row_count("image_member", ""), 0);
}

/* ---- documents ---- */

static void test_documents(void **state)
{
    ask_service(API_IMAGE, &alice, "GET", "/v2/schemas/image", NULL, 200);
    assert_string_equal(text("name"), "image");
    assert_string_equal(text("properties/os_hash_value/type/1"), "string");
    assert_true(json_is_true(at("properties/status/readOnly")));
    assert_string_equal(text("additionalProperties/type"), "string");
    assert_null(at("properties/blob"));
    ask_service(API_IMAGE, &alice, "GET", "/v2/schemas/images", NULL, 200);
    assert_string_equal(text("properties/images/items/name"), "image");
    ask_service(API_IMAGE, &alice, "GET", "/v2/schemas/member", NULL, 200);
    assert_string_equal(text("properties/status/enum/1"), "accepted");
    ask_service(API_IMAGE, &alice, "GET", "/v2/schemas/members", NULL, 200);
    assert_string_equal(text("properties/members/items/name"), "member");
    ask_service(API_IMAGE, &alice, "GET", "/v2/info/import", NULL, 200);
    assert_int_equal(count("import-methods/value"), 0);
    ask_service(API_IMAGE, &alice, "GET", "/v2/info/stores", NULL, 404);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_create, setup),
        cmocka_unit_test_setup(test_what_create_refuses, setup),
        cmocka_unit_test_setup(test_upload_and_download, setup),
        cmocka_unit_test_setup(test_what_an_upload_refuses, setup),
        cmocka_unit_test_setup(test_a_format_is_settled_by_the_upload, setup),
        cmocka_unit_test_setup(test_an_upload_that_is_cut_leaves_nothing, setup),
        cmocka_unit_test_setup(test_ranges, setup),
        cmocka_unit_test_setup(test_damaged_bytes_are_not_given, setup),
        cmocka_unit_test_setup(test_owner_as_it_is, setup),
        cmocka_unit_test_setup(test_filters, setup),
        cmocka_unit_test_setup(test_wrong_queries, setup),
        cmocka_unit_test_setup(test_order, setup),
        cmocka_unit_test_setup(test_pages, setup),
        cmocka_unit_test_setup(test_patch, setup),
        cmocka_unit_test_setup(test_wrong_patches, setup),
        cmocka_unit_test_setup(test_protection, setup),
        cmocka_unit_test_setup(test_tags, setup),
        cmocka_unit_test_setup(test_deactivate, setup),
        cmocka_unit_test_setup(test_isolation, setup),
        cmocka_unit_test_setup(test_public_and_community, setup),
        cmocka_unit_test_setup(test_sharing, setup),
        cmocka_unit_test_setup(test_members, setup),
        cmocka_unit_test_setup(test_members_have_a_limit, setup),
        cmocka_unit_test_setup(test_documents, setup),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
