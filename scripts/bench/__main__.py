"""`python scripts/bench`: measure, print a table, write bench.json."""

import sys
from pathlib import Path

# Run as a folder, Python puts this very folder on the path; its parts are imported by full name.
sys.path[0] = str(Path(__file__).resolve().parents[2])

from scripts.bench.cli import main  # noqa: E402 - needs the path

sys.exit(main(sys.argv[1:]))
