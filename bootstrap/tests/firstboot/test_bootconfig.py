"""Which files of a boot partition the boards read."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from bootkit import BOOKWORM, GENERATIONS, KEY, render, stock

from picluster.cards import overlay
from picluster.cards.bootfiles import BootFiles
from picluster.cards.fat import FatVolume
from picluster.cards.image import open_image
from picluster.errors import PiclusterError
from picluster.firstboot import bootconfig
from picluster.firstboot.generations import recognise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cardkit import Judge

SYSTEM = {"kernel8.img": b"", "bcm2711-rpi-4-b.dtb": b"", "cmdline.txt": b"root=/dev/top\n"}
CURRENT = {f"current/{name}": data for name, data in {**SYSTEM, "vmlinuz": b""}.items()}
AB = "[all]\nkernel=vmlinuz\ncmdline=cmdline.txt\ninitramfs initrd.img followkernel\nos_prefix=current/\n"
# config.txt, further files, and the command lines that boards read.
CONFIGS: dict[str, tuple[str, dict[str, bytes], set[str]]] = {
    "none": ("", {}, {"cmdline.txt"}),
    "A/B boot": (f"{AB}[tryboot]\nos_prefix=new/\n[all]\n", CURRENT, {"current/cmdline.txt"}),
    "A/B boot with Windows' line ends": (AB.replace("\n", "\r\n"), CURRENT, {"current/cmdline.txt"}),
    "a prefix that is no directory": ("os_prefix=a-", {f"a-{name}": b"" for name in SYSTEM}, {"a-cmdline.txt"}),
    "a prefix without a kernel": (
        AB,
        {name: data for name, data in CURRENT.items() if "vmlinuz" not in name},
        {"cmdline.txt"},
    ),
    "a prefix without a device tree": (
        AB,
        {name: data for name, data in CURRENT.items() if not name.endswith(".dtb")},
        {"cmdline.txt"},
    ),
    "a kernel by its whole path": ("os_prefix=current/\nkernel=/kernel8.img", CURRENT, {"current/cmdline.txt"}),
    "a command line by its whole path": (f"{AB}cmdline=/other.txt", CURRENT, {"other.txt"}),
    "another name": ("cmdline=serial.txt", {}, {"serial.txt"}),
    "the last one counts": ("cmdline=a.txt\ncmdline=b.txt", {}, {"b.txt"}),
    "a comment": ("#cmdline=a.txt\n # cmdline=b.txt", {}, {"cmdline.txt"}),
    "an included file": ("include sys.txt\n", {"sys.txt": b"cmdline=a.txt"}, {"a.txt"}),
    "files that include each other": (
        "include sys.txt\n",
        {"sys.txt": b"include config.txt\ncmdline=a.txt"},
        {"a.txt"},
    ),
    "a section goes on in an included file": (
        "[none]\ninclude sys.txt\n[tryboot]\ncmdline=b.txt\n",
        {"sys.txt": b"[all]\ncmdline=a.txt"},
        {"cmdline.txt"},
    ),
    "an included file that is not there": ("include usercfg.txt", {}, {"cmdline.txt"}),
    "a section that ends in an included file": (
        "[tryboot]\n[all]\ninclude sys.txt\ncmdline=b.txt\n",
        {"sys.txt": b"[tryboot]\n"},
        {"cmdline.txt"},
    ),
    "one model": ("[pi4]\ncmdline=a.txt", {}, {"cmdline.txt", "a.txt"}),
    "all models": ("[pi3]\ncmdline=a.txt\n[all]\ncmdline=b.txt", {}, {"b.txt"}),
    "models replace each other": ("[none]\n[pi5]\n[pi4]\ncmdline=a.txt", {}, {"cmdline.txt", "a.txt"}),
    "kinds of filters add up": ("[tryboot]\n[pi4]\ncmdline=a.txt", {}, {"cmdline.txt"}),
    "a serial number": ("[0x12345678]\ncmdline=a.txt", {}, {"cmdline.txt", "a.txt"}),
    "a pin": ("[gpio4=1]\ncmdline=a.txt\n[gpio4=0]\ncmdline=b.txt", {}, {"cmdline.txt", "b.txt"}),
    "no model": ("[none]\ncmdline=a.txt", {}, {"cmdline.txt"}),
}


def _boot(config: str, files: dict[str, bytes], label: str = "system-boot") -> BootFiles:
    everything = {**SYSTEM, "config.txt": config.encode(), **files}
    return BootFiles(label, frozenset(everything), everything)


@pytest.mark.parametrize(("config", "files", "paths"), CONFIGS.values(), ids=CONFIGS)
def test_the_command_line_is_where_the_firmware_looks(config: str, files: dict[str, bytes], paths: set[str]) -> None:
    assert set(bootconfig.read(_boot(config, files)).cmdlines) == paths


REFUSED = {
    "another partition": ({"autoboot.txt": b"[all]\nboot_partition=2\n"}, "start from partition 2"),
    "another partition for one model": ({"autoboot.txt": b"[pi5]\nboot_partition=3\n"}, "start from partition 3"),
    "a path above the partition": ({"config.txt": b"cmdline=../x"}, r"'\.\./x'"),
    "a name for no shell": ({"config.txt": b"cmdline=$(x).txt"}, r"'\$\(x\)\.txt'"),
}


@pytest.mark.parametrize(("files", "says"), REFUSED.values(), ids=REFUSED)
def test_a_layout_that_cannot_be_prepared_is_refused(files: dict[str, bytes], says: str) -> None:
    with pytest.raises(PiclusterError, match=says):
        recognise(_boot("", files), "card.img", "firstrun")


def test_ubuntus_own_autoboot_is_taken() -> None:
    autoboot = b"[all]\ntryboot_a_b=1\nboot_partition=1\n[tryboot]\nboot_partition=2\n"
    assert bootconfig.read(_boot("", {"autoboot.txt": autoboot})).cmdlines == ("cmdline.txt",)


UBUNTU = GENERATIONS["Ubuntu"]
STOCK_AB = {
    "config.txt": f"{AB}\n[tryboot]\nos_prefix=new/\n".encode(),
    "autoboot.txt": b"[all]\ntryboot_a_b=1\n",
    "current/cmdline.txt": UBUNTU["cmdline"].encode() + b"\n",
    "current/vmlinuz": bytes(2000),
    "current/bcm2711-rpi-4-b.dtb": b"tree",
    "current/overlays/README": b"",
    **dict.fromkeys(UBUNTU["files"], b"#cloud-config\n"),
}


def test_a_card_with_ab_boot_gets_our_words_where_its_kernel_reads_them(
    make_card: Callable[..., Path], judge: Judge
) -> None:
    path = make_card("card.img", STOCK_AB, ("-F", 32, "-s", 1, "-n", "system-boot"))
    with open_image(path) as opened:
        found = recognise(opened.boot_files(), path.name)
        made = render(opened.boot_files())
        boot = opened.boot
        patches = overlay.patches(opened.volume(), made)
    assert (found.generation.name, found.arch) == ("ubuntu", "arm64")
    with path.open("r+b") as stream:
        for patch in patches:
            stream.seek(patch.offset)
            stream.write(patch.new)
        volume = FatVolume(stream, boot.offset, boot.size)
        assert volume.tree() == STOCK_AB | made
    judge.is_sound(judge.partition(path, boot.offset, boot.size))
    assert "cmdline.txt" not in made
    line = made["current/cmdline.txt"].decode()
    assert line.startswith(UBUNTU["cmdline"])
    assert ";h=red007" in line


def test_a_mounted_boot_folder_is_read_below_its_prefix_too(tmp_path: Path) -> None:
    for name, data in STOCK_AB.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    boot = BootFiles.of_folder(tmp_path)
    assert "current/vmlinuz" in boot.names
    assert set(render(boot)) >= {"current/cmdline.txt", "user-data"}


def test_boards_that_differ_get_our_words_in_each_of_their_lines() -> None:
    config = b"auto_initramfs=1\n[pi5]\ncmdline=pi5.txt\n"
    made = render(stock(BOOKWORM, config_txt=config, pi5_txt=b"root=/dev/five\n"))
    for name, start in {"cmdline.txt": GENERATIONS[BOOKWORM]["cmdline"], "pi5.txt": "root=/dev/five"}.items():
        assert made[name].decode().startswith(f"{start} systemd.run=")


def test_the_script_takes_its_words_out_of_each_line(tmp_path: Path) -> None:
    config = b"auto_initramfs=1\nos_prefix=a/\n[pi5]\nos_prefix=b/\n"
    lines = {f"{part}/cmdline.txt": f"root=/dev/{part} rootwait\n".encode() for part in "ab"}
    files = {f"{part}/{name}": b"" for part in "ab" for name in ("kernel8.img", "x.dtb")}
    boot = stock(BOOKWORM, config_txt=config)
    texts = {**boot.texts, **files, **lines}
    made = render(BootFiles(boot.label, frozenset(texts), texts), "firstrun", keys=(KEY,))
    assert set(made) == {"firstrun.sh", *lines}
    script = made["firstrun.sh"].decode()
    for name in lines:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(made[name])
        assert b"systemd.run" in made[name]
    # All but its last line, which starts the work.
    defined = script.rstrip().removesuffix("main")
    subprocess.run(["dash", "-c", f"{defined}\nboot={tmp_path}\ncut_words"], check=True, capture_output=True)
    assert {name: (tmp_path / name).read_bytes() for name in lines} == lines
