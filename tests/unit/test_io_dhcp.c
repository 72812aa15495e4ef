/* DHCP messages: what clients send, whole, cut and wrong, and what they are answered. Messages are
 * built and read here by hand, so that the codec is not its own judge. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "io/dhcp.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* An address as on the wire, also where an initializer must be constant. */
#define WIRE(value) (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap32(value) : (value))
#define IP(a, b, c, d)                                                                             \
    {                                                                                              \
        WIRE((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))                                     \
    }
#define FIXED_SIZE 240
#define SNAME_AT 44
#define SNAME_SIZE 64
#define FILE_AT 108
#define FILE_SIZE 128

static const uint8_t mac[6] = {0xfa, 0x16, 0x3e, 1, 2, 3};

/* ---- messages as clients send them ---- */

struct message {
    uint8_t bytes[2048];
    size_t size;
};

static void add(struct message *m, uint8_t code, const void *data, size_t size)
{
    assert_true(size < 256 && m->size + 2 + size <= sizeof(m->bytes));
    m->bytes[m->size++] = code;
    m->bytes[m->size++] = (uint8_t)size;
    if (size > 0)
        memcpy(m->bytes + m->size, data, size);
    m->size += size;
}

static void add_byte(struct message *m, uint8_t code, uint8_t value)
{
    add(m, code, &value, 1);
}

static void add_ip(struct message *m, uint8_t code, const char *ip)
{
    uint8_t bytes[4];

    assert_int_equal(inet_pton(AF_INET, ip, bytes), 1);
    add(m, code, bytes, 4);
}

/* The fixed part and the magic number, no option yet. */
static void begin(struct message *m)
{
    static const uint8_t head[8] = {1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef};
    static const uint8_t cookie[4] = {99, 130, 83, 99};

    memset(m, 0, sizeof(*m));
    memcpy(m->bytes, head, sizeof(head));
    memcpy(m->bytes + 28, mac, sizeof(mac));
    memcpy(m->bytes + 236, cookie, sizeof(cookie));
    m->size = FIXED_SIZE;
}

static void begin_type(struct message *m, enum dhcp_type type)
{
    begin(m);
    add_byte(m, 53, (uint8_t)type);
}

/* From a copy of exactly the size, so that a sanitizer sees one byte too many. */
static int parse_bytes(const uint8_t *bytes, size_t size, struct dhcp_request *ret)
{
    uint8_t *copy = malloc(size ? size : 1);
    int rc;

    assert_non_null(copy);
    memcpy(copy, bytes, size);
    rc = dhcp_parse(copy, size, ret);
    free(copy);
    return rc;
}

static int parse(const struct message *m, struct dhcp_request *ret)
{
    return parse_bytes(m->bytes, m->size, ret);
}

static void parsed(const struct message *m, struct dhcp_request *ret)
{
    assert_int_equal(parse(m, ret), 0);
}

static void refused(const struct message *m)
{
    struct dhcp_request request, before;

    memset(&before, 0x5a, sizeof(before));
    memset(&request, 0x5a, sizeof(request));
    assert_int_equal(parse(m, &request), -EBADMSG);
    assert_memory_equal(&request, &before, sizeof(before)); /* the result of a failure is none */
}

static void assert_ip(struct in_addr got, const char *want)
{
    char text[INET_ADDRSTRLEN];

    inet_ntop(AF_INET, &got, text, sizeof(text));
    assert_string_equal(text, want);
}

/* ---- answers as clients read them ---- */

struct answer {
    uint8_t bytes[DHCP_SIZE_MAX];
    size_t size;
    size_t end; /* of the options: where the end mark is */
    enum dhcp_way way;
};

/* The data of the option, NULL if it is not there. Fails on a malformed list and on a double. */
static const uint8_t *find(struct answer *a, uint8_t code, size_t *ret_size)
{
    const uint8_t *found = NULL;
    size_t at = FIXED_SIZE;

    while (at < a->size && a->bytes[at] != 255) {
        assert_true(at + 2 <= a->size && a->bytes[at] != 0);
        assert_true(at + 2 + a->bytes[at + 1] < a->size);
        if (a->bytes[at] == code) {
            assert_null(found);
            found = a->bytes + at + 2;
            *ret_size = a->bytes[at + 1];
        }
        at += 2u + a->bytes[at + 1];
    }
    assert_true(at < a->size); /* the end mark */
    a->end = at;
    return found;
}

