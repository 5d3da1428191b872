"""The module raspberry on a node that is a folder."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry import boot
from ansible_collections.picluster.cloud.plugins.modules import raspberry

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome

CMDLINE = "console=tty1 root=PARTUUID=2a0f6561-02 rootwait\n"
FLAGGED = "console=tty1 root=PARTUUID=2a0f6561-02 rootwait cgroup_memory=1 cgroup_enable=memory\n"
BOOT = "/boot/firmware"
CONFIG = "[pi4]\narm_boost=1\n"
DESIRED: dict[str, Any] = {
    "cgroup_memory": True,
    "gpu_memory": 16,
    "swap": "image",
    "journal_size": 64,
    "watchdog": 15,
    "busy_units": ["docker.service"],
    "lock_timeout": 1,
}
IMAGE: dict[str, Any] = {"cgroup_memory": False, "gpu_memory": None, "journal_size": None, "watchdog": None}


class Pi(FakeNode):
    """A Raspberry Pi whose kernel runs without the memory cgroup.

    Attributes:
        active: What `systemctl list-units` prints.
        dies_at: A part of a command at which the module is killed.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.active = ""
        self.answers["systemctl list-units"] = lambda *_: self.active
        self.dies_at = ""
        self.write("/sys/firmware/devicetree/base/model", "Raspberry Pi 4 Model B Rev 1.4\0")
        self.write(f"{BOOT}/cmdline.txt", CMDLINE)
        self.write(f"{BOOT}/config.txt", CONFIG)
        self.write("/dev/watchdog", "")
        self.path("/run").mkdir()
        self.boots("one")

    def answer(self, command: list[str], data: str | None = None, **options: Any) -> Outcome:
        if self.dies_at and self.dies_at in " ".join(command):
            raise KeyboardInterrupt
        return super().answer(command, data, **options)

    def found(self, path: str) -> str | None:
        return self.text(path) if self.path(path).exists() else None

    def boots(self, boot: str, *, memory: bool = False, words: str = CMDLINE) -> None:
        """Boot with these words, and with the memory cgroup or without."""
        self.write("/proc/sys/kernel/random/boot_id", boot)
        self.write("/proc/1/stat", "1 (systemd) S " + " ".join(map(str, range(4, 52))))
        self.write("/proc/cmdline", words)
        self.write("/sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n" if memory else "cpu io pids\n")
        for path in self.path("/run").iterdir():
            path.unlink()

    def converge(self, **options: Any) -> tuple[bool, bool]:
        """Run the module; return whether it reports a restart now, and one that is pending."""
        self.diff.clear()
        self.commands.clear()
        answer = raspberry.converge(self, {**DESIRED, **options})
        return answer["restart"], answer["restart_pending"]

    @property
    def actions(self) -> list[str]:
        return [command for command in super().actions if "list-units" not in command]

    def all_files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.root)): path.read_text("utf-8")
            for path in self.root.rglob("*")
            if path.is_file() and "proc" not in path.parts
        }


@pytest.fixture
def node(tmp_path: Path) -> Pi:
    return Pi(tmp_path)


def test_one_restart_and_the_next_run_changes_nothing(node: Pi) -> None:
    assert node.converge() == (True, True)
    assert node.found(f"{BOOT}/cmdline.txt") == FLAGGED
    assert node.found(f"{BOOT}/cmdline.txt.picluster-before") == CMDLINE
    assert node.found("/run/reboot-required.pkgs") == "picluster-raspberry\n"
    node.boots("two", memory=True, words=FLAGGED)
    assert node.converge() == (False, False)
    assert (node.diff, node.actions) == ([], [])


def test_a_run_that_was_killed_before_the_restart_is_completed_by_the_next(node: Pi) -> None:
    node.converge()
    assert node.converge() == (True, True)
    assert node.diff == []


