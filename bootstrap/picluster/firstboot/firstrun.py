"""First boot by a script that systemd runs once: Raspberry Pi OS Buster to Bookworm, and Trixie of 2025-10."""

from __future__ import annotations

from typing import TYPE_CHECKING

from picluster.firstboot import cmdline, script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from picluster.cards.bootfiles import BootFiles
    from picluster.firstboot import NodeIdentity

_SCRIPT = "firstrun.sh"
# The FAT partition is mounted at /boot/firmware from Bookworm on, at /boot before. Nothing on it tells a Bullseye of
# 2024 from a Bookworm for sure, so the board looks in both places. Both actions are needed: the default of each is to
# power off (systemd-run-generator).
_WORDS = (
    f"systemd.run=\"/bin/sh -c 'sh /boot/firmware/{_SCRIPT} || sh /boot/{_SCRIPT}'\""
    " systemd.run_success_action=reboot systemd.run_failure_action=reboot"
    " systemd.unit=kernel-command-line.target"
)
_START = "boot=${0%/*}"


class FirstRun:
    """A script on the boot partition, started by words on the kernel's command line."""

    name = "firstrun"
    title = "Raspberry Pi OS Buster to Trixie of 2025-10"
    client_id = True

    def render(self, boot: BootFiles, node: NodeIdentity) -> Mapping[str, bytes]:
        """Return the first-boot files of one node.

        There is no FAT file `ssh` among them: should the script fail, it would open a board with its stock password.
        """
        return {
            _SCRIPT: script.render(node, script=_SCRIPT, words=_WORDS, start=_START, end="main"),
            cmdline.NAME: cmdline.extend(boot, _WORDS, node.settings),
        }