static void expect(struct answer *a, uint8_t code, const void *data, size_t size)
{
    size_t got_size = 0;
    const uint8_t *got = find(a, code, &got_size);

    if (!got || got_size != size || memcmp(got, data, size) != 0)
        fail_msg("option %u is %s", code, got ? "another" : "missing");
}

static void expect_none(struct answer *a, uint8_t code)
{
    size_t size = 0;

    if (find(a, code, &size))
        fail_msg("option %u is there", code);
}

static uint32_t number(struct answer *a, uint8_t code)
{
    size_t size = 0;
    const uint8_t *data = find(a, code, &size);
    uint32_t value;

    assert_non_null(data);
    assert_int_equal(size, 4);
    memcpy(&value, data, 4);
    return ntohl(value);
}

static bool answered(const struct dhcp_request *request, const struct dhcp_lease *lease,
                     struct answer *ret)
{
    uint8_t *out = malloc(DHCP_SIZE_MAX);

    assert_non_null(out);
    memset(out, 0xaa, DHCP_SIZE_MAX);
    memset(ret, 0, sizeof(*ret));
    ret->way = (enum dhcp_way)99;
    ret->size = dhcp_answer(request, lease, out, &ret->way);
    assert_true(ret->size <= DHCP_SIZE_MAX);
    memcpy(ret->bytes, out, ret->size);
    free(out);
    if (ret->size == 0)
        return false;
    assert_true(ret->size >= 300); /* BOOTP's smallest */
    assert_true(ret->way <= DHCP_BROADCAST);
    expect_none(ret, 0); /* walks the whole list */
    for (size_t i = ret->end + 1; i < ret->size; i++)
        assert_int_equal(ret->bytes[i], 0);
    return true;
}

static void answered_as(const struct message *m, const struct dhcp_lease *lease,
                        enum dhcp_type type, enum dhcp_way way, struct answer *ret)
{
    struct dhcp_request request;
    uint8_t code = (uint8_t)type;

    parsed(m, &request);
    assert_true(answered(&request, lease, ret));
    expect(ret, 53, &code, 1);
    assert_int_equal(ret->way, way);
}

static const struct dhcp_lease plain = {
    .ip = IP(192, 168, 7, 20),
    .mask = IP(255, 255, 255, 0),
    .server = IP(192, 168, 7, 2),
    .router = IP(192, 168, 7, 1),
    .dns = {IP(9, 9, 9, 9), IP(1, 1, 1, 1)},
    .dns_count = 2,
    .name = "web1",
    .mtu = 1450,
    .seconds = 86400,
};

/* ---- in ---- */

static void test_discover(void **state)
{
    struct dhcp_request r;
    struct message m;

    begin_type(&m, DHCP_DISCOVER);
    m.bytes[9] = 7;     /* secs */
    m.bytes[10] = 0x80; /* flags */
    memcpy(m.bytes + 24, (uint8_t[]){10, 0, 0, 9}, 4);
    add_ip(&m, 50, "192.168.7.20");
    add(&m, 57, (uint8_t[]){0x05, 0xdc}, 2);
    add(&m, 61, "\1\xfa\x16\x3e\1\2\3", 7);
    add(&m, 55, "\1\3\6\x79", 4);
    add(&m, 12, "web1", 4);
    m.bytes[m.size++] = 255;
    parsed(&m, &r);
    assert_int_equal(r.type, DHCP_DISCOVER);
    assert_memory_equal(&r.xid, "\xde\xad\xbe\xef", 4);
    assert_int_equal(ntohs(r.secs), 7);
    assert_int_equal(ntohs(r.flags), 0x8000);
    assert_memory_equal(r.mac, mac, 6);
    assert_ip(r.ciaddr, "0.0.0.0");
    assert_ip(r.giaddr, "10.0.0.9");
    assert_ip(r.requested, "192.168.7.20");
    assert_ip(r.server, "0.0.0.0");
    assert_int_equal(r.size_max, 1500);
    assert_int_equal(r.client_id_size, 7);
    assert_memory_equal(r.client_id, "\1\xfa\x16\x3e\1\2\3", 7);
}

