"""What a node says on itself: what it has decided, and what an artist should know before waiting for the result."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io, ui
from comfy_execution.utils import get_executing_context
from server import PromptServer

from ..fantasytalking_core.errors import logger


def text(*lines: str, warnings: Sequence[str] = (), progress: str = "", log: bool = True) -> ui.PreviewText:
    """Show lines on the node that is running, and give them as the node's `ui`, for the history; warnings go to the log, too.

    The page draws the `ui` text of the host's own text nodes only; what it draws on any node is progress text. Of that a node
    of its first size shows two lines of some 36 letters, so what matters most is first: progress, then warnings. Where nobody
    sees the node, in a box or in app mode, the page shows the warnings as a message (web/fantasytalking.js).

    Args:
        log: whether what is said is new, and not the same again with other progress.
    """
    for warning in warnings if log else ():
        logger.warning("FantasyTalking: %s", warning)
    first = [progress] if progress else []
    shown = "\n".join([*first, *(f"⚠ {warning}" for warning in warnings), *lines])
    node, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if node is not None and server is not None and server.client_id is not None:
        _draw(server, shown, node.node_id)
        if warnings and log:
            server.send_sync(WARNINGS, {"node": node.node_id, "warnings": list(warnings)}, server.client_id)
    return ui.PreviewText(shown)


WARNINGS = "fantasytalking.warnings"
"""The event that the page listens to."""
DRAWN: set[str] = set()
"""Nodes that the page draws a text on: it takes no empty one, and would leave a warning there whose cause is gone."""


def _draw(server: PromptServer, shown: str, node_id: str) -> None:
    if shown or node_id in DRAWN:
        server.send_progress_text(shown or " ", node_id, server.client_id)
    (DRAWN.add if shown else DRAWN.discard)(node_id)


class PicturesAndText(ui.PreviewImage):
    """Pictures on a node, and in its history what it said."""

    def __init__(self, images: torch.Tensor, said: ui.PreviewText) -> None:
        super().__init__(images)
        self.said = said

    def as_dict(self) -> dict:
        return {**super().as_dict(), **self.said.as_dict()}


def video_ui(path: Path, output: str) -> dict[str, Any]:
    """The `ui` of a node that plays a video in the host's output folder."""
    place = path.resolve().relative_to(Path(output).resolve())
    saved = ui.SavedResult(place.name, place.parent.as_posix().removeprefix("."), io.FolderType.output)
    return ui.PreviewVideo([saved]).as_dict()


def video(path: Path, output: str) -> None:
    """Play a finished part on the node that is still running."""
    node, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if node is not None and server is not None and server.client_id is not None:
        about = {"node": node.node_id, "display_node": node.node_id, "prompt_id": node.prompt_id}
        server.send_sync("executed", {**about, "output": video_ui(path, output)}, server.client_id)
