"""What a model's file says of itself, by the ModelSpec standard 1.0.1 (https://github.com/Stability-AI/ModelSpec)."""

from pathlib import Path

from safetensors import safe_open

from .errors import short
from .reading import check_regular

USAGE_HINT = "modelspec.usage_hint"


def usage_hint(path: str | Path) -> str:
    """A file's own hint for people who use it, as one short line; empty where it has none or is no safetensors file."""
    try:
        check_regular(Path(path))
        with safe_open(path, framework="pt") as file:
            hint = short((file.metadata() or {}).get(USAGE_HINT, ""))
            return hint.replace("<", "‹").replace(">", "›")  # pages draw it, and some as HTML
    except Exception:  # what is wrong with a file, its loader says
        return ""
