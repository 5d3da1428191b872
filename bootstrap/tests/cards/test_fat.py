"""The FAT module against dosfstools and mtools: what they say is right, not what we read back."""

from __future__ import annotations

import contextlib
import io
import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cardkit import STOCK, Judge, make_partition, noise, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picluster.cards.fat import FatVolume
from picluster.cards.image import read_tree
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# FAT16 and FAT32, small and large clusters, one and two copies of the FAT.
KINDS = {
    "fat32": ("-F", 32, "-s", 1),
    "fat32-one-copy": ("-F", 32, "-s", 1, "-f", 1),
    "fat16": ("-F", 16, "-s", 4),
    "fat16-cluster-32k": ("-F", 16, "-s", 16),
}
NEW = {
    "ssh": b"",
    "user-data": b"#cloud-config\n" + b"# long\n" * 2000,
    "network-config": b"network: {}\n",
    "cmdline.txt": b"root=x\n",
    "UPPER.TXT": b"short name",
    "a name with blanks and d\u00f6ts.in.it.yaml": b"\0\1\2",
    "x" * 200: b"very long name",
    "exactly13char": b"fills its slot",
    "overlays/in-a-directory.dtbo": b"there",
}


@pytest.fixture(params=KINDS, ids=str)
def part(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make_partition(tmp_path / "boot.img", STOCK, *KINDS[request.param], "-n", "bootfs")


def _write(part: Path, files: dict[str, bytes]) -> None:
    with part.open("r+b") as stream:
        volume = FatVolume(stream, 0, part.stat().st_size)
        for path, data in files.items():
            volume.write(path, data)


def test_what_mtools_wrote_is_read(part: Path) -> None:
    with part.open("rb") as stream:
        volume = FatVolume(stream, 0, part.stat().st_size)
        assert volume.tree() == STOCK
        assert volume.label == "bootfs"
        assert volume.sizes() == {name: len(data) for name, data in STOCK.items()}
        assert volume.read("CMDLINE.TXT") == STOCK["cmdline.txt"]


def test_fsck_and_mtools_are_content_with_what_is_written(part: Path, judge: Judge) -> None:
    _write(part, NEW)
    judge.is_sound(part)
    assert judge.files(part) == STOCK | NEW


@pytest.mark.parametrize("mkfs", [("-s", 4), ("-s", 8), ("-S", 4096, "-s", 1)], ids=str)
def test_fat32_of_few_clusters_is_what_linux_takes_it_for(
    tmp_path: Path, judge: Judge, mkfs: tuple[object, ...]
) -> None:
    # mtools takes a FAT32 with fewer than 65525 clusters for FAT16, so here fsck.vfat judges alone.
    part = make_partition(tmp_path / "boot.img", {}, "-F", 32, *mkfs)
    files = {name: data for name, data in NEW.items() if "/" not in name}
    _write(part, files)
    judge.is_sound(part)
    assert f"{len(files)} files" in run("fsck.vfat", "-n", part)
    with part.open("rb") as stream:
        assert FatVolume(stream, 0, part.stat().st_size).tree() == files


def test_a_file_whose_small_letters_are_case_bits_is_replaced_not_doubled(part: Path) -> None:
    _write(part, {"cmdline.txt": b"one\n"})
    assert run("mdir", "-b", "-i", part, "::").lower().count("cmdline.txt") == 1


def test_replacing_again_and_again_leaks_no_cluster(part: Path, judge: Judge) -> None:
    _write(part, NEW)
    free = run("minfo", "-i", part), run("mdir", "-i", part, "::").splitlines()[-2:]
    for size in (1, 100_000, 0, 5000, len(NEW["user-data"])):
        _write(part, {"user-data": b"x" * size})
        judge.is_sound(part)
    assert run("mdir", "-i", part, "::").splitlines()[-2:] == free[1]


def test_both_copies_of_the_fat_are_alike(tmp_path: Path) -> None:
    part = make_partition(tmp_path / "boot.img", STOCK, "-F", 32, "-s", 1)
    _write(part, NEW)
    data = part.read_bytes()
    sectors = struct.unpack_from("<I", data, 36)[0] * 512
    start = struct.unpack_from("<H", data, 14)[0] * 512
    assert data[start : start + sectors] == data[start + sectors : start + 2 * sectors]


def test_only_the_partition_in_the_middle_of_the_file_changes(tmp_path: Path, judge: Judge) -> None:
    part = make_partition(tmp_path / "boot.img", STOCK, "-F", 32, "-s", 1)
    size, before, after = part.stat().st_size, noise(3, 70_001), noise(4, 70_001)
    big = tmp_path / "big.img"
    big.write_bytes(before + part.read_bytes() + after)
    with big.open("r+b") as stream:
        volume = FatVolume(stream, len(before), size)
        for path, data in NEW.items():
            volume.write(path, data)
    data = big.read_bytes()
    assert data[: len(before)] == before
    assert data[len(before) + size :] == after
    part.write_bytes(data[len(before) : len(before) + size])
    judge.is_sound(part)
    assert judge.files(part) == STOCK | NEW


def test_a_directory_grows_as_far_as_it_must(tmp_path: Path, judge: Judge) -> None:
    part = make_partition(tmp_path / "boot.img", STOCK, "-F", 32, "-s", 1)
    many = {f"a rather long file name, number {number}.txt": str(number).encode() for number in range(200)}
    many |= {f"overlays/another long file name, number {number}": b"" for number in range(100)}
    _write(part, many)
    judge.is_sound(part)
    assert judge.files(part) == STOCK | many


def test_short_names_of_like_long_names_differ(tmp_path: Path, judge: Judge) -> None:
    part = make_partition(tmp_path / "boot.img", {}, "-F", 32, "-s", 1)
    files = {f"network-config-{number}": b"x" for number in range(12)} | {"network-.txt": b"y", "a+b": b"", "a=b": b""}
    _write(part, files)
    judge.is_sound(part)
    assert judge.files(part) == files


def test_deleted_slots_are_used_again_and_old_bytes_stay_dead(tmp_path: Path, judge: Judge) -> None:
    files = {f"some file with a long name {number}": b"x" for number in range(12)}
    part = make_partition(tmp_path / "boot.img", files, "-F", 32, "-s", 1)
    for number in range(3, 12):
        run("mdel", "-i", part, f"::some file with a long name {number}")
    new = {"one new file with a long name": b"1", "two new file with a long name": b"2", "b" * 120: b"3"}
    _write(part, new)
    judge.is_sound(part)
    assert judge.files(part) == dict.fromkeys(list(files)[:3], b"x") | new


def test_a_fragmented_partition_is_filled_to_the_last_cluster_and_no_further(tmp_path: Path, judge: Judge) -> None:
    part = make_partition(tmp_path / "boot.img", {}, "-F", 16, "-s", 8, size=20 << 20)
    fill = {f"f{number}.bin": bytes([number % 251]) * 90_000 for number in range(200)}
    _write(part, fill)
    for number in range(0, 200, 2):
        run("mdel", "-i", part, f"::f{number}.bin")
    with part.open("r+b") as stream:
        volume = FatVolume(stream, 0, part.stat().st_size)
        big = noise(5, 9_000_000)
        volume.write("big.bin", big)
        before = part.read_bytes()
        with pytest.raises(PiclusterError, match="full"):
            volume.write("more.bin", bytes(3_000_000))
        assert part.read_bytes() == before
        volume.write("small.bin", b"still works")
    judge.is_sound(part)
    kept = {name: data for name, data in fill.items() if int(name[1:-4]) % 2}
    assert judge.files(part) == kept | {"big.bin": big, "small.bin": b"still works"}


def test_the_fixed_top_directory_of_fat16_says_when_it_is_full(tmp_path: Path, judge: Judge) -> None:
    part = make_partition(tmp_path / "boot.img", {}, "-F", 16, "-s", 4, "-r", 16)
    with pytest.raises(PiclusterError, match="top directory of the boot partition is full"):
        _write(part, {f"long file name {number}": b"x" for number in range(60)})
    judge.is_sound(part)


def test_a_wrong_free_count_of_the_image_is_mended_not_spread(tmp_path: Path, judge: Judge) -> None:
    part = make_partition(tmp_path / "boot.img", STOCK, "-F", 32, "-s", 1)
    with part.open("r+b") as stream:
        stream.seek(512 + 488)
        stream.write(struct.pack("<II", 77, 999_999_999))
    _write(part, {"ssh": b"", "user-data": b"x" * 5000})
    judge.is_sound(part)


def test_slack_behind_a_file_is_zeroed(tmp_path: Path) -> None:
    part = make_partition(tmp_path / "boot.img", {"a.txt": b"secret" * 300}, "-F", 16, "-s", 16)
    run("mdel", "-i", part, "::a.txt")
    assert b"secret" in part.read_bytes()
    with part.open("r+b") as stream:
        volume = FatVolume(stream, 0, part.stat().st_size)
        volume.write("b.txt", b"new")
    assert b"secret" not in part.read_bytes()


def test_the_time_of_change_is_shown_as_given(tmp_path: Path) -> None:
    part = make_partition(tmp_path / "boot.img", {}, "-F", 32, "-s", 1)
    with part.open("r+b") as stream:
        FatVolume(stream, 0, part.stat().st_size).write("a.txt", b"x", datetime(2026, 5, 4, 13, 12, 10, tzinfo=UTC))
    assert "2026-05-04  13:12" in run("mdir", "-i", part, "::")


@pytest.mark.parametrize("name", ["a/b", "a:b", "a*", "", ".", "trailing ", "new\nline", "y" * 256])
def test_a_name_that_fat_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    part = make_partition(tmp_path / "boot.img", {}, "-F", 32, "-s", 1)
    before = part.read_bytes()
    with pytest.raises(PiclusterError, match=r"cannot be a file name|no directory a"):
        _write(part, {name: b""})
    assert part.read_bytes() == before


def test_a_directory_is_not_overwritten_by_a_file(tmp_path: Path) -> None:
    part = make_partition(tmp_path / "boot.img", STOCK, "-F", 32, "-s", 1)
    with pytest.raises(PiclusterError, match="Overlays is a directory"):
        _write(part, {"Overlays": b""})


def _stock_partition(tmp_path: Path) -> bytes:
    return make_partition(tmp_path / "stock.img", STOCK, "-F", 32, "-s", 1).read_bytes()


def test_damage_ends_in_a_sentence_never_in_a_traceback_or_a_loop(tmp_path: Path) -> None:
    stock = _stock_partition(tmp_path)
    fat = struct.unpack_from("<H", stock, 14)[0] * 512
    damage = {
        "no signature": (510, b"\0\0"),
        "sector of zero bytes": (11, b"\0\0"),
        "cluster of three sectors": (13, b"\3"),
        "no FAT": (16, b"\0"),
        "larger than its partition": (32, struct.pack("<I", 1 << 30)),
        "FAT too short": (36, struct.pack("<I", 2)),
        "chain into nothing": (fat + 4 * 3, struct.pack("<I", 0)),
        "chain in a circle": (fat + 4 * 2, struct.pack("<I", 2)),
        "chain out of the partition": (fat + 4 * 3, struct.pack("<I", 0x0ABCDEF0)),
        "cut short": (len(stock) // 20, b""),
    }
    for what, (position, patch) in damage.items():
        part = tmp_path / "damaged.img"
        part.write_bytes(stock[:position] + patch + (stock[position + len(patch) :] if patch else b""))
        with part.open("rb") as stream, pytest.raises(PiclusterError) as caught:
            FatVolume(stream, 0, len(stock)).tree()
        assert "damaged" in str(caught.value), what


@pytest.fixture(scope="module")
def stock_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return _stock_partition(tmp_path_factory.mktemp("stock"))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 700_000), patch=st.binary(min_size=1, max_size=64))
def test_random_damage_raises_nothing_but_our_error(stock_bytes: bytes, position: int, patch: bytes) -> None:
    # The first 700,000 bytes hold the boot sector, both FATs and the directories.
    damaged = bytearray(stock_bytes)
    damaged[position : position + len(patch)] = patch
    with contextlib.suppress(PiclusterError):
        FatVolume(io.BytesIO(damaged), 0, len(damaged)).tree()


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    writes=st.lists(
        st.tuples(st.text("abcXYZ .~+\u00e9\u65e5", min_size=1, max_size=30), st.integers(0, 30_000)), max_size=12
    ),
    kind=st.sampled_from(sorted(KINDS)),
)
def test_any_sequence_of_writes_leaves_a_sound_partition(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[str, int]], kind: str
) -> None:
    folder = tmp_path_factory.mktemp("writes")
    part = make_partition(folder / "boot.img", {"stock.bin": b"s" * 10_000}, *KINDS[kind])
    wanted = {"stock.bin": b"s" * 10_000}
    with part.open("r+b") as stream:
        volume = FatVolume(stream, 0, part.stat().st_size)
        for number, (name, size) in enumerate(writes):
            data = bytes([number]) * size
            try:
                volume.write(name, data)
            except PiclusterError as error:
                assert "cannot be a file name" in str(error)  # noqa: PT017 - some of these names are none on FAT
                continue
            old = next((other for other in wanted if other.casefold() == name.casefold()), name)
            wanted[old] = data
    judge = Judge(folder)
    judge.is_sound(part)
    assert judge.files(part) == wanted


def test_read_tree_reads_the_boot_partition_of_a_card(make_card: Callable[..., Path]) -> None:
    assert read_tree(make_card()) == STOCK
