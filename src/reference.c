/* Writes the reference pages docs/api/ out of the tables of resources and of routes:
 *
 *     api-reference FOLDER
 *
 * What the pages say is what the program does, because it is read from what the program reads. They
 * are written by tools/api-reference, which can also tell whether they are still true. */
#include "api/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MADE "<!-- Made by tools/api-reference out of the tables. Do not edit. -->\n\n"

static const char versions_of_compute[] =
    "Microversions from 2.1 to 2.25 are answered, each in its own form; a later one is refused "
    "with "
    "406, as Nova refuses those that it does not know. `openstack` asks for 2.1 unless it is told "
    "otherwise, and the SDK for the highest one that both sides know, so every call of the list "
    "below is made by them as it stands. It ends at 2.25 because each later version up to 2.37 "
    "asks for something that is not there, and a version can only be offered as a whole: 2.26 "
    "tags of servers, 2.32 tags of devices that the guest is told of, 2.37 networks that are made "
    "when a server is (`auto`, and `networks` becomes required). So not offered are the forms of "
    "2.47 (flavor within the server), 2.53 (UUIDs of hypervisors and services), 2.55 and 2.61 "
    "(description and extra specs within the flavor: they are read at "
    "`flavors/{id}/os-extra_specs`), 2.64 (`policy` of a server group), 2.73 (reason of a lock), "
    "2.75 (unknown arguments are refused) and 2.79 and later (volumes). What a version changes of "
    "a field stands beside it (*from 2.19 on*); before, the field is neither shown nor taken.";

static const struct page {
    const struct api_service_ops *service;
    const char *title, *reference;
    const char *conformance; /* to the versions of the service's API; NULL: it has but one */
} pages[] = {
    {&api_identity, "Identity", "https://docs.openstack.org/api-ref/identity/v3/", NULL},
    {&api_image, "Image", "https://docs.openstack.org/api-ref/image/v2/", NULL},
    {&api_compute, "Compute", "https://docs.openstack.org/api-ref/compute/", versions_of_compute},
    {&api_network, "Network", "https://docs.openstack.org/api-ref/network/v2/", NULL},
};

#define PAGES (sizeof(pages) / sizeof(pages[0]))

/* A text as a cell of a table. */
static void put_cell(FILE *out, const char *text)
{
    for (; text && *text; text++) {
        if (*text == '<' || *text == '|')
            fputc('\\', out);
        fputc(*text, out);
    }
}

/* ---- fields ---- */

static const char *type_name(enum field_type type)
{
    static const char *const names[] = {
        [FIELD_ANY] = "anything",  [FIELD_STR] = "text",           [FIELD_ID] = "id",
        [FIELD_INT] = "integer",   [FIELD_BOOL] = "true or false", [FIELD_TIME] = "time",
        [FIELD_IP] = "IP address", [FIELD_CIDR] = "IP subnet",     [FIELD_MAC] = "MAC address",
        [FIELD_LIST] = "list",     [FIELD_OBJECT] = "object"};

    return names[type];
}

static void put_length(FILE *out, const struct field *field)
{
    long long min = field->min, max = field->max ? field->max : RESOURCE_STR_MAX;

    if (min == max)
        fprintf(out, ", %lld characters", max);
    else if (min)
        fprintf(out, ", %lld to %lld characters", min, max);
    else
        fprintf(out, ", up to %lld characters", max);
}

static void put_type(FILE *out, const struct field *field)
{
    long long count = field->max ? field->max : RESOURCE_ELEMENTS_MAX;
    bool given = field->flags & (FIELD_CREATE | FIELD_UPDATE);

    fputs(type_name(field->type), out);
    if (field->choices) {
        for (size_t i = 0; field->choices[i]; i++)
            fprintf(out, "%s`%s`", i ? ", " : ": ", field->choices[i]);
    } else if (!given) {
        ; /* bounds are for what clients give */
    } else if (field->type == FIELD_STR) {
        put_length(out, field);
    } else if (field->type == FIELD_INT && field->max) {
        fprintf(out, ", %lld to %lld", (long long)field->min, (long long)field->max);
    } else if (field->type == FIELD_INT && field->min) {
        fprintf(out, ", from %lld", (long long)field->min);
    } else if (field->type == FIELD_LIST) {
        fprintf(out, ", up to %lld", count);
        if (field->of != FIELD_ANY)
            fprintf(out, ", each: %s", type_name(field->of));
    } else if (field->type == FIELD_OBJECT) {
        fprintf(out, ", up to %lld members", count);
    }
    if (field->flags & FIELD_NULL)
        fputs(", or null", out);
}

static void put_default(FILE *out, const struct field *field)
{
    if (field->fallback)
        fprintf(out, "`%s`", field->fallback);
    else if (field->flags & FIELD_NULL && field->flags & FIELD_CREATE)
        fputs("null", out);
}

