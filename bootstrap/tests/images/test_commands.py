"""picluster images as it is typed, against a real server on the loopback."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from imagekit import DATA, OTHER, PATH, SUM, Desk
from webkit import Served, Server

from picluster import cli
from picluster.images import catalogue, library
from picluster.images.catalogue import Entry


def _catalogue(path: Path, *entries: Entry) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["images:"]
    for entry in entries:
        lines += [f"  - name: {entry.name}", f"    url: {entry.url}", f"    sha256: {entry.sha256}"]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_the_commands_list_fetch_and_verify(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--catalogue", str(_catalogue(tmp_path / "own.yml", Entry("mine", server.url(PATH), sha256=SUM)))]
    assert cli.main(["images", "verify", *own]) == 0
    assert "verified 0 images" in capsys.readouterr().out
    assert cli.main(["images", "list", *own]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "ARCH", "DATE", "IN", "CACHE"]
    assert lines[1].split() == ["mine", "-", "-", "no"]
    assert any(line.split() == ["trixie-lite", "arm64", "2026-06-18", "no"] for line in lines)
    assert str(tmp_path / "config" / "picluster" / "images.yml") in lines[-1]
    assert cli.main(["images", "get", "mine", *own]) == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])
    assert path.read_bytes() == DATA
    assert cli.main(["images", "list", *own]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "ARCH", "DATE", "SIZE", "IN", "CACHE"]
    assert lines[1].split() == ["mine", "-", "-", "3.0", "MB", "yes"]
    assert cli.main(["images", "list", "--json", *own]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0] | {"name": "mine", "size": 3_000_000, "path": str(path), "sha256": SUM} == events[0]
    # Without the catalogue the cache still knows where it came from.
    assert cli.main(["images", "list", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["name"] for event in events if event.get("path")] == [server.url(PATH)]
    assert cli.main(["images", "verify", "--json", "mine", *own]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events == [
        {"event": "image", "name": "mine", "path": str(path), "state": "ok"},
        {"event": "done", "good": 1, "bad": 0},
    ]


def test_verify_names_what_differs_and_removes_nothing(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.files["/good.img"] = Served(OTHER)
    entries = (
        Entry("bad", server.url(PATH), sha256=SUM),
        Entry("good", server.url("/good.img"), sha256=hashlib.sha256(OTHER).hexdigest()),
    )
    _catalogue(catalogue.user_file(), *entries)
    path = Desk(*entries).library.get("bad").path
    Desk(*entries).library.get("good")
    # As a dying disk does it: size and time of change stay.
    before = path.stat()
    path.write_bytes(b"\0" + DATA[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cli.main(["images", "verify"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["bad", "differs"], ["good", "is"], ["verified", "2"]]
    assert path.exists()
    assert cli.main(["images", "verify", "good"]) == 0
    assert Desk(*entries).library.get("bad").path.read_bytes() == DATA
    assert cli.main(["images", "verify"]) == 0
    path.unlink()
    assert cli.main(["images", "verify", "bad"]) == 1
    assert "bad was removed from the cache" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["get", "trixy-lite"], "did you mean trixie-lite"),
        (["get", "http://127.0.0.1:1/card.img"], "is http"),
        (["get", "trixie-lite", "--sha256", "12"], "64 hexadecimal digits"),
        (["verify", "trixie-lite"], "trixie-lite is not in the cache: picluster images get trixie-lite"),
        (
            ["verify", "https://example.org/x.img?a=1&b=2"],
            "x.img?a=1&b=2 is not in the cache: picluster images get 'https://example.org/x.img?a=1&b=2'",
        ),
        (["get", "nope"], "no image is named nope; picluster images list shows the names"),
        (["verify", "qqqq"], "no image is named qqqq"),
        (["list", "--catalogue", "nowhere.yml"], "the catalogue nowhere.yml cannot be read: No such file"),
        (["list", "--catalogue", "."], "cannot be read: Is a directory"),
        (["list", "--catalogue", "latin.yml"], "latin.yml is not UTF-8 text"),
        ([], "are required: VERB"),
        (["remove"], "invalid choice"),
    ],
)
def test_bad_input_of_the_commands_ends_in_one_sentence(
    tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "latin.yml").write_bytes(b"images: [\xe4]")
    assert cli.main(["images", *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not library.image_folder().exists()


@pytest.mark.parametrize(
    ("cache", "says"),
    [
        ("~nosuch/x", "PICLUSTER_CACHE ~nosuch/x cannot be used: there is no such user's home; give an absolute path"),
        ("file", "set PICLUSTER_CACHE to a directory that you may write to"),
        ("file/below", "set PICLUSTER_CACHE to a directory that you may write to"),
    ],
)
def test_a_cache_that_cannot_be_is_refused_in_one_sentence(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: str, says: str
) -> None:
    Path("file").write_bytes(b"")
    monkeypatch.setenv("PICLUSTER_CACHE", cache)
    assert cli.main(["images", "get", server.url(PATH), "--sha256", SUM]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert server.asked == []
