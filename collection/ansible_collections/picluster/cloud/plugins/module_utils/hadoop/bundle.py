# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Hadoop's release archive, assembled from Maven Central: which jar goes where, the archive, the cache of archives.

Runs on the controller, as its user. Programs are run by subprocess: a controller may lack timeout(1).
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import atomic_stream, describe_write_error

HADOOP_GROUP = "org.apache.hadoop"
# The group of leveldbjni for each architecture: that of org.fusesource is x86 only (HADOOP-16614).
LEVELDB_GROUP = {"amd64": "org.fusesource.leveldbjni", "arm64": "org.openlabtesting.leveldbjni"}
NATIVE = {"amd64": "linux-x86_64", "arm64": "linux-aarch_64"}
NATIVE_NAME = re.compile(r"-(linux|osx|windows)-[a-z0-9_]+\.jar$")
# The folders of Hadoop's own jars in the release's assemblies; the first matching prefix decides.
# hadoop-auth, hadoop-annotations and all third-party jars are in common/lib.
PLACES = (
    ("hadoop-common-", "common"),
    ("hadoop-registry-", "common"),
    ("hadoop-hdfs-", "hdfs"),
    ("hadoop-yarn-", "yarn"),
    ("hadoop-mapreduce-", "mapreduce"),
    ("hadoop-distcp-", "tools/lib"),
)
# Version of what this file does to the same input: part of the cache's key.
RECIPE = 1


def place(path: PurePosixPath, arch: str) -> str | None:
    """Return the folder of a jar below share/hadoop, or None if it is not for that architecture or only for tests.

    `path` is in Maven's repository layout (group/parts/artifact/version/file). Source: hadoop-assemblies and
    dev-support/bin/dist-layout-stitching of the release.
    """
    group, name = ".".join(path.parts[:-3]), path.name
    if group in LEVELDB_GROUP.values() and group != LEVELDB_GROUP[arch]:
        return None
    if NATIVE_NAME.search(name) and not name.endswith(f"-{NATIVE[arch]}.jar"):
        return None
    if group == HADOOP_GROUP:
        if name.endswith("-tests.jar"):
            return None
        for prefix, folder in PLACES:
            if name.startswith(prefix):
                return folder
    return "common/lib"


def cache_key(version: str, folder: Path) -> str:
    """Return a digest of the inputs of a bundle: recipe, version, and content and mode of every file of the folder."""
    digest = hashlib.sha256(f"{RECIPE}\n{version}\n".encode())
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(folder).as_posix()} {bool(file.stat().st_mode & 0o100)} {content}\n".encode())
    return digest.hexdigest()[:12]


def webapps(tests_jar: Path) -> dict[str, bytes]:
    """Return the web pages in the tests jar of hadoop-hdfs, by path from webapps/ on."""
    with zipfile.ZipFile(tests_jar) as archive:
        names = [name for name in archive.namelist() if name.startswith("webapps/") and not name.endswith("/")]
        pages = {name: archive.read(name) for name in names}
    if not pages:
        raise UserError(f"{tests_jar.name} contains no webapps/, which a NameNode needs to start; check version")
    return pages