static void test_request_and_release(void **state)
{
    struct dhcp_request r;
    struct message m;

    begin_type(&m, DHCP_REQUEST);
    add_ip(&m, 54, "192.168.7.2");
    add_ip(&m, 50, "192.168.7.20");
    m.bytes[m.size++] = 255;
    parsed(&m, &r);
    assert_int_equal(r.type, DHCP_REQUEST);
    assert_ip(r.server, "192.168.7.2");
    assert_ip(r.requested, "192.168.7.20");
    assert_int_equal(r.size_max, 0);
    assert_int_equal(r.client_id_size, 0);

    begin_type(&m, DHCP_RELEASE);
    memcpy(m.bytes + 12, (uint8_t[]){192, 168, 7, 20}, 4);
    add_ip(&m, 54, "192.168.7.2");
    parsed(&m, &r); /* the end mark is missing; nothing else is */
    assert_int_equal(r.type, DHCP_RELEASE);
    assert_ip(r.ciaddr, "192.168.7.20");
    assert_ip(r.server, "192.168.7.2");
}

/* Every type there is, and none other. */
static void test_types(void **state)
{
    struct dhcp_request r;
    struct message m;

    for (unsigned type = 0; type < 256; type++) {
        begin_type(&m, (enum dhcp_type)type);
        if (type >= DHCP_DISCOVER && type <= DHCP_INFORM) {
            parsed(&m, &r);
            assert_int_equal(r.type, type);
        } else {
            refused(&m);
        }
    }
    begin(&m);
    refused(&m); /* BOOTP: no type */
    m.bytes[m.size++] = 255;
    add_byte(&m, 53, DHCP_DISCOVER); /* behind the end */
    refused(&m);
}

static void test_fixed_part(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
    } wrong[] = {{0, 0},  {0, 2},    {0, 3},   {1, 0},   {1, 6},   {2, 0},
                 {2, 16}, {236, 98}, {237, 0}, {238, 0}, {239, 98}};
    struct dhcp_request r;
    struct message m;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        begin_type(&m, DHCP_DISCOVER);
        parsed(&m, &r);
        m.bytes[wrong[i].at] = wrong[i].value;
        refused(&m);
    }
    for (m.size = 0; m.size <= FIXED_SIZE; m.size++) {
        size_t size = m.size;

        begin_type(&m, DHCP_DISCOVER);
        m.size = size;
        refused(&m);
    }
}

/* A message that is cut at any byte is read up to there if the cut is between two options. */
static void test_cut_anywhere(void **state)
{
    bool between[512] = {false};
    struct dhcp_request r;
    struct message m, cut;

    begin(&m);
    add(&m, 12, "a-name", 6);
    add_byte(&m, 53, DHCP_REQUEST);
    between[m.size] = true;
    add_ip(&m, 54, "192.168.7.2");
    between[m.size] = true;
    m.bytes[m.size++] = 0; /* pads */
    between[m.size] = true;
    m.bytes[m.size++] = 0;
    between[m.size] = true;
    add(&m, 224, "", 0);
    between[m.size] = true;
    add(&m, 61, "0123456789", 10);
    between[m.size] = true;
    add_ip(&m, 50, "192.168.7.20");
    between[m.size] = true;
    m.bytes[m.size++] = 255;
    between[m.size] = true;
    for (size_t size = 0; size <= m.size; size++) {
        cut = m;
        cut.size = size;
        if (between[size])
            parsed(&cut, &r);
        else
            refused(&cut);
    }
    assert_ip(r.requested, "192.168.7.20"); /* of the last, the whole one */
}

/* A known option of another length is a broken message, not one to guess about. */
static void test_option_lengths(void **state)
{
    static const struct {
        uint8_t code;
        size_t size;
    } known[] = {{53, 1}, {50, 4}, {54, 4}, {57, 2}, {52, 1}};
    static const uint8_t ones[16] = {1, 1, 1, 1};
    struct dhcp_request r;
    struct message m;

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        for (size_t size = 0; size < sizeof(ones); size++) {
            begin_type(&m, DHCP_DISCOVER);
            add(&m, known[i].code, ones, size);
            if (size == known[i].size)
                parsed(&m, &r);
            else
                refused(&m);
        }
    }
}

