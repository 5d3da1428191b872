"""Images by file, URL and name: what is cached, which checksum counts, and what a name means."""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
import time
from pathlib import Path

import pytest
from cardkit import noise
from imagekit import DATA, OTHER, PATH, SUM, Desk, cached, start_get, wait_until
from webkit import Served, Server

from picluster.console.report import Report
from picluster.errors import PiclusterError
from picluster.firstboot.generations import WORDS
from picluster.images import catalogue, library
from picluster.images.catalogue import Entry
from picluster.images.slots import Slot


def test_an_image_is_fetched_once_and_then_comes_from_the_cache(server: Server) -> None:
    desk = Desk()
    first = desk.library.get(server.url(PATH), SUM)
    assert first.path.name == "card.img.xz"
    assert first.path.read_bytes() == DATA
    assert (first.sha256, first.bmap) == (SUM, None)
    assert Desk().library.resolve(server.url(PATH), SUM.upper()) == first
    assert Desk().library.resolve(server.url(PATH), SUM) == first
    assert server.asked == [(PATH, None)]
    assert cached() == ["card.img.xz"]


def test_two_images_of_one_name_do_not_meet(server: Server) -> None:
    server.files["/other/card.img.xz"] = Served(b"other")
    first = Desk().library.get(server.url(PATH), SUM)
    second = Desk().library.get(server.url("/other/card.img.xz"), hashlib.sha256(b"other").hexdigest())
    assert first.path != second.path
    assert (first.path.read_bytes(), second.path.read_bytes()) == (DATA, b"other")


@pytest.mark.parametrize("name", ["record.json", "Record.JSON"])
def test_an_image_may_have_the_name_of_its_record(server: Server, name: str) -> None:
    server.files[f"/{name}"] = Served(DATA)
    for _ in range(2):
        found = Desk().library.get(server.url(f"/{name}"), SUM)
        assert found.path.read_bytes() == DATA
    assert found.path.name.lower() != "record.json"
    assert len(server.asked) == 1
    assert [one.state for one in Desk().library.verify([])] == ["ok"]


def test_plain_http_needs_a_checksum(server: Server) -> None:
    with pytest.raises(PiclusterError, match="is http, which can be modified in transit"):
        Desk().library.get(server.url(PATH))
    assert server.asked == []


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (PATH + ".sha256", f"{SUM}  card.img.xz\n"),
        (PATH + ".sha256", f"{SUM} *card.img.xz\n"),
        (PATH + ".sha256", f"{SUM.upper()}  ./deploy/card.img.xz\r\n"),
        (PATH + ".sha256", SUM),
        (PATH + ".sha256", f"\n  {SUM} \t card.img.xz \n"),
        (PATH + ".sha256", f"\\{SUM}  card.img.xz\n"),
        ("/images/SHA256SUMS", f"# sums\n{'0' * 64} *other.img.xz\n{SUM} *card.img.xz\n"),
    ],
)
def test_the_checksum_that_the_publisher_has_beside_the_image_is_recorded(tls: Server, place: str, text: str) -> None:
    tls.files[place] = Served(text.encode())
    first = Desk().library.get(tls.url(PATH))
    assert (first.path.read_bytes(), first.sha256) == (DATA, SUM)
    record = json.loads((first.path.parent / "record.json").read_text(encoding="utf-8"))
    assert (record["url"], record["sha256"], record["source"]) == (tls.url(PATH), SUM, tls.url(place))


@pytest.mark.parametrize(
    "text",
    [None, "", f"{'0' * 64}  other.img.xz\n", f"{SUM}  card.img\n", "<html>not here</html>", f"{SUM[1:]}  card.img.xz"],
    ids=["none", "empty", "of another", "of what is packed", "a web page", "63 digits"],
)
def test_without_a_checksum_nothing_is_fetched(tls: Server, text: str | None) -> None:
    if text is not None:
        tls.files[PATH + ".sha256"] = Served(text.encode())
    with pytest.raises(PiclusterError, match=r"\(card.img.xz.sha256 or SHA256SUMS\): give --sha256"):
        Desk().library.get(tls.url(PATH))
    assert tls.ranges(PATH) == []


