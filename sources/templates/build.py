"""Write the templates and blueprints anew: workflows/*.json and subgraphs/*.json.

    python dev.py run sources/templates/build.py

Edit these files here, not in the page: a test says whether they are what this writes.
"""

import json
import sys
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "demo"), str(Path(__file__).resolve().parent)]

from blueprints import BLUEPRINTS  # noqa: E402
from host import ComfyUI  # noqa: E402
from templates import TEMPLATES  # noqa: E402


def object_info() -> dict:
    with tempfile.TemporaryDirectory() as folder, ComfyUI(Path(folder) / "host.log") as host:
        with urllib.request.urlopen(f"{host.address}/object_info") as answer:
            return json.load(answer)


def written(workflow: dict) -> str:
    return json.dumps(workflow, indent=2, ensure_ascii=False) + "\n"


def files(info: dict) -> dict[str, str]:
    """Each file's path within the pack, and what it holds."""
    templates = {f"workflows/{template.name}.json": written(template.build(info)) for template in TEMPLATES}
    return templates | {f"subgraphs/{blueprint.name}.json": written(blueprint.file(info)) for blueprint in BLUEPRINTS}


def main(info: dict) -> None:
    for name, text in files(info).items():
        (ROOT / name).parent.mkdir(exist_ok=True)
        (ROOT / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(object_info())