static void test_unknown_options_and_ids(void **state)
{
    uint8_t data[255];
    struct dhcp_request r;
    struct message m;

    memset(data, 0x7f, sizeof(data));
    begin(&m);
    for (unsigned size = 0; size < 256; size += 51)
        add(&m, 224, data, size);
    add_byte(&m, 53, DHCP_INFORM);
    add(&m, 61, data, 255);
    parsed(&m, &r);
    assert_int_equal(r.type, DHCP_INFORM);
    assert_int_equal(r.client_id_size, 255);
    assert_memory_equal(r.client_id, data, 255);

    begin_type(&m, DHCP_DISCOVER);
    m.bytes[m.size++] = 255;
    memset(m.bytes + m.size, 0x35, 300); /* behind the end is nothing */
    m.size += 300;
    parsed(&m, &r);
    assert_int_equal(r.type, DHCP_DISCOVER);
}

/* ---- options in the fields of the boot file and of the server's name ---- */

static void put_field(struct message *m, size_t at, const void *options, size_t size)
{
    memcpy(m->bytes + at, options, size);
}

static void test_overload(void **state)
{
    static const uint8_t in_file[] = {50, 4, 192, 168, 7, 20, 255};
    static const uint8_t in_sname[] = {0, 54, 4, 192, 168, 7, 2, 255};

    for (uint8_t fields = 1; fields <= 3; fields++) {
        struct dhcp_request r;
        struct message m;

        begin_type(&m, DHCP_REQUEST);
        put_field(&m, FILE_AT, in_file, sizeof(in_file));
        put_field(&m, SNAME_AT, in_sname, sizeof(in_sname));
        parsed(&m, &r); /* no option 52: these are names */
        assert_ip(r.requested, "0.0.0.0");
        assert_ip(r.server, "0.0.0.0");
        add_byte(&m, 52, fields);
        parsed(&m, &r);
        assert_ip(r.requested, fields & 1 ? "192.168.7.20" : "0.0.0.0");
        assert_ip(r.server, fields & 2 ? "192.168.7.2" : "0.0.0.0");
    }
}

static void test_overload_full_fields(void **state)
{
    uint8_t field[FILE_SIZE] = {224, FILE_SIZE - 2 - 6, 0};
    struct dhcp_request r;
    struct message m;

    memcpy(field + FILE_SIZE - 6, (uint8_t[]){50, 4, 10, 1, 2, 3}, 6);
    begin_type(&m, DHCP_DISCOVER);
    add_byte(&m, 52, 1);
    put_field(&m, FILE_AT, field, sizeof(field));
    parsed(&m, &r); /* up to its last byte */
    assert_ip(r.requested, "10.1.2.3");
    field[FILE_SIZE - 5] = 5; /* and one more */
    put_field(&m, FILE_AT, field, sizeof(field));
    refused(&m);
}

static void test_overload_wrong(void **state)
{
    static const uint8_t again[] = {52, 1, 2, 255};
    static const uint8_t in_sname[] = {54, 4, 10, 0, 0, 1, 255};
    struct dhcp_request r;
    struct message m;

    for (unsigned fields = 0; fields < 256; fields++) {
        begin_type(&m, DHCP_DISCOVER);
        add_byte(&m, 52, (uint8_t)fields);
        if (fields >= 1 && fields <= 3)
            parsed(&m, &r);
        else
            refused(&m);
    }
    begin_type(&m, DHCP_DISCOVER);
    add_byte(&m, 52, 1);
    put_field(&m, FILE_AT, again, sizeof(again));
    put_field(&m, SNAME_AT, in_sname, sizeof(in_sname));
    parsed(&m, &r); /* one field does not call for the other */
    assert_ip(r.server, "0.0.0.0");
}

/* ---- out ---- */

