#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The Docker engine of a node: packages, configuration, users and service as one subject."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_engine
short_description: The Docker engine from Debian's packages
description:
  - Installs the engine, its client where that is a package of its own, and a static busybox to verify it with; writes
    C(/etc/docker/daemon.json), lets users use it, enables and starts the service, and restarts it only when its
    configuration changed.
  - Keeps in C(/var/lib/picluster/docker) what it installed, whom it let in and which C(daemon.json) it found.
  - With O(state=absent) the service, the packages and the configuration go as far as they are picluster's by that
    file; images, containers and volumes under C(/var/lib/docker) stay. Where the file is missing, Docker is
    somebody else's, and nothing is touched.
  - An engine of another origin (docker-ce, say) is used as it is; only its configuration, users and service are
    brought to what is wanted, and with O(state=absent) it gets its former C(daemon.json) back.
version_added: 0.1.0
options:
  state:
    description: Whether the node has the engine.
    type: str
    choices: [present, absent]
    default: present
  daemon:
    description:
      - The whole content of C(daemon.json).
      - Passwords in it (in the URL of a proxy, or under a key that says so) are hidden in what Ansible shows, and
        only root may then read the file.
    type: dict
    default: {}
  users:
    description: Users who may talk to the engine, which makes them as mighty as root.
    type: list
    elements: str
    default: []
  lock_timeout:
    description: Seconds to wait for another program that holds the package database.
    type: int
    default: 600
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows packages, configuration, group members and the service's state before and after.
  idempotent:
    support: full
    description: A second call changes nothing and restarts nothing.
author: [The picluster authors]
"""

EXAMPLES = r"""
- name: Run Docker with small logs
  picluster.cloud.docker_engine:
    daemon: {log-driver: json-file, log-opts: {max-size: 10m, max-file: "3"}}
    users: [pi]
"""

RETURN = r"""
restarted:
  description: Whether the running engine was restarted.
  returned: success
  type: bool
