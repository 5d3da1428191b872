"""The inventory check refuses a setting exactly if its module would, before the module touches the node."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.picluster.cloud.plugins.module_utils.firewall.checks import BOUNDS as FIREWALL_BOUNDS
from ansible_collections.picluster.cloud.plugins.module_utils.firewall.rules import read_policy
from ansible_collections.picluster.cloud.plugins.module_utils.identity.checks import CHECKS as IDENTITY
from ansible_collections.picluster.cloud.plugins.module_utils.identity.rules import check_options
from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import Bounds, check_bounds
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.checks import BOUNDS as SSH_BOUNDS
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.operators import check_own_user, parse_operators
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.policy import Release, desired_policy
from ansible_collections.picluster.cloud.plugins.module_utils.updates import policy as updates_policy
from ansible_collections.picluster.cloud.plugins.module_utils.updates.checks import BOUNDS as UPDATES_BOUNDS
from ansible_collections.picluster.cloud.plugins.modules import (
    firewall,
    hadoop_node,
    k3s_node,
    sshd_policy,
    static_address,
)
from ansible_collections.picluster.cloud.plugins.modules import identity as identity_module
from ansible_collections.picluster.cloud.plugins.modules import updates as updates_module
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory import rules, subjects
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.settings import setting_problems
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[4]
ROLES = {
    role: {name: spec for options in points.values() for name, spec in options.items()}
    for role, points in subjects.read_specs().items()
}
BOUNDS: dict[str, Bounds] = subjects.declared("BOUNDS", ROLES)
DECIDED = set(yaml.safe_load((ROOT / "playbooks/vars/layers.yml").read_text(encoding="utf-8")))
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJkZqbOe5VqKvFQ9kKnLLqkWrEJqDPAr0oQXhzUvtY5k"
NODES = ["red1", "red2", "red3"]
NODE = {
    "node_address": "192.168.63.11",
    "node_prefix": 24,
    "node_gateway": "192.168.63.1",
    "node_interface": "eth0",
    "ansible_user": "pi",
}


class TouchedError(Exception):
    """The module has finished its own checks."""


class Untouched:
    """A node that no module may change yet: only what is secret may be said."""

    check_mode = False

    def hide(self, *_values: object, **_options: object) -> None:
        """Accept what is to be masked."""

    def __getattr__(self, name: str) -> Any:
        raise TouchedError(name)


def of_module(module: Any, **given: Any) -> Callable[[dict[str, Any]], None]:
    """Return what the module itself checks, up to its first look at the node."""

    def check(options: dict[str, Any]) -> None:
        defaults = {name: spec.get("default") for name, spec in module.OPTIONS.items()}
        known = {name: value for name, value in options.items() if name in defaults}
        with suppress(TouchedError):
            module.converge(Untouched(), {**defaults, **given, **known})

    return check


def of_firewall(options: dict[str, Any]) -> None:
    options = {name: spec.get("default") for name, spec in firewall.OPTIONS.items()} | {"interface": "eth0"} | options
    check_bounds(FIREWALL_BOUNDS, options)
    read_policy(options, "192.168.63.5")


def of_hadoop(options: dict[str, Any]) -> None:
    sizes = {
        name: {key: spec["default"] for key, spec in hadoop_node.OPTIONS[name]["options"].items()}
        | options.pop(name, {})
        for name in ("memory", "heaps")
    }
    given = {"node": "red1", "master": "red1", "workers": NODES[1:], "daemons": ["namenode"], "http_secret": "x" * 64}
    of_module(hadoop_node, **given)({**options, **sizes})


def of_k3s(options: dict[str, Any]) -> None:
    texts: dict[str, Any] = {
        name: json.dumps(options.pop(name)) for name in ("config", "registries") if name in options
    }
    given = {"role": "server", "server_address": "192.168.63.11", "node_name": "red1", "node_address": "192.168.63.11"}
    secrets = {
        "token": "t" * 64,
        "agent_token": "a" * 64,
        "artifact": {"version": options.pop("version", "v1.36.4+k3s1")},
    }
    of_module(k3s_node, **given, **secrets)({**options, **texts})


def of_ssh(options: dict[str, Any]) -> None:
    options = {name: spec.get("default") for name, spec in sshd_policy.OPTIONS.items()} | options
    check_bounds(SSH_BOUNDS, options)
    operators = parse_operators(options["operators"])
    check_own_user("pi", operators)
    desired_policy(options, Release((10, 0), frozenset({"mlkem768x25519-sha256"})), None, exclusive=bool(operators))


def of_updates(options: dict[str, Any]) -> None:
    options = {name: spec.get("default") for name, spec in updates_module.OPTIONS.items()} | options
    check_bounds(UPDATES_BOUNDS, options)
    updates_policy.origins_of("debian", options["origins"])
    updates_policy.parse_blacklist(options["blacklist"])


def of_identity(options: dict[str, Any]) -> None:
    defaults = {name: spec.get("default") for name, spec in identity_module.OPTIONS.items()}
    options = {**defaults, "hostname": "red1", "hosts": {"red1": "192.168.63.11"}, **options}
    check_options(options)
    # The node has the tz database.
    IDENTITY["timezone"](options["timezone"])


MODULES: dict[str, Callable[[dict[str, Any]], None]] = {
    "firewall": of_firewall,
    "hadoop": of_hadoop,
    "identity": of_identity,
    "k3s": of_k3s,
    "network": of_module(static_address, address="192.168.63.11", prefix=24, gateway="192.168.63.1", interface="eth0"),
    "ssh": of_ssh,
    "updates": of_updates,
}
# Of settings that are neither numbers nor choices: values on both sides of each rule.
VALUES: dict[str, list[Any]] = {
    "firewall_node_ports": ["all", 80, "8000-8010", "53/udp", "0", 65536, "9-8", "ssh"],
    "firewall_public_ports": [80, "8000-8010", "53/udp", "0", 65536, "9-8", "all", True],
    "firewall_management": ["192.168.1.5", "192.168.1.0/24", "192.168.1.5/24", "::/0", "fd00::/64", "router", ""],
    "firewall_container_interfaces": ["br-*", "docker0", "eth*", "*", "a*b", "", "x" * 16],
    "hadoop_users": ["pi", "ada.lovelace", "a b", "", "1a"],
    "hadoop_java_home": ["/usr/lib/jvm/x", "jvm", ""],
    "hadoop_properties": [
        {"hdfs-site": {"a": True}},
        {"hdfs-sight": {}},
        {"core-site": "x"},
        {"core-site": {}, "x": 1},
    ],
    "identity_timezone": ["Etc/UTC", "Europe/Berlin", "Europe/Berlim", "../etc/passwd", ""],
    "identity_locale": ["C.UTF-8", "de_DE.UTF-8", "de DE", "german", ""],
    "identity_ntp_servers": ["ntp.example.org", "ntp.example.org.", "192.168.63.1", "192.168.63", "a b", ""],
    "k3s_version": ["v1.36.4+k3s1", "1.36.4", "latest", ""],
    "k3s_config": [
        {"disable": ["traefik"]},
        {"token": "x"},
        {"node-ip+": "x"},
        {"kubelet-args": ["x"]},
        {"server": None},
    ],
    "k3s_registries": [{"mirrors": {}}, {"mirors": {}}, {"configs": {}, "x": 1}],
    "ssh_settings": [
        {"MaxAuthTries": 3},
        {"PermitRootLogn": False},
        {"match": "x"},
        {"UsePAM": "maybe"},
        {"Banner": None},
        {"Banner": "a\nb"},
        {"Port": [22, 23]},
        {"Port": [[]]},
        {"x11forwarding": True},
    ],
    "ssh_exempt": ["192.168.63.0/24", "192.168.63.1", "192.168.63.1/24", "router", ""],
    "ssh_operators": [
        {"pi": {"keys": [KEY]}},
        {"pi": {"keys": []}},
        {"lea": {"keys": [KEY]}},
        {"root": {"keys": [KEY]}},
        {"pi": {"keys": [KEY], "sudo": "yes"}},
        {"pi": {"keys": [KEY]}, "lea": {"keys": ["ssh-rsa"]}},
        {"pi": 1},
    ],
    "updates_origins": ["origin=Docker,label=Docker CE", "origin=", "orgin=x", 'o=x"', "a"],
    "updates_blacklist": ["docker.io", "^linux-", "(", "", 'a"b'],
}


def around(bounds: Bounds) -> st.SearchStrategy[int]:
    """Return numbers at, beside and far from the ends of bounds."""
    ends = [end for end in (bounds.least, bounds.most) if end is not None]
    return st.sampled_from([0, *ends, *(end + step for end in ends for step in (-1, 1))]) | st.integers()


def some_of(entries: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Return mappings with a few of these entries: with all of them, one would always be wrong."""
    keys = st.lists(st.sampled_from(sorted(entries)), max_size=2, unique=True)
    return keys.flatmap(lambda names: st.fixed_dictionaries({name: entries[name] for name in names}))


