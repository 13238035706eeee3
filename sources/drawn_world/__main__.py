"""The small family's commands, which `python dev.py train small …` and `python dev.py evaluate …` run:

train [--only STAGE]    makes the models in sources/drawn_world/models again
evaluate                measures them
long-takes              measures what becomes of them in a minute of speech
studies                 measures pauses, two speakers, dubbing, how much the body hears, guidance in every few steps
"""

import importlib
import logging
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULES = {
    "train": "drawn_world.recipe",
    "evaluate": "drawn_world.evaluation",
    "long-takes": "drawn_world.long_takes",
    "studies": "drawn_world.studies.page",
}


def main(arguments: list[str]) -> int:
    name, *rest = arguments or ["--help"]
    host = os.environ.get("FANTASYTALKING_HOST")
    if name not in MODULES or host is None:
        sys.stderr.write(__doc__)
        return 0 if name in ("-h", "--help", "help") else 2
    sys.path.append(str(HERE.parents[1]))
    from fantasytalking_core.search_path import ROOT, put_host_first

    put_host_first(Path(host), HERE.parent, ROOT, without=(HERE,))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    from fantasytalking_core.host.start import start_host

    start_host(os.environ.get("FANTASYTALKING_BASE"))
    from drawn_world.convolution import convolutions_as_2d

    with convolutions_as_2d():
        return importlib.import_module(MODULES[name]).main(rest) or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
