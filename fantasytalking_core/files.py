"""Files that appear complete or not at all."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file


@contextmanager
def complete(path: Path) -> Iterator[Path]:
    """Where to write what becomes `path` when the block ends; when it fails, nothing of it stays."""
    partial = path.with_name(path.name + ".part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """A safetensors file. Raises OSError."""
    with complete(path) as partial:
        try:
            save_file({key: value.contiguous() for key, value in tensors.items()}, partial)
        except SafetensorError as error:  # also where the disk is full
            raise OSError(str(error)) from error


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8. Raises OSError."""
    with complete(path) as partial:
        partial.write_text(text, encoding="utf-8")
