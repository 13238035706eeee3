"""`run`: train as a YAML file says.

    python -m fantasytalking_core.training run CONFIG.yaml
"""

import argparse
import sys
from pathlib import Path

from ..errors import FantasyTalkingError
from .config import read_config


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="train run", description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="the YAML file: model, cache, output and what differs from the defaults")
    options = parser.parse_args(arguments)
    from .trainer import Trainer

    try:
        trainer = Trainer(read_config(options.config))
        last = trainer.run()
    except FantasyTalkingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted: the same command goes on from the last checkpoint.\n")
        return 130
    trainer.accelerator.end_training()  # not where it failed: it would wait for the other processes
    sys.stdout.write(f"{last}\n")
    return 0
