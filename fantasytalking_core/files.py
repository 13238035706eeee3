"""Files that appear complete or not at all, and what a model's file is known by."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file


def described(path: Path) -> str:
    """A model by name and size, by which another one is told from it."""
    size = sum(file.stat().st_size for file in path.iterdir() if file.is_file()) if path.is_dir() else path.stat().st_size
    return f"{path.name} ({size} bytes)"


def is_description(text: object) -> bool:
    """Whether this is what `described` gives."""
    return isinstance(text, str) and re.fullmatch(r".+ \(\d+ bytes\)", text) is not None


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
