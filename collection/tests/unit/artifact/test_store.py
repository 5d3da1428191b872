# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Artifacts on the controller: where they come from, what they must match, what is fetched once."""

from __future__ import annotations

import email.message
import hashlib
import io
import threading
import urllib.error
from typing import TYPE_CHECKING, Any

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.artifact import store as artifact_store
from ansible_collections.picluster.cloud.plugins.module_utils.artifact.rules import parse_files
from ansible_collections.picluster.cloud.plugins.module_utils.artifact.store import (
    NotFound,
    Store,
    Unavailable,
    Unreachable,
    collect,
    open_over_network,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.modules.artifacts import converge

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BINARY = b"k3s for arm64"
SHA = hashlib.sha256(BINARY).hexdigest()
OTHER = "0" * 64
URL, SUMS = "https://publisher.test/k3s-arm64", "https://publisher.test/sha256sum-arm64.txt"
KEY = "k3s/v1/arm64"


class Page(io.BytesIO):
    def __init__(self, data: bytes, url: str) -> None:
        super().__init__(data)
        self.url = url

    def geturl(self) -> str:
        return self.url


class Publisher:
    def __init__(self, pages: dict[str, bytes | str]) -> None:
        self.pages = pages
        self.asked: list[tuple[str, str]] = []
        self.final: dict[str, str] = {}

    def __call__(self, url: str, method: str, timeout: int) -> Page:
        assert timeout == 15
        self.asked.append((method, url))
        if url not in self.pages:
            raise NotFound(f"{url} answered HTTP 404")
        page = self.pages[url]
        if isinstance(page, str):
            raise Unreachable(page)
        return Page(page, self.final.get(url, url))


GOOD: dict[str, bytes | str] = {URL: BINARY, SUMS: f"{SHA}  k3s-arm64\n".encode()}


def files(**more: str) -> dict[str, Any]:
    return {"arm64": {"file": "k3s-arm64", "url": URL, "checksum_url": SUMS} | more}


def store(tmp_path: Path, publisher: Publisher, **more: Any) -> Store:
    defaults: dict[str, Any] = {
        "folder": None,
        "cache": tmp_path / "cache",
        "lock": {},
        "lock_path": tmp_path / "artifacts.lock",
        "opener": publisher,
    }
    return Store(**(defaults | more))


def get(one: Store, given: dict[str, Any] | None = None) -> dict[str, str]:
    return one.get(parse_files("k3s", "v1", given or files())[0])


def everything_under(path: Path) -> Iterable[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*") if found.is_file())


def test_first_fetch_is_checked_with_the_publisher_and_pinned(tmp_path: Path) -> None:
    one = store(tmp_path, Publisher(GOOD))
    found = get(one)
    assert found["sha256"] == SHA
    assert (tmp_path / "cache/k3s/v1/arm64/k3s-arm64").read_bytes() == BINARY
    assert one.lock == {KEY: SHA}
    assert one.fetched == [found["path"]]


def test_second_fetch_asks_nobody(tmp_path: Path) -> None:
    get(store(tmp_path, Publisher(GOOD)))
    silent = Publisher({})
    one = store(tmp_path, silent, lock={KEY: SHA})
    assert get(one)["sha256"] == SHA
    assert silent.asked == []
    assert one.fetched == []


def test_download_that_the_publishers_checksum_does_not_match_is_discarded(tmp_path: Path) -> None:
    pages = GOOD | {URL: b"something else"}
    with pytest.raises(UserError, match=rf"{SUMS} requires {SHA}; do not use the file"):
        get(store(tmp_path, Publisher(pages)))
    assert not [name for name in everything_under(tmp_path) if "k3s-arm64" in name]


def test_download_must_match_the_lock_whatever_the_publisher_says(tmp_path: Path) -> None:
    publisher = Publisher(GOOD)
    with pytest.raises(UserError, match=rf"sha256 {SHA}, but .*artifacts.lock requires {OTHER}; delete the line {KEY}"):
        get(store(tmp_path, publisher, lock={KEY: OTHER}))
    assert ("GET", SUMS) not in publisher.asked


def test_given_checksum_wins_over_publisher_and_lock(tmp_path: Path) -> None:
    publisher = Publisher(GOOD)
    one = store(tmp_path, publisher, lock={KEY: OTHER})
    sha512 = hashlib.sha512(BINARY).hexdigest()
    assert get(one, files(checksum=f"sha512:{sha512}"))["sha256"] == SHA
    assert one.lock == {KEY: SHA}
    assert publisher.asked == [("GET", URL)]


def test_given_checksum_that_differs_stops_even_a_cached_file(tmp_path: Path) -> None:
    get(store(tmp_path, Publisher(GOOD)))
    with pytest.raises(UserError, match=f"the setting checksum requires {OTHER}; correct the checksum"):
        get(store(tmp_path, Publisher(GOOD)), files(checksum=f"sha256:{OTHER}"))


def test_without_a_known_checksum_nothing_is_downloaded(tmp_path: Path) -> None:
    publisher = Publisher(GOOD)
    with pytest.raises(UserError, match=r"no checksum is known for k3s v1 for arm64: files.arm64 has neither"):
        get(store(tmp_path, publisher), {"arm64": {"file": "k3s-arm64", "url": URL}})
    assert publisher.asked == []


def test_checksum_file_that_came_without_tls_is_refused(tmp_path: Path) -> None:
    publisher = Publisher(GOOD)
    publisher.final[SUMS] = "http://mirror.test/sums"
    with pytest.raises(UserError, match=r"redirected to an address that is not https: http://mirror.test/sums"):
        get(store(tmp_path, publisher))


def test_the_sites_folder_comes_first_and_its_file_is_pinned_at_first_use(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "k3s-arm64").write_bytes(b"the site's own")
    publisher = Publisher(GOOD)
    one = store(tmp_path, publisher, folder=folder)
    assert get(one)["path"] == str(folder / "k3s-arm64")
    assert one.lock == {KEY: hashlib.sha256(b"the site's own").hexdigest()}
    assert publisher.asked == []


def test_folder_that_names_the_version_is_looked_into_first(tmp_path: Path) -> None:
    (tmp_path / "k3s-v1").mkdir()
    (tmp_path / "k3s-arm64").write_bytes(b"of some version")
    (tmp_path / "k3s-v1/k3s-arm64").write_bytes(b"of this version")
    assert get(store(tmp_path, Publisher({}), folder=tmp_path))["path"] == str(tmp_path / "k3s-v1/k3s-arm64")


def test_folder_file_must_match_the_lock(tmp_path: Path) -> None:
    (tmp_path / "k3s-arm64").write_bytes(BINARY)
    with pytest.raises(UserError, match=f"delete the line {KEY} there"):
        get(store(tmp_path, Publisher({}), folder=tmp_path, lock={KEY: OTHER}))


def test_folder_that_does_not_exist_is_an_error_and_no_download(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the artifacts folder does not exist: .*tpyo; correct PICLUSTER_ARTIFACTS"):
        store(tmp_path, Publisher(GOOD), folder=tmp_path / "tpyo")


def test_cached_file_that_was_damaged_is_fetched_again(tmp_path: Path) -> None:
    path = get(store(tmp_path, Publisher(GOOD)))["path"]
    (tmp_path / "cache/k3s/v1/arm64/k3s-arm64").write_bytes(b"k3s for arm6\0")
    publisher = Publisher(GOOD)
    one = store(tmp_path, publisher, lock={KEY: SHA})
    assert get(one) == {"path": path, "sha256": SHA, "version": "v1"}
    assert publisher.asked == [("GET", URL)]


def test_remains_of_a_killed_download_are_removed(tmp_path: Path) -> None:
    place = tmp_path / "cache/k3s/v1/arm64"
    place.mkdir(parents=True)
    (place / ".k3s-arm64.part-x1").write_bytes(b"half")
    get(store(tmp_path, Publisher(GOOD)))
    assert everything_under(place) == ["k3s-arm64", "k3s-arm64.sha256"]


def test_two_runs_at_once_download_once(tmp_path: Path) -> None:
    gate = threading.Barrier(2, timeout=10)
    publisher = Publisher(GOOD)
    answers: list[dict[str, str]] = []

    def run() -> None:
        one = store(tmp_path, publisher)
        gate.wait()
        answers.append(get(one))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [answer["sha256"] for answer in answers] == [SHA, SHA]
    assert publisher.asked.count(("GET", URL)) == 1


def test_check_mode_asks_but_downloads_and_writes_nothing(tmp_path: Path) -> None:
    publisher = Publisher(GOOD)
    found = get(store(tmp_path, publisher, check_mode=True))
    assert found["sha256"] == SHA
    assert publisher.asked == [("GET", SUMS), ("HEAD", URL)]
    assert everything_under(tmp_path) == []


def test_check_mode_predicts_that_it_is_not_available(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="HTTP 404"):
        get(store(tmp_path, Publisher({}), check_mode=True))


OLD_URL, OLD_SUMS = "https://archive.test/k3s-arm64", "https://archive.test/sums.txt"
OLD = {"fallback_url": OLD_URL, "fallback_checksum_url": OLD_SUMS}
ARCHIVED: dict[str, bytes | str] = {OLD_URL: BINARY, OLD_SUMS: f"{SHA}  k3s-arm64\n".encode()}


@pytest.mark.parametrize("check_mode", [False, True])
def test_what_is_no_longer_current_comes_from_the_archive(tmp_path: Path, *, check_mode: bool) -> None:
    publisher = Publisher(ARCHIVED)
    assert get(store(tmp_path, publisher, check_mode=check_mode), files(**OLD))["sha256"] == SHA
    assert [url for _method, url in publisher.asked] == [SUMS, OLD_SUMS, URL, OLD_URL]


def test_what_is_current_is_not_asked_of_the_archive(tmp_path: Path) -> None:
    publisher = Publisher(GOOD | ARCHIVED)
    get(store(tmp_path, publisher), files(**OLD))
    assert [url for _method, url in publisher.asked] == [SUMS, URL]


def test_a_publisher_that_does_not_answer_is_not_replaced(tmp_path: Path) -> None:
    publisher = Publisher(ARCHIVED | {SUMS: "publisher.test could not be reached (timed out)"})
    with pytest.raises(Unavailable, match="could not be reached"):
        get(store(tmp_path, publisher), files(**OLD))


def test_what_is_in_neither_place_names_both(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=f"{SUMS} answered HTTP 404, and {OLD_SUMS} answered HTTP 404"):
        get(store(tmp_path, Publisher({})), files(**OLD))


def test_a_file_from_the_archive_must_match_like_any_other(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{OLD_URL} has sha256 .* but {OLD_SUMS} requires {SHA}"):
        get(store(tmp_path, Publisher(ARCHIVED | {OLD_URL: b"evil"})), files(**OLD))


@pytest.mark.parametrize(("code", "kind"), [(404, NotFound), (410, NotFound), (503, Unavailable)])
def test_only_an_answer_that_the_file_is_not_there_says_so(
    monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    def refuse(url: str, **_options: Any) -> None:
        raise urllib.error.HTTPError(url, code, "", email.message.Message(), None)

    monkeypatch.setattr(artifact_store, "open_url", refuse)
    with pytest.raises(Unavailable, match=f"answered HTTP {code}") as refused:
        open_over_network(URL, "GET", 1)
    assert refused.type is kind


def test_optional_artifact_that_is_not_available_is_reported_with_the_reason(tmp_path: Path) -> None:
    publisher = Publisher({SUMS: "publisher.test could not be reached (no route)"})
    artifacts, missing = collect(store(tmp_path, publisher), parse_files("k3s", "v1", files()), optional=True)
    assert artifacts == {}
    assert missing == {"arm64": "publisher.test could not be reached (no route)"}


def test_publisher_that_does_not_answer_is_waited_for_once(tmp_path: Path) -> None:
    publisher = Publisher({SUMS: "publisher.test could not be reached (timed out)"})
    more = files() | {"armhf": files()["arm64"], "amd64": files()["arm64"]}
    _artifacts, missing = collect(store(tmp_path, publisher), parse_files("k3s", "v1", more), optional=True)
    assert set(missing) == {"arm64", "armhf", "amd64"}
    assert len(publisher.asked) == 1


def test_required_artifact_that_is_not_available_fails_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="put k3s-arm64 into a folder and set PICLUSTER_ARTIFACTS to it"):
        collect(store(tmp_path, Publisher({})), parse_files("k3s", "v1", files()), optional=False)


def test_wrong_checksum_fails_even_if_optional(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="do not use the file"):
        collect(store(tmp_path, Publisher(GOOD | {URL: b"evil"})), parse_files("k3s", "v1", files()), optional=True)


def test_unreachable_network_is_a_finding_and_no_crash() -> None:
    with pytest.raises(Unreachable, match="could not be reached"):
        open_over_network("https://127.0.0.1:1/k3s", "GET", 2)


def module_options(tmp_path: Path, **more: Any) -> dict[str, Any]:
    folder = tmp_path / "site"
    folder.mkdir(exist_ok=True)
    (folder / "k3s-arm64").write_bytes(BINARY)
    options = {"name": "k3s", "version": "v1", "files": files(), "folder": str(folder), "optional": False, "timeout": 1}
    return options | {"cache": str(tmp_path / "cache"), "lock": str(tmp_path / "artifacts.lock")} | more


def test_the_module_pins_what_it_found_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    node, options = FakeNode(tmp_path), module_options(tmp_path)
    found = {"path": str(tmp_path / "site/k3s-arm64"), "sha256": SHA, "version": "v1"}
    assert converge(node, options) == {"artifacts": {"arm64": found}, "missing": {}}
    assert [entry["after_header"] for entry in node.diff] == [options["lock"]]
    node.diff.clear()
    converge(node, options)
    assert node.diff == []


def test_what_was_downloaded_is_in_the_modules_diff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact_store, "open_url", lambda url, **_options: Page(GOOD[url], url))  # type: ignore[arg-type]  # all are bytes
    node, options = FakeNode(tmp_path), module_options(tmp_path, folder="")
    path = converge(node, options)["artifacts"]["arm64"]["path"]
    assert [entry["after_header"] for entry in node.diff] == [path, options["lock"]]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    options = module_options(tmp_path, lock=str(tmp_path / "file/artifacts.lock"))
    with pytest.raises(UserError, match=r"^k3s cannot be stored: .*; set cache and lock to writable paths"):
        converge(FakeNode(tmp_path), options)
