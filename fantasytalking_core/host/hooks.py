"""Hooks on the host's modules that a model which was compiled runs, too."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import MethodType
from typing import Any

import torch

Before = Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...] | None]
After = Callable[[torch.nn.Module, Any, torch.Tensor], torch.Tensor | None]


@contextmanager
def hooked(module: torch.nn.Module, before: Before | None = None, after: After | None = None) -> Iterator[None]:
    """While this lasts, `before` changes what the module is called with, and `after` what it gives.

    The hooks stay out of torch.compile's traces, or those of the call that was traced would run in every later one. A model
    that was compiled keeps one trace where they are there in every call, also in those that they change nothing of.
    """
    with ExitStack() as kept:
        kept.enter_context(_noticed(module))
        if before is not None:
            kept.callback(module.register_forward_pre_hook(torch.compiler.disable(before)).remove)
        if after is not None:
            kept.callback(module.register_forward_hook(torch.compiler.disable(after)).remove)
        yield


@contextmanager
def _noticed(module: torch.nn.Module) -> Iterator[None]:
    """While this lasts, torch.compile takes no trace that was made without it.

    Its guards do not look at hooks: the trace of a model that ran without them would be taken again, and none of them run.
    They do look at the `forward` that an instance has of its own.
    """
    own, mark = vars(module).get("forward"), MethodType(_as_it_is, module.forward)
    module.forward = mark
    try:
        yield
    finally:
        if vars(module).get("forward") is mark:  # and not what somebody else has put there meanwhile
            del module.forward
            if own is not None:
                module.forward = own


def _as_it_is(forward: Callable[..., torch.Tensor], *args: Any, **more: Any) -> torch.Tensor:
    return forward(*args, **more)
