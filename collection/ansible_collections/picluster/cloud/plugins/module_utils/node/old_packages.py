# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Debian packages where ansible.builtin.apt cannot help: a release may lack a package."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

_QUERY = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n"]
# DPkg::Lock::Timeout covers dpkg's own locks, not those on the lists and on the archives.
_LOCKED = re.compile(
    r"Could not get lock ([^\s,]*[^\s,.])"
    r"|Unable to (?:acquire|lock) the (?:dpkg frontend lock|administration directory) \((\S+)\)"
)
_HOLDER = re.compile(r"held by process (\d+)(?: \(([^)]+)\))?")
_POLL_SECONDS = 2.0
_INTERRUPTED = "dpkg was interrupted"
_CLOUD_RUN = "/run/cloud-init"
_CLOUD_INIT = "/usr/bin/cloud-init"


def parse_installed(output: str) -> set[str]:
    """Return the names that dpkg-query reports as installed."""
    return {line.split()[0] for line in output.splitlines() if line.endswith(" installed")}


def parse_candidates(output: str) -> set[str]:
    """Return the names for which `apt-cache policy` knows a version that could be installed."""
    known: set[str] = set()
    name = ""
    for line in output.splitlines():
        if not line.startswith(" "):
            name = line.rstrip().rstrip(":")
        elif line.strip().startswith("Candidate:") and not line.strip().endswith("(none)"):
            known.add(name)
    return known


class LockedError(ValueError):
    """Another program holds a lock of apt's; the message says which program and which lock."""


def busy(said: str) -> str:
    """Return who holds which lock, from what apt-get said; empty if no lock is what it failed of."""
    failed = _LOCKED.search("\n".join(line for line in said.splitlines() if line.startswith("E:")))
    if not failed:
        return ""
    holder = _HOLDER.search(said)
    who = "another program" if not holder else f"process {holder[1]}" + (f" ({holder[2]})" if holder[2] else "")
    return f"{who} holds {failed[1] or failed[2]}"


class Apt:
    """The node's packages."""

    def __init__(self, module: AnsibleModule, lock_timeout: int) -> None:
        self._module = module
        self._timeout = lock_timeout

    def installed(self, names: list[str]) -> list[str]:
        """Return those of `names` that are installed, in order."""
        # dpkg-query ends with 1 when it does not know one of the names, and still tells about the others.
        _rc, out, _err = self._module.run_command([*_QUERY, *names])
        found = parse_installed(out)
        return [name for name in names if name in found]

    def missing(self, names: list[str]) -> list[str]:
        """Return those of `names` that are not installed, in order."""
        found = self.installed(names)
        return [name for name in names if name not in found]

    def only_dependencies(self, names: list[str]) -> list[str]:
        """Return those of `names` that are installed only because another package needs them."""
        _rc, out, _err = self._module.run_command(["apt-mark", "showauto", *names])
        found = set(out.split())
        return [name for name in self.installed(names) if name in found]

    def _known(self, names: list[str]) -> list[str]:
        _rc, out, _err = self._module.run_command(["apt-cache", "policy", *names], environ_update={"LC_ALL": "C"})
        found = parse_candidates(out)
        return [name for name in names if name in found]

    def install(self, names: list[str], optional: set[str]) -> list[str]:
        """Install `names` without what they only recommend; return what was installed.

        Args:
            names: packages that are not installed.
            optional: those of them that a release may not have.

        Raises:
            ValueError: apt refuses; the message has its own words.
        """
        self._wait_for_first_boot()
        fresh = False
        if any(name not in optional for name in names if name not in self._known(names)):
            # A stock card has no package lists at all.
            self._get("update")
            fresh = True
        wanted = [name for name in names if name not in optional or name in self._known(names)]
        if not wanted:
            return []
        try:
            self._get("install", "--no-install-recommends", *wanted)
        except ValueError as error:
            if fresh or isinstance(error, LockedError):
                raise
            # Old lists name versions that the mirror has replaced since.
            self._get("update")
            self._get("install", "--no-install-recommends", *wanted)
        return wanted

    def remove(self, names: list[str]) -> None:
        """Remove `names`; their data and the configuration that users changed stay."""
        self._get("remove", *names)

    def _get(self, *arguments: str) -> None:
        command = ["apt-get", "--assume-yes", "--quiet", "--option", f"DPkg::Lock::Timeout={self._timeout}"]
        for option in ("confdef", "confold"):
            command += ["--option", f"Dpkg::Options::=--force-{option}"]
        said = self._run_unlocked([*command, *arguments])
        if _INTERRUPTED in said:
            # The node lost its power, or an earlier run was killed, while dpkg was at work.
            self._run(["dpkg", "--configure", "-a", "--force-confdef", "--force-confold"])
            said = self._run_unlocked([*command, *arguments])
        if holder := busy(said):
            raise LockedError(
                f"{holder} longer than {self._timeout} s, so that apt-get {' '.join(arguments)} cannot run; see what "
                "it is doing ('systemctl status apt-daily-upgrade' if it is the nightly update) and run again"
            )
        if said:
            lines = [line for line in said.splitlines() if line.startswith("E:")] or said.splitlines()[-3:]
            raise ValueError(f"apt-get {' '.join(arguments)} failed: {' '.join(lines)}")

    def _run(self, command: list[str]) -> str:
        """Run a command; return what it complained of, or nothing if it succeeded."""
        rc, out, err = self._module.run_command(
            command, environ_update={"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
        )
        if rc == 0:
            return ""
        # Whom it waited for, it said only where it told its progress.
        waited = [line for line in out.splitlines() if _HOLDER.search(line)][-1:] if _LOCKED.search(err) else []
        return "\n".join([(err or out).strip(), *waited]).strip() or f"{command[0]} ended with {rc}"

    def _run_unlocked(self, command: list[str]) -> str:
        """Run a command of apt, again and again while another program holds a lock, until the time is over."""
        deadline = time.monotonic() + self._timeout
        while busy(said := self._run(command)) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return said

    def _wait_for_first_boot(self) -> None:
        """Let cloud-init finish, whose first boot may itself be installing packages."""
        # No time to wait is none at all: to timeout(1), 0 seconds mean for ever.
        if self._timeout and Path(_CLOUD_RUN).is_dir() and Path(_CLOUD_INIT).exists():
            # Its exit code tells how cloud-init fared, which is not the question here. One that hangs (it waits for a
            # network, say) must not hang the run: after as long as for a lock, apt's own locks have the word.
            self._module.run_command(["timeout", str(self._timeout), "cloud-init", "status", "--wait"])