def values_of(name: str, spec: Mapping[str, Any]) -> st.SearchStrategy[Any] | None:
    """Return values of a setting's type; None if its module does not read it, or any value is right."""
    sizes = {key: around(BOUNDS[f"{name}.{key}"]) for key in spec.get("options", {}) if f"{name}.{key}" in BOUNDS}
    if sizes:
        return some_of(sizes)
    if name in BOUNDS:
        return around(BOUNDS[name])
    if name in VALUES:
        one = st.sampled_from(VALUES[name])
        return st.lists(one, max_size=3) if spec.get("type") == "list" else one
    return None


def settings_of(role: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return settings of a role, each of the right type, that its module reads."""
    unread = {name for name in BOUNDS if name.endswith(("_timeout", "_health_within"))} - {"updates_lock_timeout"}
    found = {
        name: values
        for name, spec in ROLES[role].items()
        if name not in DECIDED | unread and (values := values_of(name, spec)) is not None
    }
    return some_of(found)


def refusal(role: str, values: Mapping[str, Any]) -> str:
    """Return the module's refusal of settings, or an empty text."""
    options = {name.removeprefix(f"{role}_"): value for name, value in values.items()}
    try:
        MODULES[role](options)
    except UserError as error:
        return str(error)
    return ""


def found(role: str, values: Mapping[str, Any]) -> list[str]:
    """Return what the inventory check finds in settings."""
    inventory = Inventory(
        {"all": NODES, "nodes": NODES, "hadoop_master": NODES[:1], "hadoop_worker": NODES[1:]},
        {"red1": {**NODE, **values}},
    )
    own = {role: ROLES[role]}
    problems = [*rules.variable_problems(inventory, own), *setting_problems(inventory, own)]
    return [problem.text for problem in problems]


@pytest.mark.parametrize("role", sorted(MODULES))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_inventory_check_and_module_refuse_the_same_settings(role: str, data: st.DataObject) -> None:
    values = data.draw(settings_of(role))
    refused = refusal(role, values)
    assert bool(refused) == bool(found(role, values)), (values, refused, found(role, values))


@pytest.mark.parametrize("role", sorted(MODULES))
def test_both_outcomes_are_generated(role: str) -> None:
    assert refusal(role, {}) == ""
    assert found(role, {}) == []
    wrong = [name for name in VALUES if name.startswith(f"{role}_")]
    for name in wrong:
        listed = ROLES[role][name].get("type") == "list"
        outcomes = {bool(found(role, {name: [one] if listed else one})) for one in VALUES[name]}
        assert outcomes == {True, False}, name
