"""New host keys for a copied node: made aside by the real ssh-keygen, activated, whatever was interrupted before."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.identity import host_keys
from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import Connection
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome

if TYPE_CHECKING:
    from pathlib import Path

HERE = Connection("10.0.0.1", "10.0.0.2", "2222")
KINDS = {"ssh_host_ed25519_key": "ed25519", "ssh_host_ecdsa_key": "ecdsa"}


def _run(*command: str) -> Outcome:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return Outcome(done.returncode, done.stdout, done.stderr)


class Machine(FakeNode):
    """A node with host keys, made by the real ssh-keygen, and an sshd that offers what it read last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path, *, check_mode: bool = False) -> None:
        answers = {"ssh-keygen": _run, "ssh-keyscan": self._scan, " ".join(host_keys.RELOAD): self._reload}
        super().__init__(root, answers, check_mode=check_mode)
        self.folder = self.path(host_keys.FOLDER)
        self.folder.mkdir(parents=True)
        self.deaf = False
        self.now = 0.0
        for name, kind in KINDS.items():
            subprocess.run(["ssh-keygen", "-q", "-N", "", "-t", kind, "-f", str(self.folder / name)], check=True)
        self.shown = self.public()
        monkeypatch.setattr(host_keys.time, "sleep", self._sleep)
        monkeypatch.setattr(host_keys.time, "monotonic", lambda: self.now)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _scan(self, *command: str) -> str:
        assert command[-3:] == ("-p", "2222", "10.0.0.2")
        lines = [f"[10.0.0.2]:2222 {key}" for key in sorted(self.shown)]
        return "\n".join(["# 10.0.0.2:2222 SSH-2.0-OpenSSH", *lines])

    def _reload(self, *_: str) -> str:
        if not self.deaf:
            self.shown = self.public()
        return ""

    @property
    def reloads(self) -> int:
        return self.commands.count(" ".join(host_keys.RELOAD))

    def public(self) -> set[str]:
        return {host_keys.plain_key((self.folder / f"{name}.pub").read_text()) for name in KINDS}

    def keys(self) -> host_keys.HostKeys:
        self.diff.clear()
        return host_keys.HostKeys(self)

    def active(self) -> set[str]:
        """Return the public halves of the private keys, as ssh-keygen computes them."""
        said = [
            subprocess.run(
                ["ssh-keygen", "-y", "-f", str(self.folder / name)], check=True, capture_output=True, text=True
            )
            for name in KINDS
        ]
        return {host_keys.plain_key(done.stdout) for done in said}


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


def test_keys_of_its_own_stay(node: Machine) -> None:
    before = node.public()
    assert set(node.keys().prepare(["ssh-ed25519 AAAAother"])) == before
    assert not node.changed
    node.keys().activate(HERE)
    assert (node.public(), node.reloads) == (before, 0)


def test_whoever_copied_one_key_has_copied_all(node: Machine) -> None:
    copied = node.public()
    ed25519 = next(key for key in copied if key.startswith("ssh-ed25519"))
    new = set(node.keys().prepare([ed25519]))
    assert len(node.diff) == 2
    assert not new & copied
    assert {key.split()[0] for key in new} == {key.split()[0] for key in copied}
    # sshd, and the controller with it, goes on with the old ones until the controller knows the new ones.
    assert node.active() == copied
    node.keys().activate(HERE)
    assert node.active() == new == node.public() == node.shown
    assert node.reloads == 1
    assert [path.name for path in node.folder.iterdir() if "picluster" in path.name] == []


def test_a_second_call_makes_no_more_keys(node: Machine) -> None:
    copied = node.public()
    new = node.keys().prepare(copied)
    assert node.keys().prepare(copied) == new
    assert not node.changed


@pytest.mark.parametrize("cut_off", range(4))
def test_power_lost_between_any_two_renames_is_repaired(node: Machine, cut_off: int) -> None:
    copied = node.public()
    new = node.keys().prepare(copied)
    done = 0
    for name in sorted(KINDS):
        for end in (".pub", ""):
            if done < cut_off:
                (node.folder / f"{name}{host_keys.NEXT}{end}").replace(node.folder / f"{name}{end}")
                done += 1
    assert node.keys().prepare(copied) == new
    node.keys().activate(HERE)
    assert node.active() == node.public() == node.shown == set(new)


def test_a_half_made_key_is_made_anew(node: Machine) -> None:
    (node.folder / f"ssh_host_ed25519_key{host_keys.HALF}").write_text("half")
    copied = node.public()
    node.keys().prepare(copied)
    node.keys().activate(HERE)
    assert not node.active() & copied


def test_a_key_is_on_the_card_before_it_counts(node: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = host_keys.sync

    def sync(path: Path) -> None:
        counted = [found.name for found in node.folder.glob(f"ssh_host_ed25519_key{host_keys.NEXT}*")]
        synced.append(path.name if not counted else f"{path.name} with {len(counted)}")
        real(path)

    monkeypatch.setattr(host_keys, "sync", sync)
    node.keys().prepare(node.public())
    half = f"ssh_host_ed25519_key{host_keys.HALF}"
    assert [name for name in synced if "ed25519" in name] == [f"{half}.pub", half]
    # Without its name on the card it would not be there.
    assert synced[-1] == f"{node.folder.name} with 2"


def test_an_sshd_that_was_not_reloaded_is(node: Machine) -> None:
    node.shown = {"ssh-ed25519 AAAAold"}
    node.keys().activate(HERE)
    assert node.reloads == 1


def test_an_sshd_that_shows_the_old_keys_for_ever_is_one_sentence(node: Machine) -> None:
    node.deaf = True
    node.keys().prepare(node.public())
    with pytest.raises(UserError, match=r"sshd still offers the former host keys: .* run: systemctl restart ssh"):
        node.keys().activate(HERE)
    assert node.now < host_keys.PATIENCE + 1


def test_check_mode_says_so_and_makes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    node = Machine(monkeypatch, tmp_path, check_mode=True)
    before = node.public()
    assert set(node.keys().prepare(before)) == before
    assert len(node.diff) == 2
    assert len(list(node.folder.iterdir())) == 4


@pytest.mark.parametrize(
    ("name", "public", "options"),
    [
        ("ssh_host_rsa_key", "ssh-rsa AAAA", ["-t", "rsa"]),
        ("ssh_host_rsa4096_key", "ssh-rsa AAAA", ["-t", "rsa", "-b", "4096"]),
        ("ssh_host_dsa_key", "ssh-dss AAAA", None),
    ],
)
def test_a_new_key_is_of_the_same_kind(name: str, public: str, options: list[str] | None) -> None:
    assert host_keys.recipe(name, public) == options
