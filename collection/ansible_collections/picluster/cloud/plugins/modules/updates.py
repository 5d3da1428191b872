#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Have a node install security updates by itself, or not."""

from __future__ import annotations

DOCUMENTATION = r"""
module: updates
short_description: Security updates without anybody at the keyboard
description:
  - Has unattended-upgrades installed and told what to do by C(/etc/apt/apt.conf.d/zz-picluster-updates), which sorts
    behind the package's own files, so that these stay as they came; their lists of archives and of packages to leave
    alone no longer count. Security archives only, unless O(origins) names more; the node never restarts by itself.
  - What is in force in the end is judged by C(apt-config dump), as another file may contradict.
  - Where needrestart is installed, it is told to ask nobody and to restart nothing.
version_added: 0.1.0
options:
  state:
    description: V(security) has security updates installed daily; V(none) takes away what picluster installed.
    type: str
    choices: [security, none]
    default: security
  origins:
    description:
      - Further archives to update from, as patterns of unattended-upgrades, such as V(origin=Docker,label=Docker CE).
        C(apt-cache policy) shows what an archive calls itself.
    type: list
    elements: str
    default: []
  blacklist:
    description: Regular expressions of packages' names that are never updated by themselves, such as V(docker.io).
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
  idempotent:
    support: full
author: [The picluster authors]
"""

EXAMPLES = r"""
- name: Have security updates, and Docker's own, but never a new kernel
  picluster.cloud.updates:
    origins: ["origin=Docker,label=Docker CE"]
    blacklist: ["^linux-image-", "^raspi-firmware$"]
"""

RETURN = r"""
origins:
  description: The archives that the node updates from by itself.
  returned: success
  type: list
  elements: str
  sample: ["origin=Debian,codename=${distro_codename}-security,label=Debian-Security"]
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.node.commands import run_checked
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles, card_trouble, read_text
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_packages import Apt
from ansible_collections.picluster.cloud.plugins.module_utils.updates import policy as updates_policy

PACKAGE = "unattended-upgrades"
# What picluster installed, so that it takes away nothing else.
MARK = "/var/lib/picluster/updates"
OS_RELEASE = "/etc/os-release"
NEEDRESTART_CONF = "/etc/needrestart/needrestart.conf"
TIMERS = ("apt-daily.timer", "apt-daily-upgrade.timer")


def read_policy(system: str, origins: list[str], blacklist: list[str]) -> updates_policy.Policy:
    """Return the policy that the module's options mean on a distribution.

    Raises:
        ValueError: an option that makes no sense; the message is one sentence.
    """
    return updates_policy.Policy(updates_policy.origins_of(system, origins), updates_policy.parse_blacklist(blacklist))


class Updates:
    """The node's own updates: package, files, timers."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._apt = Apt(module, module.params["lock_timeout"])
        self.files = TextFiles(module)

    def _run(self, *command: str) -> str:
        return run_checked(self._module, *command)

    def _note(self, what: str, before: str, after: str) -> None:
        headers = {"before_header": what, "after_header": what}
        self.files.diff.append({**headers, "before": before, "after": after})

    def present(self, policy: updates_policy.Policy) -> None:
        """Have security updates installed daily."""
        # Before the package, which would otherwise start with its own opinion; and a run that was killed in between is
        # the next one's to end.
        self.files.put(updates_policy.CONF, updates_policy.conf_text(policy))
        self._needrestart()
        self._install()
        if not (self._module.check_mode and self.files.changed):
            problem = updates_policy.contradiction(policy, self._run("apt-config", "dump"))
            if problem:
                raise ValueError(problem)
        self._timers()

    def _install(self) -> None:
        if not self._apt.missing([PACKAGE]):
            return
        # First, so that a killed run does not leave a package behind that nobody owns.
        self.files.put(MARK, f"{PACKAGE}\n")
        self._note("packages", "", f"{PACKAGE}\n")
        if not self._module.check_mode:
            self._apt.install([PACKAGE], optional=set())

    def _needrestart(self) -> None:
        if Path(NEEDRESTART_CONF).exists():
            self.files.put(updates_policy.NEEDRESTART, updates_policy.NEEDRESTART_TEXT)

    def _timers(self) -> None:
        """Have systemd start apt's daily work, also where an image has switched that off."""
        out = self._run("systemctl", "show", *TIMERS, "--property=Id,ActiveState,UnitFileState")
        for block in out.strip().split("\n\n"):
            said = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            unit, state, active = said.get("Id", ""), said.get("UnitFileState", ""), said.get("ActiveState", "")
            if (state, active) == ("enabled", "active"):
                continue
            self._note(unit, f"{state} {active}\n", "enabled active\n")
            if not self._module.check_mode:
                if state.startswith("masked"):
                    self._run("systemctl", "unmask", unit)
                self._run("systemctl", "enable", "--now", unit)

    def absent(self) -> None:
        """Take away what picluster installed and wrote."""
        # The package first: without our file it would go by Debian's list, which has more than security.
        if read_text(MARK) is not None:
            if self._apt.installed([PACKAGE]):
                self._note("packages", f"{PACKAGE}\n", "")
                if not self._module.check_mode:
                    self._apt.remove([PACKAGE])
            self.files.remove(MARK)
        self.files.remove(updates_policy.CONF)
        self.files.remove(updates_policy.NEEDRESTART)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["security", "none"], "default": "security"},
            "origins": {"type": "list", "elements": "str", "default": []},
            "blacklist": {"type": "list", "elements": "str", "default": []},
            "lock_timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    updates = Updates(module)
    origins: tuple[str, ...] = ()
    try:
        updates_policy.check_lock_timeout(module.params["lock_timeout"])
        if module.params["state"] == "security":
            system = updates_policy.distribution(read_text(OS_RELEASE) or "")
            policy = read_policy(system, module.params["origins"], module.params["blacklist"])
            origins = policy.origins
            updates.present(policy)
        else:
            updates.absent()
    except ValueError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=card_trouble(error))
    module.exit_json(changed=updates.files.changed, origins=list(origins), diff=updates.files.diff)


if __name__ == "__main__":
    main()
