"""Hooks on the host's modules that a model which was compiled runs, too."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

Before = Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...] | None]
After = Callable[[torch.nn.Module, Any, torch.Tensor], torch.Tensor | None]


@contextmanager
def hooked(module: torch.nn.Module, before: Before | None = None, after: After | None = None) -> Iterator[None]:
    """While this lasts, `before` changes what the module is called with, and `after` what it gives.

    torch.compile's guards do not look at hooks: of a model that ran without them, the old trace would be taken again, and none
    of them run. But they do look at whether the instance has a `forward` of its own, so it has one meanwhile, the same one.
    The hooks themselves stay out of the traces, or those of the call that was traced would run in every later one.
    """
    with ExitStack() as kept:
        if "forward" not in vars(module):
            module.forward = module.forward
            kept.callback(vars(module).pop, "forward")
        if before is not None:
            kept.callback(module.register_forward_pre_hook(torch.compiler.disable(before)).remove)
        if after is not None:
            kept.callback(module.register_forward_hook(torch.compiler.disable(after)).remove)
        yield
