"""The scripts of the first boot, without running them; test_nodes.py does."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest
from bootkit import (
    BOOKWORM,
    FIRSTRUN,
    GENERATIONS,
    HARD_COMMENTS,
    KEY,
    STRETCH,
    kernel,
    render,
    stock,
)

from picluster.errors import PiclusterError
from picluster.firstboot.settings import parse

if TYPE_CHECKING:
    from pathlib import Path

ALL = parse(
    wifi="it's ; \u00fc \\ $(x) \"`",
    passphrase="correct horse",
    hidden=True,
    country="DE",
    timezone="Etc/UTC",
    locale="de_DE.UTF-8",
)
SETTINGS = [parse(), ALL, parse(country="DE"), parse(timezone="Etc/UTC")]
SCRIPTED = [*FIRSTRUN, STRETCH]
CLOUD_INIT = ["Trixie", "Ubuntu"]


def _script(files: dict[str, bytes]) -> bytes:
    (name,) = set(files) - {"cmdline.txt"}
    return files[name]


# The same for all generations that read it, so that one of them stands for all below.
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("comment", ["", *HARD_COMMENTS])
def test_firstrun_is_one_script_for_all_its_generations(settings: object, comment: str) -> None:
    keys = (f"{KEY} {comment}".strip(), KEY)
    assert len({_script(render(stock(what), settings=settings, keys=keys)) for what in FIRSTRUN}) == 1


@pytest.mark.parametrize("what", [BOOKWORM, STRETCH])
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("comment", ["", *HARD_COMMENTS])
def test_bash_and_dash_read_the_script_whatever_a_key_says(what: str, settings: object, comment: str) -> None:
    script = _script(render(stock(what), settings=settings, keys=(f"{KEY} {comment}".strip(), KEY)))
    for shell in ("bash", "dash"):
        subprocess.run([shell, "-n"], input=script, check=True, capture_output=True)


@pytest.mark.parametrize("what", [BOOKWORM, STRETCH])
def test_shellcheck_has_nothing_to_say(tmp_path: Path, what: str) -> None:
    path = tmp_path / "script"
    path.write_bytes(_script(render(stock(what), settings=ALL, keys=(f"{KEY} {HARD_COMMENTS[0]}",))))
    # SC2016: that a `$` in somebody's text is not expanded is the point.
    done = subprocess.run(["shellcheck", "-s", "sh", "-e", "SC2016", path], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


@pytest.mark.parametrize("comment", HARD_COMMENTS)
def test_the_shell_reads_every_value_as_it_was_meant(comment: str) -> None:
    keys = (f"{KEY} {comment}".strip(), KEY)
    text = _script(render(stock(BOOKWORM), keys=keys, settings=ALL)).decode()
    values = text[: text.index("# shellcheck")]
    for shell in ("bash", "dash"):
        said = subprocess.run(
            [shell], input=f"{values}\nprintf '%s' \"$keys\"".encode(), check=True, capture_output=True
        ).stdout
        assert said.decode() == "\n".join(keys)


@pytest.mark.parametrize("what", [*SCRIPTED, *CLOUD_INIT])
def test_line_ends_are_those_of_unix(what: str) -> None:
    line = GENERATIONS[what]["cmdline"].encode() + b"\r\n"
    files = render(stock(what, cmdline_txt=line), settings=ALL)
    assert not [name for name, data in files.items() if b"\r" in data]
    assert files["cmdline.txt"].count(b"\n") == 1
    assert files["cmdline.txt"].endswith(b"\n")


@pytest.mark.parametrize("what", [*SCRIPTED, *CLOUD_INIT])
def test_stock_words_stay_byte_for_byte_and_ours_come_after_them(what: str) -> None:
    # Two blanks, a word in quotes, bytes that are no UTF-8: what a site has added is nobody's to tidy up.
    line = GENERATIONS[what]["cmdline"].encode() + b'  dyndbg="file x.c +p" odd=\xff'
    assert render(stock(what, cmdline_txt=line + b"\n"))["cmdline.txt"].startswith(line + b" ")


@pytest.mark.parametrize("what", [*SCRIPTED, *CLOUD_INIT])
def test_a_card_that_was_prepared_before_is_told_anew_and_not_twice(what: str) -> None:
    once = render(stock(what), settings=ALL, instance="i1")["cmdline.txt"]
    assert render(stock(what, cmdline_txt=once), settings=ALL, instance="i1")["cmdline.txt"] == once
    other = parse(country="FR")
    changed = render(stock(what, cmdline_txt=once), settings=other)["cmdline.txt"]
    assert changed == render(stock(what), settings=other)["cmdline.txt"]


def test_what_another_tool_prepared_is_replaced() -> None:
    stock_line = GENERATIONS[BOOKWORM]["cmdline"]
    theirs = (
        f"{stock_line} systemd.run=/boot/firstrun.sh systemd.run_success_action=reboot"
        " systemd.unit=kernel-command-line.target"
    )
    assert render(stock(BOOKWORM, cmdline_txt=theirs.encode())) == render(stock(BOOKWORM))


@pytest.mark.parametrize("line", [b"", b"\n", b" \r\n"])
@pytest.mark.parametrize("what", [STRETCH, BOOKWORM, "Ubuntu"])
def test_an_empty_command_line_is_damage(what: str, line: bytes) -> None:
    with pytest.raises(PiclusterError, match=r"cmdline\.txt"):
        render(stock(what, cmdline_txt=line), "init-script" if what == STRETCH else None)


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("what", [STRETCH, BOOKWORM, *CLOUD_INIT])
def test_a_second_line_is_refused_because_no_board_reads_it(what: str, ends: bytes) -> None:
    line = GENERATIONS[what]["cmdline"].encode()
    for parked in (line + ends + b"#isolcpus=3" + ends, ends + line + ends):
        with pytest.raises(PiclusterError, match=r"cmdline\.txt.* more than one line"):
            render(stock(what, cmdline_txt=parked))
    # Empty lines hold nothing back.
    assert render(stock(what, cmdline_txt=line + ends + b" " + ends)) == render(stock(what))


@pytest.mark.parametrize("what", [STRETCH, BOOKWORM, *CLOUD_INIT])
def test_a_line_that_a_kernel_would_cut_off_is_refused(what: str) -> None:
    line = GENERATIONS[what]["cmdline"].encode()
    room = 624 - len(render(stock(what))["cmdline.txt"])
    long = line + b" " + b"x" * (room - 1)
    assert len(render(stock(what, cmdline_txt=long))["cmdline.txt"]) == 624
    with pytest.raises(PiclusterError, match=r"625 bytes"):
        render(stock(what, cmdline_txt=long + b"x"))


@pytest.mark.parametrize("what", [*SCRIPTED, *CLOUD_INIT])
def test_the_country_of_the_radio_is_on_the_command_line_for_good(what: str) -> None:
    words, _ = kernel(render(stock(what), settings=ALL)["cmdline.txt"].decode())
    assert "cfg80211.ieee80211_regdom=DE" in words
    files = render(stock(what), settings=ALL)
    # Not among the words that the script takes away again.
    assert not any(
        b"regdom=DE" in data and b"words=" in data and b"ieee80211_regdom" in data for data in files.values()
    )


@pytest.mark.parametrize("what", [*SCRIPTED, *CLOUD_INIT])
def test_the_passphrase_is_on_no_card(what: str) -> None:
    files = render(stock(what), settings=ALL)
    assert not any(b"correct horse" in data for data in files.values())
    assert any(b"psk" in data or b"password" in data for data in files.values())


@pytest.mark.parametrize("what", FIRSTRUN)
def test_systemd_is_told_both_actions_and_the_target(what: str) -> None:
    words, process = kernel(render(stock(what))["cmdline.txt"].decode())
    # The defaults power the board off (systemd-run-generator); a target set in /etc would win without systemd.unit.
    assert {"systemd.run_success_action=reboot", "systemd.run_failure_action=reboot"} <= set(words)
    assert "systemd.unit=kernel-command-line.target" in words
    assert "systemd" not in " ".join(process)


@pytest.mark.parametrize("what", [*SCRIPTED, *CLOUD_INIT])
def test_the_command_line_is_not_too_long_for_a_board(what: str) -> None:
    # 1024 bytes on 32 bits (COMMAND_LINE_SIZE), and the firmware adds up to 400 of its own.
    assert len(render(stock(what), settings=ALL, name="x" * 63)["cmdline.txt"]) < 620


@pytest.mark.parametrize("what", FIRSTRUN)
def test_the_stock_init_runs_first(what: str) -> None:
    assert kernel(render(stock(what))["cmdline.txt"].decode())[1] == kernel(GENERATIONS[what]["cmdline"])[1]


@pytest.mark.parametrize("what", FIRSTRUN)
def test_the_fixups_of_imager_cards_leave_ours_alone(what: str) -> None:
    files = render(stock(what))
    # imager_fixup (Bookworm) rewrites the card if it sees this, init_resize.sh (Bullseye) switches NetworkManager off.
    assert b"systemd.run=/boot/firstrun.sh" not in files["cmdline.txt"]
    assert b"wpa_supplicant.conf" not in files["firstrun.sh"]


@pytest.mark.parametrize("what", [*SCRIPTED, *CLOUD_INIT])
def test_mechanisms_that_block_or_are_leaving_are_not_used(what: str) -> None:
    files = render(stock(what), settings=ALL)
    # A failing custom.toml blocks in a message box; wpa_supplicant.conf on FAT ends with Bookworm; `ssh` alone would
    # open a board with its stock password if the script failed.
    assert not {"custom.toml", "userconf.txt", "wpa_supplicant.conf"} & set(files)
    assert ("ssh" in files) == (what == "Trixie")


def test_stretch_never_gets_the_words_that_stop_it_in_emergency_mode() -> None:
    assert b"systemd." not in render(stock(STRETCH), settings=ALL)["cmdline.txt"]


def test_stretch_runs_the_script_as_process_1_and_panics_back_to_life() -> None:
    words, process = kernel(render(stock(STRETCH), settings=ALL)["cmdline.txt"].decode())
    assert process[:2] == ["/bin/bash", "-c"]
    # A third word only if the kernel did not take it for a parameter: no dot, no `=`.
    assert process[2].endswith("; source /boot/firstinit")
    assert len(process) == 3
    assert "panic=10" in words
    assert words[-3].startswith("init=")


def test_stretch_keeps_the_token_that_grows_its_root() -> None:
    stock_line = GENERATIONS[STRETCH]["cmdline"]
    line = render(stock(STRETCH))["cmdline.txt"].decode()
    assert line.startswith(stock_line + " ")
    assert kernel(stock_line)[1] == ["/usr/lib/raspi-config/init_resize.sh"]


@pytest.mark.parametrize("what", SCRIPTED)
def test_no_script_can_reset_the_host_of_a_container(what: str) -> None:
    files = render(stock(what), settings=ALL)
    assert not any(b"sysrq" in data for data in files.values())


def test_what_runs_at_the_end_of_the_line_is_one_word_for_systemd() -> None:
    words, _ = kernel(render(stock(BOOKWORM))["cmdline.txt"].decode())
    (run,) = [word for word in words if word.startswith("systemd.run=")]
    assert shlex.split(shlex.split(run)[0].removeprefix("systemd.run=")) == [
        "/bin/sh",
        "-c",
        "sh /boot/firmware/firstrun.sh || sh /boot/firstrun.sh",
    ]
