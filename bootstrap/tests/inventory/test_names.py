from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml
from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetParseError
from hypothesis import assume, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ansible_collections.picluster.cloud.plugins.module_utils.node.hostname import is_hostname
from picluster.errors import PiclusterError
from picluster.inventory import names

HOSTS = yaml.safe_load((Path(__file__).parents[1] / "cases" / "hostnames.yml").read_text(encoding="utf-8"))
CASES = yaml.safe_load((Path(__file__).parents[1] / "cases" / "names.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES["good"], ids=lambda case: case["range"])
def test_a_range_becomes_names_in_the_order_given(case: dict[str, Any]) -> None:
    assert names.expand_names(case["range"]) == case["names"]


@pytest.mark.parametrize("case", CASES["bad"], ids=lambda case: case["range"][:20])
def test_a_bad_range_ends_in_one_sentence(case: dict[str, str]) -> None:
    with pytest.raises(PiclusterError) as caught:
        names.expand_names(case["range"])
    assert case["says"] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_hundred_padded_names_come_in_order() -> None:
    found = names.expand_names("red[001-200]")
    assert found == [f"red{number:03}" for number in range(1, 201)]


def _digits(number: int, width: int) -> str:
    """Return a padded number without the formatting that the library uses."""
    text = str(number)
    return "0" * (width - len(text)) + text


_number = st.integers(0, 300)


def _clustershell(expression: str) -> list[str]:
    """Return the names as ClusterShell expands them, sorted and without duplicates."""
    return sorted(NodeSet(expression, resolver=RESOLVER_NOGROUP))


@st.composite
def _range(draw: st.DrawFn) -> str:
    """Draw a range in the common syntax of ClusterShell and picluster: no steps, both ends padded alike."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        first, more, width = draw(_number), draw(st.integers(0, 20)), draw(st.integers(1, 4))
        padded = len(str(first + more)) <= width
        low, high = (_digits(number, width if padded else 1) for number in (first, first + more))
        parts.append(f"{low}-{high}" if more or draw(st.booleans()) else low)
    return f"[{','.join(parts)}]"


_prefix = st.from_regex(r"[a-z]([a-z0-9.-]{0,4}[a-z.-])?", fullmatch=True)
_pattern = st.lists(st.tuples(_prefix, st.one_of(_range(), st.just("7"))), min_size=1, max_size=2).map(
    lambda pieces: "".join(prefix + inside for prefix, inside in pieces)
)


@given(st.lists(_pattern, min_size=1, max_size=3).map(",".join))
def test_ranges_agree_with_clustershell(expression: str) -> None:
    wanted = _clustershell(expression)
    assume(len(wanted) <= names.MAX_NODES // 2)
    try:
        found = names.expand(expression, "--name")
    except PiclusterError as error:
        assert "twice" in str(error)  # noqa: PT017 - the one thing that ClusterShell takes and we refuse
    else:
        assert sorted(found) == wanted


@given(st.text("re[]-,012", max_size=12))
def test_what_both_we_and_clustershell_take_means_the_same(text: str) -> None:
    try:
        found, wanted = names.expand(text, "--name"), _clustershell(text)
    except (PiclusterError, NodeSetParseError):
        return
    assert sorted(found) == wanted


@pytest.mark.parametrize(
    "text", ["red[5-", "red[7-5]", "red[a-c]", "red[[1-2]]", "red5]", "red[]", "red[1,]", "red[1-010]"]
)
def test_what_clustershell_refuses_we_refuse(text: str) -> None:
    with pytest.raises(NodeSetParseError):
        _clustershell(text)
    with pytest.raises(PiclusterError, match=r"is not a range|ends of different length"):
        names.expand(text, "--name")


@given(st.text("red[]-,0123456789. \u2013", max_size=12))
def test_any_text_is_expanded_or_refused_in_a_sentence(text: str) -> None:
    try:
        found = names.expand_names(text)
    except PiclusterError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both ends are right, but no other exception is
    else:
        assert len(set(found)) == len(found) > 0


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("\u2014name", "type --name"),
        ("\u2014-name", "type --name"),  # so it stands in cm-burn's own description
        ("\u2013\u2013ips", "type --ips"),
        ("\u2013o", "long dash"),
        ("red[5\u20137]", r"type red\[5-7\]"),
    ],
)
def test_long_dashes_of_word_processors_are_named(argument: str, says: str) -> None:
    with pytest.raises(PiclusterError, match=says):
        names.refuse_long_dashes(["--image", "a.img", argument])


def test_a_dash_inside_a_file_name_is_nobodys_business() -> None:
    names.refuse_long_dashes(["--image", "my \u2013 image.img"])


@pytest.mark.parametrize(
    ("found", "cluster"),
    [
        (["red1", "red2"], "red"),
        (["red-01", "red-02"], "red"),
        (["red5"], "red"),
        (["rack1n1", "rack2n1"], "rack"),
        (["node", "node1"], "node"),
    ],
)
def test_the_cluster_is_what_the_names_have_in_common(found: list[str], cluster: str) -> None:
    assert names.cluster_of(found) == cluster


def test_names_with_nothing_in_common_ask_for_a_cluster() -> None:
    with pytest.raises(PiclusterError, match="--cluster"):
        names.cluster_of(["alpha", "beta"])


@pytest.mark.parametrize("cluster", ["", "../red", "Red", "a/b", "-x", "a" * 64])
def test_a_cluster_name_cannot_leave_the_inventories(cluster: str) -> None:
    with pytest.raises(PiclusterError, match="cluster name"):
        names.check_cluster_name(cluster)


def _checked(ips: str, **options: object) -> names.Net:
    addresses = names.expand_addresses(ips)
    settings = {"prefix": 24, "gateway": None, "dns": []} | options
    net = names.make_net(addresses, **settings)  # type: ignore[arg-type] # a table of mixed options
    names.check_nodes(zip([f"red{number}" for number in range(1, 1 + len(addresses))], addresses, strict=True), net)
    return net


def test_the_gateway_is_the_first_of_the_net_and_the_name_server_the_gateway() -> None:
    net = _checked("192.168.1.[5-7]")
    assert (str(net.network), str(net.gateway), net.dns) == ("192.168.1.0/24", "192.168.1.1", (net.gateway,))


def test_a_larger_net_takes_addresses_on_both_sides() -> None:
    assert str(_checked("10.0.0.255,10.0.1.0", prefix=23).network) == "10.0.0.0/23"


@pytest.mark.parametrize(
    ("ips", "options", "says"),
    [
        ("192.168.1.[250-256]", {}, "--ips '192.168.1.256' is not an IPv4 address; expected one such as 192.168.1.5"),
        ("192.168.1.[05-07]", {}, "not an IPv4 address"),
        ("192.168.1", {}, "not an IPv4 address"),
        ("fe80::1", {}, "not an IPv4 address"),
        ("192.168.1.5,192.168.1.5", {}, "192.168.1.5 twice"),
        ("192.168.1.[0-2]", {}, "the address of red1, 192.168.1.0, is the network address"),
        ("192.168.1.[254-255]", {}, "the address of red2, 192.168.1.255, is the broadcast address"),
        ("192.168.1.[1-3]", {}, "the address of red1, 192.168.1.1, is that of the gateway"),
        ("192.168.1.5,192.168.2.5", {}, "the address of red2, 192.168.2.5, is not in 192.168.1.0/24"),
        ("127.0.0.1", {}, "loopback"),
        ("224.0.0.5", {}, "multicast"),
        ("169.254.7.5", {}, "link-local"),
        ("192.168.1.5", {"gateway": "169.254.0.1"}, "link-local"),
        ("192.168.1.5", {"gateway": "192.168.2.1"}, "--gateway 192.168.2.1 is not in"),
        ("192.168.1.5", {"gateway": "192.168.1.255"}, "broadcast"),
        ("192.168.1.5", {"gateway": "router"}, "--gateway 'router' is not an IPv4 address"),
        ("192.168.1.5", {"dns": ["1.1.1"]}, "--dns '1.1.1' is not an IPv4 address"),
        ("192.168.1.5", {"prefix": 31}, "--prefix 31"),
        ("192.168.1.5", {"prefix": 0}, "--prefix 0"),
    ],
)
def test_an_address_that_no_node_can_have_is_named(ips: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(PiclusterError) as caught:
        _checked(ips, **options)
    assert says in str(caught.value)


def test_two_nodes_with_one_address_are_both_named() -> None:
    net = _checked("192.168.1.5")
    with pytest.raises(PiclusterError, match="red2 and red1 both have"):
        names.check_nodes([("red1", IPv4Address("192.168.1.5")), ("red2", IPv4Address("192.168.1.5"))], net)


@pytest.mark.parametrize(
    ("ips", "count"),
    [("192.168.1.[5-6]", 2), ("192.168.1.5", 1), ("192.168.1.[5-8]", 4)],
    ids=["shorter", "one", "longer"],
)
def test_names_and_addresses_of_different_length_are_counted(ips: str, count: int) -> None:
    with pytest.raises(PiclusterError, match=rf"--name has 3 \(red1 to red3\) but --ips has {count} "):
        names.pair(["red1", "red2", "red3"], names.expand_addresses(ips))


def _is_name(name: str) -> bool:
    try:
        names._check_name(name)
    except PiclusterError:
        return False
    return True


@pytest.mark.parametrize(("name", "right"), [(name, right == "good") for right in HOSTS for name in HOSTS[right]])
def test_cards_and_playbooks_allow_and_refuse_the_same_host_names(name: str, right: bool) -> None:  # noqa: FBT001 - a column of the table
    # Bootstrap and collection are installed without each other, so each states the rule; this holds them together.
    assert (_is_name(name), is_hostname(name)) == (right, right)


@given(
    st.one_of(
        st.text("ano17-_.Xé", max_size=6), st.text("a-", min_size=60, max_size=66), st.text("0123e-xb", max_size=10)
    )
)
def test_a_host_name_is_one_to_cards_playbooks_and_yaml(name: str) -> None:
    assert _is_name(name) == is_hostname(name)
    assert not is_hostname(name) or (yaml.safe_load(name), YAML(typ="safe").load(name)) == (name, name)
