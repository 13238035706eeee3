"""The host as a library, where it has not been started: for the trainer's commands."""

import os
from pathlib import Path

from ..errors import FantasyTalkingError


def start_host(base: str | None) -> None:
    """What the host's main.py does before it loads models, and this pack's folders.

    Args:
        base: the folder that holds models, if it is not the host's own.

    Raises:
        FantasyTalkingError: a launcher has started more processes than there are GPUs.
    """
    import comfy.cli_args
    import torch

    if torch.cuda.is_available():
        take_device(int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count())
    if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        comfy.cli_args.args.cpu = True
    if base:
        comfy.cli_args.args.base_directory = base
    import folder_paths
    import utils.extra_config  # before what may import another `utils`

    paths = Path(folder_paths.__file__).with_name("extra_model_paths.yaml")
    if paths.is_file():
        utils.extra_config.load_extra_path_config(str(paths))
    from . import folders

    folders.register()


def take_device(place: int, count: int) -> None:
    """Make the GPU at a place among so many this process's own: the host takes the current one when it is imported.

    Args:
        place: of this process among those that a launcher has started on this machine.
    """
    import torch

    if place >= count:
        raise FantasyTalkingError(
            f"This is process {place + 1} on this machine, which has {count} GPUs: start as many processes as there are GPUs "
            "(accelerate launch --num_processes)."
        )
    torch.cuda.set_device(place)
