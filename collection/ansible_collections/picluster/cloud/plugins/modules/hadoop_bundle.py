#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: put Hadoop's release layout together from Maven Central's artifacts, on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hadoop_bundle
short_description: Put Hadoop's release layout together from Maven Central
description:
  - Resolves Hadoop's jars with C(mvn) (through the user's own Maven settings) and packs them as Apache's release
    archive lays them out (C(hadoop-VERSION/{bin,libexec,etc/hadoop,share/hadoop/...})), one archive for each
    architecture, into the cache.
  - The release's shell scripts are not on Maven Central; the launchers in O(folder) take their place, with the same
    command line.
  - The archive is the same bytes whenever jars, launchers and zlib are the same. What the cache holds is not built
    again.
author: [The picluster authors]
attributes:
  check_mode:
    support: full
    description: Nothing is built; what the cache lacks is returned with the path it would get and no checksum.
  diff_mode:
    support: none
    description: There is no text to compare.
  idempotent:
    support: full
options:
  version:
    description: Hadoop's version.
    type: str
    required: true
  archs:
    description: The architectures wanted, in Debian's words.
    type: list
    elements: str
    choices: [amd64, arm64]
    required: true
  folder:
    description: The folder with C(pom.xml) and the launchers (C(bin), C(libexec)).
    type: path
    required: true
  cache:
    description: The folder that keeps the archives.
    type: path
    default: ~/.cache/picluster
  timeout:
    description: The most seconds that C(mvn) may take.
    type: int
    default: 1800
"""

EXAMPLES = r"""
- name: Put Hadoop together
  picluster.cloud.hadoop_bundle:
    version: 3.5.0
    archs: [arm64]
    folder: "{{ role_path }}/files/bundle"
  delegate_to: localhost
"""

RETURN = r"""
artifacts:
  description: For each architecture the archive (C(path)), its C(sha256) and the C(version).
  returned: success
  type: dict
  sample: {arm64: {path: /home/me/.cache/picluster/hadoop-3.5.0-arm64-maven-1f0a.tar.gz, sha256: ..., version: 3.5.0}}
"""

import fcntl
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:
    from collections.abc import Iterator

HADOOP_GROUP = "org.apache.hadoop"
# Where a foreign jar's native code belongs. leveldbjni of org.fusesource is x86 only (HADOOP-16614).
LEVELDB_GROUP = {"amd64": "org.fusesource.leveldbjni", "arm64": "org.openlabtesting.leveldbjni"}
NATIVE = {"amd64": "linux-x86_64", "arm64": "linux-aarch_64"}
NATIVE_NAME = re.compile(r"-(linux|osx|windows)-[a-z0-9_]+\.jar$")
# Where the release's assemblies put Hadoop's own jars; the first prefix that fits.
# hadoop-auth, hadoop-annotations and all foreign jars are in common/lib.
PLACES = (
    ("hadoop-common-", "common"),
    ("hadoop-registry-", "common"),
    ("hadoop-hdfs-", "hdfs"),
    ("hadoop-yarn-", "yarn"),
    ("hadoop-mapreduce-", "mapreduce"),
    ("hadoop-distcp-", "tools/lib"),
)
# Changes of what this module does to the same input: part of the cache's key.
RECIPE = 1


class BundleError(Exception):
    """The bundle cannot be had; the message is one sentence for the user."""


@dataclass(frozen=True)
class Jar:
    """One jar as Maven names it.

    Attributes:
        group: groupId with dots.
        name: the file's name.
    """

    group: str
    name: str


def parse_jar(path: PurePosixPath) -> Jar:
    """Reads group and name from a path in Maven's repository layout (group/parts/artifact/version/file)."""
    return Jar(group=".".join(path.parts[:-3]), name=path.name)


