"""The module raspberry on a node that is a folder."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.raspberry import boot_files
from ansible_collections.picluster.cloud.plugins.modules import raspberry

CMDLINE = "console=tty1 root=PARTUUID=2a0f6561-02 rootwait\n"
FLAGGED = "console=tty1 root=PARTUUID=2a0f6561-02 rootwait cgroup_memory=1 cgroup_enable=memory\n"
CONFIG = "[pi4]\narm_boost=1\n"
WANTED: dict[str, Any] = {
    "cgroup_memory": True,
    "gpu_memory": 16,
    "swap": "image",
    "journal_size": 64,
    "watchdog": 15,
    "busy_units": ["docker.service"],
    "lock_timeout": 1,
}
IMAGE: dict[str, Any] = {"cgroup_memory": False, "gpu_memory": None, "journal_size": None, "watchdog": None}


class FakeModule:
    """Runs commands that only leave a trace."""

    def __init__(self, *, check_mode: bool = False, **params: Any) -> None:
        self.check_mode = check_mode
        self.params = WANTED | params
        self.up = ""
        self.did: list[str] = []
        self.warnings: list[str] = []
        self.dies_at = ""

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        said = " ".join(command)
        if self.dies_at and self.dies_at in said:
            raise KeyboardInterrupt
        if command[1] == "list-units":
            return 0, self.up, ""
        if command[1] == "show":
            return 0, "LoadState=not-found\nUnitFileState=\n", ""
        self.did.append(said)
        return 0, "", ""


class Node:
    """A Raspberry Pi in a folder, whose kernel runs without the memory cgroup."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("sys/firmware/devicetree/base/model", "Raspberry Pi 4 Model B Rev 1.4\0")
        self.write("boot/firmware/cmdline.txt", CMDLINE)
        self.write("boot/firmware/config.txt", CONFIG)
        self.write("dev/watchdog", "")
        (root / "run").mkdir()
        self.boots("one")

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def read(self, path: str) -> str | None:
        found = self.root / path
        return found.read_text("utf-8") if found.exists() else None

    def boots(self, boot: str, *, memory: bool = False, words: str = CMDLINE) -> None:
        """Start with these words, and with the memory cgroup or without."""
        self.write("proc/sys/kernel/random/boot_id", boot)
        self.write("proc/1/stat", "1 (systemd) S " + " ".join(map(str, range(4, 52))))
        self.write("proc/cmdline", words)
        self.write("sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n" if memory else "cpu io pids\n")
        for path in (self.root / "run").iterdir():
            path.unlink()

    def converge(self, module: FakeModule | None = None, **params: Any) -> raspberry.Board:
        board = raspberry.Board(cast("Any", module or FakeModule(**params)), self.root)
        board.converge()
        return board

    def all_files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.root)): path.read_text("utf-8")
            for path in self.root.rglob("*")
            if path.is_file() and "proc" not in path.parts
        }


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_one_restart_and_the_next_run_changes_nothing(node: Node) -> None:
    first = node.converge()
    assert (first.restart, first.pending) == (True, True)
    assert node.read("boot/firmware/cmdline.txt") == FLAGGED
    assert node.read("boot/firmware/cmdline.txt.picluster-before") == CMDLINE
    assert node.read("run/reboot-required.pkgs") == "picluster-raspberry\n"
    node.boots("two", memory=True, words=FLAGGED)
    module = FakeModule()
    again = node.converge(module)
    assert (again.files.diff, again.restart, again.pending, module.did) == ([], False, False, [])


def test_a_run_that_was_killed_before_the_restart_is_mended_by_the_next(node: Node) -> None:
    node.converge()
    again = node.converge()
    assert (again.files.diff, again.restart) == ([], True)


def test_a_restart_that_did_not_help_is_a_sentence_and_no_other_restart(node: Node) -> None:
    node.converge()
    node.boots("two", words=FLAGGED)
    before = node.all_files()
    with pytest.raises(ValueError, match="this kernel has none"):
        node.converge()
    node.boots("three")
    with pytest.raises(ValueError, match="takes its command line from elsewhere"):
        node.converge()
    assert node.all_files() == before


def test_a_node_with_work_is_left_to_those_who_drain_it(node: Node) -> None:
    module = FakeModule()
    module.up = "docker.service loaded active running Docker\n"
    first = node.converge(module)
    assert (first.restart, first.pending) == (False, True)
    assert node.read("run/reboot-required") == "*** System restart required ***\n"
    again = node.converge(module)
    assert (again.files.diff, again.restart) == ([], False)


def test_a_kernel_that_has_the_memory_cgroup_is_not_restarted_for_flags(node: Node) -> None:
    node.boots("one", memory=True)
    board = node.converge()
    assert (board.restart, node.read("boot/firmware/cmdline.txt")) == (False, CMDLINE)
    # config.txt counts from the next start on.
    assert board.pending


def test_everything_is_taken_back_to_the_byte(node: Node) -> None:
    before = node.all_files()
    node.converge()
    node.boots("two", memory=True, words=FLAGGED)
    board = node.converge(**IMAGE)
    assert (board.restart, board.pending) == (False, True)
    node.boots("three")
    assert node.all_files() == before
    assert node.converge(**IMAGE).files.diff == []


def test_check_mode_says_it_all_and_does_nothing(node: Node) -> None:
    before, module = node.all_files(), FakeModule(check_mode=True)
    board = node.converge(module)
    assert (node.all_files(), module.did) == (before, [])
    assert board.restart
    named = [entry["after_header"] for entry in board.files.diff]
    for name in ("cmdline.txt", "config.txt", "journald.conf.d/90-picluster.conf", "system.conf.d/90-picluster.conf"):
        assert any(name in header for header in named)


