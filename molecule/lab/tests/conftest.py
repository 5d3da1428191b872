"""Fixtures: a fake engine, a silent reporter, a recipe of no package, a checkout of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab import state
from lab.recipe import Apt, Recipe
from lab.tests.fakes import FakeEngine, Silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def report() -> Silent:
    return Silent()


@pytest.fixture
def make_recipe(tmp_path: Path) -> Callable[..., Recipe]:
    """Return a maker of recipes with an overlay and boot files of their own."""

    def make(script: str = "true", apt: Apt | None = None, extra: str = "one") -> Recipe:
        overlay, boot = tmp_path / "overlay", tmp_path / "boot"
        for folder in (overlay / "etc", boot):
            folder.mkdir(parents=True, exist_ok=True)
        (overlay / "etc" / "greeting").write_text(extra, "utf-8")
        (boot / "cmdline.txt").write_text("root=PARTUUID=@DISKID@-02 rootwait\n", "utf-8")
        (boot / "user-data").write_text("#cloud-config\n", "utf-8")
        return Recipe("card", "trixie", ("nothing",), script, (overlay,), boot, apt or Apt())

    return make


@pytest.fixture
def lab_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of its own for what the lab keeps."""
    monkeypatch.setattr(state, "ROOT", tmp_path / "checkout")
    return tmp_path / "checkout"
