"""One secret a cluster, one for each purpose."""

from __future__ import annotations

import re

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.picluster.cloud.plugins.filter.derive_secret import FilterModule, derive_secret

SECRET = "0123456789abcdef" * 4


def test_it_is_hmac_sha256_in_hex() -> None:
    # printf k3s-token | openssl dgst -sha256 -mac HMAC -macopt hexkey:<SECRET>
    assert derive_secret(SECRET, "k3s-token") == "d4ab33b67e492965d5d9942f4a8f12588e5484c4e7ce5009dc261b01342d1f29"


def test_every_label_has_its_own_secret() -> None:
    assert derive_secret(SECRET, "a") != derive_secret(SECRET, "b")
    assert re.fullmatch("[0-9a-f]{64}", derive_secret(SECRET, "a"))


@pytest.mark.parametrize("secret", ["", "abc", SECRET[:-1], SECRET + "0", "g" * 64, None, 12])
def test_a_bad_secret_is_refused_and_never_shown(secret: object) -> None:
    with pytest.raises(AnsibleFilterError, match=r"64 hex digits.*from a backup") as caught:
        derive_secret(secret, "k3s-token")
    assert not secret or str(secret) not in str(caught.value) or secret == 12


@pytest.mark.parametrize("label", ["", None, 1])
def test_a_label_is_needed(label: object) -> None:
    with pytest.raises(AnsibleFilterError, match="label"):
        derive_secret(SECRET, label)


def test_ansible_finds_it() -> None:
    assert FilterModule().filters()["derive_secret"] is derive_secret
