"""Catalogues: ours, whose checksums have sources, and those of users, whose slips are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from picluster.errors import PiclusterError
from picluster.firstboot.generations import WORDS
from picluster.images import catalogue
from picluster.images.catalogue import Entry

CASES = yaml.safe_load((Path(__file__).parents[1] / "cases" / "catalogue.yml").read_text(encoding="utf-8"))
SHIPPED = catalogue.shipped(WORDS)
# A repository with a commit and a file in it, or an issue of it.
SOURCE = re.compile(r"[\w.-]+/[\w.-]+(@[0-9a-f]{10,40}: [\w./-]+(, [\w./-]+)*|: issue \d+)")


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.name)
def test_every_image_of_ours_has_its_source(entry: Entry) -> None:
    assert entry.sources
    assert all(SOURCE.fullmatch(source) for source in entry.sources)
    if entry.sha256:
        # An issue may change; a checksum needs a commit.
        assert any("@" in source for source in entry.sources)


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.name)
def test_every_image_of_ours_says_what_it_is(entry: Entry) -> None:
    assert entry.url.startswith("https://")
    assert entry.generation
    assert entry.released
    # The file's own name says it, too.
    name = catalogue.file_name(entry.url)
    assert entry.arch in name or name.startswith("2018-06-27-raspbian")
    assert entry.released in name or name.startswith("ubuntu-")
    assert re.sub(r"(\.img)?\.(xz|zip)$", "", name) in entry.aliases


def test_no_two_images_of_ours_are_the_same() -> None:
    sums = [entry.sha256 for entry in SHIPPED if entry.sha256]
    assert len(sums) >= 10
    assert len(set(sums)) == len(sums)
    assert len({entry.url for entry in SHIPPED}) == len(SHIPPED)


def test_every_generation_that_can_be_prepared_has_an_image() -> None:
    wanted = {"stretch", "buster", "bullseye", "bookworm", "trixie", "cloud-init", "ubuntu"}
    assert {entry.generation for entry in SHIPPED} == wanted


def test_a_catalogue_says_all_that_an_image_can_have() -> None:
    text = f"""
images:
  - name: own-1.0
    aliases: [own]
    url: http://images.lab/own.img.xz
    sha256: {"AB" * 32}
    generation: bookworm
    arch: arm64
    released: 2026-01-02
    size: 12
    bmap: https://images.lab/own.bmap
    sources: [me]
"""
    (entry,) = catalogue.parse(text, "own.yml", WORDS)
    assert entry == Entry(
        "own-1.0",
        "http://images.lab/own.img.xz",
        ("own",),
        "bookworm",
        "arm64",
        "2026-01-02",
        "ab" * 32,
        12,
        "https://images.lab/own.bmap",
        ("me",),
    )


@pytest.mark.parametrize("case", CASES["bad"], ids=lambda case: case["says"][:60])
def test_a_slip_in_a_catalogue_is_named_with_file_and_key(case: dict[str, str]) -> None:
    with pytest.raises(PiclusterError) as caught:
        catalogue.parse(case["text"], "own.yml", WORDS)
    assert str(caught.value).startswith(case["says"])
    assert "\n" not in str(caught.value)


_text = st.text("aZ09.-/:é\u2013 '\"", max_size=8)
_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.dates(),
    _text,
    st.sampled_from(["https://a.org/b.img", "http://a.org/b", "a" * 64, "trixie", "2026-01-01"]),
    st.lists(_text, max_size=2),
)
_keys = st.sampled_from([*Entry.__dataclass_fields__, "other"])


@given(st.lists(st.dictionaries(_keys, _values), max_size=3))
def test_any_values_are_a_catalogue_or_end_in_one_sentence(items: list[dict[str, object]]) -> None:
    try:
        entries = catalogue.parse(yaml.safe_dump({"images": items}, allow_unicode=True), "own.yml", WORDS)
    except PiclusterError as error:
        assert str(error).startswith("own.yml")  # noqa: PT017 - both ends are right, but no other exception is
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert len(entries) == len(items)


@given(st.text("images:[]{}-&*!|>'\"#% \n\tname", max_size=30))
def test_any_text_is_a_catalogue_or_ends_in_one_sentence(text: str) -> None:
    try:
        catalogue.parse(text, "own.yml", WORDS)
    except PiclusterError as error:
        assert "\n" not in str(error)  # noqa: PT017


@given(st.text("aZ09.+%2fF5cC?#\\/\u2013 ", max_size=30))
def test_a_url_never_names_a_file_outside_of_its_folder(text: str) -> None:
    name = catalogue.file_name(f"https://a.org/{text}")
    assert re.fullmatch(r"[A-Za-z0-9+_-][A-Za-z0-9.+_-]*|", name)


@pytest.mark.parametrize("host", ["a", "a.org.", "xn--bcher-kva.example", "my_pi", "a" * 63, "10.0.0.1:81", "[::1]:81"])
def test_every_host_that_can_be_asked_may_be_in_a_url(host: str) -> None:
    catalogue.check_url(f"https://{host}/card.img", plain=False)


def test_the_first_catalogue_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    given = tmp_path / "given.yml"
    own = catalogue.user_file()
    assert catalogue.find("trixie-lite", catalogue.load([], WORDS)) in SHIPPED
    own.parent.mkdir()
    own.write_text("images: [{name: mine, aliases: [trixie-lite], url: 'https://own.lab/a.img'}]", encoding="utf-8")
    assert catalogue.find("trixie-lite", catalogue.load([], WORDS)).url == "https://own.lab/a.img"
    given.write_text("images: [{name: Trixie-Lite, url: 'https://given.lab/a.img'}]", encoding="utf-8")
    assert catalogue.find("trixie-lite", catalogue.load([given], WORDS)).url == "https://given.lab/a.img"
    assert catalogue.find("stretch", catalogue.load([given], WORDS)) in SHIPPED
