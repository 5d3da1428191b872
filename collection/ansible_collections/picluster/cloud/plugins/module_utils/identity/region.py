# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A node's time zone and locale."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.identity.rules import suggestion
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node
    from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import Packages

ZONES = "/usr/share/zoneinfo"
LOCALTIME = "/etc/localtime"
TIMEZONE = "/etc/timezone"
# Debian up to 12 and PAM read the first, systemd elsewhere the second; on Debian 13 the first is a link to the second.
LOCALE_FILES = ("/etc/default/locale", "/etc/locale.conf")
LOCALE_GEN = "/etc/locale.gen"
SUPPORTED = "/usr/share/i18n/SUPPORTED"
# Part of glibc itself.
_BUILT_IN = {"C", "POSIX", "C.utf8"}
# What would override LANG in every program.
_OURS = ("LANG=", "LANGUAGE=", "LC_ALL=")


def canonical(locale: str) -> str:
    """Return a locale's name as `locale -a` spells it: de_DE.UTF-8 is de_DE.utf8 there."""
    language, dot, rest = locale.partition(".")
    codeset, at, modifier = rest.partition("@")
    return language + dot + codeset.lower().replace("-", "") + at + modifier


def locale_text(text: str, locale: str) -> str:
    """Return the text of a locale file with this LANG; its single categories (LC_TIME, say) stay."""
    lines = text.splitlines()
    mine = [number for number, line in enumerate(lines) if line.removeprefix("export ").startswith(_OURS)]
    place = mine[0] if mine else len(lines)
    kept = [line for number, line in enumerate(lines) if number not in mine]
    return "\n".join([*kept[:place], f"LANG={locale}", *kept[place:]]) + "\n"


def charset_of(locale: str, supported: str) -> str:
    """Return the entry of locale.gen, `name charset`, for a locale; raise UserError if SUPPORTED's text has none."""
    entries = {line.split()[0]: line.strip() for line in supported.splitlines() if line.strip()}
    by_name = {canonical(name): entry for name, entry in entries.items()}
    found = by_name.get(canonical(locale))
    if found is None:
        raise UserError(
            f"locale is unknown: this node has no {locale}; expected one of {SUPPORTED}{suggestion(locale, entries)}"
        )
    return found


def locale_gen_text(text: str, entry: str) -> str:
    """Return the text of locale.gen with an entry enabled."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.lstrip("# \t").split() == entry.split():
            lines[number] = entry
            return "\n".join(lines) + "\n"
    return "\n".join([*lines, entry]) + "\n"


class Region:
    """The node's time zone and locale."""

    def __init__(self, node: Node, packages: Packages) -> None:
        self._node = node
        self._packages = packages

    def set_timezone(self, zone: str) -> None:
        """Set the time zone; raise UserError if the node knows no such zone."""
        target = f"{ZONES}/{zone}"
        link = self._node.path(LOCALTIME)
        # Without a change nothing is read but the link.
        before = link.readlink() if link.is_symlink() else ""
        if os.path.normpath(Path("/etc") / before) != target:
            self._require_zone(zone)
            self._node.files.link(LOCALTIME, target)
        # Debian 13 no longer has this file.
        if self._node.path(TIMEZONE).exists():
            self._node.files.put(TIMEZONE, f"{zone}\n")

    def _require_zone(self, zone: str) -> None:
        zones = self._node.path(ZONES)
        if not (zones / "UTC").exists():
            self._packages.install(["tzdata"])
        if zones.is_dir() and not (zones / zone).is_file():
            names = [str(path.relative_to(zones)) for path in zones.rglob("*") if path.is_file()]
            raise UserError(
                f"timezone is unknown: this node has no {zone}; expected a name below {ZONES}{suggestion(zone, names)}"
            )

    def set_locale(self, locale: str) -> None:
        """Set the locale, and generate it if necessary; raise UserError if it cannot be generated."""
        if canonical(locale) not in _BUILT_IN and not self._has(locale):
            self._generate(locale)
        found = {self._resolve(path) for path in LOCALE_FILES if os.path.lexists(self._node.path(path))}
        for path in sorted(found) or LOCALE_FILES[:1]:
            self._node.files.put(path, locale_text(self._node.files.read(path) or "", locale))

    def _resolve(self, path: str) -> str:
        """Return what a link leads to, which is written in its place, so that the link stays one."""
        return f"/{self._node.path(path).resolve().relative_to(self._node.root.resolve())}"

    def _has(self, locale: str) -> bool:
        return canonical(locale) in map(canonical, self._node.run("locale", "-a").out.split())

    def _generate(self, locale: str) -> None:
        files = self._node.files
        if files.read(SUPPORTED) is None:
            self._packages.install(["locales"])
            if self._node.check_mode:
                return
        entry = charset_of(locale, files.read(SUPPORTED) or "")
        if not files.put(LOCALE_GEN, locale_gen_text(files.read(LOCALE_GEN) or "", entry)):
            # Listed and not generated: a run was killed between the two.
            self._node.note("locales", "", locale)
        if self._node.check_mode:
            return
        outcome = self._node.run("locale-gen", "--keep-existing")
        if not outcome.ok or not self._has(locale):
            words = " ".join(outcome.reason.split()[-30:])
            raise UserError(f"locale cannot be generated: {locale}; locale-gen reports: {words}")
