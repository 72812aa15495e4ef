#!/bin/sh
# Does docs/adding-a-resource.md still work? Puts the lines of that page into a copy of the sources,
# builds what is needed of it, and tries the new resource (add_resource.c) and the new field of
# servers (add_field.c).
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
cd "$(dirname "$0")/../.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

cp -a meson.build meson_options.txt src tests docs tools .clang-format "$copy"
cp tests/tools/add_resource.c "$copy/tests/unit/test_api_addresses.c"
cp tests/tools/add_field.c "$copy/tests/unit/test_api_purpose.c"
changed=$(tests/tools/apply_page.py docs/adding-a-resource.md "$copy")
echo "$changed"
cd "$copy"
tools/check-rooms
# shellcheck disable=SC2086
clang-format --dry-run --Werror $(printf '%s\n' $changed | grep '\.[ch]$')

CC=gcc meson setup build --buildtype=debug -Doptimization=0 >/dev/null
ninja -C build -j2 api-reference tests/test_api_addresses \
    tests/test_api_purpose tests/test_model_tables tests/test_api_matrix
build/tests/test_model_tables
build/tests/test_api_addresses
build/tests/test_api_purpose
build/tests/test_api_matrix

if tools/api-reference --check >/dev/null 2>&1; then
    echo "the reference does not change with the tables" >&2
    exit 1
fi
tools/api-reference
for text in '^## Address group$' '`rank` | integer, 1 to 100 | `50` | create, update | filter' \
    '`addresses` | list, up to 256, each: IP subnet' 'Counts towards the quotas `address_group`' \
    'GET | `/v2.0/address-groups/{id}` | readers | 200' \
    'PUT | `/v2.0/address-groups/{id}/add_addresses` | members | 200'; do
    grep -q "$text" docs/api/network.md || { echo "not in the reference: $text" >&2 && exit 1; }
done
grep -qF '| `purpose` | text, up to 20 characters | `""` | create, update; from 2.9 on | filter |' \
    docs/api/compute.md || { echo "the server's new field is not in the reference" >&2 && exit 1; }
grep -q '^## address_group$' docs/api/rows.md
echo "the page works"