static void test_offer(void **state)
{
    struct answer a;
    struct message m;

    begin_type(&m, DHCP_DISCOVER);
    add(&m, 61, "\1abcdef", 7);
    answered_as(&m, &plain, DHCP_OFFER, DHCP_TO_YIADDR, &a);
    assert_memory_equal(a.bytes, "\2\1\6\0\xde\xad\xbe\xef\0\0\0\0", 12);
    assert_memory_equal(a.bytes + 12, "\0\0\0\0", 4);         /* ciaddr */
    assert_memory_equal(a.bytes + 16, "\xc0\xa8\x07\x14", 4); /* yiaddr */
    assert_memory_equal(a.bytes + 24, "\0\0\0\0", 4);         /* giaddr */
    assert_memory_equal(a.bytes + 28, mac, 6);
    for (size_t i = 34; i < 236; i++)
        assert_int_equal(a.bytes[i], 0);
    assert_memory_equal(a.bytes + 236, "\x63\x82\x53\x63", 4);
    expect(&a, 54, &plain.server, 4);
    expect(&a, 1, &plain.mask, 4);
    expect(&a, 3, &plain.router, 4);
    expect(&a, 6, plain.dns, 8);
    expect(&a, 12, "web1", 4);
    expect(&a, 26, "\x05\xaa", 2);
    expect(&a, 61, "\1abcdef", 7); /* RFC 6842 */
    expect_none(&a, 121);
    assert_int_equal(number(&a, 51), 86400);
    assert_int_equal(number(&a, 58), 43200);
    assert_int_equal(number(&a, 59), 75600);
}

static void test_what_a_lease_lacks(void **state)
{
    static const struct dhcp_lease bare = {
        .ip = IP(10, 0, 0, 5), .mask = IP(255, 0, 0, 0), .server = IP(10, 0, 0, 2), .mtu = 67};
    static const uint8_t absent[] = {3, 6, 12, 26, 61, 121};
    struct answer a;
    struct message m;

    begin_type(&m, DHCP_DISCOVER);
    answered_as(&m, &bare, DHCP_OFFER, DHCP_TO_YIADDR, &a);
    for (size_t i = 0; i < sizeof(absent); i++)
        expect_none(&a, absent[i]);
    expect(&a, 1, &bare.mask, 4);
}

/* RFC 2131 4.3.2: each state of a client, and what a right and a wrong address bring it. */
static void test_states_of_a_client(void **state)
{
    static const struct {
        const char *server, *requested, *ciaddr;
        enum dhcp_type answer; /* 0: none */
        enum dhcp_way way;
    } cases[] = {
        /* chose this server */
        {"192.168.7.2", "192.168.7.20", NULL, DHCP_ACK, DHCP_TO_YIADDR},
        {"192.168.7.2", "192.168.7.21", NULL, DHCP_NAK, DHCP_BROADCAST},
        /* chose another one */
        {"192.168.7.3", "192.168.7.20", NULL, 0, 0},
        {"192.168.7.3", "192.168.7.21", NULL, 0, 0},
        /* remembers its address */
        {NULL, "192.168.7.20", NULL, DHCP_ACK, DHCP_TO_YIADDR},
        {NULL, "10.9.8.7", NULL, DHCP_NAK, DHCP_BROADCAST},
        /* renews */
        {NULL, NULL, "192.168.7.20", DHCP_ACK, DHCP_TO_CIADDR},
        {NULL, NULL, "192.168.7.21", DHCP_NAK, DHCP_BROADCAST},
        /* asks for nothing */
        {NULL, NULL, NULL, DHCP_NAK, DHCP_BROADCAST},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct dhcp_request r;
        struct answer a;
        struct message m;

        begin_type(&m, DHCP_REQUEST);
        if (cases[i].server)
            add_ip(&m, 54, cases[i].server);
        if (cases[i].requested)
            add_ip(&m, 50, cases[i].requested);
        if (cases[i].ciaddr)
            inet_pton(AF_INET, cases[i].ciaddr, m.bytes + 12);
        if (cases[i].answer) {
            answered_as(&m, &plain, cases[i].answer, cases[i].way, &a);
            assert_memory_equal(a.bytes + 16,
                                cases[i].answer == DHCP_ACK ? (const void *)&plain.ip : "\0\0\0\0",
                                4);
        } else {
            parsed(&m, &r);
            assert_false(answered(&r, &plain, &a));
        }
    }
}

