# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import configparser
import dataclasses
import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import config
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import plan as planning
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.settings import (
    DEFAULT_HEAPS,
    DEFAULT_MEMORY,
    HadoopSettings,
    check_settings,
    read_settings,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

KEY = "k"
MASTER = HadoopSettings(
    node="red1",
    master="red1",
    workers=("red3", "red2"),
    daemons=("namenode", "resourcemanager", "historyserver"),
    home="/opt/hadoop-3.5.0",
    release="abc",
    java_home="/usr/lib/jvm/default-java",
    replication=0,
    block_size=64 << 20,
    disk_reserved=2 << 30,
    vcores=4,
    memory=DEFAULT_MEMORY,
    heaps=DEFAULT_HEAPS,
    users=("pi",),
)
WORKER = dataclasses.replace(MASTER, node="red2", daemons=("datanode", "nodemanager"))


def changed(settings: HadoopSettings, **values: Any) -> HadoopSettings:
    return dataclasses.replace(settings, **values)


def plan(settings: HadoopSettings, secret: str = KEY) -> planning.HadoopPlan:
    return planning.make_plan(settings, secret, "script")


def inputs(settings: HadoopSettings, secret: str = KEY) -> dict[str, str]:
    return {unit.name: unit.inputs for unit in plan(settings, secret).units}


def read_xml(text: str) -> dict[str, str]:
    root = ET.fromstring(text)  # noqa: S314 - our own text
    return {node.findtext("name", ""): node.findtext("value", "") for node in root.iter("property")}


def test_properties_survive_being_written_and_read() -> None:
    properties = {"b": '1 < 2 && "x"', "a": "ä ${user.name}", "empty": ""}
    text = config.render_xml(properties)
    assert read_xml(text) == properties
    assert text == config.render_xml(dict(reversed(properties.items())))


def test_every_name_in_every_site_is_a_property_with_a_value() -> None:
    for site, values in config.sites(MASTER).items():
        assert values, site
        for name, value in values.items():
            assert name
            assert " " not in name
            assert value


@pytest.mark.parametrize(("workers", "wanted", "replication"), [(1, 0, "1"), (2, 0, "2"), (7, 0, "3"), (7, 2, "2")])
def test_replication_never_exceeds_the_workers_by_default(workers: int, wanted: int, replication: str) -> None:
    settings = changed(MASTER, workers=tuple(f"n{i}" for i in range(workers)), replication=wanted)
    assert config.sites(settings)["hdfs-site"]["dfs.replication"] == replication


def test_the_users_own_properties_win() -> None:
    settings = changed(MASTER, properties={"hdfs-site": {"dfs.replication": "9", "my.own": "x"}})
    values = config.sites(settings)["hdfs-site"]
    assert (values["dfs.replication"], values["my.own"]) == ("9", "x")


def test_a_format_of_existing_data_is_forbidden_in_hadoop_itself() -> None:
    assert config.sites(MASTER)["hdfs-site"]["dfs.reformat.disabled"] == "true"


def test_nothing_that_must_last_is_in_a_temporary_folder() -> None:
    for site in ("hdfs-site", "yarn-site"):
        for name, value in config.sites(WORKER)[site].items():
            if name.endswith(("dir", "dirs")):
                assert value.removeprefix("file://").startswith((config.DATA, config.LOGS, "/app-logs")), name


def test_addresses_are_names_of_nodes_never_all_interfaces() -> None:
    values = [item for site in config.sites(WORKER).values() for item in site.items()]
    addresses = {name: value for name, value in values if name.endswith(("address", ".hostname"))}
    assert len(addresses) > 10
    assert {value.partition(":")[0] for value in addresses.values()} == {"red1", "red2"}


def test_jobs_cannot_be_handed_in_over_the_web() -> None:
    assert config.sites(MASTER)["yarn-site"]["yarn.webapp.enable-rest-app-submissions"] == "false"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workers": ()}, "workers is empty, which would let any host join;"),
        ({"master": ""}, "master is empty; set it"),
        ({"replication": 3}, "replication is larger than the number of workers: 3 copies on 2; decrease it, or set"),
        ({"block_size": (1 << 20) + 1}, "block_size is not a multiple of 512: 1048577; expected one, such as 1048576"),
        ({"memory": {**DEFAULT_MEMORY, "minimum": 4096}}, "memory.minimum does not fit a NodeManager: 4096 MiB of"),
        ({"memory": {**DEFAULT_MEMORY, "am": 4096}}, r"memory.am does not fit a NodeManager: 4096 MiB of 2048 MiB"),
        ({"memory": {**DEFAULT_MEMORY, "sort": 400}}, "memory.sort is too large: 400 MiB for a map task of 512"),
        ({"properties": {"hdfs-sight": {}}}, "properties.hdfs-sight is not a configuration file; expected one of core"),
    ],
)
def test_wrong_settings_are_one_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_settings(changed(MASTER, **change))


def test_right_settings_pass() -> None:
    check_settings(MASTER)
    check_settings(WORKER)


def test_a_property_group_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(UserError, match=r"properties.hdfs-site is not a mapping; set it"):
        read_settings({**vars(MASTER), "properties": {"hdfs-site": "x"}})


def test_yaml_values_become_hadoops() -> None:
    values = {"a": True, "b": False, 3: 20, "d": "True", "e": 0.5}
    settings = read_settings({**vars(MASTER), "properties": {"hdfs-site": values}})
    assert settings.properties == {"hdfs-site": {"a": "true", "b": "false", "3": "20", "d": "True", "e": "0.5"}}
    assert changed(settings, properties=MASTER.properties) == MASTER


