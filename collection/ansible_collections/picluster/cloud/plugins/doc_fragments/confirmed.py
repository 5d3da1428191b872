# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Options of the modules whose changes can lock the owner out."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation fragment picluster.cloud.confirmed."""

    DOCUMENTATION = r"""
options:
  confirm_within:
    description:
      - Seconds in which a new login from the controller must succeed after a change. Otherwise the node rolls the
        change back by itself, also after a power cut.
      - From 10 to 3600.
    type: int
    default: 60
  confirm_token:
    description: Identifies this run's change; set by the action plugin of the same name.
    type: str
"""
