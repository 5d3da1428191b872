"""Images by file, URL and name: from a real server on the loopback, whose answers are good and bad."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cardkit import noise
from webkit import Served, Server, make_certificate

from picluster import cli
from picluster.console.report import Report
from picluster.errors import PiclusterError
from picluster.images import catalogue, download, library
from picluster.images.catalogue import Entry
from picluster.images.library import Library
from picluster.images.slots import Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA = noise(7, 3_000_000)
SUM = hashlib.sha256(DATA).hexdigest()
PATH = "/images/card.img.xz"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep away from the real cache, the real catalogue and the internet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PICLUSTER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as one:
        one.files[PATH] = Served(DATA)
        yield one


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Return a server by https that this machine trusts."""
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Server(certificate) as one:
        one.files[PATH] = Served(DATA)
        yield one


class Desk:
    """A library, what it said, and how long it waited."""

    def __init__(self, *entries: Entry, timeout: float = 5) -> None:
        self.out = io.StringIO()
        self.waits: list[float] = []
        report = Report(as_json=True, out=self.out, err=io.StringIO())
        web = download.Web(self.waits.append, timeout)
        self.library = Library(library.image_folder(), [list(entries)], report, web)

    def events(self, kind: str) -> list[dict[str, Any]]:
        said = map(json.loads, self.out.getvalue().splitlines())
        return [event for event in said if event["event"] == kind]


def _cached() -> list[str]:
    """Return the files in the cache that a user would take for an image or a piece of one."""
    found = (path.name for path in library.image_folder().rglob("*") if path.is_file())
    return sorted(name for name in found if name not in (".lock", "record.json"))


def test_an_image_is_fetched_once_and_then_comes_from_the_cache(server: Server) -> None:
    desk = Desk()
    first = desk.library.get(server.url(PATH), SUM)
    assert first.path.name == "card.img.xz"
    assert first.path.read_bytes() == DATA
    assert (first.sha256, first.bmap) == (SUM, None)
    assert Desk().library.resolve(server.url(PATH), SUM.upper()) == first
    assert Desk().library.resolve(server.url(PATH), SUM) == first
    assert server.asked == [(PATH, None)]
    assert _cached() == ["card.img.xz"]


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


def test_a_cut_download_goes_on_by_itself(server: Server) -> None:
    server.files[PATH].cuts = [1_000_000, 700_000]
    desk = Desk()
    assert desk.library.get(server.url(PATH), SUM).path.read_bytes() == DATA
    assert server.ranges(PATH) == [None, "bytes=1000000-", "bytes=1700000-"]
    assert len(desk.waits) == 2


def test_a_passing_trouble_of_the_server_is_waited_for_once_it_was_heard(server: Server) -> None:
    server.files[PATH].cuts = [1_000_000]
    get = server.files[PATH]
    desk = Desk()
    # The second and third request are refused, the fourth is answered.
    wait = desk.waits.append

    def trouble(seconds: float) -> None:
        if not desk.waits:
            get.statuses = [503, 502]
        wait(seconds)

    desk.library._web._wait = trouble
    assert desk.library.get(server.url(PATH), SUM).path.read_bytes() == DATA
    assert server.ranges(PATH) == [None] + ["bytes=1000000-"] * 3
    assert desk.waits == [1, 1, 2]


