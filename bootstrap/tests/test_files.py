"""Files that are written together: all or none."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from picluster import cli, files

if TYPE_CHECKING:
    from pathlib import Path


def _everything(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")
    }


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Return how many more files the disk has room for."""
    room = {"left": 0}
    fsync = os.fsync

    def limited(handle: Any) -> None:
        if not room["left"]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room["left"] -= 1
        fsync(handle)

    monkeypatch.setattr(os, "fsync", limited)
    return room


@pytest.mark.parametrize("room", [0, 1, 2])
def test_a_disk_that_is_full_between_two_files_changes_nothing(tmp_path: Path, full: dict[str, int], room: int) -> None:
    (tmp_path / "old").write_bytes(b"old")
    before = _everything(tmp_path)
    full["left"] = room
    contents = {tmp_path / name: b"new" for name in ("old", "deep/below/one", "deep/two")}
    with pytest.raises(OSError, match="No space left on device") as caught:
        files.write_together(contents)
    assert caught.value.filename == str(list(contents)[room])
    assert _everything(tmp_path) == before


def test_what_was_written_together_is_taken_back_together(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "old").chmod(0o600)
    before = _everything(tmp_path)
    take_back = files.write_together({tmp_path / name: b"new" for name in ("old", "deep/one")})
    assert _everything(tmp_path) == {"old": b"new", "deep": b"", "deep/one": b"new"}
    take_back()
    assert _everything(tmp_path) == before
    assert (tmp_path / "old").stat().st_mode & 0o777 == 0o600


def test_a_directory_of_another_owner_that_can_be_written_to_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_the_owner(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "utime", not_the_owner)
    files.check_folder(tmp_path / "red", "--inventories")
    assert _everything(tmp_path) == {}


@pytest.mark.parametrize("room", range(6))
def test_an_inventory_on_a_full_disk_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: dict[str, int], capsys: pytest.CaptureFixture[str], room: int
) -> None:
    monkeypatch.chdir(tmp_path)
    full["left"] = room
    assert cli.main(["inventory", "--name", "red[1-2]", "--ips", "192.168.63.[11-12]"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("picluster: the inventory inventories/red cannot be written: inventories/red/")
    assert said.err.endswith(": No space left on device; nothing was changed\n")
    assert _everything(tmp_path) == {}