def test_exactly_the_wanted_daemons_have_units() -> None:
    assert [unit.name for unit in plan(MASTER).units] == [
        "hadoop-namenode.service",
        "hadoop-resourcemanager.service",
        "hadoop-historyserver.service",
        "hadoop-hdfs-dirs.service",
    ]
    worker = plan(WORKER)
    assert [unit.name for unit in worker.units] == ["hadoop-datanode.service", "hadoop-nodemanager.service"]
    assert set(worker.surplus_units) == set(planning.ALL_UNITS) - {unit.name for unit in worker.units}


@pytest.mark.parametrize("name", planning.DAEMONS)
def test_a_unit_runs_its_daemon_in_the_foreground_as_its_user(name: str) -> None:
    daemon = planning.DAEMONS[name]
    text = planning.daemon_unit(daemon, changed(MASTER, daemons=(name,)), "f00")
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
    parser.read_string(text)
    service = dict(parser["Service"])
    assert service["ExecStart"] == f"/opt/hadoop/bin/{daemon.user} --config /etc/hadoop {name}"
    assert (service["Type"], service["User"], service["Restart"]) == ("exec", daemon.user, "always")
    assert service["SuccessExitStatus"] == "143"
    assert "Environment=PICLUSTER_INPUTS=f00" in text.splitlines()
    assert f"{daemon.user.upper()}_{name.upper()}_OPTS=-Xmx{MASTER.heaps[name]}m" in text
    assert "Limit" not in text.replace("StartLimitIntervalSec", "")
    for path, _mode in daemon.dirs:
        assert path.startswith(tuple(service["ReadWritePaths"].split()))


@pytest.mark.parametrize(
    ("change", "restarted"),
    [
        ({"replication": 2}, set()),
        ({"block_size": 1 << 20}, set()),
        ({"users": ("pi", "ann")}, {"hdfs-dirs"}),
        ({"workers": ("red2", "red3", "red4")}, set()),
        ({"heaps": {**MASTER.heaps, "namenode": 700}}, {"namenode"}),
        ({"properties": {"mapred-site": {"a": "b"}}}, {"historyserver"}),
        ({"properties": {"capacity-scheduler": {"a": "b"}}}, {"resourcemanager"}),
        ({"properties": {"hdfs-site": {"a": "b"}}}, {"namenode", "resourcemanager", "historyserver"}),
        ({"release": "other"}, {"namenode", "resourcemanager", "historyserver"}),
        ({"java_home": "/other"}, {"namenode", "resourcemanager", "historyserver"}),
    ],
)
def test_only_daemons_whose_inputs_changed_are_restarted(change: dict[str, Any], restarted: set[str]) -> None:
    before, after = inputs(MASTER), inputs(changed(MASTER, **change))
    assert {name for name in before if before[name] != after[name]} == {f"hadoop-{name}.service" for name in restarted}


def test_the_secret_is_readable_for_hadoop_only_and_in_no_other_file() -> None:
    files = plan(MASTER, "t0psecret").files
    holders = [file for file in files if "t0psecret" in file.content]
    assert [(file.path, file.mode, file.group, file.secret) for file in holders] == [
        ("/etc/hadoop/http-secret", 0o640, "hadoop", True)
    ]
    assert inputs(MASTER, "a") != inputs(MASTER, "b")


def test_a_file_with_a_secret_of_the_users_own_is_readable_for_hadoop_only() -> None:
    properties = {"core-site": {"fs.s3a.secret.key": "x"}, "hdfs-site": {"dfs.namenode.handler.count": "20"}}
    files = {file.path: file for file in plan(changed(WORKER, properties=properties)).files}
    closed = {path for path, file in files.items() if (file.mode, file.group) == (0o640, "hadoop")}
    assert closed == {"/etc/hadoop/core-site.xml", "/etc/hadoop/http-secret"}
    assert files["/etc/hadoop/hdfs-site.xml"].mode == 0o644


def test_every_file_of_a_plan_is_known_to_the_removal() -> None:
    written = {file.path for settings in (MASTER, WORKER) for file in plan(settings).files}
    assert written <= set(planning.software())
    assert not any(path.startswith(config.DATA) for path in planning.software())


def test_the_image_and_the_blocks_are_their_owners_alone() -> None:
    modes = {folder.path: (folder.owner, folder.mode) for s in (MASTER, WORKER) for folder in plan(s).folders}
    assert modes[config.NAME_DIR] == ("hdfs", 0o700)
    assert modes["/var/lib/hadoop/hdfs/data"] == ("hdfs", 0o700)
    paths = [folder.path for folder in plan(MASTER).folders]
    assert paths.index("/var/lib/hadoop/hdfs") < paths.index(config.NAME_DIR)


def test_only_the_master_makes_the_folders_of_hdfs() -> None:
    wanted = {file.path: file.content for file in plan(MASTER).files}[planning.DIRS_JSON]
    dirs = {entry["path"]: entry for entry in json.loads(wanted)["dirs"]}
    assert dirs["/app-logs"]["mode"] == "1777"
    assert (dirs["/user/pi"]["owner"], dirs["/user/pi"]["mode"]) == ("pi", "0700")
    assert planning.DIRS_JSON not in {file.path for file in plan(WORKER).files}
