#include "store/etcd.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* -1: not in the alphabet. */
static int six_bits(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

void etcd_put_base64(struct buf *b, const char *name, const void *bytes, size_t size)
{
    const unsigned char *in = bytes;
    char four[4];

    buf_printf(b, "\"%s\":\"", name);
    for (size_t i = 0; i < size; i += 3) {
        unsigned one = in[i], two = i + 1 < size ? in[i + 1] : 0u,
                 three = i + 2 < size ? in[i + 2] : 0u;
        unsigned word = one << 16 | two << 8 | three;

        four[0] = alphabet[word >> 18 & 63];
        four[1] = alphabet[word >> 12 & 63];
        four[2] = i + 1 < size ? alphabet[word >> 6 & 63] : '=';
        four[3] = i + 2 < size ? alphabet[word & 63] : '=';
        buf_add(b, four, 4);
    }
    buf_str(b, "\"");
}

void etcd_put_key(struct buf *b, const char *name, const char *key)
{
    etcd_put_base64(b, name, key, strlen(key));
}

char *etcd_base64_decode(const char *text, size_t *ret_size)
{
    size_t len = strlen(text), out_len = 0;
    unsigned word = 0;
    char *out;
    int bits = 0;

    while (len > 0 && text[len - 1] == '=')
        len--;
    out = malloc(len / 4 * 3 + 4);
    if (!out)
        return NULL;
    for (size_t i = 0; i < len; i++) {
        int six = six_bits(text[i]);

        if (six < 0) {
            free(out);
            return NULL;
        }
        word = word << 6 | (unsigned)six;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[out_len++] = (char)(word >> bits & 0xff);
        }
    }
    out[out_len] = '\0';
    if (ret_size)
        *ret_size = out_len;
    return out;
}

int64_t etcd_int(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    if (json_is_integer(value))
        return json_integer_value(value);
    return json_is_string(value) ? strtoll(json_string_value(value), NULL, 10) : 0;
}

const char *etcd_row_key(char key[ETCD_KEY_SIZE], const char *table, const char *id)
{
    struct buf b;

    buf_init(&b, ETCD_KEY_SIZE - 1);
    if (strcmp(table, STORE_LEASE_TABLE) == 0)
        buf_printf(&b, "%s%s", ETCD_LEASE_PREFIX, id);
    else
        buf_printf(&b, "%s%s/%s", ETCD_ROW_PREFIX, table, id);
    strcpy(key, buf_text(&b));
    buf_free(&b);
    return key;
}

/* Splits a key that etcd_row_key made into table and id (new strings). Returns false for others. */
static bool split_key(const char *key, size_t size, char **ret_table, char **ret_id)
{
    const char *table = STORE_LEASE_TABLE, *slash = table + strlen(table), *id;
    char again[ETCD_KEY_SIZE];

    if (strncmp(key, ETCD_LEASE_PREFIX, strlen(ETCD_LEASE_PREFIX)) == 0) {
        id = key + strlen(ETCD_LEASE_PREFIX);
    } else if (strncmp(key, ETCD_ROW_PREFIX, strlen(ETCD_ROW_PREFIX)) == 0) {
        table = key + strlen(ETCD_ROW_PREFIX);
        slash = strchr(table, '/');
        if (!slash)
            return false;
        id = slash + 1;
    } else {
        return false;
    }
    *ret_table = strndup(table, (size_t)(slash - table));
    *ret_id = strdup(id);
    if (!*ret_table || !*ret_id)
        abort();
    if (strlen(key) == size && store_name_ok(*ret_table) && store_name_ok(*ret_id) &&
        strcmp(etcd_row_key(again, *ret_table, *ret_id), key) == 0)
        return true;
    free(*ret_table);
    free(*ret_id);
    return false;
}

static json_t *value_of(const json_t *kv)
{
    size_t size = 0;
    char *text = etcd_base64_decode(json_str(kv, "value", ""), &size);
    json_t *row = text ? json_parse(text, size, NULL, 0) : NULL;

    if (row && !json_is_object(row)) {
        json_decref(row);
        row = NULL;
    }
    free(text);
    return row;
}

static struct store_change *changes_grow(struct etcd_changes *changes)
{
    if (changes->count == changes->cap) {
        size_t cap = changes->cap ? 2 * changes->cap : 16;
        struct store_change *list = realloc(changes->list, cap * sizeof(*list));

        if (!list)
            abort();
        changes->list = list;
        changes->cap = cap;
    }
    memset(&changes->list[changes->count], 0, sizeof(changes->list[0]));
    return &changes->list[changes->count++];
}

const struct store_change *etcd_changes_add(struct etcd_changes *changes, const json_t *kv,
                                            bool deleted)
{
    size_t size;
    char *key = etcd_base64_decode(json_str(kv, "key", ""), &size), *table, *id;
    struct store_change *change = NULL;

    if (key && split_key(key, size, &table, &id)) {
        change = changes_grow(changes);
        change->table = table;
        change->id = id;
        change->row = deleted ? NULL : value_of(kv);
        change->unreadable = !deleted && !change->row;
        change->revision = etcd_int(kv, "mod_revision");
    }
    free(key);
    return change;
}

void etcd_changes_free(struct etcd_changes *changes)
{
    for (size_t i = 0; i < changes->count; i++) {
        free((char *)changes->list[i].table);
        free((char *)changes->list[i].id);
        json_decref(changes->list[i].row);
    }
    free(changes->list);
    memset(changes, 0, sizeof(*changes));
}
