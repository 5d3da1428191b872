"""The node's half of commit-confirm: the real shell script in a temporary root, and a systemctl that only records."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.confirm import rollback as confirm_rollback
from ansible_collections.picluster.cloud.plugins.module_utils.confirm.rollback import Rollback
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome
from ansible_collections.picluster.cloud.plugins.modules import confirm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TOKEN, OTHER = "a" * 32, "b" * 32
RELOAD = ["systemctl", "try-reload-or-restart", "ssh.service"]


class Target(FakeNode):
    """A node with a rollback: its systemctl and systemd-run only record their arguments, its shell is real."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.broken: set[str] = set()
        programs = root / "bin"
        programs.mkdir()
        self.log = root / "log"
        self.log.touch()
        fake = programs / "systemctl"
        fake.write_text(f'#!/bin/sh\necho "$*" >>{self.log}\n[ ! -e {root}/refuse ]\n')
        fake.chmod(0o755)
        self.environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
        self.rollback = Rollback(self, "sshd")
        self.home = root / "var/lib/picluster/rollback"
        self.places = {"changed": self.write("/etc/changed", "old\n", 0o640), "made": root / "etc/made"}

    def answer(self, command: list[str], **_: Any) -> Outcome:
        self.commands.append(" ".join(command))
        if command[0] in self.broken:
            return Outcome(1, "", f"{command[0]} is broken")
        if command[:2] == ["systemctl", "enable"]:
            wants = self.root / "etc/systemd/system/sysinit.target.wants"
            wants.mkdir(exist_ok=True)
            (wants / command[2]).symlink_to(f"../{command[2]}")
        if command[0] != "/bin/sh":
            return Outcome(0)
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def arm(self, token: str = TOKEN, **options: Sequence[Sequence[str]]) -> None:
        self.rollback.arm(60, token, ["/etc/changed", "/etc/made"], [RELOAD], **options)

    def change(self) -> None:
        self.places["changed"].write_text("new\n")
        self.places["changed"].chmod(0o600)
        self.places["made"].write_text("new\n")

    def restore(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["/bin/sh", str(self.home / "restore"), *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def power_cut(self) -> None:
        shutil.rmtree(self.root / "run")

    @property
    def real_commands(self) -> list[str]:
        return self.log.read_text().splitlines()

    def assert_old(self) -> None:
        assert self.places["changed"].read_text() == "old\n"
        assert self.places["changed"].stat().st_mode & 0o7777 == 0o640
        assert not self.places["made"].exists()
        assert self.rollback.state() is None
        assert not (self.home / "sshd").exists()
        assert list((self.root / "etc").glob(".*")) == []


@pytest.fixture
def node(tmp_path: Path) -> Target:
    (tmp_path / "run").mkdir()
    return Target(tmp_path)


def test_what_nobody_confirms_comes_back(node: Target) -> None:
    node.arm()
    node.change()
    assert node.restore("sshd", TOKEN).returncode == 0
    node.assert_old()
    assert node.real_commands == [" ".join(RELOAD[1:])]


def test_what_is_confirmed_stays_and_leaves_no_copies(node: Target) -> None:
    node.arm()
    node.change()
    assert node.rollback.confirm(TOKEN)
    assert node.restore("sshd", TOKEN).returncode == 0
    assert node.restore("--boot").returncode == 0
    assert node.places["changed"].read_text() == "new\n"
    assert not (node.home / "sshd").exists()
    assert node.real_commands == []
    assert node.commands[-1] == f"systemctl stop picluster-rollback-sshd-{TOKEN[:16]}.timer"


def test_what_was_only_for_the_window_ends_with_the_confirmation(node: Target) -> None:
    node.arm(at_confirm=[["touch", str(node.root / "ended")]])
    assert not (node.root / "ended").exists()
    assert node.rollback.confirm(TOKEN)
    assert (node.root / "ended").exists()
    assert node.real_commands == []


def test_a_way_back_does_not_end_what_was_only_for_the_window(node: Target) -> None:
    node.arm(at_confirm=[["touch", str(node.root / "ended")]])
    assert node.restore("sshd", TOKEN).returncode == 0
    assert not (node.root / "ended").exists()
    node.assert_old()


def test_a_node_killed_at_the_end_of_the_window_still_goes_back(node: Target) -> None:
    node.arm(at_confirm=[["killed"]])
    node.change()
    node.run = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]  # a stand-in
    with pytest.raises(KeyboardInterrupt):
        Rollback(node, "sshd").confirm(TOKEN)
    assert node.restore("sshd", TOKEN).returncode == 0
    node.assert_old()


def test_a_confirmation_that_another_run_has_overtaken_is_not_called_a_way_back(node: Target) -> None:
    node.arm()
    node.arm(OTHER)
    assert node.rollback.confirm(OTHER)
    with pytest.raises(UserError, match="another run has changed and confirmed sshd since"):
        node.rollback.confirm(TOKEN)


def test_each_run_learns_what_became_of_its_own_change(node: Target) -> None:
    def fates() -> list[str]:
        return [confirm.converge(node, {"name": "sshd", "token": t, "state": "undone"})["fate"] for t in (TOKEN, OTHER)]

    node.arm()
    node.arm(OTHER)
    assert [node.rollback.fate(token) for token in (TOKEN, OTHER)] == ["superseded", "pending"]
    # The run that lost rolls back nothing of the other's.
    assert confirm.converge(node, {"name": "sshd", "token": TOKEN, "state": "undone"}) == {
        "changed": False,
        "fate": "superseded",
    }
    assert node.rollback.confirm(OTHER)
    assert fates() == ["superseded", "confirmed"]
    node.arm()
    node.arm(OTHER)
    assert node.restore("sshd", OTHER).returncode == 0
    assert fates() == ["rolled back", "rolled back"]


def test_an_older_confirmation_does_not_hide_a_way_back(node: Target) -> None:
    node.arm()
    assert node.rollback.confirm(TOKEN)
    node.arm(OTHER)
    assert node.restore("sshd", OTHER).returncode == 0
    with pytest.raises(UserError, match="came too late: the rollback had already begun"):
        node.rollback.confirm(OTHER)


def test_a_way_back_that_one_file_stopped_is_finished_later(node: Target) -> None:
    link = node.root / "etc/link"
    link.symlink_to("changed")
    node.rollback.arm(60, TOKEN, ["/etc/changed", "/etc/link", "/etc/made"], [RELOAD])
    node.change()
    link.unlink()
    node.places["made"].unlink()
    node.places["made"].mkdir()
    assert node.restore("sshd", TOKEN).returncode == 1
    node.places["made"].rmdir()
    assert node.restore("sshd", TOKEN).returncode == 0
    assert link.readlink().name == "changed"
    node.assert_old()


def test_a_way_back_that_an_older_script_could_not_finish_is_finished(node: Target) -> None:
    node.arm()
    node.change()
    (node.home / "restore").write_text("exit 1\n")
    assert node.rollback.undo()
    node.assert_old()


def test_a_file_that_was_never_changed_needs_no_room(node: Target) -> None:
    node.arm()
    before = node.places["changed"].stat().st_ino
    assert node.restore("sshd", TOKEN).returncode == 0
    assert node.places["changed"].stat().st_ino == before
    node.assert_old()


def test_a_confirmation_asked_for_twice_is_no_error(node: Target) -> None:
    node.arm()
    assert node.rollback.confirm(TOKEN)
    assert not node.rollback.confirm(TOKEN)


def test_a_power_cut_in_the_window_ends_in_the_old_state_without_asking_services(node: Target) -> None:
    node.arm(at_boot=[["systemctl", "--at-boot"]])
    node.change()
    node.power_cut()
    assert node.restore("--boot").returncode == 0
    node.assert_old()
    assert node.real_commands == ["--at-boot"]


def test_the_boot_unit_leaves_alone_what_was_armed_in_this_boot(node: Target) -> None:
    node.arm()
    node.change()
    assert node.restore("--boot").returncode == 0
    assert node.places["changed"].read_text() == "new\n"
    assert node.rollback.state() is not None


def test_everything_is_ready_before_the_module_may_change_anything(node: Target) -> None:
    confirm = node.rollback.arm(90, TOKEN, ["/etc/changed"], [RELOAD])
    assert confirm == {"name": "sshd", "token": TOKEN, "within": 90}
    assert node.home.stat().st_mode & 0o7777 == 0o700
    assert (node.home / "sshd").stat().st_mode & 0o7777 == 0o700
    timer = next(call for call in node.commands if call.startswith("systemd-run"))
    assert "--on-active=90s" in timer
    assert timer.endswith(f" {node.home}/restore sshd {TOKEN}")
    assert "systemctl enable picluster-rollback.service" in node.commands
    state = node.rollback.state()
    assert state == confirm_rollback.State(TOKEN, (str(node.places["changed"]),))


def test_the_unit_is_installed_once(node: Target) -> None:
    node.arm()
    node.rollback.confirm(TOKEN)
    node.commands.clear()
    node.arm(OTHER)
    assert not any(call.startswith("systemctl enable") for call in node.commands)


@pytest.mark.parametrize("program", ["systemd-run", "systemctl"])
def test_where_nothing_would_bring_it_back_nothing_is_armed(node: Target, program: str) -> None:
    node.broken.add(program)
    with pytest.raises(UserError, match=f"{program} is broken; without a rollback nothing is changed"):
        node.arm()
    assert node.rollback.state() is None


def test_a_late_confirmation_says_that_the_node_went_back(node: Target) -> None:
    node.arm()
    node.restore("sshd", TOKEN)
    with pytest.raises(UserError, match="came too late: the rollback had already begun"):
        node.rollback.confirm(TOKEN)


def test_a_confirmation_of_an_earlier_run_confirms_nothing(node: Target) -> None:
    node.arm()
    node.arm(OTHER)
    with pytest.raises(UserError, match="another run has changed sshd since"):
        node.rollback.confirm(TOKEN)
    assert node.rollback.state() is not None


def test_a_confirmation_of_nothing_says_so(node: Target) -> None:
    with pytest.raises(UserError, match="no change of sshd is waiting for confirmation"):
        node.rollback.confirm(TOKEN)


def test_a_rerun_in_the_window_keeps_what_was_there_before_the_first(node: Target) -> None:
    also = node.write("/etc/also", "old too\n")
    node.arm()
    node.change()
    node.rollback.arm(60, OTHER, ["/etc/changed", "/etc/also"], [RELOAD, ["systemctl", "more"]])
    also.write_text("new\n")
    # The first run's timer means nothing any more.
    assert node.restore("sshd", TOKEN).returncode == 0
    assert node.places["changed"].read_text() == "new\n"
    assert node.restore("sshd", OTHER).returncode == 0
    node.assert_old()
    assert also.read_text() == "old too\n"
    assert node.real_commands == [" ".join(RELOAD[1:]), "more"]
    assert f"systemctl stop picluster-rollback-sshd-{TOKEN[:16]}.timer" in node.commands


def test_what_was_undone_is_not_undone_again(node: Target) -> None:
    node.arm()
    node.change()
    assert node.rollback.undo()
    node.assert_old()
    assert not node.rollback.undo()


def test_a_change_that_fails_is_rolled_back_and_says_why(node: Target) -> None:
    node.arm()
    node.change()
    sentence = "^no such keyword; the node has been rolled back$"
    with pytest.raises(UserError, match=sentence), node.rollback.undo_on_failure():
        raise UserError("no such keyword")
    node.assert_old()


def test_a_change_whose_rollback_fails_too_says_both(node: Target) -> None:
    node.arm()
    node.change()
    node.broken.add("/bin/sh")
    both = (
        "^/x cannot be written: Input/output error; .*; the rollback of sshd failed: /bin/sh is broken; the node tries"
    )
    with pytest.raises(UserError, match=both), node.rollback.undo_on_failure():
        raise OSError(errno.EIO, "Input/output error", "/x")


def test_only_the_arming_in_question_is_undone(node: Target) -> None:
    node.arm(OTHER)
    node.change()
    assert not node.rollback.undo(TOKEN)
    assert node.places["changed"].read_text() == "new\n"
    assert node.rollback.undo(OTHER)


def test_a_way_back_that_was_killed_is_gone_to_its_end_by_the_next_boot(node: Target) -> None:
    node.arm()
    node.change()
    # As a kill between the two files leaves it.
    (node.home / "sshd/manifest").rename(node.home / "sshd/restoring")
    node.places["made"].unlink()
    with pytest.raises(UserError, match="too late"):
        node.rollback.confirm(TOKEN)
    node.power_cut()
    assert node.restore("--boot").returncode == 0
    node.assert_old()


def test_a_way_back_that_was_killed_is_gone_to_its_end_by_the_next_run(node: Target) -> None:
    node.arm()
    node.change()
    (node.home / "sshd/manifest").rename(node.home / "sshd/restoring")
    node.arm(OTHER)
    assert node.places["changed"].read_text() == "old\n"
    assert node.rollback.state() is not None


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_run_finishes_an_interrupted_restore_before_it_plans(node: Target, *, check_mode: bool) -> None:
    assert not node.rollback.resume()
    node.arm()
    node.change()
    # A change that only waits for its confirmation stays.
    assert node.rollback.resume()
    assert node.places["changed"].read_text() == "new\n"
    (node.home / "sshd/manifest").rename(node.home / "sshd/restoring")
    node.check_mode = check_mode
    assert not node.changed
    assert not node.rollback.resume()
    assert node.changed
    assert node.places["changed"].read_text() == ("new\n" if check_mode else "old\n")
    assert (node.rollback.state() is not None) is check_mode


def test_an_arming_that_was_killed_before_it_was_complete_restores_nothing(node: Target) -> None:
    node.arm()
    node.change()
    (node.home / "sshd/manifest").unlink()
    assert node.restore("sshd", TOKEN).returncode == 0
    assert node.restore("--boot").returncode == 0
    assert node.places["changed"].read_text() == "new\n"


def test_a_file_that_cannot_be_put_back_is_tried_again(node: Target) -> None:
    node.arm()
    node.change()
    node.places["changed"].unlink()
    node.places["changed"].mkdir()
    (node.places["changed"] / "x").touch()
    assert node.restore("sshd", TOKEN).returncode == 1
    assert "not all files of sshd could be restored" in node.restore("sshd", TOKEN).stderr
    shutil.rmtree(node.places["changed"])
    assert node.restore("sshd", TOKEN).returncode == 0
    node.assert_old()


def test_a_command_that_fails_does_not_keep_the_files_from_coming_back(node: Target) -> None:
    (node.root / "refuse").touch()
    node.arm()
    node.change()
    done = node.restore("sshd", TOKEN)
    assert done.returncode == 0
    assert "command failed, reboot the node instead" in done.stderr
    assert len(node.real_commands) == 3
    node.assert_old()


def test_links_and_names_with_blanks_come_back_as_they_were(node: Target) -> None:
    link = node.root / "etc/a link"
    link.symlink_to("../elsewhere")
    node.rollback.arm(60, TOKEN, ["/etc/a link", "/etc/no such  file"], [])
    link.unlink()
    link.write_text("new")
    (node.root / "etc/no such  file").write_text("new")
    assert node.restore("sshd", TOKEN).returncode == 0
    assert os.readlink(link) == "../elsewhere"  # noqa: PTH115 - the very text of the link
    assert not (node.root / "etc/no such  file").exists()


def test_a_removed_folder_is_made_again(node: Target) -> None:
    deep = node.write("/etc/deep/er", "old\n")
    node.rollback.arm(60, TOKEN, ["/etc/deep/er"], [])
    shutil.rmtree(deep.parent)
    assert node.restore("sshd", TOKEN).returncode == 0
    assert deep.read_text() == "old\n"


@pytest.mark.parametrize("path", ["relative", "/two\nlines", "/blank ", ""])
def test_a_path_that_the_script_could_not_read_is_refused(node: Target, path: str) -> None:
    with pytest.raises(UserError, match="expected an absolute path"):
        node.rollback.arm(60, TOKEN, [path], [])
    assert node.rollback.state() is None


def test_a_full_card_is_named_and_nothing_is_armed(node: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(confirm_rollback, "write_atomically", full)
    with pytest.raises(OSError, match="No space left") as caught:
        node.arm()
    assert caught.value.filename == str(node.home / "sshd")
    assert node.rollback.state() is None


def test_a_folder_cannot_be_kept(node: Target) -> None:
    with pytest.raises(UserError, match="neither a file nor a symbolic link"):
        node.rollback.arm(60, TOKEN, ["/etc"], [])


@pytest.mark.parametrize("seconds", [0, 9, 3601, -1])
def test_a_window_that_makes_no_sense_is_refused(node: Target, seconds: int) -> None:
    with pytest.raises(UserError, match=f"confirm_within is out of range: {seconds}; expected 10 to 3600 seconds"):
        node.rollback.arm(seconds, TOKEN, [], [])


@pytest.mark.parametrize("token", ["short", "a" * 31 + "\n", "../../../../etc/passwd"])
def test_a_token_that_is_none_is_refused(node: Target, token: str) -> None:
    with pytest.raises(UserError, match="confirm_token"):
        node.rollback.arm(60, token, [], [])


def test_a_name_that_is_no_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected lowercase letters"):
        Rollback(FakeNode(tmp_path), "../x")


def test_the_script_is_plain_shell(tmp_path: Path) -> None:
    script = tmp_path / "restore"
    script.write_text(confirm_rollback.SCRIPT)
    for judge in (["dash", "-n"], ["shellcheck"]):
        if shutil.which(judge[0]):
            done = subprocess.run([*judge, str(script)], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout


def test_a_way_back_that_is_cut_off_while_a_run_arms_keeps_what_it_saved(
    node: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.arm()
    node.change()
    manifest = node.home / "sshd/manifest"
    # The timer's script begins, and is killed, after the run has looked and before it has the lock.
    real = Rollback.state

    def look(rollback: Rollback) -> confirm_rollback.State | None:
        found = real(rollback)
        manifest.replace(manifest.with_name("restoring"))
        return found

    monkeypatch.setattr(Rollback, "state", look)
    with pytest.raises(UserError, match="was interrupted just now; run the playbook again"):
        node.arm(OTHER)
    monkeypatch.undo()
    assert node.restore("sshd").returncode == 0
    node.assert_old()


def test_two_calls_on_a_node_do_not_change_the_same_at_once(node: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirm_rollback, "PATIENCE", 0.3)
    with node.rollback.alone():
        other = Rollback(node, "sshd").alone()
        with pytest.raises(UserError, match="another run is still changing sshd"):
            other.__enter__()
        with Rollback(node, "firewall").alone():
            pass
    with Rollback(node, "sshd").alone():
        pass
