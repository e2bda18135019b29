"""Time the way from a folder of 200 odd photos to a trained network: the commands of docs/howto/own_photos.md.

They run in an empty folder, each as a process of its own, and nothing is edited by hand.

Command: python scripts/first_photos.py [--side 400]
Exit:    0 all commands end well; 1 one fails
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "howto" / "own_photos.md"
sys.path.append(str(ROOT / "tests"))

from helpers.odd_photos import make_odd_photos  # noqa: E402


def commands() -> list[str]:
    """Return the commands of the page, which begins with them."""
    [first, *_] = re.findall(r"^```\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    return str(first).splitlines()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=400, help="typical length of a photo's side, in pixels")
    side = parser.parse_args(arguments).side
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_odd_photos(folder / "photos", side=side)
        environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
        total = 0.0
        for command in commands():
            words = [sys.executable, "-m", *shlex.split(command)]
            began = time.perf_counter()
            done = subprocess.run(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
            seconds = time.perf_counter() - began
            total += seconds
            print(f"$ {command}\n{done.stdout}({seconds:.1f} s)\n", flush=True)
            if done.returncode:
                return 1
    print(f"{total:.1f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
