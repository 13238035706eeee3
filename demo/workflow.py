"""Workflow files as the ComfyUI page saves them, and the API form that the server runs.

A saved node lists its widgets' values without names; the names and their order come from the server's /object_info.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NOTES = {"Note", "MarkdownNote"}
REROUTE = "Reroute"
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", DYNAMIC_COMBO}
CONTROL_VALUES = {"fixed", "increment", "decrement", "randomize", "increment-wrap"}
MUTED, BYPASSED = 2, 4

Json = dict[str, Any]


class WorkflowError(ValueError):
    """The workflow file can not be run by this server; the message says why."""


@dataclass(frozen=True)
class Source:
    """An output of a node."""

    node: int
    slot: int


def to_api(workflow: Json, object_info: Json) -> Json:
    """The API form of a saved workflow: {node id: {"class_type", "inputs", "_meta"}}.

    Notes, reroutes, muted and bypassed nodes are resolved as the page does. Raises WorkflowError for a node type
    that the server does not know.
    """
    graph = Graph(workflow)
    prompt = {}
    for node in graph.nodes.values():
        if node["type"] in NOTES | {REROUTE} or node.get("mode", 0) in (MUTED, BYPASSED):
            continue
        if node["type"] not in object_info:
            raise WorkflowError(
                f"Node {node['id']} is of type {node['type']}, which the server does not know: "
                "is the pack that brings it installed, and did it load?"
            )
        inputs = dict(widget_values(node, object_info[node["type"]]))
        for slot in node.get("inputs", []):
            if source := graph.source(slot.get("link")):
                inputs[slot["name"]] = [str(source.node), source.slot]
        title = node.get("title") or object_info[node["type"]].get("display_name") or node["type"]
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": title}}
    return prompt


class Graph:
    """Nodes and links of a saved workflow."""

    def __init__(self, workflow: Json) -> None:
        self.nodes: dict[int, Json] = {node["id"]: node for node in workflow["nodes"]}
        self.links = dict(map(_read_link, workflow["links"]))

    def source(self, link: int | None) -> Source | None:
        """The output that feeds a link, behind reroutes and bypassed nodes; None where nothing is left of it."""
        while link is not None and link in self.links:
            source = self.links[link]
            node = self.nodes[source.node]
            mode = node.get("mode", 0)
            if mode == MUTED:
                return None
            if node["type"] != REROUTE and mode != BYPASSED:
                return source
            link = _link_through(node, source.slot)
        return None


def _read_link(link: list | Json) -> tuple[int, Source]:
    if isinstance(link, dict):
        return link["id"], Source(link["origin_id"], link["origin_slot"])
    return link[0], Source(link[1], link[2])


def _link_through(node: Json, slot: int) -> int | None:
    """The link into a bypassed node that stands for its output: that of the same place if its type fits, else the
    first whose type fits."""
    inputs = node.get("inputs", [])
    if node["type"] == REROUTE:
        return inputs[0].get("link")
    wanted = node["outputs"][slot]["type"]
    candidates = [candidate for candidate in inputs[slot : slot + 1] + inputs if candidate["type"] == wanted]
    return candidates[0].get("link") if candidates else None


def widget_values(node: Json, info: Json) -> Iterator[tuple[str, Any]]:
    """The names and values of a saved node's widgets; those that an older file lacks have their defaults."""
    saved = node.get("widgets_values") or []
    if isinstance(saved, dict):
        return iter(saved.items())
    return _named(deque(saved), info["input"], info.get("input_order") or {})


def changed(node: Json, settings: Json) -> Json:
    """A saved node with other values of some widgets, found by the names that its inputs give them.

    Raises WorkflowError if it has no such widget.
    """
    values = node.get("widgets_values")
    places, place = {}, 0
    for slot in node.get("inputs", []):
        if "widget" in slot:
            places[slot["widget"]["name"]] = place
            place += 1
            if place < len(values) and values[place] in CONTROL_VALUES:
                place += 1  # beside a seed, without a name
    if unknown := settings.keys() - places.keys():
        raise WorkflowError(f"Node {node['id']} ({node['type']}) has no widget {', '.join(sorted(unknown))}.")
    named = {places[name]: value for name, value in settings.items()}
    return {**node, "widgets_values": [named.get(i, value) for i, value in enumerate(values)]} if settings else node


def _named(values: deque, inputs: Json, order: Json, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Takes from `values` for each widget among `inputs`, in the page's order; the inputs of a dynamic combo's
    choice come right behind it."""
    for group in ("required", "optional"):
        specs = inputs.get(group) or {}
        for name in order.get(group, specs):
            kind, options = specs[name][0], (*specs[name][1:], {})[0]
            if options.get("forceInput") or not (isinstance(kind, list) or kind in WIDGET_TYPES):
                continue
            value = values.popleft() if values else _default(kind, options)
            if value is not None:
                yield prefix + name, value
            has_control = options.get("control_after_generate", kind == "INT" and name in ("seed", "noise_seed"))
            if has_control and values and values[0] in CONTROL_VALUES:
                values.popleft()
            if kind == DYNAMIC_COMBO:
                choice = next((option for option in options["options"] if option["key"] == value), {"inputs": {}})
                yield from _named(values, choice["inputs"], {}, f"{prefix}{name}.")


def _default(kind: str | list, options: Json) -> Any:
    """What the page shows in a new widget; None where that is nothing."""
    if "default" in options:
        return options["default"]
    choices = kind if isinstance(kind, list) else options.get("options")
    first = choices[0] if choices else None
    return first["key"] if isinstance(first, dict) else first