@pytest.mark.parametrize(
    ("served", "says", "waits"),
    [
        (Served(statuses=[401]), "401", []),
        (Served(noise(1, (1 << 20) + 1)), "larger than", []),
        (Served(statuses=[500] * 9), "500 Internal Server Error: run the same command again", [1, 2, 4, 8]),
    ],
)
def test_a_checksum_that_cannot_be_read_is_named(tls: Server, served: Served, says: str, waits: list[float]) -> None:
    tls.files[PATH + ".sha256"] = served
    desk = Desk()
    with pytest.raises(PiclusterError, match=says):
        desk.library.get(tls.url(PATH))
    assert desk.waits == waits


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_checksum_that_is_not_in_the_first_place_is_looked_for_in_the_next(tls: Server, status: int) -> None:
    tls.files[PATH + ".sha256"] = Served(statuses=[status])
    tls.files["/images/SHA256SUMS"] = Served(f"{SUM}  card.img.xz\n".encode())
    desk = Desk()
    assert desk.library.get(tls.url(PATH)).sha256 == SUM
    assert desk.waits == []


def test_a_passing_trouble_of_the_server_is_waited_for_at_the_checksum_too(tls: Server) -> None:
    tls.files[PATH + ".sha256"] = Served(f"{SUM}  card.img.xz\n".encode(), statuses=[503, 502])
    desk = Desk()
    assert desk.library.get(tls.url(PATH)).sha256 == SUM
    assert desk.waits == [1, 2]


@pytest.mark.parametrize("text", [f"{SUM}\n", f"{SUM}  images/\n", f"{SUM} *\n"], ids=["none", "a folder", "a star"])
def test_a_checksum_of_many_images_that_names_none_is_of_none(tls: Server, text: str) -> None:
    tls.files["/images/SHA256SUMS"] = Served(text.encode())
    with pytest.raises(PiclusterError, match="give --sha256"):
        Desk().library.get(tls.url(PATH))
    assert tls.ranges(PATH) == []


@pytest.mark.parametrize(
    "start",
    [f"{SUM} a{' ' * 60_000}", f"{SUM}{' ' * 40_000}", f"{SUM} {'a ' * 20_000}", " " * 40_000, "\n" * 1_000_000],
    ids=["blanks in a name", "blanks before it", "many words", "only blanks", "many lines"],
)
def test_no_checksum_file_keeps_the_program_busy(tls: Server, start: str) -> None:
    tls.files["/images/SHA256SUMS"] = Served(f"{start}b\n{SUM}  card.img.xz\n".encode())
    before = time.process_time()
    assert Desk().library.get(tls.url(PATH)).sha256 == SUM
    # What grows with the square of the blanks takes 15 s.
    assert time.process_time() - before < 5


def test_what_was_recorded_at_the_first_download_stays_the_only_right_one(tls: Server) -> None:
    tls.files[PATH + ".sha256"] = Served(f"{SUM}  card.img.xz\n".encode())
    path = Desk().library.get(tls.url(PATH)).path
    path.unlink()
    tls.files[PATH].data = OTHER
    other = hashlib.sha256(OTHER).hexdigest()
    tls.files[PATH + ".sha256"].data = f"{other}  card.img.xz\n".encode()
    with pytest.raises(PiclusterError, match=r"record.json if the change is meant"):
        Desk().library.get(tls.url(PATH))
    (path.parent / "record.json").unlink()
    assert Desk().library.get(tls.url(PATH)).sha256 == other


def test_a_cached_image_that_was_touched_is_hashed_before_it_is_used(server: Server) -> None:
    path = Desk().library.get(server.url(PATH), SUM).path
    os.utime(path, ns=(1, 1))
    assert Desk().library.get(server.url(PATH), SUM).path.read_bytes() == DATA
    assert len(server.asked) == 1
    path.write_bytes(OTHER)
    desk = Desk()
    assert desk.library.get(server.url(PATH), SUM).path.read_bytes() == DATA
    assert "differs from what was verified" in desk.events("note")[0]["text"]
    assert len(server.asked) == 2


_ODD = {"url": 1, "sha256": 2, "source": 3, "verified": "", "size": 0, "mtime_ns": 0}


@pytest.mark.parametrize("text", ["", "{}", "[1]", "\0", json.dumps(_ODD)], ids=["empty", "{}", "list", "0", "numbers"])
def test_a_cached_image_without_a_good_record_is_fetched_again(server: Server, text: str) -> None:
    path = Desk().library.get(server.url(PATH), SUM).path
    (path.parent / "record.json").write_text(text, encoding="utf-8")
    assert [row.path for row in Desk().library.listed()] == []
    Desk().library.get(server.url(PATH), SUM)
    assert [row.path for row in Desk().library.listed()] == [path]
    assert len(server.asked) == 2


