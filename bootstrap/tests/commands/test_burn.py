"""picluster burn, and what all commands have in common."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import zipfile
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import yaml
import zstandard
from cardkit import BOOT_START, PARTITION, STOCK, Judge, mbr

from picluster import cli
from picluster.cards.fat import FatVolume
from picluster.cards.image import read_tree
from picluster.commands import burn, exit_cards
from picluster.firstboot import generations
from picluster.inventory import keys, names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, public_key: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert public_key.exists()
    return tmp_path


BURN = [
    "burn",
    "--name",
    "red[1-3]",
    "--key",
    "key.pub",
    "--ips",
    "192.168.63.[11-13]",
    "--image",
    "card.img",
    "-o",
    "out",
]


def _with(*changes: str) -> list[str]:
    """Return BURN with options replaced."""
    given = dict(zip(changes[::2], changes[1::2], strict=True))
    arguments = [BURN[0]]
    for option, value in zip(BURN[1::2], BURN[2::2], strict=True):
        arguments += [option, given.pop(option, value)]
    return arguments + [word for pair in given.items() for word in pair]


def _everything(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_cluster_is_burnt_by_one_command(
    make_card: Callable[..., Path], here: Path, judge: Judge, capsys: pytest.CaptureFixture[str]
) -> None:
    make_card()
    assert cli.main(BURN) == 0
    instances = set()
    for number in (1, 2, 3):
        card = here / "out" / f"red{number}.img"
        judge.is_sound(judge.partition(card))
        files = read_tree(card)
        assert {name: files[name] for name in STOCK if name not in ("cmdline.txt", "user-data", "meta-data")} == {
            name: data for name, data in STOCK.items() if name not in ("cmdline.txt", "user-data", "meta-data")
        }
        assert yaml.safe_load(files["user-data"])["user"]["ssh_authorized_keys"] == [
            (here / "key.pub").read_text(encoding="utf-8").strip()
        ]
        meta = yaml.safe_load(files["meta-data"])
        assert meta["local-hostname"] == f"red{number}"
        assert f"ds=nocloud;i={meta['instance-id']};h=red{number}\n".encode() in files["cmdline.txt"]
        instances.add(meta["instance-id"])
    assert len(instances) == 3
    said = capsys.readouterr()
    assert "gateway 192.168.63.1" in said.out
    assert "burnt and verified 3 of 3 cards" in said.out
    assert (here / "inventories/red/reservations.dnsmasq").read_text(encoding="utf-8").splitlines()[-1] == (
        "id:red3,red3,192.168.63.13"
    )
    assert yaml.safe_load((here / "inventories/red/group_vars/all/cluster.yml").read_text(encoding="utf-8"))[
        "node_arch"
    ] == ("arm64")


def test_cm_burn_is_the_same_command_without_its_name(make_card: Callable[..., Path], here: Path) -> None:
    make_card()
    assert cli.cm_burn(BURN[1:]) == 0
    assert sorted(path.name for path in (here / "out").iterdir()) == ["red1.img", "red2.img", "red3.img"]


@pytest.mark.parametrize(("more", "code"), [([], 2), (["--json"], 2), (["--yes"], 0), (["--replace"], 0)])
def test_an_image_file_that_exists_is_not_overwritten_unasked(
    make_card: Callable[..., Path], here: Path, capsys: pytest.CaptureFixture[str], more: list[str], code: int
) -> None:
    make_card()
    (here / "out").mkdir()
    assert cli.main(["inventory", "--name", "red[1-3]", "--ips", "192.168.63.[11-13]"]) == 0
    (here / "out/red2.img").write_bytes(b"the only copy")
    before = _everything(here)
    capsys.readouterr()
    burning = ["burn", "--name", "red[1-2]", "--key", "key.pub", "--image", "card.img", "-o", "out"]
    assert cli.main([*burning, *more]) == code
    said = capsys.readouterr()
    assert "out/red2.img will be overwritten" in said.out
    if code:
        assert "out/red2.img exists, and" in said.err
        assert "pass --yes to proceed" in said.err
        assert _everything(here) == before
    else:
        assert (here / "out/red2.img").read_bytes() != b"the only copy"


@pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("no", 2)])
def test_a_person_is_asked_before_an_image_file_is_overwritten(
    make_card: Callable[..., Path], here: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    make_card()
    (here / "out").mkdir()
    (here / "out/red3.img").write_bytes(b"old")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin.readline", lambda: f"{answer}\n", raising=False)
    assert cli.main(BURN) == code
    assert ((here / "out/red3.img").read_bytes() == b"old") == bool(code)


def test_one_card_burnt_again_changes_no_other(
    make_card: Callable[..., Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_card()
    cli.main(BURN)
    known = here / "inventories/red/known_hosts"
    known.write_text("red1 ssh-ed25519 AA\nred2 ssh-ed25519 AA\n", encoding="utf-8")
    before = _everything(here)
    capsys.readouterr()
    assert cli.main(["burn", "--name", "red2", "--key", "key.pub", "--image", "card.img", "-o", "out", "-y"]) == 0
    changed = {path for path, time in _everything(here).items() if before.get(path) != time}
    assert changed == {"out", "out/red2.img", "inventories/red", "inventories/red/known_hosts"}
    assert known.read_text(encoding="utf-8") == "red1 ssh-ed25519 AA\n"
    assert "up to date" in capsys.readouterr().out


BAD = {
    "range": (_with("--name", "red[3-1]"), "is not a range"),
    "long dash": (["burn", "\u2014name", "red1"], "long dash"),
    "unpaired": (_with("--name", "red[1-4]"), "--name has 4"),
    "duplicate": (_with("--name", "red1,red2,red1"), "names red1 twice: names must be unique"),
    "gateway taken": (_with("--ips", "192.168.63.[1-3]"), "is that of the gateway"),
    "no image": (
        _with("--image", "none.img"),
        "there is no file none.img; picluster images list shows the images that --image can name",
    ),
    "no card": (_with("--image", "key.pub"), "not a card image"),
    "private key": (_with("--key", "key"), "private key"),
    "user": (_with("--user", "Root!"), "--user 'Root!' is not allowed"),
    "root": (_with("--user", "root"), "not root"),
    "cluster": (_with("--cluster", "../x"), "cluster name"),
    "arch": (_with("--arch", "mips"), "invalid choice: 'mips'"),
    "prefix": (_with("--prefix", "x"), "--prefix 'x' is not a number; expected 8 to 30"),
    "output in /proc": ([*_with("-o", "/proc/cards"), "--dry-run"], "-o /proc/cards cannot be created: "),
    "inventories in /proc": (_with("--inventories", "/proc/x"), "--inventories /proc/x/red cannot be created: "),
    "long output": (_with("-o", "x" * 300), "cannot be created: File name too long"),
    "output is a file": (_with("-o", "key.pub"), "is a file"),
    "output below a file": (_with("-o", "key.pub/cards"), "key.pub is a file"),
    "inventories below a file": (_with("--inventories", "key.pub/inv"), "key.pub is a file"),
    "key of nobody": (_with("--key", "~no-such-user/k.pub"), "no such user's home"),
    "output is the image": (_with("--name", "card", "--ips", "192.168.63.5", "-o", "."), "is the stock image itself"),
    "device and files": (_with("--device", "/dev/sdz"), "exclude each other"),
    "force without device": (_with("--force-device", "/dev/sdz"), "given without --device"),
    "no such block map": (_with("--bmap", "none.bmap"), "none.bmap cannot be read"),
    "block map and none": ([*_with("--bmap", "none.bmap"), "--no-bmap"], "exclude each other"),
    "sha256 is none": (_with("--sha256", "abc"), "is not a SHA-256"),
    "sha256 of another": (_with("--sha256", "0" * 64), "it is another file"),
    "no such catalogue": (_with("--catalogue", "none.yml"), "none.yml cannot be read"),
    "wifi without anybody": (_with("--wifi", "Home"), "--wifi-passphrase-file"),
    "timezone": (_with("--timezone", "Mars/Olympus"), "--timezone 'Mars/Olympus'"),
    "country": (_with("--country", "de"), "--country 'de'"),
    "locale": (_with("--locale", "german"), "--locale 'german'"),
    "first boot": (_with("--firstboot", "init-script"), "--firstboot init-script cannot work"),
    "replace and ips": ([*BURN, "--replace"], "--replace keeps the addresses"),
    "replace unknown": (["burn", "--name", "red1", "--replace"], "red1 is not in"),
    "no image option": (["burn", "--name", "red1", "--key", "key.pub"], "no --image was given"),
    "no command": ([], "required"),
    "no key": (["burn", "--name", "red1", "--image", "card.img"], "no --key was given"),
    "unknown image": (_with("--image", "old.img"), "an image of unknown kind"),
    "no address": (["inventory", "--name", "red1"], "give --ips"),
    "full": (_with("--image", "full.img"), "full"),
}


def test_a_cache_that_cannot_be_written_is_named_not_the_directory_of_the_cards(
    make_card: Callable[..., Path], here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_card()
    monkeypatch.setenv("PICLUSTER_CACHE", "/proc/cache")
    before = _everything(here)
    assert cli.main(BURN) == 2
    said = capsys.readouterr().err
    assert "the cache /proc/cache cannot be written to: " in said
    assert said.endswith("; set PICLUSTER_CACHE to a directory that can be\n")
    assert _everything(here) == before


def test_an_inventory_that_cannot_be_written_leaves_no_directory_behind(
    make_card: Callable[..., Path], here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_card()
    monkeypatch.setenv("PICLUSTER_CACHE", str(here / "cache"))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("picluster.files.os.fsync", full)
    before = _everything(here)
    assert cli.main(BURN) == 2
    said = capsys.readouterr().err
    assert "the inventory inventories/red cannot be written: inventories/red/.gitignore: No space left" in said
    changed = {path for path in _everything(here) if path not in before}
    assert all(path.split("/")[0] == "cache" for path in changed)


@pytest.mark.parametrize("full", [0, 1])
def test_a_full_temporary_directory_is_not_blamed_on_the_image(
    make_card: Callable[..., Path],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    full: int,
) -> None:
    (here / "packed.img").write_bytes(gzip.compress(make_card().read_bytes(), 1))

    def no_room() -> io.FileIO:
        if full:
            # What is written to it finds no room.
            return open("/dev/full", "w+b", buffering=0)  # noqa: PTH123 - stands in for open itself
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("picluster.cards.image.tempfile.TemporaryFile", no_room)
    before = _everything(here)
    assert cli.main(_with("--image", "packed.img")) == 2
    said = capsys.readouterr().err
    assert "of packed.img cannot be unpacked to a temporary file: No space left on device; set TMPDIR" in said
    assert "damaged" not in said
    assert _everything(here) == before


@pytest.mark.parametrize("what", BAD)
def test_bad_input_ends_in_one_sentence_and_nothing_is_written(
    make_card: Callable[..., Path], here: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    arguments, says = BAD[what]
    make_card()
    if "old.img" in arguments:
        old = {"issue.txt": b"Raspberry Pi reference 2012-06-27\n", "cmdline.txt": b"root=x\n"}
        make_card("old.img", files=old)
    if "full.img" in arguments:
        with make_card("full.img").open("r+b") as stream:
            volume = FatVolume(stream, BOOT_START, PARTITION)
            volume.write("fill.bin", bytes(volume._count_free() * 512))
    before = _everything(here)
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert _everything(here) == before


def _zip_directory(data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("card.img", data)
    torn = bytearray(stream.getvalue())
    torn[torn.rindex(b"PK\x01\x02") + 16] ^= 1
    return bytes(torn)


# Images that show without being unpacked that they are not whole.
TORN: dict[str, Callable[[bytes], bytes]] = {
    "xz": lambda data: lzma.compress(data, preset=0)[:-12],
    "zst": lambda data: zstandard.ZstdCompressor(1).compress(data)[:-20],
    "bz2": lambda data: bz2.compress(data, 1)[:-1],
    "zip": _zip_directory,
    "short.xz": lambda data: lzma.compress(data[:-4096], preset=0),
}


@pytest.mark.parametrize("kind", TORN)
def test_an_image_that_is_not_whole_is_refused_before_anything_is_written(
    make_card: Callable[..., Path], here: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    (here / "torn.img").write_bytes(TORN[kind](make_card().read_bytes()))
    before = _everything(here)
    assert cli.main(_with("--image", "torn.img")) == 2
    said = capsys.readouterr()
    assert "torn.img" in said.err
    assert "fetch it again" in said.err
    assert said.out == ""
    assert _everything(here) == before


def test_a_block_map_of_a_longer_image_is_refused_before_anything_is_written(
    make_card: Callable[..., Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = make_card().stat().st_size
    blocks = -(-size // 4096) + 1
    (here / "card.img.bmap").write_text(
        f'<bmap version="1.2"><ImageSize>{size + 4096}</ImageSize><BlockSize>4096</BlockSize>'
        f"<BlocksCount>{blocks}</BlocksCount><MappedBlocksCount>1</MappedBlocksCount>"
        "<BlockMap><Range>0</Range></BlockMap></bmap>"
    )
    before = _everything(here)
    assert cli.main(BURN) == 2
    assert f"it maps {size + 4096} bytes, but card.img has {size};" in capsys.readouterr().err
    assert _everything(here) == before


def test_an_image_that_turns_out_damaged_leaves_no_inventory(
    make_card: Callable[..., Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A .gz does not tell before it is unpacked."""
    (here / "torn.img.gz").write_bytes(gzip.compress(make_card().read_bytes(), 1)[:-4])
    assert cli.main([*_with("--image", "torn.img.gz"), "--json"]) == 13
    said = capsys.readouterr()
    assert "again" not in json.loads(said.out.splitlines()[-1])
    assert "the inventory is as it was before" in said.out
    assert "is damaged" in said.err
    assert not (here / "inventories").exists()
    assert list((here / "out").iterdir()) == []


