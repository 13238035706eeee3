"""The trainer's commands, from the pack's folder (ComfyUI/custom_nodes/…):

    python -m fantasytalking_core.training prepare …                            videos → training cache
    python -m fantasytalking_core.training run CONFIG.yaml                      cache → checkpoints
    python -m fantasytalking_core.training export OUTPUT adapter.safetensors    checkpoint → adapter file

ComfyUI is the folder in COMFYUI_PATH, or the one that the pack is installed in. `run` may be left out.
"""

import importlib
import logging
import os
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
"""The pack's folder. It holds a `nodes` folder, and the host a nodes.py: the host's folder must come first."""
COMMANDS = ("prepare", "run", "export")


def host_folder() -> Path | None:
    """ComfyUI's folder: named by COMFYUI_PATH, already on sys.path, or two folders above the pack."""
    if named := os.environ.get("COMFYUI_PATH"):
        places = [Path(named).expanduser().resolve()]
    else:
        installed = Path(os.path.abspath(__file__)).parents[4]  # not through links: the pack may be linked into custom_nodes
        places = [*(Path(path) for path in sys.path if path and Path(path).resolve() != ROOT), installed, ROOT.parents[1]]
    return next((place for place in places if (place / "comfy" / "sd.py").is_file()), None)


def arrange(host: Path) -> None:
    """Make the host's modules and this package importable, the host's first."""
    own = {ROOT, ROOT / "fantasytalking_core" / "training"}
    others = [path for path in sys.path if path and Path(path).resolve() not in own and path != str(host)]
    sys.path[:] = [str(host), *others, str(ROOT)]


def command(name: str) -> ModuleType:
    return importlib.import_module(f"fantasytalking_core.training.{'command' if name == 'run' else name}")


def main(arguments: list[str]) -> int:
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help", "help"):
        sys.stdout.write(__doc__)
        return 0
    if name not in COMMANDS and Path(name).suffix in (".yaml", ".yml"):
        name, rest = "run", arguments
    if name not in COMMANDS:
        sys.stderr.write(f"{__doc__}\nThere is no command {name}.\n")
        return 2
    host = host_folder()
    if host is None:
        sys.stderr.write(
            "There is no ComfyUI to be found: set COMFYUI_PATH to its folder, or install the pack in ComfyUI/custom_nodes.\n"
        )
        return 1
    arrange(host)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if name != "export":
        from fantasytalking_core.host.start import start_host

        start_host(os.environ.get("FANTASYTALKING_BASE"))
    return command(name).main(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
