"""The node's programs and units, and the frame that turns a module's work into one answer."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakenode import MASKED, RUNNING, STOPPED, FakeNode

import ansible_collections
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome

ROOT = Path(next(iter(ansible_collections.__path__))).parent
# A module of the kit's own making: what it does is its one option.
MODULE = """
import errno, sys
sys.path.insert(0, {root!r})
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module

def converge(node, options):
    if options["do"] == "refuse":
        raise UserError("/etc/x is wrong: 5; expected 6")
    if options["do"] == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "/var/x")
    if options["do"] == "bug":
        raise ValueError("invalid literal for int()")
    if options["do"] == "lost":
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/x")
    answer = {{}}
    if options["do"] == "change":
        node.note("packages", "", "java")
    if options["do"] == "programs":
        answer["text"] = node.query("cat", stdin="given")
        answer["env"] = node.run("sh", "-c", "echo $A", env={{"A": "b"}}).out
        answer["slow"] = node.run("sleep", "60", timeout=1).reason
        answer["missing"] = node.run("no-such-program").code
        node.change("sh", "-c", "exit 3")
    return answer

run_module(converge, {{"do": {{"type": "str", "required": True}}}})
"""


def module(tmp_path: Path, do: str, *, check_mode: bool = False) -> tuple[int, dict[str, Any], str]:
    """Run the module as Ansible does; return its exit code, its answer and its traceback."""
    script = tmp_path / "module.py"
    script.write_text(MODULE.format(root=str(ROOT)))
    arguments = json.dumps({"ANSIBLE_MODULE_ARGS": {"do": do, "_ansible_check_mode": check_mode}})
    done = subprocess.run([sys.executable, script], input=arguments, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def test_a_module_reports_what_it_recorded(tmp_path: Path) -> None:
    assert module(tmp_path, "nothing")[1]["changed"] is False
    answer = module(tmp_path, "change")[1]
    assert answer["changed"] is True
    assert answer["diff"] == [
        {"before_header": "packages", "after_header": "packages", "before": "", "after": "java\n"}
    ]


@pytest.mark.parametrize(
    ("do", "sentence"),
    [
        ("refuse", "/etc/x is wrong: 5; expected 6"),
        (
            "full",
            "/var/x cannot be written: No space left on device; check the card: it is full, read-only or broken",
        ),
    ],
)
def test_a_sentence_for_the_user_is_all_that_a_module_says(tmp_path: Path, do: str, sentence: str) -> None:
    code, answer, traceback = module(tmp_path, do)
    assert (code, answer["msg"], traceback) == (1, sentence, "")


@pytest.mark.parametrize("do", ["bug", "lost"])
def test_a_bug_is_a_traceback_and_never_advice(tmp_path: Path, do: str) -> None:
    code, answer, traceback = module(tmp_path, do)
    assert code != 0
    assert "msg" not in answer
    assert "Traceback" in traceback


def test_real_programs_get_input_environment_and_a_time_limit(tmp_path: Path) -> None:
    answer = module(tmp_path, "programs", check_mode=True)[1]
    assert (answer["text"], answer["env"], answer["missing"]) == ("given", "b\n", 127)
    assert answer["slow"] == "no result within 1 s"
    assert module(tmp_path, "programs")[1]["msg"] == "sh -c exit 3 failed: exit code 3"


def test_a_failed_program_is_its_command_and_its_own_words_on_one_line(tmp_path: Path) -> None:
    node = FakeNode(tmp_path, {"gpasswd": Outcome(3, "", "gpasswd: no\n  such user\n")})
    with pytest.raises(UserError, match=r"^gpasswd --add pi docker failed: gpasswd: no such user$"):
        node.change("gpasswd", "--add", "pi", "docker")


def test_check_mode_runs_no_program_that_changes_something(tmp_path: Path) -> None:
    node = FakeNode(tmp_path, check_mode=True)
    node.change("reboot")
    assert node.commands == []


def test_another_error_of_the_system_than_a_missing_program_is_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = FakeNode(tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(node.module, "run_command", fail)
    with pytest.raises(OSError, match="allocate"):
        node.run("true")


def test_another_user_and_a_time_limit_wrap_the_command(tmp_path: Path) -> None:
    node = FakeNode(tmp_path, {"runuser": ""})
    node.run("hdfs", "dfs", user="hdfs", timeout=9)
    assert node.commands == ["runuser -u hdfs -- timeout 9 hdfs dfs"]


def test_hidden_values_are_masked_and_an_empty_one_masks_nothing(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    node.hide(["s3cret", ""])
    assert node.module.no_log_values == {"s3cret"}


def test_the_harmless_values_of_an_option_with_secrets_are_shown(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    node.module.no_log_values |= {"1", "s3cret"}
    node.hide(["s3cret"], only=True)
    assert node.module.no_log_values == {"s3cret"}


def test_units_are_brought_to_their_state_once(tmp_path: Path) -> None:
    node = FakeNode(tmp_path, units={"a.service": STOPPED, "b.service": MASKED, "c.service": RUNNING})
    for name in node.unit_states:
        state = node.units.show(name)[name]
        node.units.enable(name, state)
        node.units.start(name, state)
    assert node.actions == [
        "systemctl enable a.service",
        "systemctl start a.service",
        "systemctl unmask b.service",
        "systemctl enable b.service",
        "systemctl start b.service",
    ]
    assert {entry["before_header"] for entry in node.diff} == {"a.service", "b.service"}
    again = FakeNode(tmp_path, units=node.unit_states)
    assert not any(again.units.enable(name) or again.units.start(name) for name in node.unit_states)
    assert not again.changed


def test_a_unit_that_waits_for_another_node_is_restarted_without_waiting(tmp_path: Path) -> None:
    node = FakeNode(tmp_path, units={"a.service": RUNNING})
    node.units.restart("a.service", "new configuration", wait=False)
    assert node.actions == ["systemctl restart --no-block a.service"]


def test_units_in_check_mode_are_reported_only(tmp_path: Path) -> None:
    node = FakeNode(tmp_path, check_mode=True, units={"a.service": {**STOPPED, "NeedDaemonReload": "yes"}})
    node.units.reload_daemon_if_needed("a.service")
    node.units.enable("a.service")
    node.units.restart("a.service", "new configuration")
    node.units.disable("a.service")
    assert node.actions == []
    assert len(node.diff) == 4


def test_systemd_rereads_unit_files_only_where_one_is_outdated(tmp_path: Path) -> None:
    node = FakeNode(tmp_path, units={"a.service": RUNNING, "b.service": {**RUNNING, "NeedDaemonReload": "yes"}})
    node.units.reload_daemon_if_needed("a.service")
    assert not node.changed
    node.units.reload_daemon_if_needed("a.service", "b.service")
    assert node.actions == ["systemctl daemon-reload"]


def test_a_unit_that_does_not_exist_is_shown_as_such(tmp_path: Path) -> None:
    shown = FakeNode(tmp_path, units={"a.service": RUNNING}).units.show("a.service", "gone.service")
    assert (shown["a.service"]["ActiveState"], shown["gone.service"]["LoadState"]) == ("active", "not-found")
