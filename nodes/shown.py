"""What a node says on itself: what it has decided, and what an artist should know before waiting for the result."""

from collections.abc import Sequence

from comfy_api.latest import ui
from comfy_execution.utils import get_executing_context
from server import PromptServer

from ..fantasytalking_core.errors import logger


def text(*lines: str, warnings: Sequence[str] = ()) -> ui.PreviewText:
    """Show lines on the node that is running, and give them as the node's `ui`, for the history; warnings go to the log, too.

    The page draws the `ui` text of the host's own text nodes only; what it draws on any node is progress text.
    """
    for warning in warnings:
        logger.warning("FantasyTalking: %s", warning)
    shown = "\n".join([*lines, *(f"⚠ {warning}" for warning in warnings)])
    node, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if node is not None and server is not None and server.client_id is not None:
        server.send_progress_text(shown, node.node_id, server.client_id)
    return ui.PreviewText(shown)