/* Who gives the field a value, and when. */
static void put_access(FILE *out, const struct field *field)
{
    unsigned flags = field->flags;

    if (flags & FIELD_CREATE)
        fputs(flags & FIELD_REQUIRED ? "create (required)" : "create", out);
    if (flags & FIELD_UPDATE)
        fputs(flags & FIELD_CREATE ? ", update" : "update", out);
    if (!(flags & (FIELD_CREATE | FIELD_UPDATE)))
        fputs(flags & FIELD_NOT_STORED ? "computed" : "read only", out);
    if (field->since)
        fprintf(out, "; from 2.%d on", field->since);
    if (flags & FIELD_FORMED)
        fputs("; shown in a form of its own", out);
    if (flags & FIELD_ADMIN)
        fputs("; administrators only", out);
    if (flags & FIELD_ADMIN_SETS)
        fputs("; by administrators", out);
}

static void put_field(FILE *out, const struct field *field)
{
    fprintf(out, "| `%s` | ", field->json ? field->json : field->name);
    put_type(out, field);
    fputs(" | ", out);
    put_default(out, field);
    fputs(" | ", out);
    put_access(out, field);
    fputs((field->flags & (FIELD_INDEX | FIELD_FILTER) && !(field->flags & FIELD_FORMED)) ||
                  strcmp(field->name, "id") == 0
              ? " | filter"
              : " |",
          out);
    fputs(" | ", out);
    put_cell(out, field->doc);
    fputs(" |\n", out);
}

static void put_resource(FILE *out, const struct resource *resource)
{
    char title[64];

    fprintf(out, "## %s\n\n%s In bodies `%s`, in lists `%s`.\n\n",
            resource_title(resource, title, sizeof(title)), resource->doc, resource->singular,
            resource->plural);
    fputs("| field | type | default | given at | filter | |\n|---|---|---|---|---|---|\n", out);
    for (size_t i = 0; i < resource->field_count; i++) {
        if (!(resource->fields[i].flags & FIELD_INTERNAL))
            put_field(out, &resource->fields[i]);
    }
    if (resource->form)
        fprintf(out, "\n%s\n", resource->form);
    for (const struct quota_use *use = resource->quotas; use && use->name; use++)
        fprintf(out, "%s`%s`%s", use == resource->quotas ? "\nCounts towards the quotas " : ", ",
                use->name, use[1].name ? "" : ".\n");
    fputs("\n", out);
}

/* ---- routes ---- */

static const char *callers(const struct api_route *route)
{
    bool reads = strcmp(route->method, "GET") == 0 || strcmp(route->method, "HEAD") == 0;

    if (route->flags & API_PUBLIC)
        return "everybody, without a token";
    if (route->flags & API_ADMIN)
        return "administrators";
    return reads || route->flags & API_READER ? "readers" : "members";
}

static void put_route(FILE *out, const struct api_route *route)
{
    unsigned short statuses[API_STATUSES_MAX];
    size_t n = api_route_statuses(route, statuses);

    fprintf(out, "| %s | `%s` | %s |", route->method, route->path, callers(route));
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%s %u", i ? "," : "", statuses[i]);
    fprintf(out, " | %s |\n", route->doc ? route->doc : "");
}

/* ---- pages ---- */

static bool is_of(const struct resource *resource, const char *type)
{
    return resource->service && strcmp(resource->service, type) == 0;
}

static void put_page(FILE *out, const struct page *page)
{
    const struct api_service_ops *service = page->service;

    fprintf(out, "# %s\n" MADE, page->title);
    fprintf(
        out,
        "The service `%s` (%s) on port %u, under `%s/`. Its forms are those of <%s>; what is said "
        "here is what Vling has of it. How to read the tables: [README.md](README.md).\n\n",
        service->type, service->name, service->port, service->catalog_path, page->reference);
    if (page->conformance)
        fprintf(out, "## Versions\n\n%s\n\n", page->conformance);
    for (size_t i = 0; resource_all[i]; i++) {
        if (is_of(resource_all[i], service->type))
            put_resource(out, resource_all[i]);
    }
    fputs("## Routes\n\n| method | path | who may | success | |\n|---|---|---|---|---|\n", out);
    for (size_t i = 0; i < service->route_count; i++)
        put_route(out, &service->routes[i]);
}

static void put_error(FILE *out, const struct api_error *error)
{
    const char *between = "";
    bool all = true;

    for (size_t i = 0; i < PAGES; i++)
        all = all && api_error_known(pages[i].service->service, error->status);
    fprintf(out, "| %u | %s", error->status, all ? "all" : "");
    for (size_t i = 0; i < PAGES && !all; i++) {
        if (api_error_known(pages[i].service->service, error->status)) {
            fprintf(out, "%s%s", between, pages[i].service->type);
            between = ", ";
        }
    }
    fprintf(out, " | %s |\n", error->meaning);
}

