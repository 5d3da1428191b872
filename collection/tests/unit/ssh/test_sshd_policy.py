"""sshd's policy: what is written, what is compared, who would be locked out; a failure leaves all as it was."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles
from ansible_collections.picluster.cloud.plugins.module_utils.ssh import policy as ssh_policy
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.accounts import File
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.operators import parse_operators
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.policy import Release
from ansible_collections.picluster.cloud.plugins.modules import sshd_policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIoB9rJk3u0Nf2c0l0b1tq7s0m4dYfZ2xJQ8m1x5q3aB me@home"
BOOKWORM = Release((9, 2), frozenset({*ssh_policy._POLICY_9, "diffie-hellman-group14-sha256"}))
TRIXIE = Release((10, 0), frozenset({*ssh_policy._POLICY_9, *ssh_policy._PQ}))
BULLSEYE = Release((8, 4), frozenset(ssh_policy._POLICY_9[2:]))


def test_passwords_and_root_are_out_by_default() -> None:
    lines = ssh_policy.render(ssh_policy.merged_policy({})).splitlines()
    for line in ("PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin no", "UsePAM yes"):
        assert line in lines
    assert "AuthenticationMethods publickey" in lines


def test_settings_add_replace_and_take_out_whatever_their_case() -> None:
    policy = ssh_policy.merged_policy(
        {"Banner": "none", "x11forwarding": True, "IgnoreRhosts": None, "AcceptEnv": ["LANG", "LC_*"], "macs": "x"},
        {"MACs": ["a,b"], "HostKey": ["/k"]},
    )
    assert policy["Banner"] == ["none"]
    assert policy["X11Forwarding"] == ["yes"]
    assert policy["MACs"] == ["x"]
    assert "IgnoreRhosts" not in policy
    assert ssh_policy.render(policy).endswith("HostKey /k\nBanner none\nAcceptEnv LANG\nAcceptEnv LC_*\n")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"Match": "User pi"}, "'Match'"),
        ({"Max Auth": 3}, "'Max Auth'"),
        ({"Banner": {"a": 1}}, "Banner the value {'a': 1}"),
        ({"Banner": "x\nPermitRootLogin yes"}, "Banner the value"),
        ({"Banner": " "}, "Banner the value"),
    ],
)
def test_what_cannot_stand_on_one_line_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="ssh_settings") as caught:
        ssh_policy.merged_policy(settings)
    assert words in str(caught.value)


@pytest.mark.parametrize("release", [BOOKWORM, TRIXIE])
def test_pq_offers_nothing_that_a_quantum_computer_breaks(release: Release) -> None:
    exchanges = ssh_policy.crypto("pq", release)["KexAlgorithms"][0].split(",")
    assert exchanges
    assert all(name.startswith(("mlkem768x25519", "sntrup761x25519")) for name in exchanges)
    assert set(exchanges) <= release.exchanges
    assert ssh_policy.crypto("pq", release)["HostKey"] == ["/etc/ssh/ssh_host_ed25519_key"]


def test_policy_is_what_ssh_audit_s_policies_want_in_their_order() -> None:
    builtin = pytest.importorskip("ssh_audit.builtin_policies").BUILTIN_POLICIES
    for name, release in (("Hardened Debian 12 (version 3)", BOOKWORM), ("Hardened Debian 13 (version 1)", TRIXIE)):
        wanted, ours = builtin[name], ssh_policy.crypto("policy", release)
        # What the protocol adds by itself.
        kex = [one for one in wanted["kex"] if one not in {"ext-info-s", "kex-strict-s-v00@openssh.com"}]
        assert ours["KexAlgorithms"] == [",".join(kex)]
        assert ours["Ciphers"] == [",".join(wanted["ciphers"])]
        assert ours["MACs"] == [",".join(wanted["macs"])]
    assert len(ssh_policy.crypto("policy", BOOKWORM)["HostKey"]) == 2


def test_a_release_without_a_post_quantum_exchange_is_named_with_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"OpenSSH 8\.4 .* set ssh_profile to policy"):
        ssh_policy.crypto("pq", BULLSEYE)
    assert ssh_policy.crypto("policy", BULLSEYE)["KexAlgorithms"][0].startswith("curve25519-sha256,")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.22 25 Aug 2026\n", (9, 2)),
        ("OpenSSH_10.0p2 Debian-7+deb13u4, OpenSSL 3.5.9", (10, 0)),
        ("OpenSSH_8.9p1", (8, 9)),
    ],
)
def test_the_release_is_read_from_ssh_s_own_words(text: str, version: tuple[int, int]) -> None:
    assert ssh_policy.parse_version(text) == version


def test_another_ssh_is_refused() -> None:
    with pytest.raises(ValueError, match="wanted is an OpenSSH"):
        ssh_policy.parse_version("Dropbear v2022.83")


@pytest.mark.parametrize(
    ("controller", "networks", "value"),
    [
        ("10.0.0.9", [], ["10.0.0.9"]),
        ("10.0.0.9", ["192.168.1.0/24", "10.1.1.1"], ["10.0.0.9,192.168.1.0/24,10.1.1.1"]),
        ("10.0.0.9", ["10.0.0.0/8"], ["10.0.0.0/8"]),
        ("::ffff:10.0.0.9", [], ["10.0.0.9"]),
        # Another address every day, in the same net: neither shut out then nor changed for that.
        ("fd00::1", ["10.0.0.0/8"], ["fd00::/64,10.0.0.0/8"]),
        ("fd00::1", ["fd00::/48"], ["fd00::/48"]),
        ("fe80::1%eth0", [], []),
        (None, [], []),
    ],
)
def test_the_controller_is_never_shut_out(controller: str | None, networks: list[str], value: list[str]) -> None:
    assert ssh_policy.exempt_sources(controller, networks) == value


@pytest.mark.parametrize("network", ["10.0.0.1/24", "home", ""])
def test_what_is_no_network_is_refused(network: str) -> None:
    with pytest.raises(ValueError, match="ssh_exempt has"):
        ssh_policy.exempt_sources(None, [network])


def test_keywords_that_a_release_does_not_know_are_left_out_unless_the_user_wants_them() -> None:
    words = "x.conf: line 3: Bad configuration option: PerSourcePenaltyExemptList x.conf: line 4: Bad configuration "
    words += "option: passwordauthentication x.conf: terminating, 2 bad configuration options"
    assert ssh_policy.unknown_keywords(words, []) == {"persourcepenaltyexemptlist"}
    assert ssh_policy.unknown_keywords(words, ["persourcepenaltyexemptlist"]) == set()


def test_a_value_that_another_file_overrules_is_named() -> None:
    policy = {"PasswordAuthentication": ["no"], "LoginGraceTime": ["2m"]}
    wanted = ssh_policy.parse_effective("passwordauthentication no\nlogingracetime 120\n")
    assert ssh_policy.overruled(policy, wanted, wanted) is None
    effective = ssh_policy.parse_effective("passwordauthentication yes\nlogingracetime 120\n")
    problem = ssh_policy.overruled(policy, wanted, effective)
    assert problem is not None
    assert problem.startswith("sshd would use PasswordAuthentication yes instead of no:")


def test_nobody_but_the_operators_is_let_in_by_another_file_s_line() -> None:
    # Seen on OpenSSH 10.0: AllowGroups gathers the values of all files.
    ours = ssh_policy.parse_effective("allowgroups picluster-ssh\n")
    policy = {"AllowGroups": ["picluster-ssh"]}
    assert ssh_policy.overruled(policy, ours, ours) is None
    more = ssh_policy.overruled(policy, ours, {"allowgroups": ["picluster-ssh", "otherteam"]})
    assert more is not None
    assert more.startswith("sshd would let in AllowGroups picluster-ssh otherteam instead of picluster-ssh:")
    fewer = ssh_policy.overruled(policy, ours, {**ours, "allowusers": ["bob"]})
    assert fewer is not None
    assert fewer.startswith("sshd would let in only AllowUsers bob")
    both = {**ours, "allowusers": ["bob"]}
    assert ssh_policy.overruled({**policy, "AllowUsers": ["bob"]}, both, both) is None


def test_older_releases_get_the_names_that_they_know() -> None:
    # OpenSSH 8.4 stops at the new names, and its ChallengeResponseAuthentication turned keyboards on again.
    policy = ssh_policy.merged_policy({}, ssh_policy.crypto("policy", BULLSEYE))
    spelt = ssh_policy.spelt_for(BULLSEYE, policy)
    assert len(spelt) == len(policy)
    assert spelt["ChallengeResponseAuthentication"] == ["no"]
    assert spelt["PubkeyAcceptedKeyTypes"] == policy["PubkeyAcceptedAlgorithms"]
    assert "KbdInteractiveAuthentication" not in spelt
    assert ssh_policy.spelt_for(BOOKWORM, policy) == policy
    assert ssh_policy.accepted_algorithms({"pubkeyacceptedkeytypes": ["a"]}) == "a"
    assert ssh_policy.accepted_algorithms({}) == ""


def test_a_setting_by_its_former_name_replaces_ours() -> None:
    merged = ssh_policy.merged_policy({"PubkeyAcceptedKeyTypes": "ssh-rsa"}, ssh_policy.crypto("pq", TRIXIE))
    assert merged["PubkeyAcceptedAlgorithms"] == ["ssh-rsa"]
    assert "PubkeyAcceptedKeyTypes" not in merged


def test_a_release_that_reads_no_drop_in_is_refused() -> None:
    with pytest.raises(ValueError, match=r"OpenSSH 7\.9 .* wanted is 8\.2 or newer"):
        ssh_policy.crypto("policy", Release((7, 9), BULLSEYE.exchanges))


def test_a_keyword_that_gathers_values_may_have_more_of_them_from_other_files() -> None:
    wanted = ssh_policy.parse_effective("acceptenv LANG\n")
    effective = ssh_policy.parse_effective("acceptenv LANG\nacceptenv COLORTERM\n")
    assert ssh_policy.overruled({"AcceptEnv": ["LANG"]}, wanted, effective) is None
    assert ssh_policy.overruled({"AcceptEnv": ["LANG"]}, wanted, {}) is not None


def test_a_keyword_that_this_build_accepts_and_ignores_is_no_trouble() -> None:
    assert ssh_policy.overruled({"KerberosAuthentication": ["no"]}, {}, {}) is None


def test_repeated_keywords_of_sshd_are_kept() -> None:
    assert ssh_policy.parse_effective("acceptenv LANG\nacceptenv LC_*\n") == {"acceptenv": ["LANG", "LC_*"]}


def test_weak_moduli_go_and_comments_stay() -> None:
    line = "20230101000000 2 6 100 {} 2 FFFF\n"
    text = "# comment\n" + line.format(2047) + line.format(3071) + line.format(8191) + "rubbish\n"
    assert ssh_policy.strong_moduli(text) == "# comment\n" + line.format(3071) + line.format(8191)


class Fake:
    """A node whose sshd, accounts and rollback note what happens to them."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, check_mode: bool = False) -> None:
        self.events: list[str] = []
        self.armed: object = None
        self.dropin = tmp_path / "00-picluster.conf"
        monkeypatch.setattr(sshd_policy, "DROPIN", str(self.dropin))
        monkeypatch.setattr(sshd_policy, "MODULI", str(tmp_path / "moduli"))
        self.reload: Callable[[], None] = lambda: self.events.append("reload")
        node = object.__new__(sshd_policy.Node)
        node._module = SimpleNamespace(check_mode=check_mode)
        node._options = {"user": "pi", "confirm_within": 60, "confirm_token": None, "settings": {}, "operators": {}}
        node._operators = {}
        node.planned = TextFiles(SimpleNamespace(check_mode=True))  # type: ignore[arg-type]  # a stand-in
        node._sshd = SimpleNamespace(
            known=lambda policy, _: (policy, {}, []),
            lock_out=lambda *_: None,
            make_host_keys=lambda _: [],
            in_effect=lambda *_: {"usepam": ["yes"]},
            reload=lambda: self.reload(),  # noqa: PLW0108 - a test puts another one there
        )
        node._accounts = SimpleNamespace(
            missing=list,
            create=lambda: None,
            files=list,
            members=lambda: None,
            admit=lambda: None,
            admission=lambda names: ["gpasswd", ",".join(names)],
            loses_sudo=lambda _: True,
        )
        node._rollback = SimpleNamespace(
            state=lambda: self.armed, arm=self._arm, undo=lambda: self.events.append("undo")
        )
        monkeypatch.setattr(node, "policy", lambda: {"UsePAM": ["yes"]})
        self.node = node

    def _arm(self, _seconds: int, _token: str, files: list[str], restore: list[list[str]], **_: Any) -> dict[str, Any]:
        self.events.append(f"arm {len(files)} {restore[-1][1]}")
        assert not self.dropin.exists() or self.dropin.read_text() == "old\n" or not files
        return {"name": "sshd"}


