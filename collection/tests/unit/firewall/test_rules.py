"""The firewall: what the rules say, what nft makes of them, and what is refused before any rule is written."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.firewall import rules as firewall_rules
from ansible_collections.picluster.cloud.plugins.module_utils.firewall.rules import Policy, Ports
from ansible_collections.picluster.cloud.plugins.modules import firewall

NFT = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin")

OPTIONS: dict[str, Any] = {
    "nodes": ["192.168.63.12", "192.168.63.11", "fd00::11"],
    "node_ports": ["all"],
    "management": ["192.168.1.0/24", "fd00:1::/64"],
    "public_ports": [443, 80, "8000-8010", "53/udp"],
    "strangers_ssh": True,
    "ssh_port": 22,
    "interface": "eth0",
    "container_interfaces": list(firewall_rules.CONTAINERS),
}
POLICIES = {
    "usual": {},
    "nobody named": {"nodes": [], "management": [], "public_ports": []},
    "few ports between nodes": {"node_ports": [6443, "8472/udp"]},
    "no port between nodes": {"node_ports": []},
    "closed to strangers": {"strangers_ssh": False, "ssh_port": 2222},
    "no containers": {"container_interfaces": []},
    "many nodes": {"nodes": [f"10.0.{i}.{j}" for i in range(4) for j in range(1, 60)]},
}


def text(client: str = "192.168.1.5", **options: Any) -> str:
    return firewall_rules.rules_text(firewall.read_policy({**OPTIONS, **options}, client))


def rules(of: str, chain: str) -> list[str]:
    """Return a chain's lines without its comments."""
    body = of.partition(f"chain {chain} {{")[2].partition("\n  }")[0]
    return [line.strip() for line in body.splitlines() if line.strip() and not line.strip().startswith("#")]


@pytest.mark.skipif(NFT is None, reason="the package nftables is not installed")
@pytest.mark.parametrize("options", POLICIES.values(), ids=POLICIES.keys())
def test_nft_accepts_the_rules_of_every_policy(options: dict[str, Any], tmp_path: Path) -> None:
    candidate = tmp_path / "rules.nft"
    candidate.write_text(text(**options), encoding="utf-8")
    judged = subprocess.run(
        ["unshare", "--map-root-user", "--net", str(NFT), "--check", "--file", str(candidate)],
        capture_output=True,
        text=True,
        check=False,
    )
    if judged.stderr.startswith("unshare:"):
        pytest.skip(f"no network namespace can be had: {judged.stderr.strip()}")
    assert judged.returncode == 0, judged.stderr


def test_only_a_table_of_its_own_is_replaced() -> None:
    head = [line for line in text().splitlines() if not line.startswith("#")][:3]
    assert head == ["table inet picluster", "delete table inet picluster", "table inet picluster {"]
    assert "flush" not in "".join(line for line in text().splitlines() if not line.startswith("#"))


def test_the_same_nodes_in_another_order_give_the_same_rules() -> None:
    assert text(nodes=OPTIONS["nodes"][::-1], public_ports=["53/udp", 80, 443, "8000-8010"]) == text()


def test_strangers_see_ssh_only_and_whoever_runs_ansible_does_not_change_the_rules() -> None:
    own = rules(text(public_ports=[]), "input")
    assert "type filter hook input priority filter - 5; policy drop;" in own
    assert [rule for rule in own if rule.startswith("tcp")] == ["tcp dport 22 accept"]
    assert text(client="10.0.0.7") == text(client="")


def test_types_are_not_joined_where_python_3_9_would_have_to() -> None:
    assert not hasattr(firewall_rules, "Network")


def test_without_ssh_for_strangers_the_controller_still_gets_in() -> None:
    said = text(strangers_ssh=False, ssh_port=2222, client="::ffff:10.0.0.7")
    assert "elements = { 10.0.0.7 }" in said
    assert "ip saddr @controller4 tcp dport 2222 accept" in rules(said, "input")
    assert not [rule for rule in rules(said, "input") if rule.startswith("tcp dport")]
    assert "elements = { fe80::1 }" in text(strangers_ssh=False, client="fe80::1%eth0")


