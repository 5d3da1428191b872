"""Files of a node: replaced atomically, shown before and after, left alone in check mode."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.node import files as node_files
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import describe_write_error

if TYPE_CHECKING:
    from pathlib import Path

CONF = "/etc/a/b.conf"


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    return FakeNode(tmp_path)


@pytest.fixture
def checked(tmp_path: Path) -> FakeNode:
    return FakeNode(tmp_path, check_mode=True)


def test_a_new_file_gets_text_and_mode_and_the_second_time_nothing_changes(node: FakeNode) -> None:
    assert node.files.put(CONF, "x\n", 0o600)
    assert node.diff == [{"before_header": f"{CONF} (absent)", "after_header": CONF, "before": "", "after": "x\n"}]
    assert node.path(CONF).stat().st_mode & 0o777 == 0o600
    again = FakeNode(node.root)
    assert not again.files.put(CONF, "x\n", 0o600)
    assert not again.changed
    assert [entry.name for entry in node.path("/etc/a").iterdir()] == ["b.conf"]


def test_only_the_mode_may_differ(node: FakeNode) -> None:
    path = node.write(CONF, "x\n")
    assert node.files.put(CONF, "x\n", 0o600)
    assert (node.diff[0]["before"], node.diff[0]["after"]) == ("mode: 0644\n", "mode: 0600\n")
    assert path.stat().st_mode & 0o777 == 0o600


def test_check_mode_reports_and_touches_nothing(checked: FakeNode) -> None:
    link = checked.path("/etc/link")
    link.parent.mkdir()
    link.symlink_to("old")
    kept = checked.write("/etc/kept", "x\n")
    assert checked.files.put(CONF, "x\n")
    assert checked.files.put_bytes("/etc/image", b"\0", title="an image")
    assert checked.files.link("/etc/link", "new")
    assert checked.files.remove("/etc/kept")
    assert len(checked.diff) == 4
    assert kept.exists()
    assert str(link.readlink()) == "old"
    assert sorted(path.name for path in checked.path("/etc").iterdir()) == ["kept", "link"]


def test_a_removal_is_shown_and_a_missing_file_is_no_change(node: FakeNode) -> None:
    path = node.write(CONF, "x\n")
    assert node.files.remove(CONF)
    assert not path.exists()
    assert not node.files.remove(CONF)
    assert [entry["after_header"] for entry in node.diff] == [f"{CONF} (absent)"]


def test_a_text_of_none_is_a_removal(node: FakeNode) -> None:
    node.write("/etc/x", "old\n")
    assert node.files.put("/etc/x", None, show=lambda _: "(hidden)\n")
    assert (node.path("/etc/x").exists(), node.diff[0]["before"]) == (False, "(hidden)\n")
    assert not node.files.put("/etc/x", None)


def test_a_binary_file_is_removed_without_being_read(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node.write("/etc/image", "1 GB")
    monkeypatch.setattr(node.files, "read", lambda _: pytest.fail("read it"))
    assert node.files.remove("/etc/image", title="an image")
    assert (node.diff[0]["before"], node.diff[0]["after"]) == ("an image\n", "")


def test_a_dangling_link_is_removed_too(node: FakeNode) -> None:
    node.write(CONF, "")
    link = node.path("/etc/a/link")
    link.symlink_to("nowhere")
    assert node.files.remove("/etc/a/link")
    assert not link.is_symlink()
    assert node.diff[0]["before"] == "-> nowhere\n"


def test_a_link_is_replaced_at_once_and_only_if_it_differs(node: FakeNode) -> None:
    assert node.files.link("/opt/hadoop", "hadoop-1")
    assert node.files.link("/opt/hadoop", "hadoop-2")
    assert not node.files.link("/opt/hadoop", "hadoop-2")
    assert str(node.path("/opt/hadoop").readlink()) == "hadoop-2"
    assert [(entry["before"], entry["after"]) for entry in node.diff] == [
        ("", "-> hadoop-1\n"),
        ("-> hadoop-1\n", "-> hadoop-2\n"),
    ]


def test_a_binary_file_is_compared_by_its_content(node: FakeNode) -> None:
    assert node.files.put_bytes("/var/image.tar", b"\0\xff", title="an image")
    assert not node.files.put_bytes("/var/image.tar", b"\0\xff", title="an image")
    assert node.path("/var/image.tar").read_bytes() == b"\0\xff"


def test_a_file_that_is_not_there_reads_as_none(node: FakeNode) -> None:
    assert node.files.read("/nothing") is None


def test_what_the_diff_shows_of_a_secret_is_the_caller_s_choice(node: FakeNode) -> None:
    node.write("/etc/token", "s3cret\n")
    node.files.put("/etc/token", "0ther\n", 0o600, show=lambda _: "(hidden)\n")
    node.files.remove("/etc/token", show=lambda _: "(hidden)\n")
    assert "s3cret" not in str(node.diff)
    assert "0ther" not in str(node.diff)


def test_a_full_card_is_one_sentence_with_the_file_that_the_user_knows(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/etc/a/.b.conf.x7")

    monkeypatch.setattr(node_files.tempfile, "mkstemp", full)
    with pytest.raises(UserError) as caught:
        node.files.put(CONF, "x\n")
    assert str(caught.value) == (
        f"{CONF} cannot be written: No space left on device; check the card: it is full, read-only or broken"
    )


def test_a_failed_write_leaves_the_old_file_and_no_other(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node.write(CONF, "old")

    def no_space(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(node_files.os, "fsync", no_space)
    with pytest.raises(UserError, match="No space left"):
        node.files.put(CONF, "new")
    assert node.text(CONF) == "old"
    assert list(node.path(CONF).parent.iterdir()) == [node.path(CONF)]


def test_a_folder_in_the_place_of_a_file_is_a_sentence(node: FakeNode) -> None:
    node.path(CONF).mkdir(parents=True)
    with pytest.raises(UserError, match=rf"^{CONF} cannot be read: Is a directory"):
        node.files.put(CONF, "x\n")


def test_an_error_that_is_not_the_card_s_does_not_blame_it() -> None:
    assert describe_write_error(PermissionError(errno.EPERM, "Operation not permitted", "/etc/hosts")) == (
        "/etc/hosts cannot be written: Operation not permitted"
    )


def test_a_mount_point_is_written_in_place_where_that_is_allowed(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = node.write("/etc/hosts", "old\n")

    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(node_files, "write_atomically", busy)
    with pytest.raises(UserError, match="busy"):
        node.files.put("/etc/hosts", "new\n")
    assert node.files.put("/etc/hosts", "new\n", may_be_mount=True)
    assert path.read_text() == "new\n"


def test_a_file_of_another_owner_is_written_anew_for_its_owner(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    path = node.write("/home/pi/keys", "k\n", 0o600)
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr("os.fchown", lambda _handle, *owner: owners.append(owner))
    mine = (path.stat().st_uid, path.stat().st_gid)
    assert not node.files.put("/home/pi/keys", "k\n", 0o600, owner=mine)
    assert node.files.put("/home/pi/keys", "k\n", 0o600, owner=(4711, 4712))
    assert owners == [(4711, 4712)]
    assert "owner: 4711:4712\n" in node.diff[0]["after"]


def test_a_diff_with_bytes_that_are_not_utf_8_can_be_sent(node: FakeNode) -> None:
    path = node.write("/etc/hosts", "")
    path.write_bytes(b"# caf\xe9\n")
    assert node.files.put("/etc/hosts", (node.files.read("/etc/hosts") or "") + "more\n")
    assert path.read_bytes() == b"# caf\xe9\nmore\n"
    assert [entry["before"].encode() for entry in node.diff] == ["# caf\N{REPLACEMENT CHARACTER}\n".encode()]
    assert "more" in node.diff[0]["after"].encode().decode()


def test_a_block_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    place = tmp_path / "big"
    place.write_text("old")

    def die() -> None:
        with node_files.atomic_stream(place) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("big", "old")]