static void test_no_answer(void **state)
{
    static const enum dhcp_type types[] = {DHCP_OFFER, DHCP_DECLINE, DHCP_ACK, DHCP_NAK,
                                           DHCP_RELEASE};

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct dhcp_request r;
        struct answer a;
        struct message m;

        begin_type(&m, types[i]);
        add_ip(&m, 54, "192.168.7.2");
        add_ip(&m, 50, "192.168.7.20");
        parsed(&m, &r);
        assert_false(answered(&r, &plain, &a));
    }
}

/* A refusal carries nothing of the lease: that address is not the client's. */
static void test_refusal(void **state)
{
    static const uint8_t absent[] = {1, 3, 6, 12, 26, 51, 58, 59, 121};
    struct answer a;
    struct message m;

    begin_type(&m, DHCP_REQUEST);
    add_ip(&m, 50, "10.9.8.7");
    add(&m, 61, "\1abcdef", 7);
    answered_as(&m, &plain, DHCP_NAK, DHCP_BROADCAST, &a);
    expect(&a, 54, &plain.server, 4);
    expect(&a, 61, "\1abcdef", 7);
    for (size_t i = 0; i < sizeof(absent); i++)
        expect_none(&a, absent[i]);
    assert_memory_equal(a.bytes + 12, "\0\0\0\0\0\0\0\0", 8);
    assert_memory_equal(a.bytes + 10, "\0\0", 2);
    /* A relay must broadcast it (RFC 2131 4.3.2): the client has no address to send it to. */
    memcpy(m.bytes + 24, (uint8_t[]){10, 0, 0, 9}, 4);
    answered_as(&m, &plain, DHCP_NAK, DHCP_TO_RELAY, &a);
    assert_memory_equal(a.bytes + 10, "\x80\0", 2);
    assert_memory_equal(a.bytes + 24, "\x0a\0\0\x09", 4);
}

static void test_inform(void **state)
{
    struct answer a;
    struct message m;

    begin_type(&m, DHCP_INFORM);
    memcpy(m.bytes + 12, (uint8_t[]){192, 168, 7, 20}, 4);
    answered_as(&m, &plain, DHCP_ACK, DHCP_TO_CIADDR, &a);
    assert_memory_equal(a.bytes + 12, &plain.ip, 4);
    assert_memory_equal(a.bytes + 16, "\0\0\0\0", 4);
    expect(&a, 6, plain.dns, 8);
    expect_none(&a, 51);
    expect_none(&a, 58);
    expect_none(&a, 59);
}

static void test_ways(void **state)
{
    struct answer a;
    struct message m;

    begin_type(&m, DHCP_DISCOVER);
    answered_as(&m, &plain, DHCP_OFFER, DHCP_TO_YIADDR, &a);
    m.bytes[10] = 0x7f; /* all flags but the one */
    m.bytes[11] = 0xff;
    answered_as(&m, &plain, DHCP_OFFER, DHCP_TO_YIADDR, &a);
    m.bytes[10] = 0x80;
    m.bytes[11] = 0;
    answered_as(&m, &plain, DHCP_OFFER, DHCP_BROADCAST, &a);
    assert_memory_equal(a.bytes + 10, "\x80\0", 2);
    memcpy(m.bytes + 24, (uint8_t[]){10, 0, 0, 9}, 4);
    answered_as(&m, &plain, DHCP_OFFER, DHCP_TO_RELAY, &a);
    assert_memory_equal(a.bytes + 24, "\x0a\0\0\x09", 4);
}

static void test_lease_times(void **state)
{
    static const uint32_t seconds[] = {0,  1,     2,          7,          8,         9,
                                       60, 86400, 0x7fffffff, 0xfffffffe, 0xffffffff};

    for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
        struct dhcp_lease lease = plain;
        struct answer a;
        struct message m;

        lease.seconds = seconds[i];
        begin_type(&m, DHCP_DISCOVER);
        answered_as(&m, &lease, DHCP_OFFER, DHCP_TO_YIADDR, &a);
        assert_int_equal(number(&a, 51), seconds[i]);
        assert_true(number(&a, 58) <= number(&a, 59)); /* first renew, then rebind, then end */
        assert_true(number(&a, 59) <= seconds[i]);
        assert_true(number(&a, 59) >= seconds[i] / 2);
    }
}

/* ---- routes ---- */

