"""Real loop devices on Linux, which need root."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from diskkit import ROOT, aligned, blank, loop, mounted
from linuxkit import MIB

from picluster.devices.linux import Linux
from picluster.devices.linuxdisk import open_disk
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from picluster.devices import Device

# Not beside tests that start containers: see firstboot/test_nodes.py.
pytestmark = pytest.mark.xdist_group("mounts")
needs_root = pytest.mark.skipif(not ROOT, reason="only root may attach loop devices")


def find(path: str) -> Device:
    return next(each for each in Linux().devices() if each.path == path)


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    file = tmp_path / "card.img"
    with file.open("wb") as stream:
        stream.truncate(64 * MIB)
    return file


@pytest.fixture
def card(backing: Path) -> Iterator[str]:
    with loop(backing) as path:
        yield path


@needs_root
def test_this_machines_disk_is_the_systems() -> None:
    listed = Linux().devices()
    root = os.stat("/").st_dev  # noqa: PTH116 - of all paths this one
    held = [each for each in listed if "/" in each.mounts]
    if os.major(root):
        assert held
    assert all(each.system for each in held)
    if listed:
        assert any(each.system for each in listed)


@needs_root
def test_a_real_loop_device_is_listed(card: str, backing: Path) -> None:
    found = find(card)
    assert found.size == 64 * MIB
    assert found.model == f"file {backing}"
    assert (found.system, found.removable, found.read_only, found.mounts, found.contents) == (
        False,
        False,
        False,
        (),
        "",
    )
    subprocess.run(["mkfs.ext4", "-q", "-L", "rootfs", card], check=True)
    assert find(card).contents == "ext4 rootfs"


@needs_root
def test_a_new_medium_has_a_new_sequence(card: str, backing: Path) -> None:
    before = find(card)
    assert before.sequence
    subprocess.run(["losetup", "--detach", card], check=True)
    subprocess.run(["losetup", card, str(backing)], check=True)
    assert replace(find(card), sequence="") == replace(before, sequence="")
    with pytest.raises(PiclusterError, match="another card is in"):
        Linux().open(before, unmount=False)


@needs_root
def test_what_is_written_is_on_the_medium(card: str, backing: Path) -> None:
    data = os.urandom(3 * MIB)
    with Linux().open(find(card), unmount=False) as target:
        assert target.name == card
        assert target.capacity == 64 * MIB
        assert not target.fresh
        target.write(4096, aligned(data))
        target.sync()
        back = blank(len(data))
        assert target.read(4096, back) == len(data)
        assert back == data
        target.finish(4096 + len(data))
    assert backing.read_bytes()[4096 : 4096 + len(data)] == data


@needs_root
def test_a_card_can_be_looked_at_while_it_is_mounted(card: str, tmp_path: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", card], check=True)
    with mounted(card, tmp_path / "point"):
        linux = Linux()
        chosen = find(card)
        assert linux.peek(chosen, 0, 4096)[1080:1082] == b"\x53\xef"
        assert linux.peek(chosen, chosen.size - 4096, 8192) == bytes(4096)
    with pytest.raises(OSError, match="the card was taken out") as caught:
        linux.peek(replace(chosen, path="/dev/nothing"), 0, 4096)
    assert caught.value.filename == "/dev/nothing"


@needs_root
def test_a_mounted_device_is_busy_and_is_unmounted_only_when_told(card: str, tmp_path: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", card], check=True)
    with mounted(card, tmp_path / "one") as one, mounted(card, tmp_path / "two words"):
        chosen = find(card)
        assert chosen.mounts == (str(one), str(tmp_path / "two words"))
        assert not chosen.system
        with pytest.raises(PiclusterError, match="is mounted on"):
            Linux().open(chosen, unmount=False)
        # The kernel has the last word, whoever calls.
        with pytest.raises(OSError, match="something else uses it") as caught:
            open_disk(card)
        assert caught.value.errno == errno.EBUSY
        with (one / "open").open("w"), pytest.raises(PiclusterError, match="cannot be unmounted"):
            Linux().open(find(card), unmount=True)
        with Linux().open(chosen, unmount=True):
            assert not one.is_mount()


@needs_root
def test_a_loop_on_a_part_of_a_disk_counts_for_the_disk(card: str, tmp_path: Path) -> None:
    with loop(Path(card), "--offset", str(16 * MIB)) as upper:
        assert find(upper).aside == f"it lies on {card}: name the disk itself"
        subprocess.run(["mkfs.ext4", "-q", upper], check=True)
        free = find(card)
        with mounted(upper, tmp_path / "point") as point:
            chosen = find(card)
            assert chosen.mounts == (str(point),)
            with pytest.raises(PiclusterError, match="is mounted on"):
                Linux().open(chosen, unmount=False)
            with Linux().open(chosen, unmount=True):
                assert not point.is_mount()
        with Linux().open(free, unmount=False):
            pass


@needs_root
def test_a_loop_on_a_disk_that_is_mounted_elsewhere_is_busy(card: str, tmp_path: Path) -> None:
    point = tmp_path / "hidden"
    point.mkdir()
    with loop(Path(card), "--offset", str(16 * MIB)) as upper:
        subprocess.run(["mkfs.ext4", "-q", upper], check=True)
        with subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", f'mount {upper} "{point}" && echo ready && read wait'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other:
            assert other.stdout
            assert other.stdout.readline() == "ready\n"
            found = find(card)
            assert found.mounts == ()
            with pytest.raises(OSError, match="something else uses it"):
                Linux(pause=lambda: None).open(found, unmount=True)
            other.communicate("\n")


@needs_root
def test_two_mounts_at_one_place_are_both_unmounted(card: str, tmp_path: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", card], check=True)
    point = tmp_path / "point"
    with mounted(card, point), mounted(str(point), point, "--bind"), Linux().open(find(card), unmount=True):
        assert not point.is_mount()


@needs_root
def test_a_mount_of_another_namespace_is_busy_too(card: str, tmp_path: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", card], check=True)
    point = tmp_path / "hidden"
    point.mkdir()
    script = f'mount {card} "{point}" && echo ready && read wait'
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "ready\n"
        found = find(card)
        assert found.mounts == ()
        waits: list[None] = []
        with pytest.raises(OSError, match="something else uses it"):
            Linux(pause=lambda: waits.append(None)).open(found, unmount=True)
        assert len(waits) == 19
        other.communicate("\n")


@needs_root
def test_a_copy_of_a_mount_that_soon_goes_is_waited_for(card: str, tmp_path: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", card], check=True)
    with (
        mounted(card, tmp_path / "point"),
        subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", "echo ready && read wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other,
    ):
        assert other.stdout
        assert other.stdout.readline() == b"ready\n"

        def let_go() -> None:
            if other.poll() is None:
                other.communicate(b"\n")
            else:  # a container that another test starts holds a copy, too
                time.sleep(0.25)

        # The copy is let go when the disk has been found busy, as by a container that has started.
        with Linux(pause=let_go).open(find(card), unmount=True):
            assert other.returncode == 0


@needs_root
def test_real_swap_makes_a_disk_the_systems(card: str) -> None:
    subprocess.run(["mkswap", card], check=True, capture_output=True)
    chosen = find(card)
    if subprocess.run(["swapon", card], check=False, capture_output=True).returncode:
        pytest.skip("this kernel or container allows no swap")
    try:
        assert find(card).system
        with pytest.raises(PiclusterError, match="never overwritten"):
            Linux().open(chosen, unmount=True)
    finally:
        subprocess.run(["swapoff", card], check=True)


@needs_root
def test_a_swap_file_makes_the_disk_below_it_the_systems(card: str, tmp_path: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", card], check=True)
    with mounted(card, tmp_path / "point") as point:
        file = point / "swap file"
        with file.open("wb") as stream:
            stream.write(bytes(2 * MIB))
        file.chmod(0o600)
        subprocess.run(["mkswap", str(file)], check=True, capture_output=True)
        assert not find(card).system
        if subprocess.run(["swapon", str(file)], check=False, capture_output=True).returncode:
            pytest.skip("this kernel or container allows no swap")
        try:
            assert find(card).system
        finally:
            subprocess.run(["swapoff", str(file)], check=True)


@needs_root
def test_a_real_btrfs_on_two_disks_counts_for_both(tmp_path: Path) -> None:
    files = [tmp_path / "a.img", tmp_path / "b.img"]
    for file in files:
        with file.open("wb") as stream:
            stream.truncate(128 * MIB)
    with loop(files[0]) as one, loop(files[1]) as two:
        subprocess.run(["mkfs.btrfs", "-q", "-f", one, two], check=True)
        # Modules are loaded by the first mount.
        tried = subprocess.run(["mount", "-t", "btrfs", one, "/nowhere"], check=False, capture_output=True, text=True)
        if "unknown filesystem" in tried.stderr:
            pytest.skip("this kernel has no btrfs")
        with mounted(one, tmp_path / "point", "-o", f"device={two}"):
            assert find(one).mounts == find(two).mounts == (str(tmp_path / "point"),)


@needs_root
def test_a_card_pulled_while_it_is_read_back_says_so(card: str, backing: Path) -> None:
    data = aligned(os.urandom(MIB))
    with Linux().open(find(card), unmount=False) as target:
        target.write(32 * MIB, data)
        target.sync()
        os.truncate(backing, 16 * MIB)
        with pytest.raises(OSError, match="the card or its reader failed, or it was taken out") as caught:
            target.read(32 * MIB, blank(MIB))
    assert caught.value.errno == errno.EIO
    assert caught.value.filename == card


@needs_root
def test_a_medium_that_fails_in_the_middle_says_so(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path / "small", "-t", "tmpfs", "-o", "size=8m") as small:
        with (small / "card.img").open("wb") as stream:
            stream.truncate(64 * MIB)
        with loop(small / "card.img") as path, Linux().open(find(path), unmount=False) as target:
            with pytest.raises(OSError, match="the card") as caught:
                target.write(0, aligned(os.urandom(16 * MIB)))
            # Which one a loop passes on is the kernel's.
            assert caught.value.errno in {errno.EIO, errno.ENOSPC}
            assert caught.value.filename == path


@needs_root
def test_a_write_protected_device_says_so(backing: Path) -> None:
    # Opening it is allowed to root; the first write is not.
    with loop(backing, "--read-only") as path, open_disk(path) as target:
        assert find(path).aside == "it is read-only"
        with pytest.raises(OSError, match="write-protected") as caught:
            target.write(0, aligned(bytes(4096)))
        assert caught.value.filename == path


@needs_root
def test_without_the_right_the_sentence_says_who_has_it(card: str) -> None:
    # All is imported before the rights are gone: the sources may be where only root can read.
    script = (
        "import fcntl, os, sys\n"
        "from picluster.devices.linuxdisk import open_disk\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: open_disk(sys.argv[1])\n"
        "except OSError as error: print(error.strerror)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, card],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    ).stdout
    assert "run this as root, or as a member of the group disk" in said


@needs_root
def test_a_partition_table_that_was_written_is_seen_at_once(backing: Path) -> None:
    subprocess.run(["sfdisk", "--quiet", str(backing)], check=True, input="2048,20480,c\n", text=True)
    first = backing.read_bytes()[:4096]
    backing.write_bytes(bytes(64 * MIB))
    with loop(backing, "--partscan") as path:
        with Linux().open(find(path), unmount=False) as target:
            target.write(0, aligned(first))
            target.finish(4096)
        assert find(path).contents
        # Some kernels, of virtual machines above all, know no partitions.
        parts = subprocess.run(
            ["lsblk", "-nro", "NAME", path], check=True, capture_output=True, text=True
        ).stdout.split()
        assert parts[1:] in ([], [f"{Path(path).name}p1"])
