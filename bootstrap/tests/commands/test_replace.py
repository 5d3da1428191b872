"""picluster burn --replace: what it reads from the record of the cluster."""

from __future__ import annotations

import getpass
import hashlib
import json
import shlex
from typing import TYPE_CHECKING

import pytest
import yaml
from cardkit import run
from clikit import burn

from picluster import cli
from picluster.cards.image import read_tree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def here(bench: Path) -> Path:
    return bench


def test_one_dead_card_is_replaced_from_the_inventory_alone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert burn("-o", "out", "--timezone", "Europe/Berlin") == 0
    groups = (here / "inventories/red/20-roles.yml").read_bytes()
    nodes = (here / "inventories/red/10-nodes.yml").read_bytes()
    before = read_tree(here / "out/red2.img")
    (here / "key.pub").unlink()
    (here / "out/red2.img").unlink()
    known = here / "inventories/red/known_hosts"
    known.write_text("red1 ssh-ed25519 AA\nred2 ssh-ed25519 AA\n", encoding="utf-8")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    again = ["burn", "--name", "red2", "--replace", "-o", str(here / "out"), "--inventories", str(here / "inventories")]
    assert cli.main(again) == 0
    after = read_tree(here / "out/red2.img")
    old, new = (yaml.safe_load(tree["user-data"]) for tree in (before, after))
    assert new == old
    assert yaml.safe_load(after["meta-data"])["instance-id"] != yaml.safe_load(before["meta-data"])["instance-id"]
    assert (here / "inventories/red/20-roles.yml").read_bytes() == groups
    assert (here / "inventories/red/10-nodes.yml").read_bytes() == nodes
    assert known.read_text(encoding="utf-8") == "red1 ssh-ed25519 AA\n"


RECORDS = {
    "gone": (None, "which records how the cards were burnt"),
    "unknown key": ("image: card.img\nkeys: [a]\nimgae: x\n", "imgae is unknown"),
    "no keys": ("image: card.img\n", "keys must be a list"),
    "no image": ("keys: [a]\n", "image must name"),
    "not text": ("image: 5\nkeys: [a]\n", "image must be a string"),
    "wifi": ("image: card.img\nkeys: [KEY]\nwifi: Home\n", "give --wifi again"),
    "no key": (
        "image: card.img\nkeys: [ssh-ed25519 AAAA]\n",
        "an entry of keys in inventories/red/cards.yml is not a pu",
    ),
    "comments for keys": ("image: card.img\nkeys: ['# none']\n", "keys must be a list"),
    "hidden": ("image: card.img\nkeys: [KEY]\nwifi_hidden: maybe\n", "wifi_hidden must be true or false"),
    "sha256 of another": (
        f"image: card.img\nkeys: [KEY]\nsha256: '{'0' * 64}'\n",
        "the sha256 in inventories/red/cards.yml, says 0000",
    ),
    "no sha256": ("image: card.img\nkeys: [KEY]\nsha256: abc\n", "the sha256 in inventories/red/cards.yml, 'abc' is"),
    "first boot": ("image: card.img\nkeys: [KEY]\nfirstboot: magic\n", "cards.yml: firstboot 'magic' is unknown"),
    "other first boot": (
        "image: card.img\nkeys: [KEY]\nfirstboot: init-script\n",
        "the firstboot in inventories/red/cards.yml, init-script cannot work",
    ),
    "time zone": (
        "image: card.img\nkeys: [KEY]\ntimezone: Mars\n",
        "the timezone in inventories/red/cards.yml, 'Mars'",
    ),
}


@pytest.mark.parametrize("what", RECORDS)
def test_a_record_that_cannot_be_used_ends_in_a_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    burn("-o", "out")
    record = here / "inventories/red/cards.yml"
    text, says = RECORDS[what]
    if text is None:
        record.unlink()
    else:
        key = (here / "key.pub").read_text(encoding="utf-8").strip()
        record.write_text(text.replace("KEY", key), encoding="utf-8")
    capsys.readouterr()
    assert cli.main(["burn", "--name", "red2", "--replace", "-o", "out"]) == 2
    assert says in capsys.readouterr().err


def test_the_wifi_passphrase_is_kept_nowhere(here: Path) -> None:
    (here / "pass").write_text("my secret passphrase\n", encoding="utf-8")
    (here / "pass").chmod(0o600)
    assert burn("-o", "out", "--wifi", "Home", "--wifi-passphrase-file", "pass", "--country", "DE") == 0
    for path in here.rglob("*"):
        if path.is_file() and path.name != "pass":
            assert b"my secret passphrase" not in path.read_bytes(), path
    assert "wifi: Home" in (here / "inventories/red/cards.yml").read_text(encoding="utf-8")


def _record(here: Path) -> dict[str, object]:
    return dict(yaml.safe_load((here / "inventories/red/cards.yml").read_text(encoding="utf-8")))


def test_a_replaced_card_forgets_nothing_of_the_record(here: Path) -> None:
    digest = hashlib.sha256((here / "card.img").read_bytes()).hexdigest()
    (here / "pass").write_text("my secret passphrase\n", encoding="utf-8")
    wifi = ["--wifi", "Home", "--wifi-passphrase-file", "pass"]
    more = ["--wifi-hidden", "--country", "DE", "--timezone", "Europe/Berlin", "--locale", "de_DE.UTF-8"]
    assert burn("-o", "out", *wifi, *more, "--sha256", digest, "--firstboot", "cloud-init") == 0
    before = _record(here)
    assert (before["sha256"], before["wifi_hidden"]) == (digest, True)
    tree = read_tree(here / "out/red2.img")
    again = ["burn", "--name", "red2", "--replace", "-o", "out", *wifi]
    for given in ([], ["--key", "key.pub"], ["--key", "key.pub", "--image", _image(here)]):
        assert cli.main([*again, *given]) == 0
        assert _record(here) == before
        after = read_tree(here / "out/red2.img")
        assert yaml.safe_load(after["user-data"]) == yaml.safe_load(tree["user-data"])
        assert after["network-config"] == tree["network-config"]