def test_a_controller_that_has_another_ipv6_address_tomorrow_still_gets_in() -> None:
    today = text(strangers_ssh=False, client="2001:db8:1:2:aaaa::1")
    assert "elements = { 2001:db8:1:2::/64 }" in today
    assert today == text(strangers_ssh=False, client="2001:db8:1:2:bbbb::2")


def test_what_nobody_could_log_in_by_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody could log in"):
        text(strangers_ssh=False, management=[], client="")


def test_published_ports_are_closed_to_strangers_unless_listed() -> None:
    last = rules(text(), "forward")
    assert "type filter hook forward priority filter - 5; policy accept;" in last
    at = last.index("ct status dnat counter drop")
    # A rule each: nft 0.9.8 and 1.0.2 take no patterns within braces ("Byteorder mismatch").
    assert last[at + 1 :] == [f'oifname "{one}" counter drop' for one in firewall_rules.CONTAINERS]
    assert 'iifname "cni*" accept' in rules(text(), "input")
    assert 'iifname "cni*" accept' in last[:at]
    # As it was knocked at, whatever port the container has inside.
    assert "ct status dnat meta l4proto tcp ct original proto-dst @public_tcp accept" in last
    assert "elements = { 80, 443, 8000-8010 }" in text()


def test_nodes_reach_everything_of_each_other_or_what_is_listed() -> None:
    assert "ip saddr @nodes4 accept" in rules(text(), "input")
    assert "ip saddr @nodes4 accept" in rules(text(), "forward")
    few = text(node_ports=[6443, "8472/udp"])
    assert "ip saddr @nodes4 accept" not in rules(few, "input") + rules(few, "forward")
    assert "ip saddr @nodes4 meta l4proto udp ct original proto-dst @node_udp accept" in rules(few, "input")
    assert "ct status dnat ip6 saddr @nodes6 meta l4proto tcp ct original proto-dst @node_tcp accept" in rules(
        few, "forward"
    )


def test_ports_that_touch_become_one_range() -> None:
    assert firewall_rules.parse_ports([80, "81-90", 85, "443/tcp", "53/udp"], "x") == Ports(
        ((80, 90), (443, 443)), ((53, 53),)
    )


@pytest.mark.parametrize("port", [0, 65536, -1, True, None, "80/sctp", "90-80", "http", "80,443", 80.5, [80]])
def test_what_is_no_port_is_named(port: object) -> None:
    with pytest.raises(ValueError, match=r"^public_ports has .*wanted are ports such as 80, 8000-8010 or 53/udp"):
        firewall_rules.parse_ports([port], "public_ports")


def test_all_ports_and_some_ports_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="all and more beside it"):
        firewall_rules.parse_node_ports(["all", 80])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("192.168.1.5/24", r"\(did you mean 192.168.1.0/24\?\)"),
        ("192.168.1", "wanted are IP addresses"),
        (80, "wanted are IP addresses"),
        ("home", "wanted are IP addresses"),
        ("0.0.0.0/0", "which is everybody"),
        ("::/0", "which is everybody"),
    ],
)
def test_what_is_no_network_is_named(value: object, words: str) -> None:
    with pytest.raises(ValueError, match=f"^management has .*{words}"):
        firewall_rules.parse_networks([value], "management")


@pytest.mark.parametrize(
    ("pattern", "words"), [("*", "wanted are"), ("a b", "wanted are"), ("b*r", "wanted are"), ("br-*", "everybody")]
)
def test_the_node_s_own_interface_is_never_a_container_s(pattern: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        firewall_rules.check_containers([pattern], "br-lan")


@pytest.mark.parametrize("port", [0, 65536])
def test_an_ssh_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match=f"ssh_port is {port}"):
        text(ssh_port=port)