"""

import grp
import json
import pwd
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.docker.rules import (
    MARK,
    Mark,
    joined,
    mode_of,
    read_mark,
    secrets_in,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles, card_trouble, read_text
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_packages import Apt

CONFIG = "/etc/docker/daemon.json"
UNIT = "docker.service"
# Lies in /run, so that it is gone after a reboot, as is the engine that had not read the file yet.
PENDING = "/run/picluster-docker-restart"
ENGINE = "docker.io"
# trixie's docker.io no longer brings the client, bookworm has no such package.
CLIENT = "docker-cli"
BUSYBOX = "busybox-static"
RUNTIME = "containerd"
# Packages of other origins that apt would remove to install Debian's engine (Conflicts, Replaces).
OTHERS = ("docker-ce", "containerd.io", "moby-engine", "podman-docker")
DOCKER = "/usr/bin/docker"
# Debian's, and that of docker-ce.
DOCKERDS = ("/usr/sbin/dockerd", "/usr/bin/dockerd")


def render(daemon: dict[str, Any]) -> str:
    """Return the text of daemon.json."""
    return json.dumps(daemon, indent=2, sort_keys=True) + "\n"


def missing_users(users: list[str], known: set[str], members: set[str]) -> list[str]:
    """Return the users that must be made members, in order.

    Raises:
        ValueError: a user does not exist on the node.
    """
    unknown = [user for user in users if user not in known]
    if unknown:
        raise ValueError(
            f"docker_users names {', '.join(unknown)}, but this node has no such user: name users that exist, "
            "or make them first"
        )
    return [user for user in users if user not in members]


class Engine:
    """The node's Docker engine."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._apt = Apt(module, module.params["lock_timeout"])
        self.files = TextFiles(module)
        self.restarted = False

    def _run(self, *command: str) -> str:
        rc, out, err = self._module.run_command(list(command))
        if rc != 0:
            raise ValueError(f"{' '.join(command)} failed: {' '.join((err or out).split())}")
        return str(out).strip()

    def _note(self, what: str, before: str, after: str) -> None:
        self.files.diff.append(
            {"before_header": what, "after_header": what, "before": before + "\n", "after": after + "\n"}
        )

    def _unit(self) -> dict[str, str]:
        """Return the unit's properties; an unknown unit has LoadState not-found."""
        out = self._run("systemctl", "show", UNIT, "--property=LoadState,ActiveState,UnitFileState")
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)

    def present(self, daemon: dict[str, Any], users: list[str]) -> None:
        """Bring the engine to work, with `daemon` as configuration, for `users`."""
        known = {entry.pw_name for entry in pwd.getpwall()}
        missing_users(users, known, set())
        before = read_text(CONFIG)
        text = render(daemon)
        self._hide(secrets_in(before) | secrets_in(text))
        if before != text:
            self._try_out(text)
        unit = self._unit()
        mark = read_mark(read_text(MARK)) or Mark(config=before)
        found = self._apt.installed([ENGINE, BUSYBOX, *OTHERS])
        foreign = self._foreign(unit, mark, found)
        packages = [name for name in ([BUSYBOX] if foreign else [ENGINE, BUSYBOX]) if name not in found]
        # Where the engine is there and the client is not, only apt's lists can tell whether it is a package of its own.
        packages += [] if Path(DOCKER).exists() else [CLIENT]
        newcomers = missing_users(users, known, self._group())
        # Before anything else: a run that is killed must not leave something of ours that nobody knows to be ours.
        self.files.put(MARK, joined(mark, packages, newcomers).text(), 0o600)
        was_pending = Path(PENDING).exists()
        if before != text and unit.get("ActiveState") == "active" and not self._module.check_mode:
            # A run that is killed between here and the restart leaves this behind, and the next run restarts.
            Path(PENDING).touch()
        try:
            # Before the packages: the engine's first start already reads it.
            self.files.put(CONFIG, text, mode_of(text))
            self._packages(packages)
            self._members(newcomers)
            self._service(reread=before != text)
            if foreign:
                self._answers()
        except (ValueError, OSError) as error:
            problem = card_trouble(error) if isinstance(error, OSError) else str(error)
            if before != text and unit.get("ActiveState") == "active":
                problem += self._restore(before, was_pending=was_pending)
            raise ValueError(problem) from error

    def _hide(self, values: set[str]) -> None:
        """Let Ansible mask values wherever the result shows them: in the diff, in a message, among the arguments."""
        # In the diff they stand as JSON, and in the mark as JSON within JSON.
        for value in values:
            once = json.dumps(value)[1:-1]
            self._module.no_log_values.update({value, once, json.dumps(once)[1:-1]})

    def _restore(self, before: str | None, *, was_pending: bool) -> str:
        """Give an engine that ran its former configuration back; return what is to be said if that fails."""
        if self._module.check_mode:
            return ""
        try:
            if self.files.remove(CONFIG) if before is None else self.files.put(CONFIG, before, mode_of(before)):
                self._module.run_command(["systemctl", "restart", UNIT])
            elif was_pending:
                return ""
            Path(PENDING).unlink(missing_ok=True)
        except OSError as error:
            return f"; the former configuration could not be put back: {card_trouble(error)}"
        return ""

    def _foreign(self, unit: dict[str, str], mark: Mark, found: list[str]) -> bool:
        """Whether the node has an engine that neither Debian's package nor a killed run of ours brought.

        Raises:
            ValueError: there is one that cannot be used, and apt would take it away for Debian's.
        """
        others = [name for name in OTHERS if name in found]
        loaded = unit.get("LoadState") == "loaded"
        if ENGINE in found or (not others and (not loaded or ENGINE in mark.packages)):
            return False
        lacks = [] if loaded else [UNIT]
        if not Path(DOCKER).exists():
            lacks.append(DOCKER)
        if lacks:
            raise ValueError(
                f"this node has a Docker that is not Debian's {ENGINE} ({', '.join(others) or UNIT}), but no "
                f"{' and no '.join(lacks)}: complete it, or remove it and run again"
            )
        return True

    def _answers(self) -> None:
        """Make sure that a foreign engine can be used: it is not known what it is."""
        if self._module.check_mode:
            return
        rc, out, err = self._module.run_command([DOCKER, "version", "--format", "{{.Server.Version}}"])
        if rc != 0:
            raise ValueError(
                f"this node has a Docker engine that is not Debian's {ENGINE}, and it does not answer "
                f"({' '.join((err or out).split())}): mend it, or remove it and run again"
            )

    def _try_out(self, text: str) -> None:
        """Let dockerd judge a configuration before a restart would stop every container; 20.10 cannot yet."""
        dockerd = next((path for path in DOCKERDS if Path(path).exists()), None)
        if dockerd is None:
            return
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as candidate:
            candidate.write(text)
            candidate.flush()
            rc, out, err = self._module.run_command([dockerd, "--validate", "--config-file", candidate.name])
        words = " ".join((err or out).split())
        if rc != 0 and "unknown flag" not in words:
            raise ValueError(f"Docker does not accept docker_daemon: {words.replace(candidate.name, CONFIG)}")

    def _packages(self, missing: list[str]) -> None:
        if not missing:
            return
        if self._module.check_mode:
            # On a fresh card apt's lists are empty: what a real run would install is not known before it has
            # fetched them.
            self._note("packages", "", " ".join(missing))
            return
        installed = self._apt.install(missing, optional={CLIENT})
        if installed:
            self._note("packages", "", " ".join(installed))

    def _group(self) -> set[str]:
        try:
            return set(grp.getgrnam("docker").gr_mem)
        except KeyError:
            return set()

    def _members(self, users: list[str]) -> None:
        for user in users:
            self._note("group docker", "", user)
            if not self._module.check_mode:
                self._run("gpasswd", "--add", user, "docker")

    def _service(self, *, reread: bool) -> None:
        unit = self._unit()
        if unit.get("UnitFileState") != "enabled":
            self._note(UNIT, unit.get("UnitFileState", ""), "enabled")
            if not self._module.check_mode:
                self._run("systemctl", "enable", UNIT)
        if unit.get("ActiveState") != "active":
            self._note(UNIT, unit.get("ActiveState", ""), "active")
            self._start("start")
        elif Path(PENDING).exists() or (self._module.check_mode and reread):
            self._start("restart")

    def _start(self, verb: str) -> None:
        self.restarted = verb == "restart"
        if self._module.check_mode:
            return
        self._module.run_command(["systemctl", "reset-failed", UNIT])
        rc, out, err = self._module.run_command(["systemctl", verb, UNIT])
        if rc != 0:
            _rc, journal, _err = self._module.run_command(
                ["journalctl", "--unit", UNIT, "--lines=40", "--output=cat", "--no-pager"]
            )
            raise ValueError(f"Docker does not {verb}: {cause_of_death(journal) or ' '.join((err or out).split())}")
        Path(PENDING).unlink(missing_ok=True)

    def absent(self) -> None:
        """Take away what of the engine is picluster's: service, packages, configuration, group members; never data."""
        mark = read_mark(read_text(MARK))
        if mark is None:
            return
        now = read_text(CONFIG)
        self._hide(secrets_in(now) | secrets_in(mark.config))
        unit = self._unit()
        present = [name for name in self._apt.installed([ENGINE, CLIENT]) if name in mark.packages]
        ours = ENGINE in present
        if ours and unit.get("ActiveState") not in {"inactive", None}:
            self._note(UNIT, unit["ActiveState"], "inactive")
            if not self._module.check_mode:
                self._run("systemctl", "disable", "--now", UNIT, "docker.socket")
        if present:
            # It came with the engine and goes with it, unless somebody asked for it by name.
            gone = present + (self._apt.only_dependencies([RUNTIME]) if ours else [])
            self._note("packages", " ".join(gone), "")
            if not self._module.check_mode:
                self._apt.remove(gone)
        for user in sorted(self._group() & set(mark.users)):
            self._note("group docker", user, "")
            if not self._module.check_mode:
                self._run("gpasswd", "--delete", user, "docker")
        self._give_back(mark.config, now, running=not ours and unit.get("ActiveState") == "active")
        # Last: a run that is killed before goes on the next time.
        self.files.remove(MARK)
        if not self._module.check_mode:
            Path(PENDING).unlink(missing_ok=True)

    def _give_back(self, config: str | None, now: str | None, *, running: bool) -> None:
        """Bring back the daemon.json that was there before picluster, and let a foreign engine that runs read it."""
        if running and config != now and not self._module.check_mode:
            Path(PENDING).touch()
        if config is None:
            self.files.remove(CONFIG)
        else:
            self.files.put(CONFIG, config, mode_of(config))
        if running and (Path(PENDING).exists() or (self._module.check_mode and config != now)):
            self._start("restart")


def cause_of_death(journal: str) -> str:
    """Return the last line of dockerd's journal that says why it did not start, or an empty text."""
    lines = [line.strip() for line in journal.splitlines()]
    for word in ("unable to configure the Docker daemon", "failed to start daemon", "level=fatal", "Error"):
        for line in reversed(lines):
            if word in line:
                return line
    return ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "daemon": {"type": "dict", "default": {}},
            "users": {"type": "list", "elements": "str", "default": []},
            "lock_timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    engine = Engine(module)
    try:
        if module.params["state"] == "present":
            engine.present(module.params["daemon"], module.params["users"])
        else:
            engine.absent()
    except ValueError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=card_trouble(error))
    module.exit_json(
        changed=engine.files.changed or engine.restarted, diff=engine.files.diff, restarted=engine.restarted
    )


if __name__ == "__main__":
    main()
