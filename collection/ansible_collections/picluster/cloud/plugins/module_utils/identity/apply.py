# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that makes a node itself, in the order in which it depends on each other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.identity.clock import Clock, TimeSync
from ansible_collections.picluster.cloud.plugins.module_utils.identity.machine_id import ensure_machine_id
from ansible_collections.picluster.cloud.plugins.module_utils.identity.names import set_hostname, set_hosts
from ansible_collections.picluster.cloud.plugins.module_utils.identity.region import Region
from ansible_collections.picluster.cloud.plugins.module_utils.identity.rules import check_arch, check_options
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import Packages

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Converge the node to the options of the module identity; return the module's answer."""
    # Reads the clock, so it comes before everything that takes time.
    clock = Clock(node)
    check_options(options)
    packages = Packages(node, options["lock_timeout"])
    arch = node.query("dpkg", "--print-architecture").strip()
    check_arch(options["hostname"], options["arch"], arch, os.uname().machine)
    # The clock first: without it neither apt nor TLS works.
    time, uptime = options["controller_time"], options["controller_uptime"]
    if uptime is not None:
        clock.correct(time, uptime)
    elif time is not None and (reading := clock.doubt(time)):
        return {"clock_reading": reading}
    set_hostname(node, options["hostname"])
    set_hosts(node, options["hosts"])
    machine_id = ensure_machine_id(node, options["taken_machine_id"])
    region = Region(node, packages)
    region.set_timezone(options["timezone"])
    region.set_locale(options["locale"])
    return {
        "time_keeper": TimeSync(node, packages).converge(options["ntp_servers"]),
        "hostname": options["hostname"],
        "arch": arch,
        "clock_off": clock.offset,
        "clock_set": clock.was_set,
        "machine_id": machine_id,
        "mac": (node.files.read(f"/sys/class/net/{options['interface']}/address") or "").strip(),
    }