static void put_index(FILE *out)
{
    fputs("# Reference of the API\n" MADE, out);
    for (size_t i = 0; i < PAGES; i++)
        fprintf(out, "- [%s](%s.md)\n", pages[i].title, pages[i].service->type);
    fputs("- [Rows](rows.md): all tables of the store, also those that no service offers\n\n"
          "## Fields\n"
          "A body has one object under the resource's name. *given at*: when a client may give "
          "the field; *administrators only*: shown to, set by and a filter for nobody else; *by "
          "administrators*: shown to all. Lengths are counted "
          "in characters. Times are ISO 8601 in UTC. Integers and truth values may also be texts "
          "(`\"5\"`, `\"true\"`).\n\n"
          "Lists take the fields marked *filter* as arguments (one given twice: either), those of "
          "the network service all that they show that is neither a list nor an object; and "
          "`limit`, `marker`, `sort_key`, `sort_dir` in the manner of the service; they give at "
          "most ",
          out);
    fprintf(out,
            "%d rows, those of compute and image %d; where there are more, a link leads to the "
            "next ones. ",
            API_LIST_MAX, API_PAGE_MAX);
    fputs("Rows with a `project_id` are seen and changed by that project and by administrators.\n\n"
          "## Who may\n"
          "- *readers*: everybody with a role on the token's project;\n"
          "- *members*: who has the role member or admin there;\n"
          "- *administrators*: who has the role admin.\n\n"
          "The services besides identity need a token with a project as its scope.\n\n"
          "## Statuses\n"
          "Each route answers what its row says when all is well; HEAD is offered where GET is. "
          "Otherwise, in the error form of the service:\n\n"
          "| status | service | meaning |\n|---|---|---|\n",
          out);
    for (size_t i = 0; api_errors[i].status; i++)
        put_error(out, &api_errors[i]);
    fputs(
        "\nWhat is no request reaches no service, and the HTTP server's own answer has no form of "
        "one: 400 (a header that means nothing, or a body whose end is said in two ways), 414 or "
        "431 (line, headers and arguments together more than 64 KiB, or more than 512 arguments) "
        "and 505; a line on which nothing comes for a minute is closed.\n",
        out);
}

static void put_visibility(FILE *out, const struct field *field)
{
    const char *word = field->flags & FIELD_SECRET     ? "secret"
                       : field->flags & FIELD_INTERNAL ? "internal"
                                                       : "";

    fprintf(out, "%s%s |\n", field->doc && word[0] ? "; " : "", word);
}

static void put_rows(FILE *out)
{
    fputs("# Rows\n" MADE
          "What the store holds: all tables with the names of their stored fields, as `vling "
          "backup` writes them. *internal*: no service shows it; *secret*: nothing but a backup "
          "does.\n\n",
          out);
    for (size_t i = 0; resource_all[i]; i++) {
        const struct resource *resource = resource_all[i];

        fprintf(out, "## %s\n%s%s%s%s\n\n| field | type | |\n|---|---|---|\n", resource->table,
                resource->doc, resource->service ? " Offered by the service " : "",
                resource->service ? resource->service : "", resource->service ? "." : "");
        for (size_t k = 0; k < resource->field_count; k++) {
            const struct field *field = &resource->fields[k];

            if (field->flags & FIELD_NOT_STORED)
                continue;
            fprintf(out, "| `%s` | ", field->name);
            put_type(out, field);
            fputs(" | ", out);
            put_cell(out, field->doc);
            put_visibility(out, field);
        }
        fputs("\n", out);
    }
}

/* ---- files ---- */

static FILE *begin(const char *folder, const char *name)
{
    char path[4096];
    FILE *out;

    snprintf(path, sizeof(path), "%s/%s.md", folder, name);
    out = fopen(path, "w");
    if (!out)
        fprintf(stderr, "api-reference: %s: %s\n", path, strerror(errno));
    return out;
}

static int end(FILE *out)
{
    int bad = ferror(out);

    if (fclose(out) == 0 && !bad)
        return 0;
    fprintf(stderr, "api-reference: cannot write\n");
    return 1;
}

int main(int argc, char **argv)
{
    FILE *out;
    int rc = 0;

    if (argc != 2) {
        fprintf(stderr, "usage: api-reference FOLDER\n");
        return 2;
    }
    for (size_t i = 0; i < PAGES && rc == 0; i++) {
        out = begin(argv[1], pages[i].service->type);
        if (!out)
            return 1;
        put_page(out, &pages[i]);
        rc = end(out);
    }
    if (rc || !(out = begin(argv[1], "README")))
        return 1;
    put_index(out);
    rc = end(out);
    if (rc || !(out = begin(argv[1], "rows")))
        return 1;
    put_rows(out);
    return end(out);
}
