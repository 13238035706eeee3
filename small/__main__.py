"""The small family's commands, which `python dev.py train small …` and `python dev.py evaluate small …` run:

    train [--only STAGE]    makes the models in small/models again
    evaluate                measures them
"""

import importlib
import logging
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The pack's folder. It holds a `nodes` folder, and the host a nodes.py: the host's folder must come first."""
MODULES = {"train": "small.recipe", "evaluate": "small.evaluation"}


def arrange(host: str) -> None:
    """Make the host's modules, the pack's core and this package importable, the host's first."""
    own = {ROOT, ROOT / "small"}
    others = [path for path in sys.path if path and Path(path).resolve() not in own and path != host]
    sys.path[:] = [host, *others, str(ROOT)]


def main(arguments: list[str]) -> int:
    name, *rest = arguments or ["--help"]
    host = os.environ.get("FANTASYTALKING_HOST")
    if name not in MODULES or host is None:
        sys.stderr.write(__doc__)
        return 0 if name in ("-h", "--help", "help") else 2
    arrange(host)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    from fantasytalking_core.host.start import start_host

    start_host(os.environ.get("FANTASYTALKING_BASE"))
    return importlib.import_module(MODULES[name]).main(rest) or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
