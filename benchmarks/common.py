"""What every benchmark has: the pack on sys.path, its command line, and side-by-side timing.

Every benchmark compares two things in one run, in turns, and prints the ratio of each pair's times: machines differ
and drift, ratios hold.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # `dev.py run` leaves the pack out


def command_line(about: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(action: Callable[[], object]) -> float:
    synchronize()
    start = time.perf_counter()
    action()
    synchronize()
    return time.perf_counter() - start


def compare(name: str, ours: Callable[[], object], base: Callable[[], object], pairs: int, warm_up: int = 2) -> float:
    """Print the times of two actions run in turns, and the median of their ratios, which is returned."""
    for _ in range(warm_up):
        ours(), base()
    times = []
    for turn in range(pairs):  # either goes first as often as the other
        times.append((timed(ours), timed(base)) if turn % 2 else (timed(base), timed(ours))[::-1])
    ratios = [a / b for a, b in times]
    a, b = (statistics.median(column) for column in zip(*times, strict=True))
    low, _, high = statistics.quantiles(ratios, n=4)
    ratio = statistics.median(ratios)
    print(
        f"{name}: {ratio:.3f} (quartiles {low:.3f} to {high:.3f}; {a * 1000:.1f} ms against {b * 1000:.1f} ms, {pairs} pairs)"
    )
    return ratio
