"""For the tests: what stock images have on their boot partition, and what adapters make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from picluster.cards.bootfiles import BootFiles
from picluster.firstboot import NodeIdentity
from picluster.firstboot.generations import recognise

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKeCfPttkA2CvZsFmGyn9NvxwlTC34G1KrV8xl+9I6/W"
HARD_COMMENTS = [
    "it's \"me\": #1 '\"'\"'",
    "- a: {b} [c] & *d !e | > % @ `",
    "$(touch /pwned) `touch /pwned` ${HOME} \\ \\n %s %% !! \\",
    "\u00fc\U0001f600 ",
    "x" * 500,
    "yes",
    "a\tb",
    "; reboot -f # EOF",
]
_CASES = yaml.safe_load((Path(__file__).parent / "cases" / "generations.yml").read_text(encoding="utf-8"))
GENERATIONS: dict[str, dict[str, Any]] = {case["what"]: case for case in _CASES}
FIRSTRUN = [what for what, case in GENERATIONS.items() if case.get("first_boot") == "FirstRun"]
STRETCH = "Stretch 2018-06-27"
BUSTER = "Buster 2020"
BULLSEYE = "Bullseye with the new token"
BOOKWORM = "Bookworm legacy, built after Trixie came out"
TRIXIE_2025_10 = "Trixie 2025-10-01, which came without cloud-init's files"


def stock(what: str, **texts: bytes) -> BootFiles:
    """Return the boot files of a case in generations.yml; some of them changed, with _ for a dot."""
    case = GENERATIONS[what]
    files = {"issue.txt": case["issue"].encode(), "cmdline.txt": case["cmdline"].encode() + b"\n"}
    files |= dict.fromkeys(case.get("files", []), b"")
    files |= {name.replace("_", "."): data for name, data in texts.items()}
    return BootFiles(case["label"], frozenset(files), files)


def render(boot: BootFiles, forced: str | None = None, **changes: Any) -> dict[str, bytes]:
    """Return the first-boot files of a node."""
    values = {"name": "red007", "keys": (KEY,), "user": "pi", "instance": "picluster-red007-1"} | changes
    return dict(recognise(boot, "card.img", forced).render(NodeIdentity(**values)))


def kernel(line: str) -> tuple[list[str], list[str]]:
    """Return the words of a command line as the kernel splits them, and what it runs as process 1.

    Written from lib/cmdline.c (next_arg) and init/main.c (init_setup, unknown_bootoption): only double quotes count,
    the last init= wins, and of the words behind it those with a dot before any `=` are dropped (they are
    parameters of modules), those with `=` become variables, and the rest are arguments.
    """
    words, word, quoted = [], "", False
    for letter in line.strip() + " ":
        if letter == '"':
            quoted = not quoted
        if letter == " " and not quoted:
            words += [word] if word else []
            word = ""
        else:
            word += letter
    process: list[str] = []
    for found in words:
        plain = found[1:-1] if found.startswith('"') else found
        name, is_value, value = plain.partition("=")
        if name == "init" and is_value:
            process = [value]
        elif process and "." not in name and not is_value:
            process.append(plain)
    return words, process
