# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The stand-in as the one file that nodes install: it runs by itself, and its digest depends on the sources only."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from lab import stand_in_archive
from lab.stand_in_archive import LAB, PACKAGE, build

if TYPE_CHECKING:
    from pathlib import Path

CODE_MAX = 250


@pytest.fixture
def program(tmp_path: Path) -> Path:
    build(tmp_path / "k3s")
    return tmp_path / "k3s"


def test_it_runs_as_a_program_without_this_checkout_or_any_package(program: Path) -> None:
    bare = {"PATH": os.defpath}
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, cwd="/", env=bare)
    assert said.stdout == "k3s version v1.36.4+k3s1-stand-in (k3s stand-in: this is not Kubernetes)\n"
    isolated = [sys.executable, "-I", "-S", str(program), "--version"]
    assert subprocess.run(isolated, capture_output=True, text=True, check=True).stdout == said.stdout


def test_same_sources_give_the_same_bytes_whatever_their_times_modes_and_order(program: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / PACKAGE / "__pycache__").mkdir(parents=True)
    (other / PACKAGE / "__pycache__/cli.cpython-311.pyc").write_bytes(b"compiled")
    for source in sorted([LAB / "__init__.py", *(LAB / PACKAGE).glob("*.py")], reverse=True):
        copy = other / source.relative_to(LAB)
        shutil.copyfile(source, copy)
        copy.chmod(0o600)
        os.utime(copy, (2_000_000_000, 2_000_000_000))
    build(tmp_path / "again", other)
    assert (tmp_path / "again").read_bytes() == program.read_bytes()


def test_another_source_gives_other_bytes(program: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(LAB / PACKAGE, other / PACKAGE)
    (other / "__init__.py").write_text('"""Other."""\n')
    build(tmp_path / "again", other)
    assert (tmp_path / "again").read_bytes() != program.read_bytes()


def test_nothing_of_the_building_machine_is_stored(program: Path) -> None:
    with zipfile.ZipFile(program) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    assert names == sorted(names)
    assert {"__main__.py", "lab/__init__.py", f"lab/{PACKAGE}/cli.py"} <= set(names)
    assert [name for name in names if not name.endswith(".py")] == []
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    # zlib's output depends on its version.
    assert {(entry.create_system, entry.compress_type) for entry in entries} == {(3, zipfile.ZIP_STORED)}


def test_everyone_may_run_it(tmp_path: Path) -> None:
    former = os.umask(0o077)
    try:
        build(tmp_path / "k3s")
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "k3s").stat().st_mode) == 0o755


def test_command_line_writes_each_file(tmp_path: Path, program: Path) -> None:
    files = [tmp_path / "one", tmp_path / "two"]
    command = [sys.executable, "-m", stand_in_archive.__name__, *map(str, files)]
    subprocess.run(command, check=True, cwd=LAB.parent)
    assert [file.read_bytes() for file in files] == [program.read_bytes()] * 2


def test_its_modules_are_short() -> None:
    modules = list((LAB / PACKAGE).glob("*.py"))
    assert len(modules) > 1
    assert [path.name for path in modules if len(path.read_text(encoding="utf-8").splitlines()) >= CODE_MAX] == []
