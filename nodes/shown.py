"""What a node says on itself about what it has decided."""

from comfy_api.latest import ui
from comfy_execution.utils import get_executing_context
from server import PromptServer


def text(*lines: str) -> ui.PreviewText:
    """Show lines on the node that is running, and give them as the node's `ui`, for the history.

    The page draws the `ui` text of the host's own text nodes only; what it draws on any node is progress text. It has
    room for two lines, of about 45 characters on a node of 300 pixels.
    """
    shown = "\n".join(lines)
    node, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if node is not None and server is not None and server.client_id is not None:
        server.send_progress_text(shown, node.node_id, server.client_id)
    return ui.PreviewText(shown)