def test_two_commands_at_once_fetch_an_image_once(server: Server) -> None:
    server.files[PATH].stall = 1_000_000
    process = start_get(server)
    wait_until(lambda: len(server.asked) == 1)
    desk = Desk()
    found: list[bytes] = []
    second = threading.Thread(target=lambda: found.append(desk.library.get(server.url(PATH), SUM).path.read_bytes()))
    second.start()
    wait_until(lambda: bool(desk.events("note")))
    server.release.set()
    second.join(30)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert found == [DATA]
    assert len(server.asked) == 1


def test_verify_waits_for_the_command_that_is_at_an_image(server: Server) -> None:
    path = Desk().library.get(server.url(PATH), SUM).path
    slot = Slot(library.image_folder(), server.url(PATH))
    desk = Desk()
    found: list[str] = []
    second = threading.Thread(target=lambda: found.extend(one.state for one in desk.library.verify([])))
    with slot.lock(Report(as_json=True, out=io.StringIO(), err=io.StringIO())):
        second.start()
        wait_until(lambda: bool(desk.events("note")) or not second.is_alive())
        assert found == []
        # As a fetch does it: the record is ahead of its image for a while.
        slot.write_record(path, server.url(PATH), hashlib.sha256(OTHER).hexdigest(), "--sha256")
        path.write_bytes(OTHER)
    second.join(30)
    assert found == ["ok"]
    record = slot.trusted()
    assert record
    assert record.sha256 == hashlib.sha256(OTHER).hexdigest()


def test_a_block_map_is_fetched_if_the_catalogue_has_one(tls: Server) -> None:
    tls.files["/images/card.bmap"] = Served(b"<bmap/>")
    entry = Entry("mine", tls.url(PATH), sha256=SUM, bmap=tls.url("/images/card.bmap"), generation="trixie")
    for _ in range(2):
        found = Desk(entry).library.resolve("mine")
        assert found.bmap is not None
        assert found.bmap.read_bytes() == b"<bmap/>"
        assert found.generation == "trixie"
    assert len(tls.asked) == 2


@pytest.mark.parametrize("status", [404, 500])
def test_without_its_block_map_an_image_is_good_all_the_same(tls: Server, status: int) -> None:
    tls.files["/images/card.bmap"] = Served(statuses=[status] * 9)
    entry = Entry("mine", tls.url(PATH), sha256=SUM, bmap=tls.url("/images/card.bmap"))
    found = Desk(entry).library.resolve("mine")
    assert (found.path.read_bytes(), found.bmap) == (DATA, None)


def test_a_file_wins_over_a_name(server: Server, tmp_path: Path) -> None:
    desk = Desk(Entry("mine", server.url(PATH), sha256=SUM))
    (tmp_path / "mine.img.xz").write_bytes(OTHER)
    found = desk.library.resolve("mine")
    assert (found.path, found.sha256, found.generation) == (Path("mine.img.xz"), None, None)
    assert server.asked == []
    (tmp_path / "mine.img.xz").unlink()
    (tmp_path / "mine").mkdir()  # a folder is no image
    assert desk.library.resolve("mine").path.read_bytes() == DATA


def test_a_file_below_the_users_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    (home / "card.img.xz").write_bytes(DATA)
    for image in ("~/card.img.xz", "~/card"):
        assert Desk().library.resolve(image).path == home / "card.img.xz"
    with pytest.raises(PiclusterError, match=r"there is no file .*home.other; picluster images list"):
        Desk().library.resolve("~/other")