def _start_get(server: Server) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "picluster", "images", "get", server.url(PATH), "--sha256", SUM]
    environment = {**os.environ, "PYTHONPATH": str(Path(library.__file__).parents[2])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come to pass within 30 seconds"
        time.sleep(0.01)


def _parts() -> int:
    return sum(path.stat().st_size for path in library.image_folder().rglob("*.part"))


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill"])
def test_an_interrupted_download_goes_on_in_the_next_run(server: Server, kill: signal.Signals) -> None:
    server.files[PATH].stall = 2_000_000
    process = _start_get(server)
    # What the process has read, but not written yet, may be lost.
    _wait_until(lambda: _parts() >= 1 << 20)
    process.send_signal(kill)
    said = process.communicate(timeout=30)
    assert process.returncode == (130 if kill == signal.SIGINT else -kill)
    assert "Traceback" not in said[1]
    have = _parts()
    assert _cached() == ["card.img.xz.part", "card.img.xz.part.json"]
    server.files[PATH].stall = None
    assert Desk().library.get(server.url(PATH), SUM).path.read_bytes() == DATA
    assert server.ranges(PATH) == [None, f"bytes={have}-"]
    assert _cached() == ["card.img.xz"]


def _cut_once(server: Server) -> None:
    """Leave a part of 1,000,000 bytes in the cache, as a broken network does."""
    server.files[PATH].always_cut = 1_000_000
    with pytest.raises(PiclusterError, match="goes on after 1000000 bytes"):
        # No part can be had while the file is cut at the same place again and again.
        Desk().library.get(server.url(PATH), SUM)
    assert _parts() == 1_000_000
    server.files[PATH].always_cut = None
    server.asked.clear()


@pytest.fixture
def cut(server: Server) -> Server:
    server.files[PATH].ranges = False
    _cut_once(server)
    server.files[PATH].ranges = True
    return server


def test_a_download_goes_on_in_a_part_that_was_left(cut: Server) -> None:
    assert Desk().library.get(cut.url(PATH), SUM).path.read_bytes() == DATA
    assert cut.ranges(PATH) == ["bytes=1000000-"]


OTHER = noise(8, 2_000_000)
SHORT = noise(9, 1000)


@pytest.mark.parametrize(
    ("now", "asked"),
    [
        (Served(DATA, ranges=False), ["bytes=1000000-"]),
        (Served(OTHER, etag='"2"'), ["bytes=1000000-"]),
        (Served(OTHER, etag='"2"', ranges="always"), ["bytes=1000000-", None]),
        (Served(SHORT, etag='"2"', ranges="always"), ["bytes=1000000-", None]),
        (Served(DATA, shift=5), ["bytes=1000000-", None]),
        (Served(DATA, chunked=True, ranges=False), ["bytes=1000000-"]),
    ],
    ids=["no ranges", "changed", "changed, and parts all the same", "shorter (416)", "another part", "no length"],
)
def test_what_does_not_belong_together_is_fetched_from_the_start(cut: Server, now: Served, asked: list[str]) -> None:
    cut.files[PATH] = now
    digest = hashlib.sha256(now.data).hexdigest()
    assert Desk().library.get(cut.url(PATH), digest).path.read_bytes() == now.data
    assert cut.ranges(PATH) == asked


@pytest.mark.parametrize(
    ("etag", "modified", "asked"),
    [
        ('W/"1"', "", None),
        ("", "", None),
        ('W/"1"', "Thu, 18 Jun 2026 10:00:00 GMT", "bytes=1000000-"),
    ],
    ids=["weak ETag", "nothing", "date"],
)
def test_a_part_is_gone_on_with_only_if_the_server_says_what_it_is_of(
    server: Server, etag: str, modified: str, asked: str | None
) -> None:
    server.files[PATH] = Served(DATA, etag=etag, modified=modified, ranges=False)
    _cut_once(server)
    server.files[PATH].ranges = True
    Desk().library.get(server.url(PATH), SUM)
    assert server.ranges(PATH) == [asked]


@pytest.mark.parametrize("state", ["", "{", "[]", '{"url": 1}'], ids=["empty", "cut", "list", "other keys"])
def test_a_part_whose_note_is_broken_is_fetched_from_the_start(cut: Server, state: str) -> None:
    next(library.image_folder().rglob("*.part.json")).write_text(state, encoding="utf-8")
    assert Desk().library.get(cut.url(PATH), SUM).path.read_bytes() == DATA
    assert cut.ranges(PATH) == [None]


def test_a_part_that_is_whole_needs_no_server(cut: Server) -> None:
    next(library.image_folder().rglob("*.part")).write_bytes(DATA)
    assert Desk().library.get(cut.url(PATH), SUM).path.read_bytes() == DATA
    assert cut.asked == []


def test_a_part_that_a_power_cut_left_full_of_zeros_is_fetched_anew_by_the_next_run(cut: Server) -> None:
    next(library.image_folder().rglob("*.part")).write_bytes(bytes(1_000_000))
    with pytest.raises(PiclusterError, match="or damaged here; nothing of it is kept, run it again"):
        Desk().library.get(cut.url(PATH), SUM)
    assert Desk().library.get(cut.url(PATH), SUM).path.read_bytes() == DATA
    assert cut.ranges(PATH) == ["bytes=1000000-", None]


@pytest.mark.parametrize(
    ("served", "says"),
    [
        (None, "is not there (the server said 404 Not Found)"),
        (Served(statuses=[403]), "is refused (the server said 403 Forbidden)"),
        (Served(statuses=[410]), "is gone"),
        (Served(statuses=[401]), "wants a login"),
        (Served(statuses=[416]), "is refused (the server said 416"),
        (Served(statuses=[500]), "(the server said 500 Internal Server Error)"),
        (Served(DATA, length=len(DATA) + 1, ranges=False), "the connection was cut after 3000000 of 3000001 bytes"),
        (Served(DATA, length=10), "not " + SUM),
        (Served(OTHER), "not " + SUM),
        (Served(b""), "not " + SUM),
        (Served(DATA, stall=0), "the server is silent"),
        (Served(redirect="ftp://127.0.0.1/card.img.xz"), "leads on to ftp://127.0.0.1/card.img.xz"),
        (Served(redirect=PATH), "redirect"),
        (Served(redirect="http://[::1/card.img.xz"), "the proxy is not an address (Invalid IPv6"),
        (Served(redirect="http://a..b/card.img.xz"), "the proxy is not an address ("),
        (Served(redirect=f"http://{'a' * 64}.org/card.img"), "the proxy is not an address ("),
    ],
    ids=[
        *("404", "403", "410", "401", "416", "500", "too long", "too short", "other", "empty", "silent", "ftp", "loop"),
        *("to half an IPv6 address", "to an empty label", "to a long label"),
    ],
)
def test_a_file_that_cannot_be_had_ends_in_one_sentence(server: Server, served: Served | None, says: str) -> None:
    server.files.clear()
    if served:
        server.files[PATH] = served
    desk = Desk(timeout=0.5)
    with pytest.raises(PiclusterError) as caught:
        desk.library.get(server.url(PATH), SUM)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "card.img.xz" not in _cached()
    assert sum(desk.waits) <= 1 + 1 + 2 + 4 + 8


def test_a_server_that_is_not_there_is_not_waited_for(server: Server) -> None:
    url = server.url(PATH)
    server.__exit__()
    desk = Desk()
    with pytest.raises(
        PiclusterError, match=r"could not be fetched \(Connection refused\): run the same command again$"
    ):
        desk.library.get(url, SUM)
    assert desk.waits == []


def test_a_wrong_file_leaves_nothing_behind(server: Server) -> None:
    server.files[PATH].data = OTHER
    with pytest.raises(PiclusterError, match="nothing of it is kept"):
        Desk().library.get(server.url(PATH), SUM)
    assert _cached() == []


def test_a_size_that_the_catalogue_does_not_know_is_not_fetched(server: Server) -> None:
    entry = Entry("mine", server.url(PATH), sha256=SUM, size=2_999_999)
    with pytest.raises(PiclusterError, match="has 3000000 bytes, its catalogue says 2999999"):
        Desk(entry).library.get("mine")
    assert _cached() == []
    assert Desk(replace(entry, size=len(DATA))).library.get("mine").path.read_bytes() == DATA


def test_a_full_disk_is_named_before_anything_is_fetched(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=len(DATA) - 1))
    with pytest.raises(PiclusterError, match=r"is full, the image needs 3000000 more bytes.*PICLUSTER_CACHE"):
        Desk().library.get(server.url(PATH), SUM)
    assert _cached() == []


