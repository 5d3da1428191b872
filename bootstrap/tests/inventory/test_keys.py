"""Public keys, and files that are not public keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bootkit import KEY
from cardkit import run

from picluster import cli
from picluster.errors import PiclusterError
from picluster.inventory.keys import private_half, read_keys

if TYPE_CHECKING:
    from pathlib import Path


def test_public_keys_are_read_once_each_and_in_order(tmp_path: Path) -> None:
    one, two = tmp_path / "1.pub", tmp_path / "2.pub"
    one.write_text(f"# mine\n{KEY} me\n\n", encoding="utf-8")
    two.write_text(f"{KEY} you\r\n{KEY} me\n", encoding="utf-8")
    assert read_keys([one, two]) == (f"{KEY} me", f"{KEY} you")


BAD_KEYS = {
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n": "is a private key",
    "": "is empty",
    "# only a comment\n": "is empty",
    "hello world": "does not begin with a key type",
    "ssh-ed25519": "does not begin with a key type",
    KEY[:40]: "cut off or mistyped",
    KEY.replace("ssh-ed25519", "ssh-rsa"): "cut off or mistyped",
    KEY + " a\x07b": "control characters",
    "\ud7ff\x00": "does not begin",
}


@pytest.mark.parametrize("text", BAD_KEYS)
def test_what_is_no_public_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "k"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PiclusterError) as caught:
        read_keys([path])
    assert BAD_KEYS[text] in str(caught.value)
    assert str(path) in str(caught.value)


REFUSED = {
    "rsa -b 2048": "the RSA key has 2048 bits; sshd on the nodes requires 3072; create a key with ssh-keygen",
    "ecdsa": "sshd on the nodes accepts no ECDSA keys; create a key with ssh-keygen -t ed25519",
    "dsa": "sshd on the nodes accepts no DSA keys; create a key with ssh-keygen -t ed25519",
}


def _make_key(folder: Path, kind: str) -> Path:
    run("ssh-keygen", "-q", "-t", *kind.split(), "-N", "", "-f", folder / "old")
    return folder / "old.pub"


@pytest.mark.parametrize("kind", REFUSED)
def test_a_key_that_sshd_on_the_nodes_refuses_is_named(tmp_path: Path, kind: str) -> None:
    good, old = tmp_path / "good.pub", _make_key(tmp_path, kind)
    good.write_text(KEY, encoding="utf-8")
    with pytest.raises(PiclusterError) as caught:
        read_keys([good, old])
    assert str(caught.value).startswith(f"--key {old}: {REFUSED[kind]}")


def test_a_long_rsa_key_is_accepted(tmp_path: Path) -> None:
    old = _make_key(tmp_path, "rsa -b 3072")
    assert read_keys([old]) == (old.read_text(encoding="utf-8").strip(),)


COMMANDS = {
    "burn": ["--image", "card.img", "-o", "out"],
    "prepare": ["--image-file", "card.img"],
    "inventory": [],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_a_short_rsa_key(bench: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    _make_key(bench, "rsa -b 2048")
    given = [command, "--name", "red1", "--ips", "192.168.63.11", "--key", "key.pub", "--key", "old.pub"]
    before = (bench / "card.img").read_bytes()
    assert cli.main([*given, *COMMANDS[command]]) == 2
    assert "--key old.pub: the RSA key has 2048 bits" in capsys.readouterr().err
    assert not (bench / "inventories").exists()
    assert (bench / "card.img").read_bytes() == before


def test_a_missing_key_tells_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(PiclusterError, match="ssh-keygen"):
        read_keys([tmp_path / "none.pub"])


def test_a_private_key_that_ssh_finds_by_itself_is_not_named(tmp_path: Path) -> None:
    ssh = tmp_path / ".ssh"
    ssh.mkdir()
    for name in ("id_ed25519", "id_ed25519.pub", "cluster", "cluster.pub", "agent.pub"):
        (ssh / name).touch()
    assert private_half([ssh / "id_ed25519.pub"], tmp_path) is None
    assert private_half([ssh / "cluster.pub"], tmp_path) == ssh / "cluster"
    assert private_half([ssh / "agent.pub"], tmp_path) is None
