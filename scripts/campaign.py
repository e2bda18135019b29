"""Attack dlassign for as long as one likes: the campaigns of tests/campaigns with new seeds, round after round.

    python scripts/campaign.py --minutes 60
    python scripts/campaign.py --minutes 10 --only kills --first-seed 7

Commands are killed and their disks fail at any moment; the files that dlassign reads are changed in any way; configs
that `check` accepts are trained; the report page is given hostile names. What fails is printed with its seed and the
shortest input that fails. A round in which one test has failed is the last.

Exit:    0 nothing failed; 1 something did
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLES = 60
SEEDS = 4


def one_round(number: int, only: str, seconds: float) -> tuple[int, Counter[str], str]:
    """Run all campaigns with the seeds of one round.

    Args:
        number: of the round; it decides the seeds.
        only: part of the names of the tests to run; empty for all.
        seconds: after these the round is ended.

    Returns:
        pytest's exit code, 0 for a round that was ended; what was tried, by kind, until then; what pytest printed.
    """
    values = {"EXAMPLES": EXAMPLES, "SEEDS": SEEDS, "FIRST_SEED": number * SEEDS}
    command = [sys.executable, "-m", "pytest", "-n", "0", "-x", "-m", "slow or browser", "tests/campaigns"]
    command += ["--ignore=tests/campaigns/test_gpu_faults.py"]  # its faults are the same whatever the seed
    command += [f"--hypothesis-seed={number}", *(["-k", only] if only else [])]
    env = {**os.environ, **{f"DLASSIGN_{key}": str(value) for key, value in values.items()}}
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=max(seconds, 1))
    except subprocess.TimeoutExpired:
        # As Ctrl-C does: pytest then still says what it has tried.
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate()
        return 0, tried(output), output
    return process.returncode, tried(output), output


def tried(output: str) -> Counter[str]:
    """Return what a round says that it has tried."""
    found = re.findall(r"^tried: (\d+) (.+)$", output, re.MULTILINE)
    return Counter({kind: int(number) for number, kind in found})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to go on; default 10")
    parser.add_argument("--first-seed", type=int, default=1, help="number of the first round; default 1")
    parser.add_argument("--only", default="", help="part of the names of the tests to run, as after pytest -k")
    args = parser.parse_args()
    end = time.monotonic() + 60 * args.minutes
    total: Counter[str] = Counter()
    number, code = args.first_seed, 0
    while time.monotonic() < end:
        code, counted, output = one_round(number, args.only, end - time.monotonic())
        total += counted
        if code:
            print(output)
            print(f"round {number} failed; again with: --first-seed {number}")
            break
        print(f"round {number}: {told(counted)}", flush=True)
        number += 1
    print(f"in all: {told(total)}")
    return 1 if code else 0


def told(counted: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(counted.items())) or "nothing was tried"


if __name__ == "__main__":
    raise SystemExit(main())
