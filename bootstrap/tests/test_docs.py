"""Run the commands of docs/cards.md and docs/inventory.md in order, and that of the README; all suit zsh."""

from __future__ import annotations

import lzma
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from readerkit import Machine, reader

from picluster import cli
from picluster.cards.image import open_image
from picluster.devices import host

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


@pytest.fixture
def desk(make_card: Callable[..., Path], public_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home with what the pages assume: a key, a stock image, cards in readers, a mounted boot partition."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    public_key.rename(tmp_path / ".ssh" / "id_ed25519.pub")
    card = make_card()
    (tmp_path / "raspios-lite.img.xz").write_bytes(lzma.compress(card.read_bytes(), preset=0))
    with open_image(card) as image:
        for path, data in image.volume().tree().items():
            (tmp_path / "bootfs" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "bootfs" / path).write_bytes(data)
    (tmp_path / "readers").mkdir()
    machine = Machine(tmp_path / "readers", [reader(f"/dev/sd{letter}", letter) for letter in "bcd"])
    monkeypatch.setattr(host, "platform", lambda: machine)
    # Who reads the page types yes.
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin.readline", lambda: "yes\n", raising=False)
    return tmp_path


def _commands(page: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    lines = (line.strip() for block in blocks for line in block.splitlines())
    return [line for line in lines if line.startswith(("cm-burn", "picluster"))]


PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))]
_PROGRAMS = r"(?:cm-burn|picluster|ansible(?:-\w+)?|make|molecule|python3?|pytest|ssh|sudo|dnsmasq|dhcp_release) "


def _shown(text: str) -> list[str]:
    """Return all that a reader may paste into a shell: lines of blocks, and commands within sentences."""
    blocks = re.findall(r"^ *```(?:sh|shell|bash|console)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines()]
    plain = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", plain)]
    return lines + [code for code in inline if re.match(_PROGRAMS, code)]


def _bare(command: str) -> str:
    """Return what of a command no quotes protect, its comment left out."""
    return re.sub(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.|(?:^|\s)#.*""", "", command)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_quotes_its_brackets(page: str) -> None:
    """To zsh they are a pattern for file names: `no matches found: red[5-7]`."""
    shown = _shown((ROOT / page).read_text(encoding="utf-8"))
    assert [command for command in shown if re.search(r"[][*?]", _bare(command))] == []


def test_a_command_with_bare_brackets_is_found() -> None:
    page = (
        "Run `picluster burn --name red[5-7]`.\n```sh\ncm-burn --name 'red[5-7]' \\\n  --ips 10.0.0.[5-7] # [x]\n```\n"
    )
    assert [command for command in _shown(page) if "[" in _bare(command)] == [
        "cm-burn --name 'red[5-7]' --ips 10.0.0.[5-7] # [x]",
        "picluster burn --name red[5-7]",
    ]
    assert "[" not in _bare("cm-burn --name \"red[5-7]\" --ips '10.0.0.[5-7]' # [x]")
    commands = [command for name in PAGES for command in _shown((ROOT / name).read_text(encoding="utf-8"))]
    assert sum("[" in command for command in commands) >= 7


def _run(command: str, home: Path) -> int:
    program, *arguments = (word.replace("~", str(home)) for word in shlex.split(command))
    return {"cm-burn": cli.cm_burn, "picluster": cli.main}[program](arguments)


def test_every_command_of_the_page_works(desk: Path) -> None:
    commands = _commands("docs/cards.md")
    assert len(commands) >= 12
    for command in commands:
        assert _run(command, desk) == 0, command
    made = [*(f"blue{number}.img" for number in range(5, 10)), "green1.img"]
    assert sorted(path.name for path in (desk / "cards").iterdir()) == made
    hosts = (desk / "inventories" / "blue" / "10-nodes.yml").read_text(encoding="utf-8")
    assert [f"blue{number}:" in hosts for number in range(4, 11)] == [False, *[True] * 5, False]
    assert (desk / "inventories" / "green" / "reservations.dnsmasq").exists()


def test_the_command_of_the_readme_burns_the_cards_it_names(desk: Path) -> None:
    (command,) = _commands("README.md")
    assert _run(command, desk) == 0
    assert sorted(path.name for path in (desk / "cards").iterdir()) == [f"blue{number}.img" for number in range(1, 6)]
    assert (desk / "inventories" / "blue" / "20-roles.yml").exists()


def test_every_command_of_the_page_on_the_inventory_works(desk: Path) -> None:
    assert _run("picluster inventory --name blue[5-7] --ips 192.168.1.[5-7]", desk) == 0
    (command,) = _commands("docs/inventory.md")
    assert _run(command, desk) == 0
    assert "blue7" not in (desk / "inventories" / "blue" / "20-roles.yml").read_text(encoding="utf-8")
