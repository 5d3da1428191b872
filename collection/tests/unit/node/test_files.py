"""Whole text files: replaced atomically, shown before and after, left alone in check mode."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node import old_files as node_files
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles, card_trouble, read_text


def files(*, check_mode: bool = False) -> TextFiles:
    return TextFiles(SimpleNamespace(check_mode=check_mode))


def test_a_new_file_gets_text_and_mode_and_the_second_time_nothing_changes(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "b.conf")
    first = files()
    assert first.put(path, "x\n", 0o600)
    assert first.diff == [{"before_header": f"{path} (absent)", "after_header": path, "before": "", "after": "x\n"}]
    assert Path(path).stat().st_mode & 0o777 == 0o600
    second = files()
    assert not second.put(path, "x\n", 0o600)
    assert not second.changed
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["b.conf"]


def test_only_the_mode_may_differ(tmp_path: Path) -> None:
    path = tmp_path / "b.conf"
    path.write_text("x\n", encoding="utf-8")
    path.chmod(0o644)
    worker = files()
    assert worker.put(str(path), "x\n", 0o600)
    assert (worker.diff[0]["before"], worker.diff[0]["after"]) == ("mode: 0644\n", "mode: 0600\n")
    assert path.stat().st_mode & 0o777 == 0o600


def test_check_mode_tells_and_touches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.conf"
    worker = files(check_mode=True)
    assert worker.put(str(path), "x\n")
    assert worker.changed
    assert not path.parent.exists()


def test_removing_is_shown_and_a_missing_file_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "b.conf"
    path.write_text("x\n", encoding="utf-8")
    worker = files()
    assert worker.remove(str(path))
    assert not path.exists()
    assert not files().remove(str(path))
    assert worker.diff[0]["after_header"] == f"{path} (absent)"


def test_a_file_that_is_not_there_reads_as_none(tmp_path: Path) -> None:
    assert read_text(str(tmp_path / "nothing")) is None


def test_a_full_card_is_one_sentence_with_the_file_that_the_user_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / ".b.conf.x7"))

    monkeypatch.setattr(node_files.tempfile, "mkstemp", full)
    with pytest.raises(OSError, match="No space left") as caught:
        files().put(str(tmp_path / "b.conf"), "x\n")
    assert (
        card_trouble(caught.value) == f"{tmp_path}/b.conf cannot be written: No space left on device; "
        "check the card: it is full, read-only or broken"
    )


def test_what_is_not_the_card_s_fault_does_not_blame_it() -> None:
    assert card_trouble(PermissionError(errno.EPERM, "Operation not permitted", "/etc/hosts")) == (
        "/etc/hosts cannot be written: Operation not permitted"
    )


def test_a_file_of_another_owner_is_written_anew_for_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    path.write_text("k\n")
    path.chmod(0o600)
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr("os.fchown", lambda _handle, *owner: owners.append(owner))
    mine = (path.stat().st_uid, path.stat().st_gid)
    assert not files().put(str(path), "k\n", 0o600, owner=mine)
    assert files().put(str(path), "k\n", 0o600, owner=(4711, 4712))
    assert owners == [(4711, 4712)]


def test_a_difference_with_bytes_that_are_no_utf_8_can_be_sent(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(b"# caf\xe9\n")
    made = files()
    assert made.put(str(path), (read_text(str(path)) or "") + "more\n")
    assert path.read_bytes() == b"# caf\xe9\nmore\n"
    assert [entry["before"].encode() for entry in made.diff] == ["# caf\N{REPLACEMENT CHARACTER}\n".encode()]
    assert "more" in made.diff[0]["after"].encode().decode()
