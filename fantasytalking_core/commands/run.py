"""`run`: train as a YAML file says.

python -m fantasytalking_core run CONFIG.yaml
"""

import argparse
import sys
from pathlib import Path

from ..errors import FantasyTalkingError
from ..training.run.config import Config, read_config
from ..training.run.trainer import Trainer, check_before_loading


def trainer_of(config: Config) -> Trainer:
    """A run on the host's DiT, which samples with the host's guider.

    Raises:
        FantasyTalkingError: what config, cache, model and checkpoints have against it.
    """
    from ..host.training_dit import TrainingDit, load_dit
    from ..host.training_sample import HostSampler

    check_before_loading(config)
    dit = TrainingDit(load_dit(config.model, config.torch_dtype), config.gradient_checkpointing)
    return Trainer(config, dit, HostSampler(dit))


def main(arguments: list[str] | None = None) -> int:
    """The command; to be called when the host's modules can be imported. Returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m fantasytalking_core run", description="Train as a YAML file says.")
    parser.add_argument("config", type=Path, help="the YAML file: model, cache, output and what differs from the defaults")
    options = parser.parse_args(arguments)
    try:
        trainer = trainer_of(read_config(options.config))
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
