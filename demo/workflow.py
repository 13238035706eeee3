"""Workflow files as the ComfyUI page saves them, and the API form that the server runs.

A saved node lists its widgets' values without names; the names and their order come from the server's /object_info.
"""

import copy
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
INPUT_NODE, OUTPUT_NODE = "-10", "-20"
"""What the links of a subgraph call its own inputs and outputs."""

Json = dict[str, Any]


class WorkflowError(ValueError):
    """The workflow file can not be run by this server; the message says why."""


@dataclass(frozen=True)
class Source:
    """An output of a node."""

    node: str
    slot: int


def to_api(workflow: Json, object_info: Json) -> Json:
    """The API form of a saved workflow: {node id: {"class_type", "inputs", "_meta"}}.

    Notes, reroutes, muted and bypassed nodes and subgraphs are resolved as the page does; a node within a subgraph has the id
    `BOX:NODE`. Raises WorkflowError for a node type that the server does not know.
    """
    graph = Graph(workflow)
    prompt = {}
    for key, node in graph.nodes.items():
        if node["type"] in NOTES | {REROUTE} or node.get("mode", 0) in (MUTED, BYPASSED):
            continue
        if node["type"] not in object_info:
            raise WorkflowError(
                f"Node {key} is of type {node['type']}, which the server does not know: "
                "is the pack that brings it installed, and did it load?"
            )
        inputs = dict(widget_values(node, object_info[node["type"]]))
        for slot in node.get("inputs", []):
            if source := graph.source(slot.get("link")):
                inputs[slot["name"]] = [source.node, source.slot]
        title = node.get("title") or object_info[node["type"]].get("display_name") or node["type"]
        prompt[key] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": title}}
    return prompt


def every_node(workflow: Json) -> Iterator[Json]:
    """The saved nodes of a workflow and of the subgraphs that it defines."""
    yield from workflow["nodes"]
    for definition in workflow.get("definitions", {}).get("subgraphs", []):
        yield from definition["nodes"]


class Graph:
    """Nodes and links of a saved workflow, its subgraphs unpacked."""

    def __init__(self, workflow: Json) -> None:
        self.nodes: dict[str, Json] = {}
        self.links: dict[str, Source | str | None] = {}
        """What feeds a link: an output, or the link outside of the subgraph that goes on here."""
        self.outputs: dict[Source, str] = {}
        """The link inside of a subgraph that feeds an output of its box."""
        self.definitions = {entry["id"]: entry for entry in workflow.get("definitions", {}).get("subgraphs", [])}
        self._read(workflow, "", None)

    def _read(self, graph: Json, prefix: str, box: Json | None) -> None:
        for link in map(_link, graph["links"]):
            if link.origin == INPUT_NODE and box is not None:
                entry = graph["inputs"][link.origin_slot]["name"]
                self.links[prefix + link.id] = next(slot["link"] for slot in box["inputs"] if slot["name"] == entry)
            else:
                self.links[prefix + link.id] = Source(prefix + link.origin, link.origin_slot)
            if link.target == OUTPUT_NODE:
                self.outputs[Source(prefix[:-1], link.target_slot)] = prefix + link.id
        for node in graph["nodes"]:
            key = f"{prefix}{node['id']}"
            slots = [
                {**slot, "link": None if slot.get("link") is None else f"{prefix}{slot['link']}"}
                for slot in node.get("inputs", [])
            ]
            mode = MUTED if box is not None and box.get("mode", 0) == MUTED else node.get("mode", 0)
            node = {**node, "inputs": slots, "mode": mode}
            if node["type"] in self.definitions and mode != BYPASSED:
                self._read(self.definitions[node["type"]], f"{key}:", node)
            else:
                self.nodes[key] = node

    def source(self, link: str | None) -> Source | None:
        """The output that feeds a link, behind reroutes, boxes and bypassed nodes; None where nothing is left of it."""
        while link is not None and (source := self.links.get(link)) is not None:
            if isinstance(source, str):
                link = source
            elif source in self.outputs:
                link = self.outputs[source]
            else:
                node = self.nodes[source.node]
                mode = node.get("mode", 0)
                if mode == MUTED:
                    return None
                if node["type"] != REROUTE and mode != BYPASSED:
                    return source
                link = _link_through(node, source.slot)
        return None


@dataclass(frozen=True)
class _Link:
    id: str
    origin: str
    origin_slot: int
    target: str
    target_slot: int


def _link(link: list | Json) -> _Link:
    if isinstance(link, dict):
        link = [link[name] for name in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
    return _Link(str(link[0]), str(link[1]), link[2], str(link[3]), link[4])


def _link_through(node: Json, slot: int) -> str | None:
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


def with_settings(workflow: Json, settings: dict[str, Json]) -> Json:
    """A saved workflow with other values of some widgets, by the class of their node, also where these were wired.

    Raises WorkflowError if a node has no such widget.
    """
    workflow = copy.deepcopy(workflow)
    for graph in (workflow, *workflow.get("definitions", {}).get("subgraphs", [])):
        for node in graph["nodes"]:
            wanted = settings.get(node["type"], {})
            node["widgets_values"] = _changed(node, wanted)
            for slot in node.get("inputs", []):
                if slot["name"] in wanted and slot.get("link") is not None:
                    _unwire(graph, slot)
    return workflow


def _unwire(graph: Json, slot: Json) -> None:
    number, slot["link"] = slot["link"], None
    graph["links"] = [link for link in graph["links"] if _link(link).id != str(number)]
    for entry in graph.get("inputs", []):
        entry["linkIds"] = [link for link in entry["linkIds"] if link != number]
    for node in graph["nodes"]:
        for output in node.get("outputs", []):
            output["links"] = [link for link in output["links"] or [] if link != number]


def _changed(node: Json, settings: Json) -> list | Json:
    """The values of a saved node's widgets, some of them other ones, found by the names that its inputs give them."""
    values = node.get("widgets_values") or []
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
    return [named.get(i, value) for i, value in enumerate(values)] if settings else values


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
