#!/usr/bin/env python3
"""Write the tables of settings in the README of each role and in docs/inventory.md.

A table stands between two comments; the first one names its settings, a name or a pattern each:

    <!-- settings: docker_* -->
    <!-- end of settings -->

The text is stated once, in the roles: descriptions and choices in `meta/argument_specs.yml`, defaults in
`defaults/main.yml`, bounds in `BOUNDS` of `plugins/module_utils/<role>/checks.py`.
"""

from __future__ import annotations

import argparse
import fnmatch
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory import subjects

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[1]
ROLES = ROOT / "collection/ansible_collections/picluster/cloud/roles"
PAGES = (*sorted(ROLES.glob("*/README.md")), ROOT / "docs/inventory.md")
HEADER = "| variable | default | description |\n|---|---|---|\n"
BEGIN = "<!-- settings:"
TABLE = re.compile(rf"(?P<begin>{BEGIN}(?P<names>[^>]*)-->\n).*?(?P<end><!-- end of settings -->)", re.DOTALL)
# Ansible's markup of a value, an option and code: https://docs.ansible.com/ansible/latest/dev_guide/ansible_markup.html
MARKUP = re.compile(r"\b[VOC]\(([^)]*)\)")
NOT_SET = object()


class PageError(Exception):
    """A page whose comments do not describe a table."""


def read_rows() -> dict[str, str]:
    """Return the row of each setting by its name; a key of a mapping follows it, as `hadoop_memory.map`."""
    specs = subjects.read_specs()
    texts = {name: getattr(bounds, "text", "") for name, bounds in subjects.declared("BOUNDS", specs).items()}
    rows = {}
    for role, entries in specs.items():
        defaults = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text(encoding="utf-8"))
        for options in entries.values():
            for name, option, default in flatten(options, defaults):
                rows[name] = render_row(name, option, default, texts.get(name, ""))
    return rows


def flatten(
    options: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Mapping[str, Any], object]]:
    """Yield name, specification and default of each setting and of each key of a mapping."""
    for name, option in options.items():
        default = defaults.get(name, NOT_SET)
        yield prefix + name, option, default
        yield from flatten(
            option.get("options") or {}, default if isinstance(default, dict) else {}, f"{prefix}{name}."
        )


def render_row(name: str, option: Mapping[str, Any], default: object, bounds: str = "") -> str:
    """Return the row of one setting."""
    given = option["description"]
    sentences = [given] if isinstance(given, str) else list(given)
    if "choices" in option:
        sentences.append(f"Choices: {', '.join(f'V({choice})' for choice in option['choices'])}.")
    if bounds:
        sentences.append(f"Range: {bounds}.")
    description = MARKUP.sub(r"`\1`", " ".join(sentences))
    return f"| `{name}` | {escape(render_default(option, default))} | {escape(description)} |"


def render_default(option: Mapping[str, Any], default: object) -> str:
    """Return a default as YAML; a template is explained by the description."""
    if default is NOT_SET:
        return "required" if option.get("required") else ""
    # A scalar is followed by a line with the end of the document.
    text = yaml.safe_dump(default, default_flow_style=True, sort_keys=False, width=sys.maxsize).splitlines()[0]
    return "see description" if "{{" in text else f"`{text}`"


def escape(cell: str) -> str:
    """Return the text of a cell; a vertical bar would end it, also in code."""
    return cell.replace("|", "\\|")


def write_tables(text: str, rows: Mapping[str, str]) -> str:
    """Return a page with its tables; raise PageError if its comments do not describe any."""

    def table(found: re.Match[str]) -> str:
        patterns = found["names"].split()
        matches = {pattern: fnmatch.filter(rows, pattern) for pattern in patterns}
        if unknown := [pattern for pattern, names in matches.items() if not names]:
            raise PageError(f"{unknown[0]} is not a setting; correct its name")
        lines = "".join(f"{rows[name]}\n" for names in matches.values() for name in names)
        return f"{found['begin']}\n{HEADER}{lines}\n{found['end']}"

    written, count = TABLE.subn(table, text)
    if count == 0 or count != text.count(BEGIN):
        raise PageError(
            "a table of settings is incomplete; expected <!-- settings: NAMES --> and <!-- end of settings -->"
        )
    return written


def find_outdated() -> dict[Path, str]:
    """Return the new text of each page whose tables differ from the roles."""
    rows = read_rows()
    found = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        try:
            written = write_tables(text, rows)
        except PageError as error:
            raise PageError(f"{page.relative_to(ROOT)}: {error}") from error
        if written != text:
            found[page] = written
    return found


def main() -> int:
    """Write or check the tables and return the exit code."""
    parser = argparse.ArgumentParser(description="Write the tables of settings in the documentation.")
    parser.add_argument("--check", action="store_true", help="change nothing, and fail if a table is out of date")
    check = parser.parse_args().check
    try:
        outdated = find_outdated()
    except PageError as error:
        parser.exit(2, f"{error}\n")
    for page, text in outdated.items():
        if check:
            sys.stderr.write(f"{page.relative_to(ROOT)}: a table of settings is out of date; run make docs\n")
        else:
            page.write_text(text, encoding="utf-8")
    return 1 if check and outdated else 0


if __name__ == "__main__":
    sys.exit(main())