def test_a_damaged_image_leaves_an_older_inventory_as_it_was(make_card: Callable[..., Path], here: Path) -> None:
    card = make_card()
    assert cli.main(["inventory", "--name", "red[1-2]", "--ips", "192.168.63.[11-12]"]) == 0
    before = {path: path.read_bytes() for path in (here / "inventories").rglob("*") if path.is_file()}
    (here / "torn.img.gz").write_bytes(gzip.compress(card.read_bytes(), 1)[:-4])
    assert cli.main(_with("--image", "torn.img.gz")) == 13
    assert {path: path.read_bytes() for path in (here / "inventories").rglob("*") if path.is_file()} == before


def test_failed_cards_are_named_and_the_exit_code_says_how_many(
    make_card: Callable[..., Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_card()
    for name in ("red2", "red3"):
        (here / "out" / f".{name}.img.part" / "in the way").mkdir(parents=True)
    assert cli.main(BURN) == 12
    said = capsys.readouterr()
    assert "red2 failed: " in said.err
    assert "burnt and verified 1 of 3 cards in out; failed: red2, red3" in said.out
    assert (here / "out" / "red1.img").exists()
    assert not (here / "out" / "red2.img").exists()


@pytest.mark.parametrize(("failed", "code"), [(0, 0), (1, 11), (89, 99), (200, 99)])
def test_no_number_of_failed_cards_looks_like_something_else(failed: int, code: int) -> None:
    assert exit_cards(failed) == code


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(
    make_card: Callable[..., Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_card()
    before = _everything(here)
    assert cli.main([*BURN, "--dry-run"]) == 0
    assert cli.main(["inventory", "--name", "red1", "--ips", "10.0.0.5", "--dry-run"]) == 0
    assert _everything(here) == before
    said = capsys.readouterr().out
    assert "would burn red3 to out/red3.img" in said
    assert "would write inventories/red/.gitignore, inventories/red/10-nodes.yml" in said


COMMANDS: dict[str, tuple[list[str], set[str]]] = {
    "burn": ([*BURN, "--dry-run"], {"expand_names", "expand_addresses", "read_keys", "recognise", "open_image"}),
    "prepare": (
        ["prepare", "--name", "red1", "--ips", "10.0.0.5", "--key", "key.pub", "--image-file", "card.img", "--dry-run"],
        {"expand_names", "expand_addresses", "read_keys", "recognise"},
    ),
    "inventory": (["inventory", *BURN[1:-4], "--dry-run"], {"expand_names", "expand_addresses", "read_keys"}),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_are_read_once(
    make_card: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    make_card()
    counts: Counter[str] = Counter()
    for module, name in (
        (names, "expand_names"),
        (names, "expand_addresses"),
        (keys, "read_keys"),
        (generations, "recognise"),
        (burn, "open_image"),
    ):
        monkeypatch.setattr(module, name, _counted(getattr(module, name), counts, name))
    arguments, read = COMMANDS[command]
    assert cli.main(arguments) == 0
    assert counts == dict.fromkeys(read, 1)


def test_the_boot_partition_is_read_once_for_all_nodes(
    make_card: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting its free clusters for each of 200 nodes took seconds."""
    make_card()
    counts: Counter[str] = Counter()
    for name in ("_count_free", "_load_fat", "over"):
        monkeypatch.setattr(FatVolume, name, _counted(getattr(FatVolume, name), counts, name))
    assert cli.main([*_with("--name", "red[1-20]", "--ips", "192.168.63.[11-30]"), "--dry-run"]) == 0
    # Once to recognise the image, and once for all cards.
    assert counts == {"_load_fat": 2, "_count_free": 1, "over": 20}


def _counted(function: Callable[..., Any], counts: Counter[str], name: str) -> Callable[..., Any]:
    def counted(*args: Any, **options: Any) -> Any:
        counts[name] += 1
        return function(*args, **options)

    return counted


def test_programs_get_one_json_object_a_line(
    make_card: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    make_card()
    assert cli.main([*BURN, "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events if event["event"] not in ("card", "progress")] == [
        "image",
        "network",
        "inventory",
        "done",
    ]
    assert {event["name"] for event in events if event.get("state") == "done"} == {"red1", "red2", "red3"}
    assert events[-1] == {"event": "done", "burnt": ["red1", "red2", "red3"], "failed": []}


def test_the_inventory_alone_is_the_same_as_the_burnt_one(make_card: Callable[..., Path], here: Path) -> None:
    make_card()
    cli.main(BURN)
    names = ["--name", "red[1-3]", "--ips", "192.168.63.[11-13]", "--key", "key.pub", "--inventories", "other"]
    assert cli.main(["inventory", *names]) == 0
    for path in (here / "inventories/red").rglob("*"):
        if path.is_file() and path.name not in ("secrets.yml", "cards.yml"):
            twin = here / "other" / path.relative_to(here / "inventories")
            assert twin.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("no_color", [{}, {"NO_COLOR": "1"}])
def test_without_a_terminal_there_are_plain_lines(
    make_card: Callable[..., Path], here: Path, no_color: dict[str, str]
) -> None:
    make_card()
    done = subprocess.run(
        [sys.executable, "-m", "picluster", *BURN],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | no_color,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b" not in done.stdout + done.stderr
    assert "red1: done" in done.stderr.splitlines()


def test_a_gpt_image_is_told_apart(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "card.img").write_bytes(mbr((0xEE, 512, BOOT_START)).ljust(BOOT_START, b"\0"))
    assert cli.main(BURN) == 2
    assert "GPT" in capsys.readouterr().err