def _entry(name: str, size: int, *, executable: bool = False) -> tarfile.TarInfo:
    """Return a tar header with nothing of this machine in it: no owner, no time."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o755 if executable else 0o644
    info.uname = info.gname = "root"
    return info


def write_tar(stream: IO[bytes], version: str, arch: str, folder: Path, jars: Path) -> None:
    """Write the tar.gz of one architecture, the same bytes for the same input.

    Args:
        stream: Where to write it.
        version: Hadoop's version; the top folder is hadoop-<version>.
        arch: amd64 or arm64.
        folder: The folder with the launchers.
        jars: The jars that Maven resolved, in repository layout.
    """
    top = f"hadoop-{version}"
    files: dict[str, Path | bytes] = {}
    for path in sorted(jars.rglob("*.jar")):
        where = place(PurePosixPath(path.relative_to(jars).as_posix()), arch)
        if where is not None:
            files[f"{top}/share/hadoop/{where}/{path.name}"] = path
        elif path.name.endswith("-tests.jar"):
            files.update({f"{top}/share/hadoop/hdfs/{name}": content for name, content in webapps(path).items()})
    launchers = [path for name in ("bin", "libexec") for path in sorted((folder / name).rglob("*")) if path.is_file()]
    files.update({f"{top}/{path.relative_to(folder).as_posix()}": path for path in launchers})
    # Level 1: jars are already compressed.
    with (
        gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for name in ("etc/hadoop", "share/hadoop/hdfs/lib", "share/hadoop/yarn/lib", "share/hadoop/mapreduce/lib"):
            empty = _entry(f"{top}/{name}", 0, executable=True)
            empty.type = tarfile.DIRTYPE
            tar.addfile(empty)
        for name, source in sorted(files.items()):
            content = source if isinstance(source, bytes) else source.read_bytes()
            tar.addfile(_entry(name, len(content), executable=name.startswith(f"{top}/bin/")), io.BytesIO(content))


class BundleCache:
    """The controller's folder of archives of one version, built from the pom.xml and the launchers in `sources`."""

    def __init__(self, folder: Path, version: str, sources: Path) -> None:
        """Check version and sources."""
        if not re.fullmatch(r"\d+\.\d+\.\d+", version):
            raise UserError(f"version is not a release of Hadoop: {version!r}; expected one such as 3.5.0")
        if not (sources / "pom.xml").is_file():
            raise UserError(f"folder has no pom.xml: {sources}; set folder to the role's files/bundle")
        self.version = version
        self.sources = sources
        self.folder = folder
        self._key = cache_key(version, sources)

    def path(self, arch: str) -> Path:
        """Return the path of the archive of one architecture."""
        return self.folder / f"hadoop-{self.version}-{arch}-maven-{self._key}.tar.gz"

    def missing(self, archs: list[str]) -> list[str]:
        """Return the architectures whose archives are not in the cache."""
        return [arch for arch in archs if not self.path(arch).is_file()]


def resolve(mvn: str, version: str, pom: Path, target: Path, timeout: int) -> None:
    """Have Maven copy all jars of the pom into target, in repository layout; its first error is the UserError."""
    settings = [f"-Dhadoop.version={version}", f"-DoutputDirectory={target}"]
    command = [mvn, "-B", "-q", "-f", str(pom), *settings, "dependency:copy-dependencies"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"mvn did not end within {timeout} s; run again, which continues, or increase timeout"
        ) from error
    if done.returncode:
        output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        errors = [line.removeprefix("[ERROR] ") for line in output.splitlines() if line.startswith("[ERROR]")]
        reason = errors[0] if errors else output.strip()[-500:]
        raise UserError(f"mvn could not resolve Hadoop {version}: {reason}")


def build(cache: BundleCache, archs: list[str], timeout: int) -> None:
    """Build the archives that the cache lacks."""
    try:
        cache.folder.mkdir(parents=True, exist_ok=True)
        lock = (cache.folder / ".hadoop-bundle.lock").open("wb")
    except OSError as error:
        raise UserError(f"{describe_write_error(error)}; set cache to a folder that you can write") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel releases it when this process ends
        for left in cache.folder.glob(".hadoop-*-maven-*.*"):  # of a killed build: with the lock they are ours
            left.unlink()
        missing = cache.missing(archs)  # queried again: another build may have had the lock
        if not missing:
            return
        mvn = shutil.which("mvn")
        if mvn is None:
            raise UserError(
                "mvn is not installed on this controller, which assembles Hadoop from Maven Central; install the "
                "package maven, or fetch Apache's archive instead"
            )
        with tempfile.TemporaryDirectory(prefix="picluster-hadoop-") as scratch:
            jars = Path(scratch) / "jars"
            pom = Path(scratch) / "pom.xml"
            shutil.copyfile(cache.sources / "pom.xml", pom)  # Maven may write beside its pom
            resolve(mvn, cache.version, pom, jars, timeout)
            for arch in missing:
                with atomic_stream(cache.path(arch)) as stream:
                    write_tar(stream, cache.version, arch, cache.sources, jars)
