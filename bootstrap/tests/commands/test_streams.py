"""Standard streams that are closed, full, without a reader or of another encoding, and files that cannot be written."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from clikit import burn

from picluster import cli, files
from picluster.cards.image import find_image
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.fixture(autouse=True)
def here(bench: Path) -> Path:
    return bench


BURN = "burn --name red1 --key key.pub --ips 192.168.63.11 --image card.img"


def shell(line: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command in which picluster is the package under test."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHON": sys.executable} | changes
    line = line.replace("picluster", '"$PYTHON" -m picluster', 1)
    return subprocess.run(["bash", "-c", line], env=env, capture_output=True, text=True, check=False)


def test_cards_are_finished_when_nobody_reads_on(here: Path) -> None:
    done = shell(f"picluster {BURN} -o out --json | head -1; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert (here / "out/red1.img").exists()


def test_cards_are_finished_when_nobody_reads_standard_error(here: Path) -> None:
    done = shell(f"{{ picluster {BURN} -o out; echo $? > code; }} 2>&1 >/dev/null | true")
    assert (done.stdout, done.stderr) == ("", "")
    assert (here / "code").read_text(encoding="utf-8") == "0\n"


CLOSED = {
    "no output": (f"picluster {BURN} -o out >&-", 0, ""),
    "no error": ("picluster burn --name x 2>&-", 2, ""),
    "nobody to ask for wifi": (f"picluster {BURN} -o out --wifi Home --country DE <&-", 2, "--wifi-passphrase-file"),
    "a full disk": (f"picluster {BURN} -o out >/dev/full", 1, "standard output cannot be written: No space left"),
    "a full disk, and bad input": ("picluster burn --name x --json >/dev/full", 2, "standard output cannot be"),
}


@pytest.mark.parametrize("what", CLOSED)
def test_a_stream_that_is_not_there_is_no_trouble(here: Path, what: str) -> None:
    line, code, says = CLOSED[what]
    done = shell(line)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert (here / "out/red1.img").exists() == ("-o out" in line and code != 2)


def test_nobody_is_asked_at_a_closed_input(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, machine: object
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert burn("--device", "/dev/sdb") == 2
    assert "there is no terminal to confirm on; pass --yes" in capsys.readouterr().err


def test_letters_that_the_terminal_lacks_are_escaped(here: Path) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = shell(f"picluster {BURN} -o \u00f68", **ascii_only)
    assert done.returncode == 0, done.stderr
    assert "burnt and verified 1 of 1 cards in " in done.stdout


def test_bad_input_is_an_event_too(capsys: pytest.CaptureFixture[str]) -> None:
    for bad in (["--nonsense"], ["--prefix", "33"]):
        assert burn("-o", "out", "--json", *bad) == 2
        said = capsys.readouterr()
        events = [json.loads(line) for line in said.out.splitlines()]
        assert [event["event"] for event in events] == ["error"]
        assert said.err == f"picluster: {events[0]['text']}\n"


def test_the_file_that_finds_no_room_is_named(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    assert cli.main(["inventory", "--name", "red1", "--ips", "10.0.0.5"]) == 2
    assert capsys.readouterr().err == (
        "picluster: the inventory inventories/red cannot be written: inventories/red/.gitignore: "
        "No space left on device; nothing was changed\n"
    )
    assert not (here / "inventories").exists()


SLOW = """
import builtins, os, signal, sys
real = builtins.__import__
def stop(name, *rest):
    # As Ctrl-C in the first second: in the middle of what is imported.
    if name == "picluster.cards.image":
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *rest)
builtins.__import__ = stop
from picluster import __main__ as programs
sys.argv[0] = "picluster"
sys.exit(getattr(programs, sys.argv.pop(1))())
"""


@pytest.mark.parametrize("program", ["main", "cm_burn"])
def test_ctrl_c_while_the_program_starts_is_no_traceback(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SLOW, program, "--help"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


FOLDERS: dict[str, tuple[Sequence[str], str]] = {
    "no folder can be made": (["-o", "/proc/none"], "-o /proc/none cannot be created: "),
    "no file can be made": (["-o", "/proc"], "-o /proc cannot be written to: "),
    "a dangling symlink": (["-o", "dangling"], "dangling is a dangling symlink"),
    "an unset variable": (["-o", ""], "the name is empty"),
    "no inventories": (["-o", "out", "--inventories", ""], "the name is empty"),
    "an inventory that is a dangling symlink": (["-o", "out", "--inventories", "inv"], "inv/red is a dangling symlink"),
}


@pytest.mark.parametrize("what", FOLDERS)
def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_changed(
    here: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    (here / "dangling").symlink_to("nowhere")
    (here / "inv").mkdir()
    (here / "inv/red").symlink_to("nowhere")
    arguments, says = FOLDERS[what]
    assert burn(*arguments) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not (here / "inventories").exists()
    assert not (here / "out").exists()


def test_an_image_s_name_that_no_file_can_have_is_bad_input(here: Path) -> None:
    with pytest.raises(PiclusterError, match="File name too long"):
        find_image(here / ("a" * 300))


@pytest.mark.parametrize("short", ["--nam", "--dev", "--force", "--js"])
def test_no_option_may_be_abbreviated(capsys: pytest.CaptureFixture[str], short: str) -> None:
    assert burn("-o", "out", short, "red1") == 2
    assert "unrecognized arguments" in capsys.readouterr().err
    assert cli.cm_burn(["--nam", "red1"]) == 2


def test_what_was_not_verified_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert burn("-o", "out", "--no-verify") == 0
    assert "burnt 3 of 3 cards in out, not verified" in capsys.readouterr().out
