"""Every command in docs/cards.md is run, in the order in which it stands there."""

from __future__ import annotations

import lzma
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from picluster import cli

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

PAGE = Path(__file__).parents[2] / "docs" / "cards.md"


def test_every_command_of_the_page_works(
    make_card: Callable[..., Path], public_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    public_key.rename(tmp_path / ".ssh" / "id_ed25519.pub")
    card = make_card()
    (tmp_path / "raspios-lite.img.xz").write_bytes(lzma.compress(card.read_bytes(), preset=0))
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) >= 5
    for command in commands:
        program, *arguments = (word.replace("~", str(tmp_path)) for word in shlex.split(command))
        run = {"cm-burn": cli.cm_burn, "picluster": cli.main}[program]
        assert run(arguments) == 0, command
    assert sorted(path.name for path in (tmp_path / "cards").iterdir()) == [
        f"blue{number}.img" for number in range(5, 10)
    ]
    hosts = (tmp_path / "inventories" / "blue" / "10-nodes.yml").read_text(encoding="utf-8")
    assert [f"blue{number}:" in hosts for number in range(4, 11)] == [False, *[True] * 5, False]
    assert (tmp_path / "inventories" / "green" / "reservations.dnsmasq").exists()