def test_a_restart_that_did_not_help_is_a_sentence_and_no_other_restart(node: Pi) -> None:
    node.converge()
    node.boots("two", words=FLAGGED)
    before = node.all_files()
    with pytest.raises(UserError, match="this kernel has no memory cgroup"):
        node.converge()
    node.boots("three")
    with pytest.raises(UserError, match="add them where this board reads its command line"):
        node.converge()
    assert node.all_files() == before


def test_a_busy_node_is_left_to_the_playbook_that_drains_it(node: Pi) -> None:
    node.active = "docker.service loaded active running Docker\n"
    assert node.converge() == (False, True)
    assert node.found("/run/reboot-required") == "*** System restart required ***\n"
    assert node.converge() == (False, True)
    assert node.diff == []


def test_a_kernel_that_has_the_memory_cgroup_is_not_restarted_for_flags(node: Pi) -> None:
    node.boots("one", memory=True)
    # config.txt takes effect at the next boot.
    assert node.converge() == (False, True)
    assert node.found(f"{BOOT}/cmdline.txt") == CMDLINE


def test_everything_is_undone_to_the_byte(node: Pi) -> None:
    before = node.all_files()
    node.converge()
    node.boots("two", memory=True, words=FLAGGED)
    assert node.converge(**IMAGE) == (False, True)
    node.boots("three")
    assert node.all_files() == before
    node.converge(**IMAGE)
    assert node.diff == []


def test_check_mode_reports_everything_and_changes_nothing(node: Pi) -> None:
    before = node.all_files()
    node.check_mode = True
    assert node.converge() == (True, True)
    assert (node.all_files(), node.actions) == (before, [])
    named = [entry["after_header"] for entry in node.diff]
    for name in ("cmdline.txt", "config.txt", "journald.conf.d/90-picluster.conf", "system.conf.d/90-picluster.conf"):
        assert any(name in header for header in named)


@pytest.mark.parametrize("full", ["cmdline.txt.picluster-before", "cmdline.txt", "config.txt"])
def test_a_boot_partition_that_is_full_changes_nothing(node: Pi, full: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = boot._write

    def write(path: Path, text: str) -> None:
        if path.name == full + boot.NEW:
            path.touch()
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, text)

    monkeypatch.setattr(boot, "_write", write)
    before = node.all_files()
    with pytest.raises(UserError, match=f"^{BOOT}/{full} cannot be written: No space left on device; check the card"):
        node.converge()
    assert node.all_files() == before


def test_a_power_cut_between_two_boot_files_is_repaired(node: Pi, monkeypatch: pytest.MonkeyPatch) -> None:
    real = boot._take_over

    def take_over(new: Path, path: Path) -> None:
        if path.name == "config.txt":
            raise KeyboardInterrupt
        real(new, path)

    with monkeypatch.context() as patched:
        patched.setattr(boot, "_take_over", take_over)
        with pytest.raises(KeyboardInterrupt):
            node.converge()
    assert (node.found(f"{BOOT}/cmdline.txt"), node.found(f"{BOOT}/config.txt")) == (FLAGGED, CONFIG)
    assert node.found(f"{BOOT}/config.txt.picluster-new")
    node.boots("two", memory=True, words=FLAGGED)
    node.converge()
    assert "gpu_mem=16" in (node.found(f"{BOOT}/config.txt") or "")
    assert node.found(f"{BOOT}/config.txt.picluster-new") is None
    node.converge()
    assert node.diff == []


