"""Files that come with the pack: read from its own folder, whatever that is called, and found in no loader's list."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import comfy.model_management
import torch

from ..errors import FantasyTalkingError, first_line, short

PACK = Path(__file__).resolve().parents[2]
T = TypeVar("T")


def loaded(path: Path, load: Callable[[Path], T]) -> T:
    """What `load` makes of a file or folder of the pack.

    Raises:
        FantasyTalkingError: it is missing or damaged.
    """
    if not path.exists():
        raise FantasyTalkingError(f"The pack's own file '{path.name}' is missing from {path.parent}: install the pack again.")
    try:
        return load(path)
    except (comfy.model_management.InterruptProcessingException, torch.cuda.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # each kind of file has its own
        raise FantasyTalkingError(
            f"The pack's own file '{path.name}' in {path.parent} can't be read ({short(first_line(error))}): install the pack "
            "again."
        ) from error
