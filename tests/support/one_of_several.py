"""One process of several: what it measures, gradients of a first step, and the losses of a run.

one_of_several.py HOST PACK FOLDER OUTPUT [CHANGES]

CHANGES: settings as JSON.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch


def trainer_for(folder: Path, output: Path, batch_size: int, **changes: Any) -> Any:
    from fantasytalking_core.commands.run import trainer_of
    from support import training

    if "init" in changes:
        changes["init"] = Path(changes["init"])
    settings = {"batch_size": batch_size, "max_grad_norm": 1e9, "validation_samples": 3, **changes}
    return trainer_of(training.config(folder / "dit.safetensors", folder / "cache", output, **settings))


def train(folder: Path, output: Path, batch_size: int, **changes: Any) -> dict[str, Any]:
    trainer = trainer_for(folder, output, batch_size, **changes)
    trainer.dit.place()
    measured = trainer.validation.measure("frame")
    losses, gradients = [], {}
    real = trainer.accelerator.clip_grad_norm_

    def clip(parameters, limit):
        if not gradients:
            step = trainer.accelerator.unwrap_model(trainer.step)
            gradients.update({name: weight.grad.clone() for name, weight in step.named_parameters() if weight.requires_grad})
        return real(parameters, limit)

    trainer.accelerator.clip_grad_norm_ = clip
    trainer.run(lambda step, values: losses.append(values["loss"]))
    about = {"processes": trainer.accelerator.num_processes, "process": trainer.accelerator.process_index}
    return {"gradients": gradients, "losses": losses, "measured": measured, **about}


def sharded_gradients(folder: Path, output: Path, **changes: Any) -> dict[str, torch.Tensor]:
    """Of the run's first samples, one per process, where each holds a part of the weights (FSDP2); whole ones."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from fantasytalking_core.adapter.attention import KeyValue

    trainer = trainer_for(folder, output, batch_size=1, **changes)
    rank, processes = trainer.accelerator.process_index, trainer.accelerator.num_processes
    step, mesh = trainer.accelerator.unwrap_model(trainer.step), init_device_mesh("cpu", (processes,))
    for module in [module for module in step.modules() if isinstance(module, KeyValue)] + [step]:
        fully_shard(module, mesh=mesh)
    with trainer.dit.gradients():
        step(trainer.dataset[rank], "clip").loss.backward()
    return {name: weight.grad.full_tensor() for name, weight in step.named_parameters() if weight.requires_grad}


def main(host: Path, pack: Path, folder: Path, output: Path, changes: str = "{}") -> None:
    sys.path.append(str(pack))
    from fantasytalking_core.search_path import put_host_first

    put_host_first(host, pack, pack / "tests")
    from fantasytalking_core.host.start import start_host

    start_host(None)
    found = train(folder, output, batch_size=1, **json.loads(changes))
    found["sharded"] = sharded_gradients(folder, output.with_name(f"{output.name}_sharded"), **json.loads(changes))
    torch.save(found, f"{output}.{found['process']}.pt")
    torch.distributed.barrier()  # one that ends while the other is still asking may be aborted
    os._exit(0)  # see `Together.leave`


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]), *sys.argv[5:])
