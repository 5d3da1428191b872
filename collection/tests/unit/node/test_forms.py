"""Values that several subjects have: what passes, and the one sentence about what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node import forms
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (forms.check_users, ["pi", "ada.lovelace"]),
        (forms.check_path, "/usr/lib/jvm"),
        (forms.check_url, "https://example.org/a%2Bb"),
    ],
)
def test_a_right_value_passes(check: Callable[[str, Any], object], value: object) -> None:
    check("x", value)


@pytest.mark.parametrize(
    ("check", "value", "sentence"),
    [
        (forms.check_users, ["pi", "a b"], "x contains 'a b'; expected user names such as pi"),
        (forms.check_path, "jvm", "x is not an absolute path: 'jvm'; expected one that begins with /"),
        (forms.check_url, "http://e", "x is not an address of a download: 'http://e'; expected one that begins with"),
        (forms.check_url, "https:///x", "x is not an address of a download: 'https:///x'; expected one that begins"),
        (forms.check_url, "https://e/a b", "x is not an address of a download: 'https://e/a b'; expected one that"),
    ],
)
def test_a_wrong_value_is_named(check: Callable[[str, Any], object], value: object, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        check("x", value)
    assert str(caught.value).startswith(sentence)


def test_an_empty_checksum_stands_for_none() -> None:
    forms.check_checksums(["", "a" * 64])
    with pytest.raises(UserError, match="the checksum is invalid: 'md5:12'"):
        forms.check_checksums(["md5:12"])


def test_a_key_that_nobody_knows_may_be_a_new_one_but_a_near_miss_is_a_slip() -> None:
    forms.refuse_near_misses("x", ["log-opts", "quite-new"], {"log-opts"})
    with pytest.raises(UserError, match=r"^x contains log-optss; did you mean log-opts\?$"):
        forms.refuse_near_misses("x", ["log-optss"], {"log-opts"})
