"""What would end a run before its first step, looked at before the DiT is loaded."""

import os
import tempfile
from pathlib import Path

from ...errors import FantasyTalkingError
from .config import Config
from .optimizer import check_optimizer
from .processes import check_packages
from .standing import Standing


def check_before_loading(config: Config) -> None:
    """Packages, output, cache, and the checkpoint or `init`.

    Raises:
        FantasyTalkingError
    """
    check_packages()
    check_optimizer(config)
    check_output(config.output)
    standing = Standing.of(config, int(os.environ.get("WORLD_SIZE", 1)))
    samples = len(standing.dataset.index.samples)
    if config.sample_every and config.sample_index >= samples:
        raise FantasyTalkingError(f"sample_index is {config.sample_index}, the cache holds {samples} samples: lower it.")


def check_output(output: Path) -> None:
    """Refuse a folder that can't be made or written to; it is not made yet."""
    there = output
    try:
        while not there.exists():
            there = there.parent
        with tempfile.TemporaryDirectory(dir=there):
            pass
    except OSError as error:
        raise FantasyTalkingError(f"output '{output}' can't be written ({error.strerror}): choose another folder.") from error
