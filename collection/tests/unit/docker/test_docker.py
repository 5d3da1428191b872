"""The Docker engine and the container that proves it."""

from __future__ import annotations

import io
import json
import tarfile
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.docker import rules
from ansible_collections.picluster.cloud.plugins.module_utils.node import old_packages as node_packages
from ansible_collections.picluster.cloud.plugins.modules import docker_check, docker_engine

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {"pid": "1", "hostname": "probe-1", "root": ".dockerenv busybox dev etc proc sys", "address": "172.17.0.2/16"}
NODE = {"192.168.63.11", "172.17.0.1"}
LOGS = {"log-driver": "json-file"}


class Board:
    """A node: its packages, its unit, the members of group docker, and its files below a folder."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.packages: set[str] = set()
        self.unit = {"LoadState": "not-found", "ActiveState": "inactive", "UnitFileState": ""}
        self.members: set[str] = set()
        self.did: list[str] = []
        self.answers = True
        self.config, self.mark, self.docker = root / "daemon.json", root / "mark", root / "docker"
        for name, path in {"CONFIG": self.config, "MARK": self.mark, "DOCKER": self.docker}.items():
            monkeypatch.setattr(docker_engine, name, str(path))
        monkeypatch.setattr(docker_engine, "PENDING", str(root / "pending"))
        monkeypatch.setattr(docker_engine, "DOCKERDS", ())
        monkeypatch.setattr(docker_engine.pwd, "getpwall", lambda: [SimpleNamespace(pw_name="pi")])
        monkeypatch.setattr(docker_engine.grp, "getgrnam", lambda _name: SimpleNamespace(gr_mem=sorted(self.members)))

    def has(self, *packages: str) -> None:
        """Give it an engine that runs."""
        self.packages |= set(packages)
        self.docker.touch()
        self.unit = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled"}

    def run_command(self, command: list[str], **_options: Any) -> tuple[int, str, str]:
        program, *rest = command
        if program == "dpkg-query":
            return 1, "".join(f"{name} installed\n" for name in rest if name in self.packages), ""
        if program == "apt-cache":
            return 0, "".join(f"{name}:\n  Candidate: 1\n" for name in rest), ""
        if command[:2] == ["systemctl", "show"]:
            return 0, "".join(f"{key}={value}\n" for key, value in self.unit.items()), ""
        if command[:2] == [str(self.docker), "version"]:
            return (0, "28.1\n", "") if self.answers else (1, "", "Cannot connect")
        if program == "apt-mark":
            return 0, "containerd\n", ""
        self.did.append(" ".join(word for word in command if "::" not in word and not word.startswith("--")))
        if program == "apt-get" and "install" in rest:
            self.has(*rest[rest.index("--no-install-recommends") + 1 :], "containerd")
        if program == "apt-get" and "remove" in rest:
            self.packages -= set(rest)
        if program == "gpasswd":
            (self.members.add if "--add" in rest else self.members.discard)(rest[1])
        return 0, "", ""

    def engine(self, *, check_mode: bool = False) -> docker_engine.Engine:
        """Return the engine as a fresh run of the module sees it."""
        self.did.clear()
        module = SimpleNamespace(
            check_mode=check_mode, params={"lock_timeout": 5}, run_command=self.run_command, no_log_values=set()
        )
        return docker_engine.Engine(module)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    return Board(tmp_path, monkeypatch)


@pytest.mark.parametrize("package", ["docker.io", "docker-ce"])
def test_where_picluster_never_put_docker_nothing_is_asked_and_nothing_goes(board: Board, package: str) -> None:
    board.has(package)
    board.config.write_text("{}", encoding="utf-8")
    board.members = {"pi"}
    engine = board.engine()
    engine.absent()
    assert not engine.files.changed
    assert board.did == []
    assert board.config.exists()


def test_what_picluster_installed_goes_again_and_the_second_time_nothing(board: Board) -> None:
    board.engine().present(LOGS, ["pi"])
    assert {"docker.io", "busybox-static"} <= board.packages
    assert board.members == {"pi"}
    again = board.engine()
    again.present(LOGS, ["pi"])
    assert not again.files.changed
    board.engine().absent()
    assert "systemctl disable docker.service docker.socket" in board.did
    assert not board.packages & {"docker.io", "docker-cli", "containerd"}
    assert not board.members
    assert not board.config.exists()
    assert not board.mark.exists()


def test_an_engine_of_another_origin_is_used_and_left_as_it_was_found(board: Board) -> None:
    board.has("docker-ce", "containerd.io")
    board.members = {"pi"}
    board.config.write_text('{"data-root": "/srv"}', encoding="utf-8")
    board.engine().present(LOGS, ["pi"])
    assert board.packages == {"docker-ce", "containerd.io", "busybox-static", "containerd"}
    assert json.loads(board.config.read_text(encoding="utf-8")) == LOGS
    assert "systemctl restart docker.service" in board.did
    engine = board.engine()
    engine.absent()
    assert board.did == ["systemctl reset-failed docker.service", "systemctl restart docker.service"]
    assert board.config.read_text(encoding="utf-8") == '{"data-root": "/srv"}'
    assert board.members == {"pi"}
    assert "docker-ce" in board.packages


def test_an_engine_of_another_origin_that_does_not_answer_is_refused(board: Board) -> None:
    board.has("docker-ce")
    board.answers = False
    with pytest.raises(ValueError, match=r"not Debian's docker.io, and it does not answer \(Cannot connect\)"):
        board.engine().present(LOGS, [])


def test_what_apt_would_replace_is_refused_before_anything_is_touched(board: Board) -> None:
    board.packages = {"podman-docker"}
    with pytest.raises(ValueError, match=r"\(podman-docker\), but no docker.service and no .*docker: complete it"):
        board.engine().present(LOGS, [])
    assert board.did == []
    assert not board.mark.exists()


def test_a_run_that_was_killed_amid_the_installation_does_not_take_its_own_engine_for_a_stranger(board: Board) -> None:
    board.mark.write_text(rules.Mark(packages=("docker.io",)).text(), encoding="utf-8")
    board.unit["LoadState"] = "loaded"
    board.engine().present(LOGS, [])
    assert "docker.io" in board.packages


def test_check_mode_leaves_no_mark(board: Board) -> None:
    engine = board.engine(check_mode=True)
    engine.present(LOGS, ["pi"])
    assert engine.files.changed
    assert board.did == []
    assert not board.mark.exists()


def test_check_mode_foresees_a_restart_only_for_another_configuration(board: Board) -> None:
    board.has("docker.io", "busybox-static")
    board.config.write_text(docker_engine.render(LOGS), encoding="utf-8")
    same, other = board.engine(check_mode=True), board.engine(check_mode=True)
    same.present(LOGS, ["pi"])
    assert same.files.changed
    assert not same.restarted
    other.present({}, ["pi"])
    assert other.restarted


@pytest.mark.parametrize("before", ["{}", None])
def test_a_card_that_fills_up_midway_gets_the_running_engine_s_configuration_back(
    board: Board, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    board.has("docker.io", "busybox-static")
    if before is not None:
        board.config.write_text(before, encoding="utf-8")
    engine = board.engine()

    def fail(**_options: object) -> None:
        raise OSError(28, "No space left on device", "/run/x")

    monkeypatch.setattr(engine, "_service", fail)
    with pytest.raises(ValueError, match="/run/x cannot be written: No space left on device; check the card"):
        engine.present(LOGS, [])
    assert (board.config.read_text(encoding="utf-8") if board.config.exists() else None) == before
    assert board.did == ["systemctl restart docker.service"]


def test_passwords_in_the_settings_are_hidden_and_the_file_is_root_s_alone(board: Board) -> None:
    settings = {
        "proxies": {"http-proxy": 'http://me:s3"cret@proxy:3128'},
        "log-opts": {"splunk-token": "t0k", "max-size": "10m"},
        "storage-opts": ["x.password=pw", "y=z"],
    }
    engine = board.engine()
    engine.present(settings, [])
    assert engine._module.no_log_values >= {'s3"cret', 's3\\"cret', "t0k", "pw"}
    assert not engine._module.no_log_values & {"10m", "z", ""}
    assert board.config.stat().st_mode & 0o777 == 0o600
    assert board.mark.stat().st_mode & 0o777 == 0o600


def test_a_broken_mark_is_one_sentence() -> None:
    assert rules.read_mark(None) is None
    mark = rules.Mark(("docker.io",), ("pi",), "{}")
    assert rules.read_mark(mark.text()) == mark
    with pytest.raises(ValueError, match="does not say what picluster installed"):
        rules.read_mark("[]")


def test_the_same_settings_give_the_same_text_whatever_their_order() -> None:
    assert docker_engine.render({"b": 1, "a": 2}) == docker_engine.render({"a": 2, "b": 1})
    assert json.loads(docker_engine.render({"a": [1]})) == {"a": [1]}


def test_only_users_who_are_not_members_are_added() -> None:
    assert docker_engine.missing_users(["pi", "alice"], {"pi", "alice", "root"}, {"pi"}) == ["alice"]


def test_a_user_whom_the_node_does_not_know_is_named() -> None:
    with pytest.raises(ValueError, match="docker_users names bob, but"):
        docker_engine.missing_users(["pi", "bob"], {"pi"}, set())


def test_the_reason_why_dockerd_died_is_found_in_its_journal() -> None:
    journal = (
        "Starting docker.service...\n"
        "unable to configure the Docker daemon with file /etc/docker/daemon.json: the following directives "
        "don't match any configuration option: foo\n"
        "docker.service: Main process exited, code=exited, status=1/FAILURE\n"
    )
    assert docker_engine.cause_of_death(journal).startswith("unable to configure the Docker daemon with file")
    assert docker_engine.cause_of_death("Stopped.\n") == ""


def test_dpkg_s_answer_counts_only_what_is_installed() -> None:
    assert node_packages.parse_installed("docker.io installed\ncontainerd config-files\nrunc not-installed\n") == {
        "docker.io"
    }


def test_a_package_without_a_candidate_is_not_known() -> None:
    policy = (
        "docker.io:\n  Installed: (none)\n  Candidate: 26.1.5\n  Version table:\ndocker-cli:\n  Installed: "
        "(none)\n  Candidate: (none)\n"
    )
    assert node_packages.parse_candidates(policy) == {"docker.io"}


def test_the_image_has_one_file_and_its_name_comes_from_its_content() -> None:
    archive = docker_check.image_archive(b"ELF")
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        assert [(m.name, m.mode) for m in opened.getmembers()] == [("busybox", 0o755)]
    assert docker_check.image_tag(archive) == docker_check.image_tag(docker_check.image_archive(b"ELF"))
    assert docker_check.image_tag(archive) != docker_check.image_tag(docker_check.image_archive(b"ELG"))


def test_a_real_container_convinces() -> None:
    assert docker_check.judge(GOOD, "probe-1", NODE, on_bridge=True) is None


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"pid": "4242"}, "process namespace"),
        ({"hostname": "red1"}, "called red1, wanted probe-1"),
        ({"root": "bin home busybox"}, "holds bin busybox home"),
        ({"root": ""}, "holds nothing"),
        ({"address": ""}, "no IPv4 address"),
        ({"address": "192.168.63.11/24"}, "the node's own address"),
    ],
)
def test_what_is_no_container_of_its_own_is_found_out(lie: dict[str, str], words: str) -> None:
    problem = docker_check.judge(GOOD | lie, "probe-1", NODE, on_bridge=True)
    assert problem is not None
    assert words in problem


def test_no_answer_at_all_does_not_convince() -> None:
    assert docker_check.judge(docker_check.parse_probe(""), "probe-1", NODE, on_bridge=True) is not None


def test_another_network_than_the_bridge_needs_no_address() -> None:
    assert docker_check.judge(GOOD | {"address": ""}, "probe-1", NODE, on_bridge=False) is None
