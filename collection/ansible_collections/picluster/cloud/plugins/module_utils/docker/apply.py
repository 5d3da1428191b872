# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The node's Docker engine: packages, configuration, users, service."""

from __future__ import annotations

import grp
import json
import pwd
import tempfile
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.docker import rules
from ansible_collections.picluster.cloud.plugins.module_utils.docker.rules import EngineMark, mode_of, secrets_in
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import describe_write_error
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import Packages

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

CONFIG = "/etc/docker/daemon.json"
UNIT = "docker.service"
SOCKET = "docker.socket"
# In /run, so it is gone after a reboot, as is the engine that had not read the file yet.
PENDING = "/run/picluster-docker-restart"
ENGINE = "docker.io"
# trixie's docker.io no longer contains the client, bookworm has no such package.
CLIENT = "docker-cli"
BUSYBOX = "busybox-static"
RUNTIME = "containerd"
# Packages of other origins that apt would remove to install Debian's engine (Conflicts, Replaces).
OTHERS = ("docker-ce", "containerd.io", "moby-engine", "podman-docker")
DOCKER = "/usr/bin/docker"
# Debian's, and that of docker-ce.
DOCKERDS = ("/usr/sbin/dockerd", "/usr/bin/dockerd")


class Engine:
    """The node's Docker engine.

    Attributes:
        restarted: Whether this call restarted it, or in check mode would.
    """

    def __init__(self, node: Node, lock_timeout: int) -> None:
        """Wait up to `lock_timeout` seconds for another program's lock."""
        self._node = node
        self._packages = Packages(node, lock_timeout)
        self.restarted = False

    def install(self, daemon: dict[str, Any], users: list[str]) -> None:
        """Install, configure and start the engine with the whole desired daemon.json, for `users` to talk to."""
        rules.check_keys(daemon)
        known = {entry.pw_name for entry in pwd.getpwall()}
        new_members = rules.missing_users(users, known, _members())
        before = self._node.files.read(CONFIG)
        text = rules.render(daemon)
        self._hide(secrets_in(before) | secrets_in(text))
        if before != text:
            self._validate(text)
        unit = self._unit()
        mark = rules.read_mark(self._node.files.read(rules.MARK)) or EngineMark(config=before)
        found = self._packages.installed([ENGINE, BUSYBOX, *OTHERS])
        foreign = self._is_foreign(unit, mark, found)
        packages = [name for name in ([BUSYBOX] if foreign else [ENGINE, BUSYBOX]) if name not in found]
        # Where the client is missing, only apt's lists can tell whether it is a package of its own.
        packages += [] if self._node.path(DOCKER).exists() else [CLIENT]
        # Before anything else: what a killed run installed must be known to be ours.
        self._node.files.put(rules.MARK, rules.joined(mark, packages, new_members).text(), 0o600)
        pending = self._node.path(PENDING)
        was_pending = pending.exists()
        reconfigured = before != text and unit["ActiveState"] == "active"
        if reconfigured and not self._node.check_mode:
            # A run that is killed between here and the restart leaves this behind, and the next run restarts.
            pending.touch()
        try:
            # Before the packages: the engine's first start already reads it.
            self._node.files.put(CONFIG, text, mode_of(text))
            self._packages.install(packages, frozenset({CLIENT}))
            for user in new_members:
                self._node.note("group docker", "", user)
                self._node.change("gpasswd", "--add", user, "docker")
            self._run_service(reread=before != text)
            if foreign:
                self._check_foreign()
        except (UserError, OSError) as error:
            if reconfigured and not self._node.check_mode:
                self._restore(before, error, was_pending=was_pending)
            raise

    def remove(self) -> None:
        """Remove what picluster installed: service, packages, configuration, group members; never data."""
        mark = rules.read_mark(self._node.files.read(rules.MARK))
        if mark is None:
            return
        now = self._node.files.read(CONFIG)
        self._hide(secrets_in(now) | secrets_in(mark.config))
        unit = self._unit()
        present = [name for name in self._packages.installed([ENGINE, CLIENT]) if name in mark.packages]
        ours = ENGINE in present
        if ours and unit["ActiveState"] != "inactive":
            self._node.units.disable(UNIT, SOCKET)
        if present:
            # The runtime came with the engine and goes with it, unless the user installed it by name.
            self._packages.remove(present + (self._packages.only_dependencies([RUNTIME]) if ours else []))
        for user in sorted(_members() & set(mark.users)):
            self._node.note("group docker", user, "")
            self._node.change("gpasswd", "--delete", user, "docker")
        self._return_config(mark.config, now, running=not ours and unit["ActiveState"] == "active")
        # Last: a run that is killed before continues the next time.
        self._node.files.remove(rules.MARK)
        if not self._node.check_mode:
            self._node.path(PENDING).unlink(missing_ok=True)

    def _unit(self) -> dict[str, str]:
        return self._node.units.show(UNIT)[UNIT]

    def _hide(self, values: set[str]) -> None:
        # In the diff they stand as JSON, and in the mark as JSON within JSON.
        for value in values:
            once = json.dumps(value)[1:-1]
            self._node.hide([value, once, json.dumps(once)[1:-1]])

    def _restore(self, before: str | None, error: UserError | OSError, *, was_pending: bool) -> None:
        """Give an engine that ran its previous configuration back after `error`."""
        try:
            if self._node.files.put(CONFIG, before, mode_of(before)):
                self._node.run("systemctl", "restart", UNIT)
            elif was_pending:
                return
            self._node.path(PENDING).unlink(missing_ok=True)
        except (UserError, OSError) as second:
            raise UserError(
                f"{_sentence(error)}; the previous configuration could not be restored either: {_sentence(second)}"
            ) from error

    def _is_foreign(self, unit: dict[str, str], mark: EngineMark, found: list[str]) -> bool:
        """Return whether the node has an engine that neither Debian's package nor a killed run of ours installed."""
        others = [name for name in OTHERS if name in found]
        loaded = unit["LoadState"] == "loaded"
        if ENGINE in found or (not others and (not loaded or ENGINE in mark.packages)):
            return False
        lacks = [] if loaded else [UNIT]
        lacks += [] if self._node.path(DOCKER).exists() else [DOCKER]
        if lacks:
            raise UserError(
                f"the Docker installation is incomplete: found {', '.join(others) or UNIT} instead of Debian's "
                f"{ENGINE}, but no {' and no '.join(lacks)}; complete it, or remove it, and run again"
            )
        return True

    def _check_foreign(self) -> None:
        """Make sure that an engine of another origin can be used."""
        if self._node.check_mode:
            return
        outcome = self._node.run(DOCKER, "version", "--format", "{{.Server.Version}}")
        if not outcome.ok:
            raise UserError(
                f"the Docker engine does not answer: {outcome.reason}; it is not Debian's {ENGINE}, so repair it, or "
                "remove it, and run again"
            )

    def _validate(self, text: str) -> None:
        """Have dockerd check a configuration before a restart would stop every container; 20.10 cannot yet."""
        dockerd = next((path for path in DOCKERDS if self._node.path(path).exists()), None)
        if dockerd is None:
            return
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as candidate:
            candidate.write(text)
            candidate.flush()
            outcome = self._node.run(dockerd, "--validate", "--config-file", candidate.name)
        if not outcome.ok and "unknown flag" not in outcome.reason:
            raise UserError(
                f"daemon is rejected by dockerd: {outcome.reason.replace(candidate.name, CONFIG)}; correct the setting"
            )

    def _run_service(self, *, reread: bool) -> None:
        unit = self._unit()
        self._node.units.enable(UNIT, unit)
        if unit["ActiveState"] != "active":
            self._node.note(UNIT, unit["ActiveState"], "active")
            self._start("start")
        elif self._node.path(PENDING).exists() or (self._node.check_mode and reread):
            self._restart()

    def _restart(self) -> None:
        self._node.note(UNIT, "runs with its previous configuration", "restarted")
        self.restarted = True
        self._start("restart")

    def _start(self, verb: str) -> None:
        if self._node.check_mode:
            return
        self._node.run("systemctl", "reset-failed", UNIT)
        outcome = self._node.run("systemctl", verb, UNIT)
        if not outcome.ok:
            journal = self._node.run("journalctl", "--unit", UNIT, "--lines=40", "--output=cat", "--no-pager").out
            raise UserError(
                f"{UNIT} failed to {verb}: {rules.cause_of_failure(journal) or outcome.reason}; see 'journalctl "
                f"--unit {UNIT}'"
            )
        self._node.path(PENDING).unlink(missing_ok=True)

    def _return_config(self, config: str | None, now: str | None, *, running: bool) -> None:
        """Restore the daemon.json that was there before picluster, and have a foreign engine that runs read it."""
        if running and config != now and not self._node.check_mode:
            self._node.path(PENDING).touch()
        self._node.files.put(CONFIG, config, mode_of(config))
        if running and (self._node.path(PENDING).exists() or (self._node.check_mode and config != now)):
            self._restart()


def _members() -> set[str]:
    """Return the members of the group docker, none if there is no such group yet."""
    try:
        return set(grp.getgrnam("docker").gr_mem)
    except KeyError:
        return set()


def _sentence(error: UserError | OSError) -> str:
    return describe_write_error(error) if isinstance(error, OSError) else str(error)
