"""Fixtures: a server of images, and nothing of the real cache, catalogue or internet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imagekit import DATA, PATH
from webkit import Served, Server, make_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
