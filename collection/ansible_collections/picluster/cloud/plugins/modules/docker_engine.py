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
  - With O(state=absent) the service, the packages and the configuration go; images, containers and volumes under
    C(/var/lib/docker) stay.
version_added: 0.1.0
options:
  state:
    description: Whether the node has the engine.
    type: str
    choices: [present, absent]
    default: present
  daemon:
    description: The whole content of C(daemon.json).
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
author: The picluster authors
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

from ansible_collections.picluster.cloud.plugins.module_utils._apt import Apt
from ansible_collections.picluster.cloud.plugins.module_utils._files import TextFiles, read_text

CONFIG = "/etc/docker/daemon.json"
UNIT = "docker.service"
# Lies in /run, so that it is gone after a reboot, as is the engine that had not read the file yet.
PENDING = "/run/picluster-docker-restart"
ENGINE = "docker.io"
# trixie's docker.io no longer brings the client, bookworm has no such package.
CLIENT = "docker-cli"
BUSYBOX = "busybox-static"
RUNTIME = "containerd"
DOCKERD = "/usr/sbin/dockerd"


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
        if before != text:
            self._try_out(text)
        unit = self._unit()
        if before != text and unit.get("ActiveState") == "active" and not self._module.check_mode:
            # A run that is killed between here and the restart leaves this behind, and the next run restarts.
            Path(PENDING).touch()
        # Before the packages: the engine's first start already reads it.
        self.files.put(CONFIG, text)
        try:
            self._packages()
            self._members(missing_users(users, known, self._group()))
            self._service()
        except ValueError:
            if (
                before is not None
                and before != text
                and not self._module.check_mode
                and unit.get("ActiveState") == "active"
            ):
                self.files.put(CONFIG, before)
                self._module.run_command(["systemctl", "restart", UNIT])
                Path(PENDING).unlink(missing_ok=True)
            raise

    def _try_out(self, text: str) -> None:
        """Let dockerd judge a configuration before a restart would stop every container; 20.10 cannot yet."""
        if not Path(DOCKERD).exists():
            return
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as candidate:
            candidate.write(text)
            candidate.flush()
            rc, out, err = self._module.run_command([DOCKERD, "--validate", "--config-file", candidate.name])
        words = " ".join((err or out).split())
        if rc != 0 and "unknown flag" not in words:
            raise ValueError(f"Docker does not accept docker_daemon: {words.replace(candidate.name, CONFIG)}")

    def _packages(self) -> None:
        missing = self._apt.missing([ENGINE, BUSYBOX])
        # Where the engine is there and the client is not, only apt's lists can tell whether it is a package of its own.
        if not Path("/usr/bin/docker").exists():
            missing += [CLIENT]
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

    def _service(self) -> None:
        unit = self._unit()
        if unit.get("UnitFileState") != "enabled":
            self._note(UNIT, unit.get("UnitFileState", ""), "enabled")
            if not self._module.check_mode:
                self._run("systemctl", "enable", UNIT)
        if unit.get("ActiveState") != "active":
            self._note(UNIT, unit.get("ActiveState", ""), "active")
            self._start("start")
        elif Path(PENDING).exists() or (self._module.check_mode and self.files.changed):
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

    def absent(self, users: list[str]) -> None:
        """Take the engine away: service, packages, configuration, group members; never data."""
        unit = self._unit()
        if unit.get("ActiveState") not in {"inactive", None}:
            self._note(UNIT, unit["ActiveState"], "inactive")
            if not self._module.check_mode:
                self._run("systemctl", "disable", "--now", UNIT, "docker.socket")
        present = self._apt.installed([ENGINE, CLIENT])
        if present:
            # It came with the engine and goes with it, unless somebody asked for it by name.
            present += self._apt.only_dependencies([RUNTIME])
            self._note("packages", " ".join(present), "")
            if not self._module.check_mode:
                self._apt.remove(present)
        for user in sorted(self._group() & set(users)):
            self._note("group docker", user, "")
            if not self._module.check_mode:
                self._run("gpasswd", "--delete", user, "docker")
        self.files.remove(CONFIG)
        if not self._module.check_mode:
            Path(PENDING).unlink(missing_ok=True)


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
            engine.absent(module.params["users"])
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=engine.files.changed or engine.restarted, diff=engine.files.diff, restarted=engine.restarted
    )


if __name__ == "__main__":
    main()
