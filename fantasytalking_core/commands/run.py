"""`run`: train as a YAML file says.

python -m fantasytalking_core run CONFIG.yaml
"""

import argparse
import sys
import traceback
from pathlib import Path

import torch

from ..errors import FantasyTalkingError
from ..training.run.before import check_before_loading
from ..training.run.config import Config, read_config
from ..training.run.stop import Stop
from ..training.run.together import Together
from ..training.run.trainer import Trainer


def trainer_of(config: Config, stop: Stop | None = None) -> Trainer:
    """A run on the host's DiT, which samples with the host's guider.

    Raises:
        FantasyTalkingError: what config, cache, model and checkpoints have against it.
    """
    from ..host.training_dit import TrainingDit, load_dit
    from ..host.training_sample import HostSampler, load_vae

    check_before_loading(config)
    vae = load_vae(config.vae) if config.vae is not None and config.sample_every else None
    model = load_dit(config.model, config.torch_dtype, None if config.weight_dtype == "default" else torch.float8_e4m3fn)
    dit = TrainingDit(model, config.gradient_checkpointing)
    return Trainer(config, dit, HostSampler(dit, vae), stop)


def main(arguments: list[str] | None = None) -> int:
    """The command; to be called when the host's modules can be imported. Returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m fantasytalking_core run", description="Train as a YAML file says.")
    parser.add_argument("config", type=Path, help="the YAML file: model, cache, output and what differs from the defaults")
    options = parser.parse_args(arguments)
    together, stop = Together(), Stop()
    try:
        trainer = trainer_of(read_config(options.config), stop)
        with stop.listening():
            last = trainer.run()
    except KeyboardInterrupt:  # before the first step; later it asks the run to end
        sys.stderr.write("Interrupted: the same command goes on from the last checkpoint.\n")
        return together.leave(130)
    except Exception as error:
        together.fail(str(error) if isinstance(error, FantasyTalkingError) else traceback.format_exc())
        return 1
    together.finish()
    trainer.accelerator.end_training()  # not where it failed: it would wait for the other processes
    sys.stdout.write(f"{last}\n")
    return together.leave(128 + stop.signal if stop.signal else 0)