def test_it_is_armed_before_the_change_and_reloaded_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(tmp_path, monkeypatch)
    result = fake.node.converge()
    assert fake.events == ["arm 1 try-reload-or-restart", "reload"]
    assert result["changed"]
    assert result["confirm"] == {"name": "sshd"}
    assert fake.dropin.read_text().endswith("UsePAM yes\n")


def test_a_second_call_arms_nothing_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Fake(tmp_path, monkeypatch).node.converge()
    fake = Fake(tmp_path, monkeypatch)
    result = fake.node.converge()
    assert fake.events == []
    assert not result["changed"]
    assert "confirm" not in result


def test_check_mode_shows_and_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(tmp_path, monkeypatch, check_mode=True)
    assert fake.node.converge()["changed"]
    assert fake.events == []
    assert not fake.dropin.exists()
    assert fake.node.planned.diff[0]["after"].endswith("UsePAM yes\n")


def test_a_change_that_a_killed_run_left_unproven_is_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Fake(tmp_path, monkeypatch).node.converge()
    fake = Fake(tmp_path, monkeypatch)
    fake.armed = SimpleNamespace(restoring=False)
    result = fake.node.converge()
    assert fake.events == ["arm 0 try-reload-or-restart", "reload"]
    assert result["confirm"] == {"name": "sshd"}


