"""Runs inside a node: print every name of a tree with all that belongs to it, one line each, to be compared as text.

python -m demo.listing DIRECTORY
"""

from __future__ import annotations

import sys
from dataclasses import astuple
from pathlib import Path

from holdfast.testing.trees import read_tree

if __name__ == "__main__":
    for name, entry in sorted(read_tree(Path(sys.argv[1])).items()):
        sys.stdout.write(f"{name!r} {astuple(entry)!r}\n")
