"""Entry point of ``python -m lab``."""

from __future__ import annotations

import sys
from pathlib import Path

# The bootstrap of this very checkout, whether or not one is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bootstrap"))

from lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
