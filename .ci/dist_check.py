#!/usr/bin/env python3
"""Build what is shipped, install each form outside the checkout, and run it there.

The forms are the wheel, the sdist, and the tarball of the collection. Needs git, mkfs.vfat and mtools, and pip's
package index.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from zipfile import ZipFile

from cardkit import BOOT_START, PARTITION, STOCK, make_partition, mbr

ROOT = Path(__file__).resolve().parents[1]
CLOUD = Path("collection/ansible_collections/picluster/cloud")
BURN = ("--name", "red[1-2]", "--key", "key.pub", "--ips", "192.168.63.[11-12]", "--image", "card.img", "--dry-run")
# Variables that would lead an installed program back to the checkout.
CHECKOUT = ("PYTHON", "ANSIBLE_", "VIRTUAL_ENV", "MYPY")


class DistError(Exception):
    """A shipped form is broken."""


class Environment:
    """A new virtual environment, and a working directory and home that know nothing of the checkout."""

    def __init__(self, folder: Path, *packages: str | Path) -> None:
        self.folder = folder
        venv.create(folder / "venv", with_pip=True)
        self.run("pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", *packages)

    def run(self, *command: str | Path, **variables: str) -> str:
        """Run a program; return its output."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(CHECKOUT)}
        paths = os.pathsep.join((str(self.folder / "venv/bin"), os.defpath))
        environment = {**inherited, "HOME": str(self.folder), "PATH": paths, **variables}
        words = [str(word) for word in command]
        done = subprocess.run(words, cwd=self.folder, env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise DistError(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def check_commands(self) -> None:
        """Run the commands of the bootstrap, up to the plan of a burn."""
        self.run("picluster", "--help")
        self.run("cm-burn", "--help")
        self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key")
        make_image(self.folder / "card.img")
        _require("red2" in self.run("cm-burn", *BURN), "the plan of cm-burn --dry-run does not name red2")

    def check_modules(self, **variables: str) -> None:
        """Check that ansible-doc finds each module of the collection."""
        modules = {f"picluster.cloud.{path.stem}" for path in _tracked() if path.match("cloud/plugins/modules/*.py")}
        found = json.loads(self.run("ansible-doc", "--json", "--type", "module", *sorted(modules), **variables))
        documented = {name for name, page in found.items() if page.get("doc")}
        _require(documented == modules, f"ansible-doc does not find {', '.join(sorted(modules - documented))}")


def make_image(path: Path) -> None:
    """Write a card image whose boot partition resembles Raspberry Pi OS."""
    part = make_partition(path.with_suffix(".fat"), STOCK, "-F", 32, "-s", 1, "-n", "bootfs")
    path.write_bytes(mbr((0x0C, BOOT_START, PARTITION), (0x83, BOOT_START + PARTITION, 1 << 20)))
    with path.open("r+b") as card:
        card.seek(BOOT_START)
        card.write(part.read_bytes())
        card.truncate(BOOT_START + PARTITION + (1 << 20))


def check_files(wheel: Path) -> None:
    """Check that a wheel has the files of git, no more and no less."""
    expected = {path.relative_to(path.parts[0]).as_posix() for path in _tracked()}
    packed = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    _require(packed == expected, f"{wheel.name} and git differ in {', '.join(sorted(packed ^ expected))}")


def check_tarball(installed: Environment, folder: Path) -> None:
    """Build the tarball of the collection; check its files, and that it works without the package."""
    installed.run("ansible-galaxy", "collection", "build", "--output-path", folder, ROOT / CLOUD)
    tarball = next(folder.glob("*.tar.gz"))
    # Without the collection of the package, which Ansible would find instead.
    alone = {"ANSIBLE_COLLECTIONS_PATH": str(folder), "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false"}
    installed.run("ansible-galaxy", "collection", "install", "--offline", tarball, **alone)
    cloud = folder / "ansible_collections/picluster/cloud"
    expected = {path.relative_to(CLOUD) for path in _tracked() if path.is_relative_to(CLOUD)} - {Path("galaxy.yml")}
    packed = {path.relative_to(cloud) for path in cloud.rglob("*") if path.is_file()}
    packed -= {Path("FILES.json"), Path("MANIFEST.json")}
    _require(packed == expected, f"{tarball.name} and git differ in {', '.join(sorted(map(str, packed ^ expected)))}")
    installed.check_modules(**alone)


def _tracked() -> list[Path]:
    """Return the files of git that are shipped."""
    folders = ("bootstrap/picluster", "collection/ansible_collections")
    listed = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, check=True, capture_output=True, text=True)
    return [path for path in map(Path, listed.stdout.splitlines()) if CLOUD / "tests" not in path.parents]


def _require(condition: bool, message: str) -> None:  # noqa: FBT001 - as assert
    if not condition:
        raise DistError(message)


def main() -> int:
    """Check each shipped form; return the exit code."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        builder = Environment(scratch / "builder", "build")
        # The wheel is built from the sdist.
        builder.run("python", "-m", "build", "--outdir", scratch / "dist", ROOT)
        wheel = next((scratch / "dist").glob("*.whl"))
        sdist = next((scratch / "dist").glob("*.tar.gz"))
        check_files(wheel)
        for package in (wheel, sdist):
            installed = Environment(scratch / package.suffix, package)
            installed.check_commands()
            installed.check_modules()
        check_tarball(installed, scratch / "tarball")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DistError as error:
        sys.exit(f"dist-check: {error}")
