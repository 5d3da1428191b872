"""How images are recognised: each generation, what is newer than all of them, and the way of the first boot."""

from __future__ import annotations

import pytest
from bootkit import BOOKWORM, BULLSEYE, BUSTER, FIRSTRUN, GENERATIONS, STRETCH, TRIXIE_2025_10, stock

from picluster.cards.bootfiles import BootFiles
from picluster.errors import PiclusterError
from picluster.firstboot import NAMES, generations
from picluster.firstboot.generations import NEWEST, WORDS, recognise
from picluster.images import catalogue

SCRIPTED = [*FIRSTRUN, STRETCH]
CLOUD_INIT = ["Trixie", "Ubuntu"]


@pytest.mark.parametrize("what", [what for what, case in GENERATIONS.items() if "first_boot" in case])
def test_a_generation_is_recognised_by_its_boot_partition(what: str) -> None:
    found = recognise(stock(what), "card.img")
    assert found.generation.name == GENERATIONS[what]["name"]
    assert type(found.adapter).__name__ == GENERATIONS[what]["first_boot"]
    assert found.released in found.title
    assert "newer" not in found.title


@pytest.mark.parametrize("what", [what for what, case in GENERATIONS.items() if "first_boot" not in case])
def test_an_image_that_is_not_supported_is_named(what: str) -> None:
    name = GENERATIONS[what]["name"]
    (title,) = [known.title for known in (*generations.GENERATIONS, generations.UNKNOWN) if known.name == name]
    with pytest.raises(PiclusterError, match=title) as caught:
        recognise(stock(what), "card.img")
    assert ("--firstboot" in str(caught.value)) == (name in {"unknown", "preseed"})


def test_every_generation_has_a_case() -> None:
    assert {case["name"] for case in GENERATIONS.values()} == set(WORDS)


@pytest.mark.parametrize("entry", catalogue.shipped(WORDS), ids=lambda entry: entry.name)
def test_no_shipped_image_is_outside_of_its_generations_dates(entry: catalogue.Entry) -> None:
    (known,) = [known for known in generations.GENERATIONS if known.name == entry.generation]
    assert not known.first or known.first <= entry.released <= known.last


# Layouts that no generation has, with the date of a release to come.
NEWER = {
    "only a date": {},
    "a token of its own": {"cmdline_txt": b"root=PARTUUID=1-02 rootwait grow\n"},
    "Trixie's token, but no cloud-init files": {"cmdline_txt": b"root=PARTUUID=1-02 rootwait resize\n"},
    "the token of Bookworm": {"cmdline_txt": b"root=PARTUUID=1-02 init=/usr/lib/raspberrypi-sys-mods/firstboot\n"},
    "the token of Buster": {"cmdline_txt": b"root=PARTUUID=1-02 init=/usr/lib/raspi-config/init_resize.sh\n"},
    "the token of Ubuntu": {"cmdline_txt": b"root=LABEL=writable\n"},
    "a file of its own": {"setup_toml": b"[system]\n"},
}


@pytest.mark.parametrize("changes", NEWER.values(), ids=NEWER)
def test_an_image_newer_than_any_known_one_is_not_taken_for_an_older_one(changes: dict[str, bytes]) -> None:
    boot = stock("something else", issue_txt=b"Raspberry Pi reference 2031-01-01", **changes)
    with pytest.raises(PiclusterError, match=rf"\(2031-01-01\), newer than any .*{NEWEST}.*; update picluster"):
        recognise(boot, "card.img")
    found = recognise(boot, "card.img", "firstrun")
    assert found.generation.name == "unknown"
    assert found.adapter.name == "firstrun"


@pytest.mark.parametrize("what", [what for what in FIRSTRUN if GENERATIONS[what]["issue"]])
@pytest.mark.parametrize("preseed", [{}, {"rpi-preseed_toml": b'config_version = "1.1"\n'}], ids=["", "preseed"])
def test_a_newer_image_with_the_marks_of_an_old_one_needs_firstboot(what: str, preseed: dict[str, bytes]) -> None:
    boot = stock(what, issue_txt=b"Raspberry Pi reference 2031-01-01", **preseed)
    with pytest.raises(PiclusterError, match=rf"\(2031-01-01\), newer than .*{NEWEST}.*; update picluster, or .*"):
        recognise(boot, "card.img")
    assert recognise(boot, "card.img", "firstrun").adapter.name == "firstrun"


@pytest.mark.parametrize("what", FIRSTRUN)
def test_an_image_with_a_preseed_file_is_not_taken_for_a_first_run_one(what: str) -> None:
    boot = stock(what, **{"rpi-preseed_toml": b'config_version = "1.1"\n'})
    with pytest.raises(PiclusterError, match=r"with rpi-preseed.toml.*; update picluster, or .*--firstboot firstrun"):
        recognise(boot, "card.img")
    assert recognise(boot, "card.img", "firstrun").adapter.name == "firstrun"