def test_the_distribution_s_flush_is_followed_by_our_rules_whatever_caused_it() -> None:
    unit = firewall_rules.unit_text()
    assert "After=nftables.service" in unit.splitlines()
    again = [line.partition("=") for line in firewall_rules.dropin_text().splitlines()[2:]]
    assert [when for when, _, _ in again] == ["ExecStartPost", "ExecReload", "ExecStopPost"]
    assert all("/usr/sbin/nft -f /etc/picluster/firewall.nft" in what for _, _, what in again)
    assert "ExecStop=-/usr/sbin/nft delete table inet picluster" in unit.splitlines()


class FakeModule:
    """A node whose kernel has rules, and nft and systemctl that work on them."""

    def __init__(self, *, check_mode: bool = False, refuses: str = "") -> None:
        self.check_mode = check_mode
        self.params = {"lock_timeout": 1, "confirm_within": 60, "confirm_token": "0" * 16}
        self.live: str | None = None
        self.unit = {"UnitFileState": "", "ActiveState": "inactive"}
        self.refuses = refuses
        self.did: list[list[str]] = []

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        if command[0] == "unshare":
            return (1, "", self.refuses) if "judge" in self.refuses else (0, _read(command[-1]), "")
        if "--check" in command:
            return 1, "", f"{command[-1]}:3: {self.refuses}"
        if "list" in command:
            return (1, "", "No such file") if self.live is None else (0, self.live, "")
        if command[:2] == ["systemctl", "show"]:
            return 0, "".join(f"{key}={value}\n" for key, value in self.unit.items()), ""
        self.did.append(command)
        if "--file" in command:
            if self.refuses:
                return 1, "", self.refuses
            self.live = _read(command[-1])
        elif command[1] == "enable":
            self.unit["UnitFileState"] = "enabled"
        elif command[1] == "start":
            self.unit["ActiveState"] = "active"
        elif command[1] == "disable":
            self.unit, self.live = {"UnitFileState": "", "ActiveState": "inactive"}, None
        return 0, "", ""


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as stream:  # noqa: PTH123 - a path as the command has it
        return stream.read()


