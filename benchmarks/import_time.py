"""What the pack adds to the host's start: the host with it against the host without, whole processes.

python dev.py run benchmarks/import_time.py
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ROOT, command_line


def start(base: Path) -> tuple[float, float | None]:
    """Seconds of a start that ends at once, and the seconds that the host reports for the pack."""
    line = [
        sys.executable,
        str(Path(os.environ["FANTASYTALKING_HOST"]) / "main.py"),
        "--quick-test-for-ci",
        "--cpu",
        "--base-directory",
        str(base),
        "--database-url",
        "sqlite:///:memory:",
        "--disable-api-nodes",
    ]
    begin = time.perf_counter()
    log = subprocess.run(line, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - begin
    found = re.search(r"([\d.]+) seconds( \(IMPORT FAILED\))?: \S*/FantasyTalking\n", log.stdout + log.stderr)
    if found and found[2]:
        sys.exit("the pack failed to import")
    return seconds, float(found[1]) if found else None


def main() -> None:
    command_line(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bases = [Path(folder) / name for name in ("with", "without")]
        for base in bases:
            (base / "custom_nodes").mkdir(parents=True)
        ignored = shutil.ignore_patterns(".*", "tests", "output")
        shutil.copytree(ROOT, bases[0] / "custom_nodes" / "FantasyTalking", ignore=ignored)
        runs = [(start(bases[0]), start(bases[1])) for _ in range(6)][1:]
    ratios = [ours[0] / base[0] for ours, base in runs]
    added = statistics.median(ours[0] - base[0] for ours, base in runs)
    reported = max(ours[1] for ours, _ in runs)
    print(f"with the pack / without: {statistics.median(ratios):.3f} ({added:+.2f} s; the host reports {reported} s)")


if __name__ == "__main__":
    main()
