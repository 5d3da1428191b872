"""Which file and line overrules the policy: what the message names, with the real sshd as judge."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import Connection
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome
from ansible_collections.picluster.cloud.plugins.module_utils.ssh import daemon
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.origin import read_lines
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.policy import render

if TYPE_CHECKING:
    from pathlib import Path

MAIN, FOLDER = "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d"
INCLUDE = f"Include {FOLDER}/*.conf\n"
POLICY = {"MaxAuthTries": ["3"], "PasswordAuthentication": ["no"]}


class RealSshd(FakeNode):
    """A node with an sshd that reads the files below its root."""

    def __init__(self, root: Path, files: dict[str, str]) -> None:
        super().__init__(root, {daemon.SSHD: self._sshd})
        self.key = root / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        for path, text in {daemon.SSHD: "", daemon.DROPIN: render(POLICY), MAIN: INCLUDE, **files}.items():
            self.write(path, text)

    def _sshd(self, *words: str) -> Outcome:
        if "-f" not in words:
            # sshd has no option for another root, so it reads copies that include each other.
            copy = self.root / "copy"
            shutil.copytree(self.root / "etc/ssh", copy, dirs_exist_ok=True)
            for path in (path for path in copy.rglob("*") if path.is_file()):
                path.write_text(path.read_text(encoding="utf-8").replace("/etc/ssh/", f"{copy}/"), encoding="utf-8")
            words = (*words, "-f", str(copy / "sshd_config"))
        command = [*words, "-h", str(self.key)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return Outcome(done.returncode, done.stdout, done.stderr)


def problem(node: FakeNode, policy: dict[str, list[str]] | None = None) -> str:
    """Return what the node reports of its policy."""
    sshd = daemon.Sshd(node, "pi", Connection("10.0.0.9", "10.0.0.11"))
    with pytest.raises(UserError) as caught:
        sshd.in_effect(sshd.judge(policy or POLICY, {}))
    return str(caught.value)


EARLIER = f"{FOLDER}/00-a.conf"
# The files, and which line sets MaxAuthTries to 7.
CASES: dict[str, tuple[dict[str, str], str]] = {
    "an earlier drop-in": (
        {EARLIER: "# 1\n\nmaxauthtries=7\nMaxAuthTries 8\n"},
        f"{EARLIER}:3 sets MaxAuthTries 7 first",
    ),
    "a line before Include": ({MAIN: f"MaxAuthTries 7\n{INCLUDE}"}, f"{MAIN}:1 sets MaxAuthTries 7 first"),
    "a file that is included earlier": (
        {
            MAIN: f'Include "/etc/ssh/no-such" /etc/ssh/mine/*  # all\n{INCLUDE}',
            "/etc/ssh/mine/x": "\nMaxAuthTries 7\n",
        },
        "/etc/ssh/mine/x:2 sets MaxAuthTries 7 first",
    ),
    "a Match block at the end": (
        {MAIN: f"{INCLUDE}Match User bob\n MaxAuthTries 8\nMatch User p*,!pip\n MaxAuthTries 7\n"},
        f"{MAIN}:5 sets MaxAuthTries 7 in the block Match User p*,!pip",
    ),
    "the first of two Match blocks": (
        {MAIN: f"{INCLUDE}Match all\n MaxAuthTries 7\nMatch User pi\n MaxAuthTries 8\n"},
        f"{MAIN}:3 sets MaxAuthTries 7 in the block Match all",
    ),
    "a Match block wins over an earlier line": (
        {EARLIER: "MaxAuthTries 8\n", f"{FOLDER}/99-z.conf": "Match Address 10.0.0.0/24\nMaxAuthTries 7\n"},
        f"{FOLDER}/99-z.conf:2 sets MaxAuthTries 7 in the block Match Address 10.0.0.0/24",
    ),
    "a Match block ends with its file": (
        {
            EARLIER: "Match User bob\nMaxAuthTries 8\n",
            MAIN: f"{INCLUDE}MaxAuthTries 8\nMatch User pi\nMaxAuthTries 7\n",
        },
        f"{MAIN}:4 sets MaxAuthTries 7 in the block Match User pi",
    ),
    "a file that a Match block includes": (
        {
            MAIN: f"{INCLUDE}Match User bob\nInclude /etc/ssh/bob\nMatch User pi\nInclude /etc/ssh/pi\n",
            "/etc/ssh/bob": "MaxAuthTries 8\n",
            "/etc/ssh/pi": "MaxAuthTries 7\n",
        },
        "/etc/ssh/pi:1 sets MaxAuthTries 7 in the block Match User pi",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_line_that_overrules_the_policy_is_named(case: str, tmp_path: Path) -> None:
    files, cause = CASES[case]
    assert problem(RealSshd(tmp_path, files)) == (
        f"sshd would use MaxAuthTries 7 instead of 3: {cause}; remove that line"
    )


def test_a_main_file_that_includes_no_drop_in_is_named(tmp_path: Path) -> None:
    assert problem(RealSshd(tmp_path, {MAIN: "MaxAuthTries 7\n"})) == (
        f"sshd would use MaxAuthTries 7 instead of 3: {MAIN} does not include {daemon.DROPIN}; "
        f"add as its first line: Include {FOLDER}/*.conf"
    )


def test_another_line_that_admits_users_is_named(tmp_path: Path) -> None:
    own: dict[str, Any] = {daemon.DROPIN: "AllowGroups picluster-ssh\n"}
    policy = {"AllowGroups": ["picluster-ssh"]}
    node = RealSshd(tmp_path, {**own, MAIN: f"{INCLUDE}AllowGroups team\n"})
    assert problem(node, policy).endswith(f": {MAIN}:2 sets AllowGroups team; remove that line")
    node.write(MAIN, f"{INCLUDE}\nAllowUsers bob\n")
    cause = f"{MAIN}:3 sets AllowUsers bob; remove that line"
    assert problem(node, policy) == f"sshd would allow only AllowUsers bob instead of operators: {cause}"


def test_files_that_include_each_other_are_read_to_an_end() -> None:
    lines = list(read_lines(lambda _path: "Include a\nUsePAM yes\n", lambda pattern: [pattern]))
    assert len(lines) == 17
    assert {(line.path, line.number) for line in lines[:-1]} == {("/etc/ssh/a", 2)}
