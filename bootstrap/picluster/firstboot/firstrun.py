"""First boot by a script that systemd runs once: Raspberry Pi OS Buster to Bookworm, and Trixie of 2025-10."""

from __future__ import annotations

from picluster.firstboot.script import ScriptBoot

_SCRIPT = "firstrun.sh"
# The FAT partition is mounted at /boot/firmware from Bookworm on, at /boot before. Nothing on it tells a Bullseye of
# 2024 from a Bookworm for sure, so the board looks in both places. Both actions are needed: the default of each is to
# power off (systemd-run-generator).
_WORDS = (
    f"systemd.run=\"/bin/sh -c 'sh /boot/firmware/{_SCRIPT} || sh /boot/{_SCRIPT}'\""
    " systemd.run_success_action=reboot systemd.run_failure_action=reboot"
    " systemd.unit=kernel-command-line.target"
)


class FirstRun(ScriptBoot):
    """A script that systemd runs in place of its usual target."""

    name = "firstrun"
    title = "Raspberry Pi OS Buster to Trixie of 2025-10"
    script = _SCRIPT
    words = _WORDS
    start = "boot=${0%/*}"
    end = "main"