def test_a_name_is_known_by_its_aliases_and_its_file_whatever_the_case(server: Server) -> None:
    desk = Desk(Entry("mine", server.url(PATH), aliases=("Own-1",), sha256=SUM))
    for name in ("mine", "MINE", "own-1", "card.img.xz"):
        assert desk.library.resolve(name).path.read_bytes() == DATA


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("trixy-lite", "no image is named trixy-lite; did you mean trixie-lite or trixie-lite-arm"),
        ("qqqqq", "no image is named qqqqq; picluster images list shows the names"),
        ("./trixie-lite", "there is no file trixie-lite; picluster images list shows the images that --image can name"),
        ("cards/red.img", "there is no file cards/red.img"),
        ("red.img.xz", "there is no file red.img.xz"),
        ("a" * 300, "(the image|no image is named) a{300}(;| cannot be looked up: File name too long)"),
        ("b/" * 3000, "(the|there is no) image (b/)+b( cannot be looked up|: fetch it first)"),
        ("~nosuch/card.img", "the image ~nosuch/card.img cannot be read: there is no such user's home"),
        (".", "is a directory"),
        ("ftp://127.0.0.1/card.img", "is not a URL like https://"),
        ("https://", "is not a URL like https://"),
        ("https://[::1/card.img", "is not a URL"),
        ("https://127.0.0.1:port/card.img", "is not a URL"),
        ("https://127.0.0.1/a card.img", "is not a URL"),
        ("https://127.0.0.1/a\x7fcard.img", "is not a URL"),
        ("https://example.org/\u00fc.img.xz", "is not all ASCII: write it percent-encoded"),
        ("https://b\u00fccher.example/card.img.xz", "is not all ASCII: .* and its host as xn--"),
        ("https://a..b/card.img.xz", "'a..b' in the URL is not a valid host name or address"),
        ("https://.a/card.img.xz", "'.a' in the URL is not a valid host name or address"),
        (f"https://{'a' * 64}.org/card.img.xz", "in the URL is not a valid host name or address"),
        (f"https://{'a.' * 127}org/card.img.xz", "in the URL is not a valid host name or address"),
        ("https://a%2fb/card.img.xz", "'a%2fb' in the URL is not a valid host name or address"),
        ("https://127.0.0.1/", "does not end in the name of a file"),
        ("https://127.0.0.1/..", "does not end in the name of a file"),
        ("https://me:secret@127.0.0.1/card.img", "the URL of 127.0.0.1 holds a user name or password"),
        ("http://127.0.0.1/card.img", "is http, which can be modified in transit"),
    ],
)
def test_an_image_that_cannot_be_is_refused_in_one_sentence(image: str, says: str) -> None:
    with pytest.raises(PiclusterError, match=says) as caught:
        Desk(*catalogue.shipped(WORDS)).library.resolve(image)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not library.image_folder().exists()


def test_the_name_in_cm_burns_own_example_is_known() -> None:
    found = catalogue.find("2018-06-27-raspbian-stretch", [catalogue.shipped(WORDS)])
    assert found.url.endswith("/2018-06-27-raspbian-stretch.zip")
    assert found.generation == "stretch"


@pytest.mark.parametrize("sha256", ["", "abc", "0" * 63, "0" * 65, "g" * 64, f" {SUM}"])
def test_a_bad_sha256_is_refused(tmp_path: Path, sha256: str) -> None:
    (tmp_path / "card.img").write_bytes(DATA)
    with pytest.raises(PiclusterError, match="is not a SHA-256: 64 hexadecimal digits"):
        Desk().library.resolve("card.img", sha256)


def test_a_local_file_is_hashed_only_if_a_checksum_is_given(tmp_path: Path) -> None:
    (tmp_path / "card.img.xz").write_bytes(DATA)
    assert Desk().library.resolve("card").sha256 is None
    assert Desk().library.resolve("card.img.xz", SUM.upper()).sha256 == SUM
    with pytest.raises(PiclusterError, match=f"card.img.xz has the SHA-256 {SUM}, --sha256 says 0000"):
        Desk().library.resolve("card", "0" * 64)


def test_a_checksum_that_contradicts_the_catalogue_is_refused(server: Server) -> None:
    with pytest.raises(PiclusterError, match=r"the catalogue says .* of mine"):
        Desk(Entry("mine", server.url(PATH), sha256=SUM)).library.resolve("mine", "0" * 64)
    assert server.asked == []


@pytest.mark.parametrize(
    ("image", "bmap", "found"),
    [
        ("card.img.xz", "card.img.xz.bmap", True),
        ("card.img.xz", "card.img.bmap", True),
        ("card.img.xz", "card.bmap", True),
        ("card.img", "card.img.bmap", True),
        ("card.img", "card.bmap", True),
        ("card.zip", "card.bmap", True),
        ("card.img.xz", "other.bmap", False),
        ("2026-06-18-card.v2.img", "2026-06-18-card.bmap", False),
    ],
)
def test_a_block_map_beside_a_file_is_found(tmp_path: Path, image: str, bmap: str, found: bool) -> None:  # noqa: FBT001 - a table
    (tmp_path / image).write_bytes(b"")
    (tmp_path / bmap).write_bytes(b"")
    assert Desk().library.resolve(image).bmap == (Path(bmap) if found else None)