class FakeRollback:
    """Keeps one file, as the real one does that has its own tests."""

    armed: tuple[str, str | None] | None = None
    restoring = False

    def __init__(self, _run: object, name: str) -> None:
        assert name == "firewall"

    def state(self) -> object:
        return SimpleNamespace(restoring=FakeRollback.restoring) if FakeRollback.armed else None

    def arm(self, seconds: int, token: str, files: list[str], restore: list[list[str]]) -> dict[str, Any]:
        path = Path(files[0])
        FakeRollback.armed = FakeRollback.armed or (files[0], path.read_text("utf-8") if path.exists() else None)
        return {"name": "firewall", "token": token, "within": seconds}

    def undo(self) -> bool:
        if FakeRollback.armed is None:
            return False
        (path, kept), FakeRollback.armed = FakeRollback.armed, None
        Path(path).unlink(missing_ok=True)
        if kept is not None:
            Path(path).write_text(kept, "utf-8")
        return True


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a root folder for the files; nft is said to be there."""
    (tmp_path / "nft").touch()
    monkeypatch.setattr(firewall, "Rollback", FakeRollback)
    monkeypatch.setattr(FakeRollback, "armed", None)
    monkeypatch.setattr(FakeRollback, "restoring", False)
    for name, path in {"RULES": "firewall.nft", "UNIT_FILE": "unit", "DROPIN": "dropin", "NFT": "nft"}.items():
        monkeypatch.setattr(firewall, name, str(tmp_path / path))
    return tmp_path


def converge(module: FakeModule, of: str) -> firewall.Firewall:
    made = firewall.Firewall(cast("Any", module))
    made.present(of)
    return made


def confirmed(module: FakeModule, of: str) -> firewall.Firewall:
    made = converge(module, of)
    FakeRollback.armed = None
    return made


def test_a_second_run_changes_nothing(node: Path) -> None:
    module = FakeModule()
    assert confirmed(module, text()).confirm == {"name": "firewall", "token": "0" * 16, "within": 60}
    assert (module.live, module.unit["UnitFileState"], module.unit["ActiveState"]) == (text(), "enabled", "active")
    module.did.clear()
    again = converge(module, text())
    assert (again.files.changed, again.loaded, again.confirm, module.did) == (False, False, None, [])


def test_rules_that_a_killed_run_left_unconfirmed_are_put_to_the_proof_again(node: Path) -> None:
    module = FakeModule()
    converge(module, text())
    again = converge(module, text())
    assert again.files.changed
    assert again.confirm
    FakeRollback.restoring = True
    assert converge(module, text()).confirm
    assert (node / "firewall.nft").read_text("utf-8") == text()


def test_a_window_in_which_nobody_could_log_in_is_refused(node: Path) -> None:
    module = FakeModule()
    module.params["confirm_within"] = 1
    with pytest.raises(ValueError, match="confirm_within is 1"):
        converge(module, text())


@pytest.mark.parametrize(
    ("there", "said"), [("rules", "-f {}\n"), ("none", "delete table inet picluster\n")], ids=["former rules", "none"]
)
def test_the_way_back_ends_in_the_former_rules_or_in_none(there: str, said: str, tmp_path: Path) -> None:
    path, program = tmp_path / "rules", tmp_path / "nft"
    program.write_text('#!/bin/sh\necho "$@" >>"$0.log"\n', encoding="utf-8")
    program.chmod(0o755)
    (tmp_path / there).touch()
    words = [
        word.replace(firewall_rules.RULES, str(path)).replace(firewall_rules.NFT, str(program))
        for word in firewall.BACK[False]
    ]
    subprocess.run(words, check=True)
    assert (tmp_path / "nft.log").read_text("utf-8") == said.format(path)


def test_check_mode_says_it_all_and_does_nothing(node: Path) -> None:
    module = FakeModule(check_mode=True)
    asked = converge(module, text())
    assert asked.loaded
    assert (asked.confirm, FakeRollback.armed) == (None, None)
    assert [entry["after_header"] for entry in asked.files.diff] == [
        str(node / "unit"),
        str(node / "dropin"),
        str(node / "firewall.nft"),
        firewall_rules.UNIT,
        firewall_rules.UNIT,
    ]
    assert (module.did, sorted(path.name for path in node.iterdir())) == ([], ["nft"])


@pytest.mark.parametrize("live", [None, "table inet picluster {\n}\n"])
def test_rules_that_somebody_took_away_or_changed_come_back(node: Path, live: str | None) -> None:
    module = FakeModule()
    confirmed(module, text())
    module.live = live
    mended = converge(module, text())
    assert mended.loaded
    assert module.live == text()
    assert mended.files.diff[0]["before"] == (live or "")


def test_rules_that_nft_refuses_are_never_written(node: Path) -> None:
    module = FakeModule(refuses="judge: syntax error")
    with pytest.raises(
        ValueError, match=r"nft does not accept the rules, and none were changed: firewall.nft:3: judge"
    ):
        converge(module, text())
    assert (module.did, (node / "firewall.nft").exists(), (node / "unit").exists()) == ([], False, False)


@pytest.mark.parametrize("before", [None, "old\n"])
def test_rules_that_the_kernel_refuses_leave_the_former_file(node: Path, before: str | None) -> None:
    if before is not None:
        (node / "firewall.nft").write_text(before, encoding="utf-8")
    with pytest.raises(ValueError, match="Operation not supported"):
        converge(FakeModule(refuses="Operation not supported"), text())
    left = node / "firewall.nft"
    assert (left.read_text(encoding="utf-8") if left.exists() else None) == before


def test_absent_takes_everything_away_and_a_second_time_changes_nothing(node: Path) -> None:
    module = FakeModule()
    confirmed(module, text())
    gone = firewall.Firewall(cast("Any", module))
    gone.absent()
    assert gone.files.changed
    assert (module.live, sorted(path.name for path in node.iterdir())) == (None, ["nft"])
    again = firewall.Firewall(cast("Any", module))
    again.absent()
    assert not again.files.changed


def test_a_policy_of_nothing_but_defaults_is_what_the_role_says() -> None:
    assert Policy().node_ports is None
    assert Policy().strangers_ssh
