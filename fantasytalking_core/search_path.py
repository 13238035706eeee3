"""Where Python finds the host and the pack: the one place that orders `sys.path`.

The pack holds a `nodes` folder and the host a nodes.py, which its own modules import: the host's folder must come
first, and the pack's root last, or not at all.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The pack's folder."""


def put_host_first(host: Path, *last: Path, without: tuple[Path, ...] = ()) -> None:
    """Order `sys.path`: the host's folder, what is there already, then `last`; the pack's root only if it is among them."""
    outside = {ROOT, *without}
    kept = [path for path in sys.path if path and Path(path).resolve() not in outside and path not in map(str, (host, *last))]
    sys.path[:] = [str(host), *kept, *map(str, last)]


def host_folder() -> Path | None:
    """ComfyUI's folder: named by COMFYUI_PATH, already on `sys.path`, or two folders above the pack."""
    if named := os.environ.get("COMFYUI_PATH"):
        places = [Path(named).expanduser().resolve()]
    else:
        # not through links: the pack may be linked into custom_nodes
        installed = Path(os.path.abspath(__file__)).parents[3]
        places = [*(Path(path) for path in sys.path if path and Path(path).resolve() != ROOT), installed, ROOT.parents[1]]
    return next((place for place in places if (place / "comfy" / "sd.py").is_file()), None)
