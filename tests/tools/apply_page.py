#!/usr/bin/python3
"""Writes the code blocks of a page into the files that the page names.

    tests/tools/apply_page.py PAGE ROOT

Before each block stands where it goes: in `FILE`, at the end: | after `TEXT`: | before `TEXT`: |
instead of `TEXT`: (the line that has TEXT) | beside `TEXT`: (in that line, directly behind TEXT);
or: New file `FILE`:. TEXT must be there exactly once. Prints the files that were changed.
"""
import pathlib
import re
import sys

PLACE = re.compile(
    r"(?:\b[Ii]n `(?P<file>[^`]+)`, (?P<how>at the end|after|before|instead of|beside)"
    r"(?: `(?P<anchor>[^`]+)`)?|New file `(?P<new>[^`]+)`):$"
)


def insert(text, how, anchor, block):
    if how == "at the end":
        return text + block
    if text.count(anchor) != 1:
        raise SystemExit(f"{anchor!r} is there {text.count(anchor)} times")
    at = text.index(anchor)
    begin = text.rfind("\n", 0, at) + 1
    end = text.index("\n", at) + 1
    if how == "beside":
        at += len(anchor)
        return text[:at] + block.rstrip("\n") + text[at:]
    if how == "after":
        return text[:end] + block + text[end:]
    return text[:begin] + block + text[begin if how == "before" else end:]


def main():
    page, root = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    pieces = re.split(r"^```\w*\n(.*?)^```\n", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    changed = []
    for said, block in zip(pieces[0::2], pieces[1::2]):
        place = PLACE.search(said.rstrip("\n").rsplit("\n", 1)[-1])
        if not place:
            raise SystemExit(f"{page}: it is not said where this goes:\n{block}")
        name = place["file"] or place["new"]
        path = root / name
        if place["new"]:
            path.write_text(block, encoding="utf-8")
        else:
            text = path.read_text(encoding="utf-8")
            path.write_text(insert(text, place["how"], place["anchor"], block), encoding="utf-8")
        if name not in changed:
            changed.append(name)
    if not changed:
        raise SystemExit(f"{page}: no code")
    print("\n".join(changed))


if __name__ == "__main__":
    main()
