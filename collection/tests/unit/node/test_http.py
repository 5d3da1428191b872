# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

import pytest
from fakehttp import answering

from ansible_collections.picluster.cloud.plugins.module_utils.node.http import opener

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def address() -> Iterator[str]:
    with answering(200, b"ok") as found:
        yield found


def test_a_proxy_in_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    # Port 9 (discard): nobody listens there.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(OSError, match="refused"):
        urllib.request.build_opener().open(address, timeout=5)
    with opener().open(address, timeout=5) as response:
        assert response.read() == b"ok"


def test_further_handlers_are_used(address: str) -> None:
    seen: list[str] = []

    class Note(urllib.request.BaseHandler):
        def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
            seen.append(request.full_url)
            return request

    opener(Note()).open(address, timeout=5).close()
    assert seen == [address]
