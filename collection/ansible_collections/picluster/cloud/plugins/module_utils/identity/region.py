# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A node's time zone and locale."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.files import read_text
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_packages import Apt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles

ZONES = "/usr/share/zoneinfo"
LOCALTIME = "/etc/localtime"
TIMEZONE = "/etc/timezone"
# Debian up to 12 and PAM read the first, systemd elsewhere the second; on Debian 13 the first leads to the second.
LOCALE_FILES = ("/etc/default/locale", "/etc/locale.conf")
LOCALE_GEN = "/etc/locale.gen"
SUPPORTED = "/usr/share/i18n/SUPPORTED"
# glibc brings these itself.
_BUILT_IN = {"C", "POSIX", "C.utf8"}
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9][A-Za-z0-9_+-]*)*")
_LOCALE = re.compile(r"(C|POSIX|[a-z]{2,3}_[A-Z]{2})(\.[A-Za-z0-9-]+)?(@[a-z]+)?")
# What would overrule LANG in every program.
_OURS = ("LANG=", "LANGUAGE=", "LC_ALL=")


def check_timezone(zone: str, known: Iterable[str] = ()) -> None:
    """Judge the name of a time zone.

    Args:
        zone: the name.
        known: the names that there are; none if that is not known.

    Raises:
        ValueError: it is no such name; the message is one sentence.
    """
    names = sorted(known)
    if not _ZONE.fullmatch(zone) or (names and zone not in names):
        raise ValueError(
            f"timezone is {zone!r}, wanted is a name of the tz database such as Europe/Berlin{_guess(zone, names)}"
        )


def check_locale(locale: str) -> None:
    """Judge the form of a locale's name.

    Raises:
        ValueError: it has not the form of one; the message is one sentence.
    """
    if not _LOCALE.fullmatch(locale):
        raise ValueError(f"locale is {locale!r}, wanted is a name such as C.UTF-8 or de_DE.UTF-8")


def _guess(name: str, names: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def canonical(locale: str) -> str:
    """Return a locale's name as `locale -a` spells it: de_DE.UTF-8 is de_DE.utf8 there."""
    language, dot, rest = locale.partition(".")
    codeset, at, modifier = rest.partition("@")
    return language + dot + codeset.lower().replace("-", "") + at + modifier


def locale_text(text: str, locale: str) -> str:
    """Return the text of a locale file with this LANG; what it says of single categories (LC_TIME, say) stays."""
    lines = text.splitlines()
    mine = [number for number, line in enumerate(lines) if line.removeprefix("export ").startswith(_OURS)]
    place = mine[0] if mine else len(lines)
    kept = [line for number, line in enumerate(lines) if number not in mine]
    return "\n".join([*kept[:place], f"LANG={locale}", *kept[place:]]) + "\n"


def charset_of(locale: str, supported: str) -> str:
    """Return the entry of locale.gen for a locale.

    Args:
        locale: its name.
        supported: the text of SUPPORTED, which has each as `name charset`.

    Raises:
        ValueError: glibc knows no such locale; the message is one sentence.
    """
    entries = {line.split()[0]: line.strip() for line in supported.splitlines() if line.strip()}
    by_name = {canonical(name): entry for name, entry in entries.items()}
    found = by_name.get(canonical(locale))
    if found is None:
        raise ValueError(f"there is no locale {locale} to be had on this node{_guess(locale, entries)}")
    return found


def locale_gen_text(text: str, entry: str) -> str:
    """Return the text of locale.gen with an entry switched on."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.lstrip("# \t").split() == entry.split():
            lines[number] = entry
            return "\n".join(lines) + "\n"
    return "\n".join([*lines, entry]) + "\n"


class Region:
    """The node's time zone and locale."""

    def __init__(self, module: AnsibleModule, files: TextFiles, lock_timeout: int) -> None:
        self._module = module
        self._files = files
        self._apt = Apt(module, lock_timeout)

    def set_timezone(self, zone: str) -> None:
        """Have a time zone.

        Raises:
            ValueError: the node knows no such zone; the message is one sentence.
            OSError: the card takes nothing.
        """
        wanted = f"{ZONES}/{zone}"
        # Without a change nothing is asked of the card but the link.
        before = str(Path(LOCALTIME).readlink()) if Path(LOCALTIME).is_symlink() else ""
        if os.path.normpath(Path("/etc") / before) != wanted:
            self._have_zone(zone)
            self._link(before, wanted)
        # Debian 13 has no such file any more.
        if Path(TIMEZONE).exists():
            self._files.put(TIMEZONE, f"{zone}\n")

    def _have_zone(self, zone: str) -> None:
        if not Path(ZONES, "UTC").exists() and not self._module.check_mode:
            self._apt.install(["tzdata"], optional=set())
        if Path(ZONES).is_dir() and not Path(ZONES, zone).is_file():
            names = [str(path.relative_to(ZONES)) for path in Path(ZONES).rglob("*") if path.is_file()]
            raise ValueError(f"there is no time zone {zone} on this node{_guess(zone, names)}")

    def _link(self, before: str, wanted: str) -> None:
        headers = {"before_header": LOCALTIME, "after_header": LOCALTIME}
        self._files.diff.append({**headers, "before": f"{before or '(a file)'}\n", "after": f"{wanted}\n"})
        if self._module.check_mode:
            return
        half = Path(f"{LOCALTIME}.picluster-new")
        half.unlink(missing_ok=True)
        half.symlink_to(wanted)
        half.replace(LOCALTIME)

    def set_locale(self, locale: str) -> None:
        """Have a locale, generated if need be.

        Raises:
            ValueError: it cannot be had; the message is one sentence.
            OSError: the card takes nothing.
        """
        if canonical(locale) not in _BUILT_IN and not self._has(locale):
            self._generate(locale)
        # A link stays one: what it leads to is written.
        there = sorted({os.path.realpath(path) for path in LOCALE_FILES if os.path.lexists(path)})
        for path in there or LOCALE_FILES[:1]:
            self._files.put(path, locale_text(read_text(path) or "", locale))

    def _has(self, locale: str) -> bool:
        _rc, out, _err = self._module.run_command(["locale", "-a"])
        return canonical(locale) in {canonical(line.strip()) for line in str(out).splitlines()}

    def _generate(self, locale: str) -> None:
        supported = read_text(SUPPORTED)
        if supported is None:
            headers = {"before_header": "packages", "after_header": "packages"}
            self._files.diff.append({**headers, "before": "", "after": "locales\n"})
            if self._module.check_mode:
                return
            self._apt.install(["locales"], optional=set())
            supported = read_text(SUPPORTED) or ""
        entry = charset_of(locale, supported)
        if not self._files.put(LOCALE_GEN, locale_gen_text(read_text(LOCALE_GEN) or "", entry)):
            # Listed and not there: a run was killed before it was generated.
            headers = {"before_header": "locales", "after_header": "locales"}
            self._files.diff.append({**headers, "before": "", "after": f"{locale}\n"})
        if self._module.check_mode:
            return
        rc, out, err = self._module.run_command(["locale-gen", "--keep-existing"])
        if rc != 0 or not self._has(locale):
            words = " ".join((err or out).split()[-30:])
            raise ValueError(f"the locale {locale} could not be generated on this node: locale-gen says {words}")
