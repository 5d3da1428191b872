# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import bundle
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.modules.hadoop_bundle import converge

FOLDER = Path(bundle.__file__).parents[3] / "roles/hadoop/files/bundle"
JARS = {
    "org/apache/hadoop/hadoop-common/3.5.0/hadoop-common-3.5.0.jar": "common",
    "org/apache/hadoop/hadoop-auth/3.5.0/hadoop-auth-3.5.0.jar": "common/lib",
    "org/apache/hadoop/hadoop-registry/3.5.0/hadoop-registry-3.5.0.jar": "common",
    "org/apache/hadoop/hadoop-hdfs-client/3.5.0/hadoop-hdfs-client-3.5.0.jar": "hdfs",
    "org/apache/hadoop/hadoop-yarn-server-nodemanager/3.5.0/hadoop-yarn-server-nodemanager-3.5.0.jar": "yarn",
    "org/apache/hadoop/hadoop-mapreduce-client-hs/3.5.0/hadoop-mapreduce-client-hs-3.5.0.jar": "mapreduce",
    "org/apache/hadoop/hadoop-distcp/3.5.0/hadoop-distcp-3.5.0.jar": "tools/lib",
    "org/apache/hadoop/hadoop-hdfs/3.5.0/hadoop-hdfs-3.5.0-tests.jar": None,
    "org/apache/hadoop/thirdparty/hadoop-shaded-guava/1.5.0/hadoop-shaded-guava-1.5.0.jar": "common/lib",
    "com/google/guava/guava/33/guava-33.jar": "common/lib",
}


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    root = tmp_path / "jars"
    names = [*JARS, "org/fusesource/leveldbjni/leveldbjni-all/1.8/leveldbjni-all-1.8.jar"]
    names.append("org/openlabtesting/leveldbjni/leveldbjni-all/1.8/leveldbjni-all-1.8.jar")
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("from.txt", name)
            if name.endswith("-tests.jar"):
                archive.writestr("webapps/hdfs/index.html", "<html>")
                archive.writestr("org/apache/Test.class", "x")
    return root


def archive(jars: Path, arch: str) -> bytes:
    stream = io.BytesIO()
    bundle.write_tar(stream, "3.5.0", arch, FOLDER, jars)
    return stream.getvalue()


@pytest.mark.parametrize(("path", "folder"), JARS.items())
def test_a_jar_lands_where_the_release_has_it(path: str, folder: str | None) -> None:
    assert bundle.place(PurePosixPath(path), "arm64") == folder


@pytest.mark.parametrize(
    ("name", "arch", "folder"),
    [
        ("netty-transport-native-epoll-4.1.Final-linux-aarch_64.jar", "arm64", "common/lib"),
        ("netty-transport-native-epoll-4.1.Final-linux-aarch_64.jar", "amd64", None),
        ("netty-transport-native-epoll-4.1.Final-linux-x86_64.jar", "amd64", "common/lib"),
        ("netty-resolver-dns-native-macos-4.1.Final-osx-aarch_64.jar", "arm64", None),
        ("netty-transport-native-epoll-4.1.Final.jar", "arm64", "common/lib"),
    ],
)
def test_native_code_of_other_machines_stays_out(name: str, arch: str, folder: str | None) -> None:
    assert bundle.place(PurePosixPath("io/netty/netty/4.1.Final") / name, arch) == folder


def test_each_architecture_gets_the_leveldb_that_runs_on_it(jars: Path) -> None:
    for arch, group in (("amd64", "fusesource"), ("arm64", "openlabtesting")):
        with tarfile.open(fileobj=io.BytesIO(archive(jars, arch))) as tar:
            member = tar.extractfile("hadoop-3.5.0/share/hadoop/common/lib/leveldbjni-all-1.8.jar")
            assert member is not None
            with zipfile.ZipFile(io.BytesIO(member.read())) as jar:
                assert group in jar.read("from.txt").decode()


def test_the_archive_has_the_layout_of_the_release(jars: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive(jars, "amd64"))) as tar:
        names = set(tar.getnames())
        assert {name.partition("/")[0] for name in names} == {"hadoop-3.5.0"}
        assert {"hadoop-3.5.0/bin/hdfs", "hadoop-3.5.0/etc/hadoop", "hadoop-3.5.0/libexec/launch.sh"} <= names
        assert "hadoop-3.5.0/share/hadoop/hdfs/webapps/hdfs/index.html" in names
        assert not any("-tests.jar" in name or name.endswith(".class") for name in names)
        assert tar.getmember("hadoop-3.5.0/bin/hdfs").mode == 0o755
        assert {(m.mtime, m.uid, m.uname) for m in tar.getmembers()} == {(0, 0, "root")}


