"""The pack's commands, from its folder (ComfyUI/custom_nodes/…):

    python -m fantasytalking_core prepare FOLDER CACHE --vae NAME …     videos → training cache
    python -m fantasytalking_core run CONFIG.yaml                       cache → checkpoints
    python -m fantasytalking_core export OUTPUT adapter.safetensors     checkpoint → adapter file
    python -m fantasytalking_core convert SOURCE adapter.safetensors    adapter file of any layout → the pack's own

ComfyUI is the folder in COMFYUI_PATH, or the one that the pack is installed in. `run` may be left out.
"""

import logging
import os
import sys
from pathlib import Path

from .search_path import ROOT, host_folder, put_host_first

NEED_THE_HOST = ("prepare", "run")
COMMANDS = (*NEED_THE_HOST, "export", "convert")


def main(arguments: list[str]) -> int:
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help", "help"):
        sys.stdout.write(__doc__ or "")
        return 0
    if name not in COMMANDS and Path(name).suffix in (".yaml", ".yml"):
        name, rest = "run", arguments
    if name not in COMMANDS:
        sys.stderr.write(f"{__doc__}\nThere is no command {name}.\n")
        return 2
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if name in NEED_THE_HOST:
        host = host_folder()
        if host is None:
            sys.stderr.write(
                "There is no ComfyUI to be found: set COMFYUI_PATH to its folder, or install the pack in "
                "ComfyUI/custom_nodes.\n"
            )
            return 1
        put_host_first(host, ROOT)
        from .host.start import start_host

        start_host(os.environ.get("FANTASYTALKING_BASE"))
    return command(name, rest)


def command(name: str, arguments: list[str]) -> int:
    """Run one; each imports what it needs when it is called."""
    if name == "prepare":
        from .commands import prepare

        return prepare.main(arguments)
    if name == "run":
        from .commands import run

        return run.main(arguments)
    if name == "export":
        from .commands import export

        return export.main(arguments)
    from .commands import convert

    return convert.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