@pytest.mark.parametrize(("code", "says"), [(errno.ENOSPC, "is full"), (errno.EIO, "cannot be written")])
def test_a_disk_that_fails_on_the_way_keeps_what_is_there(
    server: Server, monkeypatch: pytest.MonkeyPatch, code: int, says: str
) -> None:
    true_open = Path.open

    class Failing(io.FileIO):
        def write(self, data: Any, /) -> int:
            if self.tell() >= 2 << 20:
                raise OSError(code, os.strerror(code))
            return super().write(data)

    def opened(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        return Failing(path, mode) if path.suffix == ".part" and mode == "ab" else true_open(path, mode, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.raises(PiclusterError, match=says):
            Desk().library.get(server.url(PATH), SUM)
    assert _parts() >= 2 << 20
    Desk().library.get(server.url(PATH), SUM)
    assert server.ranges(PATH)[-1] is not None


def test_plain_http_needs_a_checksum(server: Server) -> None:
    with pytest.raises(PiclusterError, match="is http, which anybody on the way can change"):
        Desk().library.get(server.url(PATH))
    assert server.asked == []


def test_a_redirect_is_followed_but_not_from_https_to_http(server: Server, tls: Server) -> None:
    tls.files["/latest.img.xz"] = Served(redirect=tls.url(PATH))
    tls.files["/latest.img.xz.sha256"] = Served(f"{SUM}  latest.img.xz\n".encode())
    assert Desk().library.get(tls.url("/latest.img.xz")).path.read_bytes() == DATA
    tls.files["/down.img.xz"] = Served(redirect=server.url(PATH))
    tls.files["/down.img.xz.sha256"] = Served(f"{SUM}  down.img.xz\n".encode())
    with pytest.raises(PiclusterError, match=r"leads on to http://.*which is not https"):
        Desk().library.get(tls.url("/down.img.xz"))
    assert server.asked == []
    assert Desk().library.get(tls.url("/down.img.xz"), SUM).path.read_bytes() == DATA


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


def test_a_server_that_nobody_vouches_for_is_refused(tls: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(PiclusterError, match="is not who it says"):
        Desk().library.get(tls.url(PATH), SUM)
    assert tls.asked == []


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


def test_a_proxy_of_the_environment_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://images.example.org/card.img.xz"
    server.files[url] = Served(DATA)
    monkeypatch.setenv("http_proxy", server.url(""))
    assert Desk().library.get(url, SUM).path.read_bytes() == DATA
    assert server.asked == [(url, None)]


def test_a_cached_image_that_was_touched_is_hashed_before_it_is_used(server: Server) -> None:
    path = Desk().library.get(server.url(PATH), SUM).path
    os.utime(path, ns=(1, 1))
    assert Desk().library.get(server.url(PATH), SUM).path.read_bytes() == DATA
    assert len(server.asked) == 1
    path.write_bytes(OTHER)
    desk = Desk()
    assert desk.library.get(server.url(PATH), SUM).path.read_bytes() == DATA
    assert "is not what it should be any more" in desk.events("note")[0]["text"]
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
    process = _start_get(server)
    _wait_until(lambda: len(server.asked) == 1)
    desk = Desk()
    found: list[bytes] = []
    second = threading.Thread(target=lambda: found.append(desk.library.get(server.url(PATH), SUM).path.read_bytes()))
    second.start()
    _wait_until(lambda: bool(desk.events("note")))
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
        _wait_until(lambda: bool(desk.events("note")) or not second.is_alive())
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
    with pytest.raises(PiclusterError, match=r"there is no image .*home.other: fetch it first"):
        Desk().library.resolve("~/other")


def test_a_name_is_known_by_its_aliases_and_its_file_whatever_the_case(server: Server) -> None:
    desk = Desk(Entry("mine", server.url(PATH), aliases=("Own-1",), sha256=SUM))
    for name in ("mine", "MINE", "own-1", "card.img.xz"):
        assert desk.library.resolve(name).path.read_bytes() == DATA


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("trixy-lite", "there is no file trixy-lite, .*did you mean trixie-lite or trixie-lite-arm"),
        ("qqqqq", "no catalogue knows an image of this name: picluster images list shows the names"),
        ("./trixie-lite", "there is no image trixie-lite: fetch it first, or mend the name"),
        ("cards/red.img", "there is no image cards/red.img"),
        ("red.img.xz", "there is no image red.img.xz"),
        ("a" * 300, "(the image|there is no file) a{300}(,| cannot be looked for \\(File name too long)"),
        ("b/" * 3000, "(the|there is no) image (b/)+b( cannot be looked for|: fetch it first)"),
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
        ("https://a..b/card.img.xz", "'a..b' in the URL is not the name or address of a host"),
        ("https://.a/card.img.xz", "'.a' in the URL is not the name or address of a host"),
        (f"https://{'a' * 64}.org/card.img.xz", "in the URL is not the name or address of a host"),
        (f"https://{'a.' * 127}org/card.img.xz", "in the URL is not the name or address of a host"),
        ("https://a%2fb/card.img.xz", "'a%2fb' in the URL is not the name or address of a host"),
        ("https://127.0.0.1/", "does not end in the name of a file"),
        ("https://127.0.0.1/..", "does not end in the name of a file"),
        ("https://me:secret@127.0.0.1/card.img", "the URL of 127.0.0.1 holds a user name or password"),
        ("http://127.0.0.1/card.img", "is http, which anybody on the way can change"),
    ],
)
def test_an_image_that_cannot_be_is_refused_in_one_sentence(image: str, says: str) -> None:
    with pytest.raises(PiclusterError, match=says) as caught:
        Desk(*catalogue.shipped()).library.resolve(image)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not library.image_folder().exists()


@pytest.mark.parametrize(
    ("cache", "says"),
    [
        ("~nosuch/x", "PICLUSTER_CACHE is ~nosuch/x, but there is no such user's home: name the directory in full"),
        ("file", "let PICLUSTER_CACHE name a directory that you may write to"),
        ("file/below", "let PICLUSTER_CACHE name a directory that you may write to"),
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


def test_the_name_in_cm_burns_own_example_is_known() -> None:
    found = catalogue.find("2018-06-27-raspbian-stretch", [catalogue.shipped()])
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
    assert lines[0].split() == ["NAME", "GENERATION", "ARCH", "DATE", "SIZE", "IN", "CACHE"]
    assert lines[1].split() == ["mine", "-", "-", "-", "-", "no"]
    assert any(line.split()[:4] == ["trixie-lite", "cloud-init", "arm64", "2026-06-18"] for line in lines)
    assert str(tmp_path / "config" / "picluster" / "images.yml") in lines[-1]
    assert cli.main(["images", "get", "mine", *own]) == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])
    assert path.read_bytes() == DATA
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
        (["verify", "qqqq"], "no catalogue knows"),
        (["list", "--catalogue", "nowhere.yml"], "the catalogue nowhere.yml cannot be read: No such file"),
        (["list", "--catalogue", "."], "cannot be read: Is a directory"),
        (["list", "--catalogue", "latin.yml"], "latin.yml is not text in UTF-8"),
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
