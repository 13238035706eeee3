"""`convert`: an adapter file of any layout to the pack's own.

python -m fantasytalking_core convert fantasytalking_model.ckpt fantasytalking.safetensors
python -m fantasytalking_core convert projector.safetensors blocks.safetensors fantasytalking.safetensors
"""

import argparse
import os
import sys
from pathlib import Path

from ..adapter.file import read_adapter, save_adapter
from ..errors import FantasyTalkingError
from ..precision import DTYPES


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fantasytalking_core convert", description="Convert an adapter file of any layout to the pack's own."
    )
    parser.add_argument("source", nargs="+", type=Path, help="adapter file, or the files that it is split over")
    parser.add_argument("target", type=Path, help="the .safetensors file to write")
    parser.add_argument("--dtype", choices=DTYPES, help="store the weights in this type (as they are, if not given)")
    options = parser.parse_args(arguments)
    if options.target.suffix != ".safetensors":
        parser.error(f"the target is '{options.target}', expected a name that ends in .safetensors")
    if not os.path.isdir(options.target.parent):
        parser.error(f"there is no folder '{options.target.parent}': make it first")
    if os.path.lexists(options.target):
        parser.error(f"'{options.target}' exists already: choose another name or remove it")
    try:
        adapter = read_adapter(*options.source)
        weights = adapter.weights
        if options.dtype:
            weights = {key: value.to(DTYPES[options.dtype]) for key, value in weights.items()}
        save_adapter(options.target, weights, adapter.metadata)
    except FantasyTalkingError as error:
        parser.exit(1, f"{error}\n")
    size = adapter.audio
    sys.stdout.write(
        f"{options.target}: {', '.join(adapter.parts)}; {size.blocks} blocks of width {size.model}, "
        f"audio {size.audio} to {size.projected}\n"
    )
    return 0