@pytest.mark.parametrize("full", ["cmdline.txt.picluster-before", "cmdline.txt", "config.txt"])
def test_a_boot_partition_that_is_full_changes_nothing(node: Node, full: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = boot_files._write

    def write(path: Path, text: str) -> None:
        if path.name == full + boot_files.NEW:
            path.touch()
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, text)

    monkeypatch.setattr(boot_files, "_write", write)
    before = node.all_files()
    with pytest.raises(OSError, match="No space left") as caught:
        node.converge()
    assert caught.value.filename == str(node.root / "boot/firmware" / full)
    assert node.all_files() == before


def test_a_power_cut_between_two_boot_files_is_mended(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    real = boot_files._take_over

    def take_over(new: Path, path: Path) -> None:
        if path.name == "config.txt":
            raise KeyboardInterrupt
        real(new, path)

    with monkeypatch.context() as patched:
        patched.setattr(boot_files, "_take_over", take_over)
        with pytest.raises(KeyboardInterrupt):
            node.converge()
    assert (node.read("boot/firmware/cmdline.txt"), node.read("boot/firmware/config.txt")) == (FLAGGED, CONFIG)
    assert node.read("boot/firmware/config.txt.picluster-new")
    node.boots("two", memory=True, words=FLAGGED)
    node.converge()
    assert "gpu_mem=16" in (node.read("boot/firmware/config.txt") or "")
    assert node.read("boot/firmware/config.txt.picluster-new") is None
    assert node.converge().files.diff == []


def test_a_name_leads_to_the_new_file_on_the_card_before_the_old_one_is_let_go(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = node.root / "boot/firmware/config.txt"
    synced: list[tuple[str, bool]] = []

    def sync(path: Path) -> None:
        held = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
        synced.append((path.name, any(entry.name.startswith("config.txt (deleted)") for entry in held)))

    monkeypatch.setattr(boot_files, "sync", sync)
    boot_files._write(Path(f"{config}.new"), "new")
    boot_files._take_over(Path(f"{config}.new"), config)
    assert synced == [("config.txt", True), ("firmware", True)]
    assert config.read_text("utf-8") == "new"


@pytest.mark.parametrize(
    ("command", "others"), [("restart systemd-journald", 1), ("daemon-reexec", 0)], ids=["journald", "systemd"]
)
def test_a_drop_in_that_was_written_and_not_read_is_read_by_the_next_run(node: Node, command: str, others: int) -> None:
    module = FakeModule()
    module.dies_at = command
    with pytest.raises(KeyboardInterrupt):
        node.converge(module)
    module.dies_at = ""
    assert node.converge(module).files.changed
    assert [said for said in module.did if command in said] == [f"systemctl {command}" + ".service" * others]
    module.did.clear()
    assert (node.converge(module).files.diff, module.did) == ([], [])


def test_too_little_gpu_memory_for_the_firmware_at_hand_is_left_out(node: Node) -> None:
    node.write("boot/firmware/start4.elf", "")
    module = FakeModule()
    node.converge(module)
    assert node.read("boot/firmware/config.txt") == CONFIG
    assert "lacks start4cd.elf and fixup4cd.dat" in module.warnings[0]


def test_a_pi_5_is_not_restarted_for_what_it_ignores(node: Node) -> None:
    node.boots("one", memory=True)
    node.write("sys/firmware/devicetree/base/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    assert not node.converge().pending
    assert node.read("boot/firmware/config.txt") == CONFIG


def test_a_pi_5_gets_the_config_back_that_it_had_in_a_pi_4(node: Node) -> None:
    node.converge()
    node.write("sys/firmware/devicetree/base/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    node.converge(**IMAGE)
    assert node.read("boot/firmware/config.txt") == CONFIG


def test_a_comment_that_is_no_utf_8_stays_and_can_be_told(node: Node) -> None:
    path = node.root / "boot/firmware/config.txt"
    path.write_bytes(b"# caf\xe9\n")
    for entry in node.converge().files.diff:
        (entry["before"] + entry["after"]).encode()
    assert path.read_bytes().startswith(b"# caf\xe9\n# BEGIN picluster\n")


def test_ubuntu_s_and_bullseye_s_files_are_found(node: Node) -> None:
    node.write("boot/firmware/current/cmdline.txt", CMDLINE)
    node.converge()
    assert node.read("boot/firmware/current/cmdline.txt") == FLAGGED
    assert node.read("boot/firmware/cmdline.txt") == CMDLINE


def test_a_boot_partition_that_is_not_mounted_is_named(node: Node) -> None:
    (node.root / "boot/firmware/cmdline.txt").unlink()
    with pytest.raises(ValueError, match="mount the boot partition"):
        node.converge()


def test_another_s_wish_for_a_restart_stays(node: Node) -> None:
    node.write("run/reboot-required.pkgs", "linux-image-rpi-v8\n")
    node.write("run/reboot-required", "now\n")
    node.converge()
    assert node.read("run/reboot-required.pkgs") == "linux-image-rpi-v8\npicluster-raspberry\n"


@pytest.mark.parametrize("wrong", [{"gpu_memory": 1}, {"journal_size": 1}, {"watchdog": 1}])
def test_a_number_out_of_bounds_changes_nothing(node: Node, wrong: dict[str, Any]) -> None:
    before = node.all_files()
    with pytest.raises(ValueError, match="wanted are"):
        node.converge(**wrong)
    assert node.all_files() == before


def test_what_is_no_raspberry_pi_is_told_by_its_device_tree(node: Node) -> None:
    board = raspberry.Board(cast("Any", FakeModule()), node.root)
    assert board.model == "Raspberry Pi 4 Model B Rev 1.4"
    (node.root / "sys/firmware/devicetree/base/model").unlink()
    assert board.model == ""
