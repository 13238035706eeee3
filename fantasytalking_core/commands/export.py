"""`export`: from a checkpoint to files that other programs load.

python -m fantasytalking_core export OUTPUT_OR_CHECKPOINT adapter.safetensors [--public audio.safetensors]
"""

import argparse
import sys
from pathlib import Path

from ..errors import FantasyTalkingError
from ..precision import DTYPES
from ..training.export import export


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fantasytalking_core export", description="From a checkpoint to files that other programs load."
    )
    parser.add_argument("source", type=Path, help="a checkpoint's folder, or the run's output folder for its latest one")
    parser.add_argument("target", type=Path, help="the .safetensors file to write, for models/fantasytalking")
    parser.add_argument("--public", type=Path, help="also write the audio part in the public layout, for other programs")
    parser.add_argument("--dtype", choices=DTYPES, help="store the weights in this type (float32, if not given)")
    options = parser.parse_args(arguments)
    try:
        line = export(options.source, options.target, options.public, options.dtype and DTYPES[options.dtype])
    except FantasyTalkingError as error:
        parser.exit(1, f"{error}\n")
    sys.stdout.write(f"{line}\n")
    return 0