static void expect_routes(const struct dhcp_lease *lease, const void *data, size_t size)
{
    struct answer a;
    struct message m;

    begin_type(&m, DHCP_DISCOVER);
    answered_as(&m, lease, DHCP_OFFER, DHCP_TO_YIADDR, &a);
    if (size > 0)
        expect(&a, 121, data, size);
    else
        expect_none(&a, 121);
}

/* The table of RFC 3442, each destination by itself and then all in one option. */
static void test_routes(void **state)
{
    static const struct {
        struct dhcp_route route;
        uint8_t bytes[9];
        size_t size;
    } rows[] = {
        {{IP(0, 0, 0, 0), 0, IP(10, 0, 0, 1)}, {0, 10, 0, 0, 1}, 5},
        {{IP(10, 0, 0, 0), 8, IP(10, 0, 0, 1)}, {8, 10, 10, 0, 0, 1}, 6},
        {{IP(10, 0, 0, 0), 24, IP(10, 0, 0, 1)}, {24, 10, 0, 0, 10, 0, 0, 1}, 8},
        {{IP(10, 17, 0, 0), 16, IP(10, 0, 0, 1)}, {16, 10, 17, 10, 0, 0, 1}, 7},
        {{IP(10, 27, 129, 0), 24, IP(10, 0, 0, 1)}, {24, 10, 27, 129, 10, 0, 0, 1}, 8},
        {{IP(10, 229, 0, 128), 25, IP(10, 0, 0, 1)}, {25, 10, 229, 0, 128, 10, 0, 0, 1}, 9},
        {{IP(10, 198, 122, 47), 32, IP(10, 0, 0, 1)}, {32, 10, 198, 122, 47, 10, 0, 0, 1}, 9},
        {{IP(240, 0, 0, 0), 4, IP(0, 0, 0, 0)}, {4, 240, 0, 0, 0, 0}, 6},
    };
    struct dhcp_lease all = plain, one = plain;
    uint8_t bytes[256];
    size_t size = 0;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        one.routes[0] = rows[i].route;
        one.route_count = 1;
        expect_routes(&one, rows[i].bytes, rows[i].size);
        all.routes[all.route_count++] = rows[i].route;
        memcpy(bytes + size, rows[i].bytes, rows[i].size);
        size += rows[i].size;
        expect_routes(&all, bytes, size);
    }
}

static void test_routes_wrong(void **state)
{
    struct dhcp_lease lease = plain;

    lease.route_count = 2;
    lease.routes[0] = (struct dhcp_route){IP(10, 0, 0, 0), 33, IP(10, 0, 0, 1)};
    lease.routes[1] = (struct dhcp_route){IP(10, 0, 0, 0), 255, IP(10, 0, 0, 1)};
    expect_routes(&lease, NULL, 0); /* there are no such prefixes */
    lease.routes[1].prefix = 8;
    expect_routes(&lease, "\x08\x0a\x0a\0\0\1", 6);
    /* The kernel of a guest refuses a destination with bits behind its prefix. */
    lease.routes[0] = (struct dhcp_route){IP(10, 1, 255, 255), 12, IP(10, 0, 0, 1)};
    lease.routes[1] = (struct dhcp_route){IP(10, 1, 2, 255), 31, IP(10, 0, 0, 1)};
    expect_routes(&lease, "\x0c\x0a\0\x0a\0\0\1\x1f\x0a\1\2\xfe\x0a\0\0\1", 16);
}

/* ---- sizes ---- */

static struct dhcp_lease largest(void)
{
    struct dhcp_lease lease = plain;

    lease.route_count = DHCP_ROUTES_MAX;
    for (size_t i = 0; i < DHCP_ROUTES_MAX; i++)
        lease.routes[i] = (struct dhcp_route){IP(10, 1, 2, 3), 32, IP(10, 0, 0, 1)};
    lease.dns_count = DHCP_DNS_MAX;
    memset(lease.dns, 9, sizeof(lease.dns));
    memset(lease.name, 'n', sizeof(lease.name)); /* not even a zero at its end */
    return lease;
}