def place(jar: Jar, arch: str) -> str | None:
    """Tells the folder of a jar below share/hadoop, or None where it has no business on that architecture.

    Source: hadoop-assemblies and dev-support/bin/dist-layout-stitching of the release.
    """
    if jar.group in LEVELDB_GROUP.values() and jar.group != LEVELDB_GROUP[arch]:
        return None
    native = NATIVE_NAME.search(jar.name)
    if native and not jar.name.endswith(f"-{NATIVE[arch]}.jar"):
        return None
    if jar.group == HADOOP_GROUP:
        if jar.name.endswith("-tests.jar"):
            return None
        for prefix, folder in PLACES:
            if jar.name.startswith(prefix):
                return folder
    return "common/lib"


def cache_key(version: str, folder: Path) -> str:
    """Names what a bundle is made of: the recipe, the version and every file of the folder, by content and mode."""
    digest = hashlib.sha256(f"{RECIPE}\n{version}\n".encode())
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(folder).as_posix()} {bool(file.stat().st_mode & 0o100)} {content}\n".encode())
    return digest.hexdigest()[:12]


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def webapps(tests_jar: Path) -> Iterator[tuple[str, bytes]]:
    """Yields path (from webapps/ on) and content of every web page in the tests jar of hadoop-hdfs.

    Raises:
        BundleError: the jar has none; a NameNode without them dies at its start.
    """
    with zipfile.ZipFile(tests_jar) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("webapps/") and not name.endswith("/"))
        if not names:
            raise BundleError(
                f"{tests_jar.name} holds no webapps/, without which no NameNode starts; is the version right?"
            )
        for name in names:
            yield name, archive.read(name)


