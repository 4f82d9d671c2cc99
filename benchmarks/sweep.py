"""Measures what a sweep saves: its wall time over that of its jobs run separately.

    python -m benchmarks.sweep [OVERRIDE ...]

Two methods and four quantizers, one command after the other on the same machine; each separate job
starts with an empty cache. Counts the stages built in both cases, then times the planning of 500
jobs.
"""

import itertools
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

METHODS = ("ga", "npo")
QUANTIZERS = ("none", "rtn4", "rtn8", "nf4")
STAGES = ("target", "retrain", "unlearn", "evaluate")
NUM_SEEDS = 25
"""x 4 methods x 5 quantizers: 500 jobs."""


def main() -> None:
    """Prints both measurements."""
    further = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        homes = Path(folder)
        sweep = [f"method={','.join(METHODS)}", f"quant={','.join(QUANTIZERS)}"]
        together = run(["-m", *sweep, *further], homes / "sweep")
        print(f"one sweep of 8 jobs      {together:7.1f} s   {counts([homes / 'sweep'])}")
        alone = list[float]()
        for method, quant in itertools.product(METHODS, QUANTIZERS):
            home = homes / f"{method}_{quant}"
            alone.append(run([f"method={method}", f"quant={quant}", *further], home))
        singles = [path for path in homes.iterdir() if path.name != "sweep"]
        print(f"the 8 jobs by themselves {sum(alone):7.1f} s   {counts(singles)}")
        print(f"ratio                    {together / sum(alone):7.3f}")
        print(f"planning 500 jobs        {plan(homes / 'plan'):7.1f} s")


def run(arguments: list[str], home: Path) -> float:
    """Seconds of one command, start-up and report included."""
    started = time.monotonic()
    command = [sys.executable, "-m", "unlearn_lab", *arguments]
    quiet = ["report.wandb.mode=disabled", f"runtime.home={home}"]
    subprocess.run([*command, *quiet], check=True, capture_output=True)
    return time.monotonic() - started


def counts(homes: list[Path]) -> str:
    """How often each stage was built in these homes together."""
    found = Counter(
        manifest.parents[1].name
        for home in homes
        for manifest in (home / "cache").glob("*/*/manifest.json")
    )
    return ", ".join(f"{found[name]} {name}" for name in STAGES)


def plan(home: Path) -> float:
    """Seconds of a dry plan of 500 jobs."""
    started = time.monotonic()
    seeds = ",".join(map(str, range(NUM_SEEDS)))
    sweep = ["method=ga,npo,ga_gdr,npo_gdr", "quant=none,rtn2,rtn4,rtn8,nf4", f"seed={seeds}"]
    command = [sys.executable, "-m", "unlearn_lab", "-m", *sweep]
    command += ["dry=true", f"runtime.home={home}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    if "plan: 500 jobs" not in done.stdout:
        raise RuntimeError(f"not a plan of 500 jobs: {done.stdout}")
    return time.monotonic() - started


if __name__ == "__main__":
    main()
