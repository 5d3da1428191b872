# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The node's Debian packages: installed, removed, and the locks of other programs waited for."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import Bounds
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node, Outcome

# The option of every module that may wait for apt, beside the documentation fragment picluster.cloud.lock_timeout.
LOCK_TIMEOUT: dict[str, Any] = {"type": "int", "default": 600}
# A lock held for longer than a day will not be given back.
LOCK_BOUNDS = Bounds(0, 86400, "seconds")

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


class LockedError(UserError):
    """Another program holds a lock of apt's; the message says which program and which lock."""


def lock_holder(said: str) -> str:
    """Return which program holds which lock, from what apt-get said; empty if a lock is not why it failed."""
    failed = _LOCKED.search("\n".join(line for line in said.splitlines() if line.startswith("E:")))
    if not failed:
        return ""
    holder = _HOLDER.search(said)
    who = "another program" if not holder else f"process {holder[1]}" + (f" ({holder[2]})" if holder[2] else "")
    return f"{who} holds {failed[1] or failed[2]}"


class Packages:
    """The node's packages; changes are in the node's diff, and none happens in check mode."""

    def __init__(self, node: Node, lock_timeout: int) -> None:
        """Wait up to `lock_timeout` seconds for another program's lock."""
        self._node = node
        LOCK_BOUNDS.check("lock_timeout", lock_timeout)
        self._timeout = lock_timeout

    def installed(self, names: list[str]) -> list[str]:
        """Return those of `names` that are installed, in order."""
        # dpkg-query exits with 1 if it does not know one of the names, and still reports the others.
        found = parse_installed(self._node.run(*_QUERY, *names).out)
        return [name for name in names if name in found]

    def missing(self, names: list[str]) -> list[str]:
        """Return those of `names` that are not installed, in order."""
        found = self.installed(names)
        return [name for name in names if name not in found]

    def only_dependencies(self, names: list[str]) -> list[str]:
        """Return those of `names` that are installed only because another package needs them."""
        found = set(self._node.run("apt-mark", "showauto", *names).out.split())
        return [name for name in self.installed(names) if name in found]

    def install(self, names: list[str], optional: frozenset[str] = frozenset()) -> list[str]:
        """Install packages without those that they only recommend; return what was installed.

        `names` are not installed yet; a release may lack those that are `optional`. UserError has apt's own words.
        """
        if not names:
            return []
        if self._node.check_mode:
            # On a fresh card apt's lists are empty: which optional package exists is known only after fetching them.
            self._node.note("packages", "", " ".join(names))
            return names
        self._wait_for_first_boot()
        fresh = any(name not in optional for name in self._unknown(names))
        if fresh:
            # A stock card has no package lists at all.
            self._get("update")
        unknown = self._unknown(names)
        available = [name for name in names if name not in optional or name not in unknown]
        if not available:
            return []
        try:
            self._get("install", "--no-install-recommends", *available)
        except LockedError:
            raise
        except UserError:
            if fresh:
                raise
            # Old lists name versions that the mirror has replaced since.
            self._get("update")
            self._get("install", "--no-install-recommends", *available)
        self._node.note("packages", "", " ".join(available))
        return available

    def remove(self, names: list[str]) -> None:
        """Remove packages; their data and the configuration that users changed stay."""
        if not names:
            return
        self._node.note("packages", " ".join(names), "")
        if not self._node.check_mode:
            self._get("remove", *names)

    def _unknown(self, names: list[str]) -> list[str]:
        known = parse_candidates(self._node.run("apt-cache", "policy", *names).out)
        return [name for name in names if name not in known]

    def _get(self, *arguments: str) -> None:
        command = ["apt-get", "--assume-yes", "--quiet", "--option", f"DPkg::Lock::Timeout={self._timeout}"]
        for option in ("confdef", "confold"):
            command += ["--option", f"Dpkg::Options::=--force-{option}"]
        said = self._run_unlocked([*command, *arguments])
        if _INTERRUPTED in said:
            # The node lost its power, or an earlier run was killed, while dpkg was at work.
            self._run(["dpkg", "--configure", "-a", "--force-confdef", "--force-confold"])
            said = self._run_unlocked([*command, *arguments])
        if holder := lock_holder(said):
            raise LockedError(
                f"{holder} longer than {self._timeout} s, so apt-get {' '.join(arguments)} cannot run; see what it is "
                "doing ('systemctl status apt-daily-upgrade' if it is the nightly update) and run again"
            )
        if said:
            lines = [line for line in said.splitlines() if line.startswith("E:")] or said.splitlines()[-3:]
            raise UserError(f"apt-get {' '.join(arguments)} failed: {' '.join(lines)}")

    def _run(self, command: list[str]) -> str:
        """Run a command; return what it complained of, or nothing if it succeeded."""
        outcome = self._node.run(*command, env={"DEBIAN_FRONTEND": "noninteractive"})
        return "" if outcome.ok else _complaint(outcome)

    def _run_unlocked(self, command: list[str]) -> str:
        """Run a command of apt, again and again while another program holds a lock, until the time is over."""
        deadline = time.monotonic() + self._timeout
        while lock_holder(said := self._run(command)) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return said

    def _wait_for_first_boot(self) -> None:
        """Let cloud-init finish, whose first boot may itself be installing packages."""
        # To timeout(1), 0 seconds mean for ever; here they mean no wait.
        if self._timeout and self._node.path(_CLOUD_RUN).is_dir() and self._node.path(_CLOUD_INIT).exists():
            # Its exit code reports how cloud-init fared, which does not matter here. A cloud-init that hangs (waiting
            # for a network, say) must not hang the run: after the time for a lock, apt's own locks decide.
            self._node.run("cloud-init", "status", "--wait", timeout=self._timeout)


def _complaint(outcome: Outcome) -> str:
    # Which process it waited for, apt reports only among its progress.
    locked = _LOCKED.search(outcome.err)
    waited = [line for line in outcome.out.splitlines() if _HOLDER.search(line)][-1:] if locked else []
    return "\n".join([(outcome.err or outcome.out).strip(), *waited]).strip() or outcome.reason
