"""Time the way from a folder of 200 odd photos to five predictions: the commands of docs/howto/own_photos.md.

They run in an empty folder, each as a process of its own, and nothing is edited by hand.

Command: python scripts/first_photos.py [--side 400] [--write]
Exit:    0 all commands end well and each of the five photos has a class; 1 not so
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "howto" / "own_photos.md"
sys.path.append(str(ROOT / "tests"))

from helpers.odd_photos import CLASSES, make_new_photos, make_odd_photos  # noqa: E402


def commands() -> list[str]:
    """Return the commands of the page, which begins with them."""
    [first, *_] = re.findall(r"^```\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    return str(first).splitlines()


def sentence(seconds: Mapping[str, float], *, told: int) -> str:
    """Return what the page says of the last measurement."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("dlassign", "torch", "pillow"))
    each = ", ".join(f"`{command}` {spent:.0f} s" for command, spent in seconds.items())
    return (
        f"On {time.strftime('%Y-%m-%d', time.gmtime())} it took {sum(seconds.values()):.0f} s by the clock: {each}; "
        f"{told} of 5 new photos got a class.\n{os.cpu_count()} cores ({platform.machine()}, {platform.system()}), "
        f"load {os.getloadavg()[2]:.1f}, Python {platform.python_version()}, {versions}.\n"
    )


def write(text: str) -> None:
    """Put the sentence into the page in place of the former one."""
    former = re.compile(r"^On \d{4}-\d\d-\d\d it took .*?\n(?=\n)", flags=re.DOTALL | re.MULTILINE)
    PAGE.write_text(former.sub(lambda _: text, PAGE.read_text()))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=400, help="typical length of a photo's side, in pixels")
    parser.add_argument("--write", action="store_true", help=f"write the figures into {PAGE.relative_to(ROOT)}")
    given = parser.parse_args(arguments)
    side = given.side
    spent: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_odd_photos(folder / "photos", side=side)
        make_new_photos(folder / "new", side=side)
        environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
        output = ""
        for command in commands():
            words = [sys.executable, "-m", *shlex.split(command)]
            began = time.perf_counter()
            done = subprocess.run(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
            seconds, output = time.perf_counter() - began, done.stdout
            spent[words[3]] = seconds
            print(f"$ {command}\n{output}({seconds:.1f} s)\n", flush=True)
            if done.returncode:
                return 1
    told = sum(
        f"photo_{number}." in line and any(f" {kind} " in f" {line} " for kind in CLASSES)
        for number in range(5)
        for line in output.splitlines()
    )
    print(f"{told} photos have a class; {sum(spent.values()):.1f} s in all")
    if given.write:
        write(sentence(spent, told=told))
    return 0 if told == 5 else 1


if __name__ == "__main__":
    sys.exit(main())