def test_a_newer_image_with_the_files_of_cloud_init_is_named_as_newer() -> None:
    found = recognise(stock("Trixie", issue_txt=b"Raspberry Pi reference 2031-01-01"), "card.img")
    assert found.generation.name == "cloud-init"
    assert f"(2031-01-01), newer than any image known to this version ({NEWEST})" in found.title


def test_a_card_that_was_booted_is_recognised_by_its_date() -> None:
    # The first boot takes its token from the command line.
    boot = stock(BOOKWORM, issue_txt=b"Raspberry Pi reference 2024-11-19", cmdline_txt=b"root=PARTUUID=1-02 rootwait\n")
    assert recognise(boot, "/dev/sdb").generation.name == "bookworm"


def test_user_data_of_an_unknown_system_is_not_prepared() -> None:
    boot = stock("something else", user_data=b"#cloud-config\n")
    files = {name.replace("user.data", "user-data"): data for name, data in boot.texts.items()}
    boot = BootFiles(boot.label, frozenset(files), files)
    with pytest.raises(PiclusterError, match="unknown kind"):
        recognise(boot, "card.img")
    with pytest.raises(PiclusterError, match="neither that of Raspberry Pi OS nor of Ubuntu"):
        recognise(boot, "card.img", "cloud-init")


FORCED = {
    (STRETCH, "firstrun"): "emergency mode",
    (BOOKWORM, "init-script"): "not mounted at /boot",
    (TRIXIE_2025_10, "init-script"): "not mounted at /boot",
    (TRIXIE_2025_10, "cloud-init"): "no user-data",
    (BUSTER, "cloud-init"): "no user-data",
    ("Trixie", "init-script"): "not mounted at /boot",
    ("Ubuntu", "firstrun"): "cloud-init alone",
    ("Ubuntu", "init-script"): "not mounted at /boot",
    ("DietPi", "firstrun"): "dietpi.txt",
    ("DietPi", "init-script"): "dietpi.txt",
    ("DietPi", "cloud-init"): "no user-data",
    ("something else", "cloud-init"): "no user-data",
    (BOOKWORM, "custom-toml"): "must be one of cloud-init, firstrun, init-script",
    (BOOKWORM, ""): "must be one of cloud-init, firstrun, init-script",
}


@pytest.mark.parametrize(("what", "forced"), FORCED)
def test_a_forced_way_that_cannot_work_is_refused_with_its_reason(what: str, forced: str) -> None:
    with pytest.raises(PiclusterError, match=FORCED[what, forced]) as caught:
        recognise(stock(what), "card.img", forced)
    assert "--firstboot" in str(caught.value)


@pytest.mark.parametrize(
    ("what", "forced"),
    [
        *((what, "firstrun") for what in [*FIRSTRUN, "Trixie", "something else"]),
        *((what, "init-script") for what in [STRETCH, BUSTER, BULLSEYE, "something else"]),
        *((what, "cloud-init") for what in CLOUD_INIT),
    ],
)
def test_a_forced_way_that_can_work_is_taken(what: str, forced: str) -> None:
    adapter = recognise(stock(what), "card.img", forced).adapter
    assert adapter.name == forced
    if what in CLOUD_INIT and forced == "cloud-init":
        assert type(adapter).__name__ == GENERATIONS[what]["first_boot"]


def test_every_way_has_its_name() -> None:
    chosen = {recognise(stock(what), "x").adapter.name for what, case in GENERATIONS.items() if "first_boot" in case}
    assert chosen == set(NAMES)


@pytest.mark.parametrize("what", SCRIPTED)
def test_all_of_these_send_the_name_as_client_id(what: str) -> None:
    assert recognise(stock(what), "x").adapter.client_id


@pytest.mark.parametrize(
    ("files", "config", "arch"),
    [
        (["kernel8.img", "kernel_2712.img"], "", "arm64"),
        (["kernel.img", "kernel7.img", "kernel7l.img", "kernel8.img"], "", "armhf"),
        (["kernel.img", "kernel7.img", "kernel7l.img", "kernel8.img"], "[all]\narm_64bit = 1 # yes\n", "arm64"),
        (["kernel.img", "kernel7.img"], "#arm_64bit=1\n", "armhf"),
        (["vmlinuz"], "", "arm64"),
    ],
)
def test_the_userland_is_guessed_from_kernels_and_config(files: list[str], config: str, arch: str) -> None:
    boot = BootFiles("boot", frozenset([*files, "config.txt"]), {"config.txt": config.encode()})
    assert recognise(boot, "card.img", "firstrun").arch == arch