def _image(here: Path) -> str:
    return str(here / "card.img")


def test_what_a_card_was_told_of_its_region_is_the_inventory_s_too(here: Path) -> None:
    assert burn("-o", "out", "--timezone", "Europe/Berlin") == 0
    said = yaml.safe_load((here / "inventories/red/group_vars/all/cluster.yml").read_text(encoding="utf-8"))
    assert said["identity_timezone"] == "Europe/Berlin"
    assert "identity_locale" not in said


def test_a_record_that_is_gone_is_not_needed_where_image_and_key_are_given(here: Path) -> None:
    assert burn("-o", "out") == 0
    (here / "inventories/red/cards.yml").unlink()
    given = ["--key", "key.pub", "--image", "card.img"]
    assert cli.main(["burn", "--name", "red2", "--replace", "-o", "out", *given]) == 0
    assert _record(here)["image"] == _image(here)


def test_what_changes_for_the_whole_cluster_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert burn("-o", "out") == 0
    assert "cards.yml applies to all nodes of red" not in capsys.readouterr().out
    (here / "other.img").write_bytes((here / "card.img").read_bytes())
    given = ["--key", "key.pub", "--image", "other.img", "--timezone", "Europe/Berlin"]
    assert cli.main(["burn", "--name", "red2", "-o", "out", "--yes", *given]) == 0
    assert "note: cards.yml applies to all nodes of red: the new values (image, timezone)" in capsys.readouterr().out


def test_that_old_host_keys_are_forgotten_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert burn("-o", "out") == 0
    assert "old host keys" not in capsys.readouterr().out
    (here / "inventories/red/known_hosts").write_text("red2 ssh-ed25519 AA\n", encoding="utf-8")
    assert burn("-o", "out", "--yes") == 0
    assert "note: the old host keys of the burnt nodes were removed from known_hosts" in (capsys.readouterr().out)


def test_the_line_that_burns_failed_cards_again_runs_as_it_is_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "pass word").write_text("my secret passphrase\n", encoding="utf-8")
    block = here / "out dir/.red2.img.part/in the way"
    block.mkdir(parents=True)
    wifi = ["--wifi", "My Home", "--wifi-passphrase-file", "pass word", "--country", "DE"]
    where = ["--cluster", "attic", "--inventories", "my inventories", "-o", "out dir", "--no-verify", "--json"]
    assert burn(*wifi, *where) == 11
    done = json.loads(capsys.readouterr().out.splitlines()[-1])
    program, *again = shlex.split(done["again"])
    assert (program, done["failed"]) == ("picluster", ["red2"])
    block.rmdir()
    block.parent.rmdir()
    (here / "key.pub").unlink()
    assert cli.main(again) == 0
    assert (here / "out dir/red2.img").exists()
    assert {"ssid": "My Home", "country": "DE"}.items() <= _wifi(here).items()


def _wifi(here: Path) -> dict[str, object]:
    record = yaml.safe_load((here / "my inventories/attic/cards.yml").read_text(encoding="utf-8"))
    return {"ssid": record["wifi"], "country": record["country"]}


def test_the_passphrase_is_asked_for_when_all_else_is_checked(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        if len(asked) == 1:
            raise EOFError
        return "my secret passphrase"

    monkeypatch.setattr(getpass, "getpass", answer)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    wifi = ["-o", "out", "--wifi", "Home", "--country", "DE"]
    assert burn(*wifi, "--json") == 2
    assert burn(*wifi, "--image", "none.img") == 2
    assert burn(*wifi, "--dry-run") == 0
    assert asked == []
    capsys.readouterr()
    assert burn(*wifi) == 2
    assert capsys.readouterr().err == "picluster: no passphrase was entered, nothing was changed\n"
    assert not (here / "inventories").exists()
    assert burn(*wifi) == 0
    network = read_tree(here / "out/red1.img")["network-config"].decode()
    # As wpa_passphrase makes it.
    assert hashlib.pbkdf2_hmac("sha1", b"my secret passphrase", b"Home", 4096, 32).hex() in network


def test_a_recorded_key_that_sshd_refuses_is_refused_until_another_is_given(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert burn("-o", "out") == 0
    run("ssh-keygen", "-q", "-t", "rsa", "-b", 2048, "-N", "", "-f", "old")
    cards = here / "inventories/red/cards.yml"
    data = yaml.safe_load(cards.read_text(encoding="utf-8"))
    data["keys"].append((here / "old.pub").read_text(encoding="utf-8").strip())
    cards.write_text(yaml.safe_dump(data), encoding="utf-8")
    before = cards.read_bytes()
    again = ["burn", "--name", "red2", "--replace", "-o", "out"]
    assert cli.main(again) == 2
    assert "the keys in inventories/red/cards.yml: the RSA key has 2048 bits" in capsys.readouterr().err
    assert cards.read_bytes() == before
    assert cli.main([*again, "--key", "key.pub"]) == 0
