"""Single nodes as the host sees them: what they offer, and why it rejects them; files for them."""

import asyncio
import shutil
from pathlib import Path


def put(source: Path, target: Path) -> Path:
    """A copy of a file or folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    return target


def choices(host, node_id: str, name: str) -> list[str]:
    """What a node's input offers on the page."""
    kind, options = host.nodes[node_id].INPUT_TYPES()["required"][name]
    return options["options"] if kind == "COMBO" else kind


def rejection(node_id: str, **inputs) -> str:
    """Why the host rejects a graph with this node before anything runs; empty where it does not."""
    import execution

    prompt = {
        "1": {"class_type": node_id, "inputs": inputs},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    valid, _, _, errors = asyncio.run(execution.validate_prompt("test", prompt, None))
    assert valid is (not errors)
    return "\n".join(error["details"] for node in errors.values() for error in node["errors"])
