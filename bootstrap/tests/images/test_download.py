"""Downloads from a real server on the loopback, whose answers are good and bad."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from imagekit import DATA, OTHER, PATH, SHORT, SUM, Desk, cached, parts, start_get, wait_until
from webkit import Served, Server

from picluster.errors import PiclusterError
from picluster.images import library
from picluster.images.catalogue import Entry


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


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill"])
def test_an_interrupted_download_goes_on_in_the_next_run(server: Server, kill: signal.Signals) -> None:
    server.files[PATH].stall = 2_000_000
    process = start_get(server)
    # What the process has read, but not written yet, may be lost.
    wait_until(lambda: parts() >= 1 << 20)
    process.send_signal(kill)
    said = process.communicate(timeout=30)
    assert process.returncode == (130 if kill == signal.SIGINT else -kill)
    assert "Traceback" not in said[1]
    have = parts()
    assert cached() == ["card.img.xz.part", "card.img.xz.part.json"]
    server.files[PATH].stall = None
    assert Desk().library.get(server.url(PATH), SUM).path.read_bytes() == DATA
    assert server.ranges(PATH) == [None, f"bytes={have}-"]
    assert cached() == ["card.img.xz"]


def _cut_once(server: Server) -> None:
    """Leave a part of 1,000,000 bytes in the cache, as a broken network does."""
    server.files[PATH].always_cut = 1_000_000
    with pytest.raises(PiclusterError, match="goes on after 1000000 bytes"):
        # No part can be had while the file is cut at the same place again and again.
        Desk().library.get(server.url(PATH), SUM)
    assert parts() == 1_000_000
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
    with pytest.raises(PiclusterError, match="or damaged here; it was deleted, run the same command again"):
        Desk().library.get(cut.url(PATH), SUM)
    assert Desk().library.get(cut.url(PATH), SUM).path.read_bytes() == DATA
    assert cut.ranges(PATH) == ["bytes=1000000-", None]


@pytest.mark.parametrize(
    ("served", "says"),
    [
        (None, "is not there (the server said 404 Not Found)"),
        (Served(statuses=[403]), "is refused (the server said 403 Forbidden)"),
        (Served(statuses=[410]), "is gone"),
        (Served(statuses=[401]), "requires a login"),
        (Served(statuses=[416]), "is refused (the server said 416"),
        (Served(statuses=[500]), "(the server said 500 Internal Server Error)"),
        (Served(DATA, length=len(DATA) + 1, ranges=False), "the connection was cut after 3000000 of 3000001 bytes"),
        (Served(DATA, length=10), "not " + SUM),
        (Served(OTHER), "not " + SUM),
        (Served(b""), "not " + SUM),
        (Served(DATA, stall=0), "the server is silent"),
        (Served(redirect="ftp://127.0.0.1/card.img.xz"), "redirects to ftp://127.0.0.1/card.img.xz"),
        (Served(redirect=PATH), "redirect"),
        (Served(redirect="http://[::1/card.img.xz"), "the proxy is not a valid address (Invalid IPv6"),
        (Served(redirect="http://a..b/card.img.xz"), "the proxy is not a valid address ("),
        (Served(redirect=f"http://{'a' * 64}.org/card.img"), "the proxy is not a valid address ("),
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
    assert "card.img.xz" not in cached()
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
    with pytest.raises(PiclusterError, match="it was deleted"):
        Desk().library.get(server.url(PATH), SUM)
    assert cached() == []


def test_a_size_that_the_catalogue_does_not_know_is_not_fetched(server: Server) -> None:
    entry = Entry("mine", server.url(PATH), sha256=SUM, size=2_999_999)
    with pytest.raises(PiclusterError, match="has 3000000 bytes, its catalogue says 2999999"):
        Desk(entry).library.get("mine")
    assert cached() == []
    assert Desk(replace(entry, size=len(DATA))).library.get("mine").path.read_bytes() == DATA


def test_a_full_disk_is_named_before_anything_is_fetched(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=len(DATA) - 1))
    with pytest.raises(PiclusterError, match=r"is full: the image needs 3000000 more bytes.*PICLUSTER_CACHE"):
        Desk().library.get(server.url(PATH), SUM)
    assert cached() == []


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
    assert parts() >= 2 << 20
    Desk().library.get(server.url(PATH), SUM)
    assert server.ranges(PATH)[-1] is not None


def test_a_redirect_is_followed_but_not_from_https_to_http(server: Server, tls: Server) -> None:
    tls.files["/latest.img.xz"] = Served(redirect=tls.url(PATH))
    tls.files["/latest.img.xz.sha256"] = Served(f"{SUM}  latest.img.xz\n".encode())
    assert Desk().library.get(tls.url("/latest.img.xz")).path.read_bytes() == DATA
    tls.files["/down.img.xz"] = Served(redirect=server.url(PATH))
    tls.files["/down.img.xz.sha256"] = Served(f"{SUM}  down.img.xz\n".encode())
    with pytest.raises(PiclusterError, match=r"redirects to http://.*which is not https"):
        Desk().library.get(tls.url("/down.img.xz"))
    assert server.asked == []
    assert Desk().library.get(tls.url("/down.img.xz"), SUM).path.read_bytes() == DATA


def test_a_proxy_of_the_environment_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://images.example.org/card.img.xz"
    server.files[url] = Served(DATA)
    monkeypatch.setenv("http_proxy", server.url(""))
    assert Desk().library.get(url, SUM).path.read_bytes() == DATA
    assert server.asked == [(url, None)]


def test_a_server_that_nobody_vouches_for_is_refused(tls: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(PiclusterError, match="cannot be authenticated"):
        Desk().library.get(tls.url(PATH), SUM)
    assert tls.asked == []