def test_what_was_half_way_back_is_back_before_anything_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Fake(tmp_path, monkeypatch).node.converge()
    fake = Fake(tmp_path, monkeypatch)
    fake.armed = SimpleNamespace(restoring=True)

    def undo() -> None:
        fake.events.append("undo")
        fake.dropin.write_text("old\n")

    fake.node._rollback.undo = undo  # type: ignore[method-assign]  # a stand-in
    fake.node.converge()
    assert fake.events == ["undo", "arm 1 try-reload-or-restart", "reload"]
    assert fake.dropin.read_text().endswith("UsePAM yes\n")


@pytest.mark.parametrize(("armed", "noted"), [(None, 2), (SimpleNamespace(restoring=False), 1)])
def test_the_members_that_come_back_are_those_from_before_the_first_arming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, armed: object, noted: int
) -> None:
    fake = Fake(tmp_path, monkeypatch)
    fake.armed, fake.node._operators = armed, parse_operators({"pi": {"keys": [KEY]}})
    fake.node._accounts.members = lambda: ["alice", "pi"]  # type: ignore[method-assign]  # a stand-in
    commands: list[list[str]] = []
    fake.node._rollback.arm = lambda *arguments, **_: commands.extend(arguments[3])  # type: ignore[method-assign]  # a stand-in
    fake.node.converge()
    assert len(commands) == noted
    assert (["gpasswd", "alice,pi"] in commands) is (armed is None)