def test_the_same_input_is_the_same_bytes(jars: Path) -> None:
    first = archive(jars, "arm64")
    for path in jars.rglob("*.jar"):
        os.utime(path, (1, 1))
    assert archive(jars, "arm64") == first


def test_a_tests_jar_without_web_pages_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hadoop-hdfs-9-tests.jar"
    with zipfile.ZipFile(path, "w") as jar:
        jar.writestr("A.class", "x")
    with pytest.raises(UserError, match="no webapps"):
        bundle.webapps(path)


def test_another_launcher_is_another_key(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/hdfs").write_text("one")
    first = bundle.cache_key("3.5.0", tmp_path)
    assert bundle.cache_key("3.5.0", tmp_path) == first
    assert bundle.cache_key("3.4.3", tmp_path) != first
    (tmp_path / "bin/hdfs").write_text("two")
    assert bundle.cache_key("3.5.0", tmp_path) != first


def fake_maven(monkeypatch: pytest.MonkeyPatch, jars: Path) -> list[str]:
    calls: list[str] = []

    def resolve(_mvn: str, version: str, _pom: Path, target: Path, _timeout: int) -> None:
        calls.append(version)
        subprocess.run(["cp", "-r", str(jars), str(target)], check=True)

    monkeypatch.setattr(bundle, "resolve", resolve)
    monkeypatch.setattr(shutil, "which", lambda _name: "/usr/bin/mvn")
    return calls


def bundled(node: FakeNode, **given: Any) -> dict[str, Any]:
    options = {"version": "3.5.0", "archs": ["amd64", "arm64"], "folder": str(FOLDER), "timeout": 60}
    return converge(node, {**options, "cache": str(node.root / "cache"), **given})["artifacts"]  # type: ignore[no-any-return]


def test_a_second_build_asks_maven_for_nothing(tmp_path: Path, jars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_maven(monkeypatch, jars)
    first, second = FakeNode(tmp_path), FakeNode(tmp_path)
    found = bundled(first)
    assert first.changed
    assert bundled(second) == found
    assert not second.changed
    assert calls == ["3.5.0"]
    path = Path(found["arm64"]["path"])
    assert found["arm64"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_check_mode_tells_where_an_archive_would_be_and_builds_nothing(
    tmp_path: Path, jars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_maven(monkeypatch, jars)
    node = FakeNode(tmp_path, check_mode=True)
    found = bundled(node, archs=["arm64"])
    assert node.changed
    assert (calls, found["arm64"]["sha256"], (tmp_path / "cache").exists()) == ([], "", False)
    assert bundled(FakeNode(tmp_path), archs=["arm64"])["arm64"]["path"] == found["arm64"]["path"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"version": "3.5"}, "version is not a release of Hadoop: '3.5'; expected one such as 3.5.0"),
        ({"folder": "/nowhere"}, "folder has no pom.xml: /nowhere; set folder to the role's files/bundle"),
        ({"cache": "/proc/nowhere"}, r"/proc/nowhere.* cannot be written: No such file.*; set cache to a folder"),
    ],
)
def test_a_wrong_option_is_one_sentence(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bundled(FakeNode(tmp_path), **given)


def test_a_killed_build_leaves_nothing_half(tmp_path: Path, jars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_maven(monkeypatch, jars)
    cache = bundle.BundleCache(tmp_path / "cache", "3.5.0", FOLDER)

    def dies(stream: io.BytesIO, *_arguments: object) -> None:
        stream.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bundle, "write_tar", dies)
        with pytest.raises(KeyboardInterrupt):
            bundle.build(cache, ["amd64"], 60)
    assert not list((tmp_path / "cache").glob("*hadoop-3*"))
    (tmp_path / "cache/.hadoop-3.5.0-amd64-maven-0.tar.gz.77").write_bytes(b"left by kill -9")
    bundle.build(cache, ["amd64"], 60)
    assert [path.name for path in (tmp_path / "cache").glob("*hadoop-3*")] == [cache.path("amd64").name]


def test_no_maven_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(UserError, match="install the package maven"):
        bundle.build(bundle.BundleCache(tmp_path, "3.5.0", FOLDER), ["amd64"], 60)


def test_mavens_first_error_is_the_message(tmp_path: Path) -> None:
    mvn = tmp_path / "mvn"
    mvn.write_text(
        "#!/bin/sh\nprintf '\\033[31m[ERROR]\\033[m no\\n[ERROR] Could not find x:jar:9\\n[ERROR] help\\n'\nexit 1\n"
    )
    mvn.chmod(0o755)
    with pytest.raises(UserError, match=r"could not resolve Hadoop 9: (no|Could not find x:jar:9)"):
        bundle.resolve(str(mvn), "9", tmp_path / "pom.xml", tmp_path / "jars", 10)


def test_the_pom_names_every_server_and_no_host() -> None:
    text = (FOLDER / "pom.xml").read_text()
    names = {node.text for node in ET.fromstring(text).iter("{http://maven.apache.org/POM/4.0.0}artifactId")}  # noqa: S314 - our file
    servers = {"hadoop-hdfs", "hadoop-yarn-server-resourcemanager", "hadoop-yarn-server-nodemanager"}
    assert servers | {"hadoop-mapreduce-client-hs", "hadoop-mapreduce-client-shuffle"} <= names
    assert "<repository>" not in text


@pytest.fixture
def launch(tmp_path: Path) -> Path:
    """A Java that tells how it was called."""
    java = tmp_path / "jre/bin/java"
    java.parent.mkdir(parents=True)
    java.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\necho "CLASSPATH=$CLASSPATH"\necho "HOME=$HADOOP_MAPRED_HOME"\n')
    java.chmod(0o755)
    (tmp_path / "conf").mkdir()
    return tmp_path


def call(launch: Path, tool: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "JAVA_HOME": str(launch / "jre"), "USER": "me", **env}
    return subprocess.run([FOLDER / "bin" / tool, *arguments], env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("tool", "subcommand", "java_class"),
    [
        ("hdfs", "namenode", "org.apache.hadoop.hdfs.server.namenode.NameNode"),
        ("hdfs", "datanode", "org.apache.hadoop.hdfs.server.datanode.DataNode"),
        ("hdfs", "dfs", "org.apache.hadoop.fs.FsShell"),
        ("hdfs", "dfsadmin", "org.apache.hadoop.hdfs.tools.DFSAdmin"),
        ("yarn", "resourcemanager", "org.apache.hadoop.yarn.server.resourcemanager.ResourceManager"),
        ("yarn", "nodemanager", "org.apache.hadoop.yarn.server.nodemanager.NodeManager"),
        ("yarn", "rmadmin", "org.apache.hadoop.yarn.client.cli.RMAdminCLI"),
        ("mapred", "historyserver", "org.apache.hadoop.mapreduce.v2.hs.JobHistoryServer"),
        ("mapred", "job", "org.apache.hadoop.mapred.JobClient"),
        ("hadoop", "jar", "org.apache.hadoop.util.RunJar"),
        ("hadoop", "version", "org.apache.hadoop.util.VersionInfo"),
        ("hdfs", "my.own.Class", "my.own.Class"),
    ],
)
def test_a_launcher_starts_the_class_of_the_release(launch: Path, tool: str, subcommand: str, java_class: str) -> None:
    done = call(launch, tool, "--config", str(launch / "conf"), subcommand, "-x", "a b")
    words = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert words[words.index(java_class) + 1 :][:2] == ["-x", "a b"]
    assert f"-Dproc_{subcommand}" in words
    assert "--add-opens=java.base/java.lang=ALL-UNNAMED" in words
    assert f"CLASSPATH={launch / 'conf'}:{FOLDER}/share/hadoop/common/lib/*" in done.stdout
    assert f"HOME={FOLDER}" in done.stdout


def test_a_daemon_takes_its_own_options_and_a_command_the_clients(launch: Path) -> None:
    options = {"HDFS_NAMENODE_OPTS": "-Xmx7m -Da=b", "HADOOP_CLIENT_OPTS": "-Xmx9m"}
    daemon = call(launch, "hdfs", "--config", str(launch / "conf"), "namenode", **options).stdout.splitlines()
    client = call(launch, "hdfs", "--config", str(launch / "conf"), "dfs", **options).stdout.splitlines()
    assert {"-Xmx7m", "-Da=b"} <= set(daemon)
    assert "-Xmx9m" not in daemon
    assert "-Xmx9m" in client
    assert "-Xmx7m" not in client


def test_hadoop_env_of_the_configuration_is_read(launch: Path) -> None:
    (launch / "conf/hadoop-env.sh").write_text(f"export JAVA_HOME={launch}/jre\nexport HADOOP_OPTS=-Dfrom=env\n")
    done = call(launch, "yarn", "--config", str(launch / "conf"), "nodemanager", JAVA_HOME="/nowhere")
    assert "-Dfrom=env" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "/nowhere", "dfs"], "the configuration folder /nowhere does not exist"),
        (["--config"], "--config wants a folder"),
        (["--daemon", "start", "namenode"], "--daemon is not supported"),
        (["--config", "CONF", "nonsense"], "nonsense is not a subcommand"),
        (["--config", "CONF"], "a subcommand is wanted"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(launch: Path, arguments: list[str], message: str) -> None:
    done = call(launch, "hdfs", *[str(launch / "conf") if word == "CONF" else word for word in arguments])
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
