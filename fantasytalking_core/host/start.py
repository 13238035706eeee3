"""The host as a library, where it has not been started: for the trainer's commands."""

from pathlib import Path


def start_host(base: str | None) -> None:
    """What the host's main.py does before it loads models, and this pack's folders.

    Args:
        base: the folder that holds models, if it is not the host's own.
    """
    import comfy.cli_args
    import torch

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
