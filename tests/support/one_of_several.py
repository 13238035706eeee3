"""One process of several: the gradients of its first step, and the losses of its run.

    one_of_several.py HOST PACK FOLDER OUTPUT
"""

import sys
from pathlib import Path
from typing import Any

import torch


def train(folder: Path, output: Path, batch_size: int) -> dict[str, Any]:
    from fantasytalking_core.training.trainer import Trainer

    from support import training

    settings = training.config(folder / "dit.safetensors", folder / "cache", output, batch_size=batch_size, max_grad_norm=1e9)
    trainer = Trainer(settings)
    losses, gradients = [], {}
    real = trainer.accelerator.clip_grad_norm_

    def clip(parameters, limit):
        if not gradients:
            step = trainer.accelerator.unwrap_model(trainer.step)
            gradients.update({name: weight.grad.clone() for name, weight in step.named_parameters()})
        return real(parameters, limit)

    trainer.accelerator.clip_grad_norm_ = clip
    trainer.run(lambda step, values: losses.append(values["loss"]))
    about = {"processes": trainer.accelerator.num_processes, "process": trainer.accelerator.process_index}
    return {"gradients": gradients, "losses": losses, **about}


def main(host: Path, pack: Path, folder: Path, output: Path) -> None:
    sys.path[:] = [str(host), *(path for path in sys.path if path != str(pack)), str(pack), str(pack / "tests")]
    from fantasytalking_core.training.__main__ import start_host

    start_host(None)
    found = train(folder, output, batch_size=1)
    torch.save(found, f"{output}.{found['process']}.pt")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
