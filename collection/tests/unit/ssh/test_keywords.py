"""Keywords of sshd_config and their values: an installed sshd knows the same ones."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.ssh import policy
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.keywords import CHOICES, KEYWORDS

if TYPE_CHECKING:
    from pathlib import Path

SSHD = shutil.which("sshd", path="/usr/sbin:/sbin:/usr/bin") or ""
# Newer than the OpenSSH of Debian 12, or left out of some builds.
OPTIONAL = {"GSSAPI", "Kerberos", "PAMServiceName", "PerSourcePenal", "RefuseConnection", "SshdAuth", "SshdSession"}


@pytest.mark.parametrize(
    ("keyword", "meant"),
    [
        ("PermitRootLogn", "did you mean PermitRootLogin?"),
        ("maxsession", "did you mean MaxSessions?"),
        ("Include", "expected one of sshd_config(5), not Match or Include"),
        ("Port 22\nPermitRootLogin", "did you mean PermitRootLogin?"),
        ("Q", "expected one of sshd_config(5), not Match or Include"),
    ],
)
def test_a_keyword_that_sshd_does_not_know_is_refused_with_the_right_one(keyword: str, meant: str) -> None:
    with pytest.raises(UserError) as caught:
        policy.check_keywords([keyword])
    assert str(caught.value) == f"settings contains the keyword {keyword!r}; {meant}"


def test_the_policy_itself_has_only_known_keywords_and_values() -> None:
    policy.merged_policy(policy.ACCESS)
    policy.check_keywords([*policy._RENAMED, *(former for former, _since in policy._RENAMED.values()), policy.EXEMPT])
    assert {keyword.lower() for keyword in KEYWORDS} >= policy.OPTIONAL


@pytest.mark.parametrize("value", [True, False, "yes", "No"])
def test_a_switch_is_on_or_off(value: object) -> None:
    assert policy.merged_policy({"x11forwarding": value})["X11Forwarding"][0].lower() in {"yes", "no"}
    with pytest.raises(UserError, match=r"settings\.X11Forwarding is 'maybe'; expected one of yes, no"):
        policy.merged_policy({"x11forwarding": "maybe"})


@pytest.mark.skipif(not SSHD, reason="no sshd here")
def test_an_installed_sshd_knows_the_keywords_and_their_values_and_no_others(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)

    def complaints(lines: list[str]) -> str:
        (tmp_path / "conf").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        command = [SSHD, "-t", "-f", str(tmp_path / "conf"), "-h", str(key)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    unknown = re.findall(r"Bad configuration option: (\w+)", complaints([f"{keyword} no" for keyword in KEYWORDS]))
    assert [word for word in unknown if not word.startswith(tuple(OPTIONAL))] == []
    sure = {keyword: values for keyword, values in CHOICES.items() if not keyword.startswith(tuple(OPTIONAL))}
    for place in range(max(map(len, sure.values()))):
        assert complaints([f"{keyword} {values[place]}" for keyword, values in sure.items() if values[place:]]) == ""
    assert [keyword for keyword in sure if not complaints([f"{keyword} maybe"])] == []