/* However little a client takes, it gets a whole message with what it cannot do without. */
static void test_every_size(void **state)
{
    struct dhcp_lease lease = largest();
    struct dhcp_request r;
    struct message m;
    size_t full = 0;

    begin_type(&m, DHCP_DISCOVER);
    add(&m, 61, m.bytes, 200);
    parsed(&m, &r);
    for (unsigned size = 0; size <= UINT16_MAX; size += size < 1600 ? 1 : 997) {
        size_t limit = size > 576 ? size - 28 : 548;
        struct answer a;

        r.size_max = (uint16_t)size;
        assert_true(answered(&r, &lease, &a));
        assert_true(a.size <= limit);
        assert_true(a.size >= full); /* who takes more gets no less */
        full = a.size;
        expect(&a, 54, &lease.server, 4);
        expect(&a, 1, &lease.mask, 4);
        expect(&a, 61, m.bytes, 200);
        assert_int_equal(number(&a, 51), lease.seconds);
    }
    /* fixed, type, server, id, three times, mask, routes, router, dns, mtu, name, end */
    assert_int_equal(full, FIXED_SIZE + 3 + 6 + 202 + 18 + 6 + 218 + 6 + 18 + 4 + 66 + 1);
}

static void test_counts_too_large(void **state)
{
    struct dhcp_lease lease = largest();
    struct dhcp_request r;
    struct message m;
    struct answer a, b;

    begin_type(&m, DHCP_DISCOVER);
    add(&m, 57, (uint8_t[]){0xff, 0xff}, 2);
    parsed(&m, &r);
    assert_true(answered(&r, &lease, &a));
    lease.route_count = DHCP_ROUTES_MAX + 1;
    lease.dns_count = DHCP_DNS_MAX + 1;
    assert_true(answered(&r, &lease, &b)); /* what is behind the arrays is never read */
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.bytes, b.bytes, a.size);
}

/* ---- anything ---- */

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Half-broken messages of all sizes; what is taken can be answered. The seed is fixed. */
static void test_garbage(void **state)
{
    struct dhcp_lease lease = largest();
    uint32_t seed = 20261122;
    unsigned taken = 0, given = 0;

    for (unsigned round = 0; round < 20000; round++) {
        struct dhcp_request r;
        struct answer a;
        struct message m;
        size_t changes;

        begin_type(&m, (enum dhcp_type)(1 + round % 8));
        while (m.size < FIXED_SIZE + round % 400) {
            static const uint8_t codes[] = {0, 50, 52, 54, 57, 61, 255};
            size_t room = sizeof(m.bytes) - m.size;
            size_t size = next_random(&seed) % 20;

            if (room < 32)
                break;
            m.bytes[m.size] = codes[next_random(&seed) % sizeof(codes)];
            m.bytes[m.size + 1] = (uint8_t)size;
            for (size_t i = 0; i < size; i++)
                m.bytes[m.size + 2 + i] = (uint8_t)next_random(&seed);
            m.size += 2 + size;
        }
        for (changes = next_random(&seed) % 4; changes > 0; changes--)
            m.bytes[next_random(&seed) % m.size] = (uint8_t)next_random(&seed);
        if (next_random(&seed) % 4 == 0)
            m.size = next_random(&seed) % m.size;
        if (parse(&m, &r) < 0)
            continue;
        taken++;
        assert_true(r.type >= DHCP_DISCOVER && r.type <= DHCP_INFORM);
        assert_true(r.client_id_size <= sizeof(r.client_id));
        given += answered(&r, &lease, &a);
    }
    assert_true(taken > 1000 && taken < 19000); /* both ways were walked */
    assert_true(given > 500 && given < taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_discover),
        cmocka_unit_test(test_request_and_release),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_fixed_part),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_option_lengths),
        cmocka_unit_test(test_unknown_options_and_ids),
        cmocka_unit_test(test_overload),
        cmocka_unit_test(test_overload_full_fields),
        cmocka_unit_test(test_overload_wrong),
        cmocka_unit_test(test_offer),
        cmocka_unit_test(test_what_a_lease_lacks),
        cmocka_unit_test(test_states_of_a_client),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_refusal),
        cmocka_unit_test(test_inform),
        cmocka_unit_test(test_ways),
        cmocka_unit_test(test_lease_times),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_routes_wrong),
        cmocka_unit_test(test_every_size),
        cmocka_unit_test(test_counts_too_large),
        cmocka_unit_test(test_garbage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
