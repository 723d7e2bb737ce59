"""Print the folder that holds the unit files."""

import sys
from pathlib import Path

sys.stdout.write(f"{Path(__file__).parent}\n")
