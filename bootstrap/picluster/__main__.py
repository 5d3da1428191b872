"""python -m picluster."""

from __future__ import annotations

import sys

from picluster.cli import main

sys.exit(main())
