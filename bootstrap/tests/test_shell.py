"""Commands for pasting: how shells read them."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from picluster import shell

if TYPE_CHECKING:
    from pathlib import Path

WORDS = [
    "red[5-7]",
    "my cards",
    "=ls",
    "a=b",
    "~/x",
    "$(touch ran)",
    "`touch ran`",
    "a;touch ran",
    "it's",
    "*",
    "?",
    "{a,b}",
    "!!",
    "#x",
    "^x",
    "a&b",
    "https://example.org/x.img?a=1&b=2",
    "",
]
# No shell option is set: as a user's prompt has them, but zsh's own start-up files are not read.
SHELLS = {"sh": ["sh", "-c"], "bash": ["bash", "-O", "extglob", "-c"], "zsh": ["zsh", "-f", "-o", "extendedglob", "-c"]}


def _read_by(name: str, line: str, folder: Path) -> list[str]:
    command = [*SHELLS[name], f"printf '%s\\0' {line}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize("name", SHELLS)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8), min_size=1))
@example(words=WORDS)
def test_every_word_arrives_as_it_is(tmp_path: Path, name: str, words: list[str]) -> None:
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    # What a pattern could match.
    (tmp_path / "red5").touch()
    assert _read_by(name, shell.join(words, windows=False), tmp_path) == words
    assert [path.name for path in tmp_path.iterdir()] == ["red5"]


@pytest.mark.parametrize("word", [word for word in WORDS if word != "a=b"])
def test_what_a_posix_shell_or_zsh_could_expand_is_quoted(word: str) -> None:
    """Also where there is no zsh to try it."""
    assert shell.join([word], windows=False).startswith(("'", '"'))


def test_plain_words_stay_readable() -> None:
    words = ["picluster", "burn", "--name", "red2,red3", "--device", "/dev/sdb", "--inventories", "a=b"]
    assert shell.join(words, windows=False) == " ".join(words)


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        (r"\\.\PhysicalDrive3", r"\\.\PhysicalDrive3"),
        ("my cards", '"my cards"'),
        ("red2,red3", '"red2,red3"'),  # PowerShell's list
        ("a&del b", '"a&del b"'),
        ("a&b", '"a&b"'),
        ("a&b\\", '"a&b\\\\"'),
        ("", '""'),
    ],
)
def test_windows_has_quotes_of_its_own(word: str, quoted: str) -> None:
    assert shell.join([word], windows=True) == quoted
