# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of ``python -m lab.k3s_stand_in``, and of the archive."""

from __future__ import annotations

from lab.k3s_stand_in.cli import main

if __name__ == "__main__":
    main()