def entry(name: str, size: int, *, executable: bool = False) -> tarfile.TarInfo:
    """A tar header with nothing of this machine in it: no owner, no time."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o755 if executable else 0o644
    info.uname = info.gname = "root"
    return info


def write_tar(stream: IO[bytes], version: str, arch: str, folder: Path, jars: Path) -> None:
    """Writes the archive of one architecture, the same bytes for the same input.

    Args:
        stream: where the tar.gz goes.
        version: Hadoop's version; the top folder is hadoop-<version>.
        arch: amd64 or arm64.
        folder: pom.xml and launchers.
        jars: what Maven resolved, in repository layout.
    """
    top = f"hadoop-{version}"
    files: dict[str, Path | bytes] = {}
    for path in sorted(jars.rglob("*.jar")):
        jar = parse_jar(PurePosixPath(path.relative_to(jars).as_posix()))
        where = place(jar, arch)
        if where is not None:
            files[f"{top}/share/hadoop/{where}/{jar.name}"] = path
        elif jar.group == HADOOP_GROUP:
            files.update({f"{top}/share/hadoop/hdfs/{name}": content for name, content in webapps(path)})
    launchers = [path for name in ("bin", "libexec") for path in sorted((folder / name).rglob("*")) if path.is_file()]
    files.update({f"{top}/{path.relative_to(folder).as_posix()}": path for path in launchers})
    # Level 1: jars are compressed already.
    with (
        gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for name in ("etc/hadoop", "share/hadoop/hdfs/lib", "share/hadoop/yarn/lib", "share/hadoop/mapreduce/lib"):
            empty = entry(f"{top}/{name}", 0, executable=True)
            empty.type = tarfile.DIRTYPE
            tar.addfile(empty)
        for name, source in sorted(files.items()):
            content = source if isinstance(source, bytes) else source.read_bytes()
            tar.addfile(entry(name, len(content), executable=name.startswith(f"{top}/bin/")), io.BytesIO(content))


class Cache:
    """The controller's folder of archives.

    Every file in it appears by a rename, so a killed build leaves nothing half.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, version: str, arch: str, key: str) -> Path:
        """The archive of one architecture."""
        return self.folder / f"hadoop-{version}-{arch}-maven-{key}.tar.gz"

    def checksum(self, archive: Path) -> str | None:
        """The SHA-256 of an archive, or None if it is not there.

        The note beside it spares 100 MB of hashing; it counts only for the very file that it was written for.
        """
        if not archive.is_file():
            return None
        note = archive.with_suffix(".json")
        stat = archive.stat()
        seal = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        try:
            known = json.loads(note.read_text())
            if {name: known[name] for name in seal} == seal:
                return str(known["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        digest = sha256_of(archive)
        with self.appearing(note) as stream:
            stream.write(json.dumps({**seal, "sha256": digest}).encode())
        return digest

    @contextmanager
    def appearing(self, path: Path) -> Iterator[IO[bytes]]:
        """A file that gets its name only when it is complete and on the disk."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second build out; the kernel frees the lock when its owner dies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".hadoop-bundle.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in self.folder.glob(".hadoop-*-maven-*.*"):  # of a killed build: nobody else can own them now
                left.unlink()
            yield


def resolve(mvn: str, version: str, pom: Path, target: Path, timeout: int) -> None:
    """Lets Maven put all jars of the pom into target, in repository layout.

    Raises:
        BundleError: Maven failed or took too long; with its own first error.
    """
    settings = [f"-Dhadoop.version={version}", f"-DoutputDirectory={target}"]
    command = [mvn, "-B", "-q", "-f", str(pom), *settings, "dependency:copy-dependencies"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"mvn did not end within {timeout} seconds; run again, what it has is kept") from error
    if done.returncode:
        output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        errors = [line.removeprefix("[ERROR] ") for line in output.splitlines() if line.startswith("[ERROR]")]
        reason = errors[0] if errors else output.strip()[-500:]
        raise BundleError(f"mvn could not resolve Hadoop {version}: {reason}")


def build(cache: Cache, version: str, archs: list[str], folder: Path, timeout: int) -> bool:
    """Builds the archives that the cache lacks. Returns whether it built any.

    Raises:
        BundleError: no Maven, or it could not resolve the jars.
    """
    key = cache_key(version, folder)
    with cache.locked():
        missing = [arch for arch in archs if not cache.path(version, arch, key).is_file()]
        if not missing:
            return False
        mvn = shutil.which("mvn")
        if mvn is None:
            raise BundleError(
                "mvn is not installed on this controller, and hadoop_source is maven; "
                "install the package maven, or set hadoop_source to apache"
            )
        with tempfile.TemporaryDirectory(prefix="picluster-hadoop-") as scratch:
            jars = Path(scratch) / "jars"
            pom = Path(scratch) / "pom.xml"
            shutil.copyfile(folder / "pom.xml", pom)  # Maven may write beside its pom
            resolve(mvn, version, pom, jars, timeout)
            for arch in missing:
                with cache.appearing(cache.path(version, arch, key)) as stream:
                    write_tar(stream, version, arch, folder, jars)
    return True


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "version": {"type": "str", "required": True},
            "archs": {"type": "list", "elements": "str", "choices": ["amd64", "arm64"], "required": True},
            "folder": {"type": "path", "required": True},
            "cache": {"type": "path", "default": "~/.cache/picluster"},
            "timeout": {"type": "int", "default": 1800},
        },
        supports_check_mode=True,
    )
    version: str = module.params["version"]
    archs: list[str] = module.params["archs"]
    folder = Path(module.params["folder"])
    cache = Cache(Path(module.params["cache"]))
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        module.fail_json(msg=f"version is {version!r}; wanted is a release of Hadoop such as 3.5.0.")
    if not (folder / "pom.xml").is_file():
        module.fail_json(msg=f"{folder} holds no pom.xml; folder must be the role's files/bundle.")
    paths = {arch: cache.path(version, arch, cache_key(version, folder)) for arch in archs}
    try:
        changed = not all(path.is_file() for path in paths.values())
        if changed and not module.check_mode:
            changed = build(cache, version, archs, folder, module.params["timeout"])
        found = {
            arch: {"path": str(path), "sha256": cache.checksum(path) or "", "version": version}
            for arch, path in paths.items()
        }
    except BundleError as error:
        module.fail_json(msg=f"{str(error).rstrip('.')}.")
    except OSError as error:
        module.fail_json(msg=f"The cache {cache.folder} cannot be used ({error}); give it a folder of yours with room.")
    module.exit_json(changed=changed, artifacts=found)


if __name__ == "__main__":
    main()
