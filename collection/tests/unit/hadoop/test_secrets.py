# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import settings
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.apply import Hadoop
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import CONF, SECRET, render_xml
from ansible_collections.picluster.cloud.plugins.modules import hadoop_node

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Board

OPTIONS = {
    "daemons": ["datanode"],
    "node": "red2",
    "master": "red1",
    "workers": ["red2"],
    "cluster_id": "CID-1",
    "http_secret": "the-http-secret",
    "home": "/opt/hadoop-3.5.0",
}
KEY = "wJalrXUtnFEMI"
PROPERTIES: dict[str, Any] = {"core-site": {"fs.s3a.secret.key": KEY, "a.pass": "o", "fs.s3a.threads.max": 1}}


@pytest.mark.parametrize(
    "name",
    [
        "fs.s3a.secret.key",
        "fs.s3a.bucket.b.session.token",
        "fs.azure.account.key.mine.blob.core.windows.net",
        "hadoop.security.group.mapping.ldap.bind.password",
        "ssl.server.keystore.keypassword",
        "ssl.client.truststore.pass",
        "my.apiKey",
    ],
)
def test_a_secret_is_known_by_its_name(name: str) -> None:
    assert settings.is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "hadoop.http.authentication.signature.secret.file",
        "hadoop.security.group.mapping.ldap.bind.password.file",
        "hadoop.security.credential.provider.path",
        "mapreduce.job.output.key.class",
        "dfs.block.access.token.enable",
        "dfs.namenode.delegation.token.max-lifetime",
        "yarn.scheduler.capacity.root.default.bypass",
    ],
)
def test_what_only_speaks_of_a_secret_is_none(name: str) -> None:
    assert not settings.is_secret(name)


def test_picluster_writes_no_secret_into_a_file_for_everybody(board: Board) -> None:
    board.run()
    sites = [path for path in board.node.path(CONF).glob("*.xml") if path.stat().st_mode & 0o004]
    assert len(sites) == 5
    for path in sites:
        names = [line.strip().removeprefix("<name>") for line in path.read_text().splitlines() if "<name>" in line]
        assert [name for name in names if settings.is_secret(name.removesuffix("</name>"))] == []


def test_a_secret_is_in_no_diff(board: Board) -> None:
    first = {"core-site": {"fs.s3a.secret.key": "old-secret-key"}}
    board.run(http_secret="old-http-secret", properties=first)
    assert board.node.path(SECRET).stat().st_mode & 0o777 == 0o640
    shown = str(board.node.diff)
    changed = board.run(properties={"core-site": {"fs.s3a.secret.key": KEY}})
    assert {SECRET, f"{CONF}/core-site.xml"} <= set(changed)
    shown += str(board.node.diff)
    board.run(daemons=[])
    shown += str(board.node.diff)
    for secret in ("old-http-secret", "old-secret-key", "the-http-secret", KEY):
        assert secret not in shown


def test_a_diff_shows_that_a_secret_changed_and_not_what_it_is() -> None:
    first = render_xml({"fs.s3a.secret.key": "old-key", "a": "1", "my.password": "same", "other.password": ""})
    second = render_xml({"fs.s3a.secret.key": "new-key", "a": "2", "my.password": "same", "other.password": ""})
    before, after = settings.hide_in_texts(first, second)
    for text in (before, after):
        assert "-key" not in text
        assert "same" not in text
    assert "<value>1</value>" in before
    assert "<value>2</value>" in after
    assert sum(a != b for a, b in zip(before.splitlines(), after.splitlines(), strict=True)) == 2
    assert settings.hide_in_texts(first, first)[0] == settings.hide_in_texts(first, first)[1]
    assert settings.hide_in_texts("# no XML\n", "x\n") == ("# no XML\n", "x\n")


class Ran:
    def __init__(self, result: dict[str, Any], logged: str) -> None:
        self.result, self.logged = result, logged


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run the real module in AnsibleModule's frame; it writes one file, in check mode."""

    def converge(self: Hadoop, *_arguments: Any, **_options: Any) -> None:
        shown = settings.hide_in_texts(render_xml({}), render_xml({"fs.s3a.secret.key": KEY, "a": "1"}))
        self._node.note("/etc/hadoop/core-site.xml", *shown)

    def make(**options: Any) -> Ran:
        logged: list[str] = []

        def log(_module: object, msg: str, log_args: dict[str, str] | None = None) -> None:
            logged.append(f"{msg} {log_args}")

        monkeypatch.setattr(AnsibleModule, "log", log)
        given = OPTIONS | {"_ansible_check_mode": True, "_ansible_diff": True} | options
        with patch_module_args(given), pytest.raises(SystemExit):
            hadoop_node.main()
        return Ran(json.loads(capsys.readouterr().out), "".join(logged))

    monkeypatch.setattr(Hadoop, "converge", converge)
    return make


def test_a_secret_is_neither_logged_nor_shown(run: Callable[..., Ran]) -> None:
    ran = run(properties=PROPERTIES)
    assert ran.result["changed"] is True
    assert "Invoked with" in ran.logged
    for secret in (KEY, OPTIONS["http_secret"]):
        assert str(secret) not in f"{ran.result}{ran.logged}"
    assert "threads" not in ran.logged


def test_short_values_do_not_spoil_the_output(run: Callable[..., Ran]) -> None:
    ran = run(properties=PROPERTIES)
    shown = {"core-site": {"fs.s3a.secret.key": "a secret", "a.pass": "a secret", "fs.s3a.threads.max": "1"}}
    # From 2.20 on ansible-core leaves the arguments out unless it is told to show them.
    assert ran.result.get("invocation", {"module_args": {"properties": shown}})["module_args"]["properties"] == shown
    assert ran.result["diff"][0]["after_header"] == "/etc/hadoop/core-site.xml"
    assert "<value>1</value>" in ran.result["diff"][0]["after"]


def test_a_group_of_properties_that_is_none_is_not_shown(run: Callable[..., Ran]) -> None:
    ran = run(properties={"core-site": f"fs.s3a.secret.key={KEY}"})
    assert ran.result["msg"] == "properties.core-site is not a mapping; set it to a mapping of names to values"
    assert KEY not in f"{ran.result}{ran.logged}"