def test_a_name_leads_to_the_new_file_on_the_card_before_the_old_one_is_let_go(
    node: Pi, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = node.path(f"{BOOT}/config.txt")
    synced: list[tuple[str, bool]] = []

    def sync(path: Path) -> None:
        held = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
        synced.append((path.name, any(entry.name.startswith("config.txt (deleted)") for entry in held)))

    monkeypatch.setattr(boot, "sync", sync)
    boot._write(Path(f"{config}.new"), "new")
    boot._take_over(Path(f"{config}.new"), config)
    assert synced == [("config.txt", True), ("firmware", True)]
    assert config.read_text("utf-8") == "new"


@pytest.mark.parametrize(
    ("command", "others"), [("restart systemd-journald", 1), ("daemon-reexec", 0)], ids=["journald", "systemd"]
)
def test_a_drop_in_that_was_not_loaded_is_loaded_by_the_next_run(node: Pi, command: str, others: int) -> None:
    node.dies_at = command
    with pytest.raises(KeyboardInterrupt):
        node.converge()
    node.dies_at = ""
    node.converge()
    assert node.changed
    assert [action for action in node.actions if command in action] == [f"systemctl {command}" + ".service" * others]
    node.converge()
    assert (node.diff, node.actions) == ([], [])


def test_too_little_gpu_memory_for_the_firmware_at_hand_is_ignored(node: Pi) -> None:
    node.write(f"{BOOT}/start4.elf", "")
    node.converge()
    assert node.found(f"{BOOT}/config.txt") == CONFIG
    assert "/boot/firmware lacks start4cd.elf and fixup4cd.dat; set it to 32 or more" in node.module.warnings[0]


def test_a_watchdog_that_the_kernel_does_not_have_is_a_warning(node: Pi) -> None:
    node.path("/dev/watchdog").unlink()
    node.converge()
    assert node.module.warnings == ["the kernel reports no watchdog device; the setting watchdog has no effect"]


def test_a_pi_5_is_not_restarted_for_what_it_ignores(node: Pi) -> None:
    node.boots("one", memory=True)
    node.write("/sys/firmware/devicetree/base/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    assert node.converge() == (False, False)
    assert node.found(f"{BOOT}/config.txt") == CONFIG


def test_a_pi_5_gets_the_config_back_that_it_had_in_a_pi_4(node: Pi) -> None:
    node.converge()
    node.write("/sys/firmware/devicetree/base/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    node.converge(**IMAGE)
    assert node.found(f"{BOOT}/config.txt") == CONFIG


def test_a_comment_that_is_not_utf_8_stays_and_can_be_shown(node: Pi) -> None:
    path = node.path(f"{BOOT}/config.txt")
    path.write_bytes(b"# caf\xe9\n")
    node.converge()
    for entry in node.diff:
        (entry["before"] + entry["after"]).encode()
    assert path.read_bytes().startswith(b"# caf\xe9\n# BEGIN picluster\n")


def test_ubuntu_s_and_bullseye_s_files_are_found(node: Pi) -> None:
    node.write(f"{BOOT}/current/cmdline.txt", CMDLINE)
    node.converge()
    assert node.found(f"{BOOT}/current/cmdline.txt") == FLAGGED
    assert node.found(f"{BOOT}/cmdline.txt") == CMDLINE


def test_a_boot_partition_that_is_not_mounted_is_named(node: Pi) -> None:
    node.path(f"{BOOT}/cmdline.txt").unlink()
    with pytest.raises(UserError, match="mount the boot partition"):
        node.converge()


def test_a_restart_that_a_package_requires_stays_required(node: Pi) -> None:
    node.write("/run/reboot-required.pkgs", "linux-image-rpi-v8\n")
    node.write("/run/reboot-required", "now\n")
    node.converge()
    assert node.found("/run/reboot-required.pkgs") == "linux-image-rpi-v8\npicluster-raspberry\n"


@pytest.mark.parametrize("wrong", [{"gpu_memory": 1}, {"journal_size": 1}, {"watchdog": 1}])
def test_a_number_out_of_bounds_changes_nothing(node: Pi, wrong: dict[str, Any]) -> None:
    before = node.all_files()
    with pytest.raises(UserError, match="is out of range: 1; expected"):
        node.converge(**wrong)
    assert node.all_files() == before


def test_other_hardware_is_not_touched(node: Pi) -> None:
    assert raspberry.converge(node, DESIRED)["board"] == "Raspberry Pi 4 Model B Rev 1.4"
    node.path("/sys/firmware/devicetree/base/model").unlink()
    node.diff.clear()
    answer = raspberry.converge(node, DESIRED | {"watchdog": 60})
    assert answer == {"board": "", "restart": False, "restart_pending": False}
    assert node.diff == []