def test_members_change_after_their_files_so_that_a_killed_run_is_carried_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Fake(tmp_path, monkeypatch)
    keys = tmp_path / "alice"
    keys.write_text("her key\n")
    fake.node._accounts.files = lambda: [File(str(keys), None)]  # type: ignore[method-assign]  # a stand-in

    def admit() -> None:
        fake.events.append(f"admit {keys.exists()} {fake.dropin.exists()}")

    fake.node._accounts.admit = admit  # type: ignore[method-assign]  # a stand-in
    fake.node.converge()
    assert fake.events[1] == "admit False False"


@pytest.mark.parametrize("sudo_user", ["pi", "another"])
def test_ansible_does_not_lose_the_sudo_that_it_came_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sudo_user: str
) -> None:
    fake = Fake(tmp_path, monkeypatch)
    monkeypatch.setenv("SUDO_USER", sudo_user)
    monkeypatch.setattr(sshd_policy, "SUDOERS", str(tmp_path))
    mine = tmp_path / "picluster-pi"
    mine.write_text("ALL\n")
    fake.node._accounts.files = lambda: [File(str(mine), None, 0o440)]  # type: ignore[method-assign]  # a stand-in
    if sudo_user == "pi":
        with pytest.raises(ValueError, match="takes sudo from pi, by which Ansible becomes root"):
            fake.node.converge()
        assert fake.events[-1] == "undo"
    else:
        fake.node.converge()
        assert fake.events[-1] == "reload"


def test_a_failure_midway_goes_back_at_once_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(tmp_path, monkeypatch)

    def fail() -> None:
        raise OSError(errno.EIO, "Input/output error", "/x")

    fake.reload = fail
    with pytest.raises(ValueError, match="/x cannot be written: Input/output error; check the card"):
        fake.node.converge()
    assert fake.events[-1] == "undo"


def test_moduli_are_touched_only_where_a_client_can_ask_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Fake(tmp_path, monkeypatch)
    line = "20230101000000 2 6 100 {} 2 FFFF\n"
    (tmp_path / "moduli").write_text(line.format(2047) + line.format(3071))
    assert [file.path for file in fake.node._files(ssh_policy.crypto("pq", BOOKWORM))] == [str(fake.dropin)]
    files = fake.node._files(ssh_policy.crypto("policy", BOOKWORM))
    assert files[1:] == [File(str(tmp_path / "moduli"), line.format(3071))]
    # Nothing left would mean sshd's own small groups.
    (tmp_path / "moduli").write_text(line.format(2047))
    assert len(fake.node._files(ssh_policy.crypto("policy", BOOKWORM))) == 1
