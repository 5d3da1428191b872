"""sshd's policy: what is written for which release, and what is compared with sshd's own reading."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.ssh import policy as ssh_policy
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.policy import Release

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
        ({"Banner": {"a": 1}}, "settings.Banner is {'a': 1}; expected one line"),
        ({"Banner": "x\nPermitRootLogin yes"}, "settings.Banner is"),
        ({"Banner": " "}, "settings.Banner is"),
    ],
)
def test_what_cannot_stand_on_one_line_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=r"^settings") as caught:
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
    with pytest.raises(UserError, match=r"^profile pq is not supported by OpenSSH 8\.4 .*; set profile to policy"):
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
    with pytest.raises(UserError, match=r"prints 'Dropbear v2022\.83'; expected OpenSSH"):
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
    with pytest.raises(UserError, match=r"exempt contains .*; expected addresses and networks"):
        ssh_policy.exempt_sources(None, [network])


def test_keywords_that_a_release_does_not_know_are_left_out_unless_the_user_wants_them() -> None:
    words = "x.conf: line 3: Bad configuration option: PerSourcePenaltyExemptList x.conf: line 4: Bad configuration "
    words += "option: passwordauthentication x.conf: terminating, 2 bad configuration options"
    assert ssh_policy.unknown_keywords(words, []) == {"persourcepenaltyexemptlist"}
    assert ssh_policy.unknown_keywords(words, ["persourcepenaltyexemptlist"]) == set()


def check(policy: dict[str, list[str]], desired: dict[str, list[str]], effective: dict[str, list[str]]) -> None:
    """Compare what sshd uses with what is desired; where the difference comes from is not searched."""
    ssh_policy.check_in_effect(policy, desired, effective, "cause of {}".format)


def test_a_value_that_another_file_overrules_is_named() -> None:
    policy = {"PasswordAuthentication": ["no"], "LoginGraceTime": ["2m"]}
    desired = ssh_policy.parse_effective("passwordauthentication no\nlogingracetime 120\n")
    check(policy, desired, desired)
    effective = ssh_policy.parse_effective("passwordauthentication yes\nlogingracetime 120\n")
    with pytest.raises(
        UserError, match=r"^sshd would use PasswordAuthentication yes instead of no: cause of PasswordAuthentication$"
    ):
        check(policy, desired, effective)


def test_nobody_but_the_operators_is_admitted_by_a_line_of_another_file() -> None:
    # Seen on OpenSSH 10.0: AllowGroups collects the values of all files.
    ours = ssh_policy.parse_effective("allowgroups picluster-ssh\n")
    policy = {"AllowGroups": ["picluster-ssh"]}
    check(policy, ours, ours)
    with pytest.raises(
        UserError,
        match=r"^sshd would allow AllowGroups picluster-ssh otherteam instead of picluster-ssh: cause of AllowGroups$",
    ):
        check(policy, ours, {"allowgroups": ["picluster-ssh", "otherteam"]})
    with pytest.raises(
        UserError, match=r"^sshd would allow only AllowUsers bob instead of operators: cause of AllowUsers$"
    ):
        check(policy, ours, {**ours, "allowusers": ["bob"]})
    both = {**ours, "allowusers": ["bob"]}
    check({**policy, "AllowUsers": ["bob"]}, both, both)


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
    with pytest.raises(UserError, match=r"OpenSSH 7\.9 .* is too old: .*; expected 8\.2 or newer"):
        ssh_policy.crypto("policy", Release((7, 9), BULLSEYE.exchanges))


def test_a_keyword_that_collects_values_may_have_more_of_them_from_other_files() -> None:
    desired = ssh_policy.parse_effective("acceptenv LANG\n")
    effective = ssh_policy.parse_effective("acceptenv LANG\nacceptenv COLORTERM\n")
    check({"AcceptEnv": ["LANG"]}, desired, effective)
    with pytest.raises(UserError, match=r"AcceptEnv \(nothing\) instead of LANG"):
        check({"AcceptEnv": ["LANG"]}, desired, {})


def test_a_keyword_that_this_build_accepts_and_ignores_is_no_problem() -> None:
    check({"KerberosAuthentication": ["no"]}, {}, {})


def test_operators_and_exempt_sources_are_part_of_the_policy() -> None:
    options: dict[str, Any] = {"profile": "pq", "settings": {"MaxAuthTries": 2}, "exempt": ["10.0.0.0/8"]}
    policy = ssh_policy.desired_policy(options, TRIXIE, "192.168.1.5", exclusive=True)
    assert policy["AllowGroups"] == ["picluster-ssh"]
    assert policy["AuthorizedKeysFile"] == [".ssh/authorized_keys"]
    assert policy["MaxAuthTries"] == ["2"]
    assert policy["PerSourcePenaltyExemptList"] == ["192.168.1.5,10.0.0.0/8"]
    everybody = ssh_policy.desired_policy({**options, "exempt": []}, TRIXIE, None, exclusive=False)
    assert not {"AllowGroups", "AuthorizedKeysFile", "PerSourcePenaltyExemptList"} & set(everybody)


def test_repeated_keywords_of_sshd_are_kept() -> None:
    assert ssh_policy.parse_effective("acceptenv LANG\nacceptenv LC_*\n") == {"acceptenv": ["LANG", "LC_*"]}


def test_weak_moduli_go_and_comments_stay() -> None:
    line = "20230101000000 2 6 100 {} 2 FFFF\n"
    text = "# comment\n" + line.format(2047) + line.format(3071) + line.format(8191) + "rubbish\n"
    assert ssh_policy.strong_moduli(text) == "# comment\n" + line.format(3071) + line.format(8191)
