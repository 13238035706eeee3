"""Workflow files from a few words: nodes, links, subgraphs and groups in the form that the page saves.

What a node is made of (sockets, widgets, defaults, outputs) comes from the server's /object_info.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from workflow import DYNAMIC_COMBO, WIDGET_TYPES, Json

INPUT_NODE, OUTPUT_NODE = -10, -20
"""What a subgraph's own inputs and outputs are called in its links."""
BESIDE = {  # values that the page saves behind a node's widgets: upload buttons, players
    "LoadImage": {"upload": ("IMAGEUPLOAD", "image")},
    "LoadVideo": {"upload": ("IMAGEUPLOAD", "image")},
    "LoadAudio": {"audioUI": ("AUDIO_UI", None), "upload": ("AUDIOUPLOAD", "")},
}


@dataclass(frozen=True)
class Source:
    """An output of a node."""

    node: int
    slot: int
    type: str


@dataclass
class Node:
    """A saved node, and where its outputs are found."""

    saved: Json

    def __getitem__(self, name: str | int) -> Source:
        """Its output of that name or number."""
        outputs = self.saved["outputs"]
        slot = name if isinstance(name, int) else [output["name"] for output in outputs].index(name)
        return Source(self.saved["id"], slot, outputs[slot]["type"])

    @property
    def id(self) -> int:
        return self.saved["id"]


class Numbers:
    """Ids of nodes and links: unique within a file, its subgraphs included."""

    def __init__(self) -> None:
        self.nodes, self.links = count(1), count(1)


class Graph:
    """A graph that grows node by node."""

    def __init__(self, info: Json, numbers: Numbers) -> None:
        self.info, self.numbers = info, numbers
        self.origin = (0, 0)
        """Where what is added next begins."""
        self.nodes: list[Json] = []
        self.links: list[tuple[int, Source, int, int, str]] = []
        self.groups: list[Json] = []

    def add(
        self,
        kind: str,
        place: tuple[int, int],
        size: tuple[int, int],
        wires: dict[str, Source] | None = None,
        *,
        title: str | None = None,
        labels: dict[str, str] | None = None,
        models: list[Json] | None = None,
        mode: int = 0,
        **values: Any,
    ) -> Node:
        """A node of the server's. `values` are its widgets' (a dot in a name is written `__`), the others have their defaults;
        `labels` are other names that the page shows for its inputs."""
        given = {name.replace("__", "."): value for name, value in values.items()}
        sockets, widgets = _inputs(self.info[kind], given)
        saved_values: list[Any] = []
        slots: list[Json] = [{"name": name, "type": type_, "link": None} for name, type_ in sockets]
        for name, type_, value, controlled in widgets:
            slots.append({"name": name, "type": type_, "widget": {"name": name}, "link": None})
            saved_values.append(given.pop(name, value))
            if controlled:
                saved_values.append(given.pop("control", "randomize"))
        for name, (type_, value) in BESIDE.get(kind, {}).items():
            slots.append({"name": name, "type": type_, "widget": {"name": name}, "link": None})
            saved_values.append(value)
        assert not given, f"{kind} has no {', '.join(given)}"
        for slot in slots:
            if label := (labels or {}).get(slot["name"]):
                slot["label"] = label
        outputs = zip(self.info[kind]["output"], self.info[kind]["output_name"], strict=True)
        properties: Json = {"Node name for S&R": kind}
        if models:
            properties["models"] = models
        return self._put(
            kind, place, size, slots, [(name, type_) for type_, name in outputs], saved_values, wires, title, properties, mode
        )

    def note(self, text: str, place: tuple[int, int], size: tuple[int, int], title: str) -> None:
        self._put("MarkdownNote", place, size, [], [], [text], None, title, {}, 0)
        self.nodes[-1] |= {"color": "#432", "bgcolor": "#000"}

    def group(self, title: str, bounds: tuple[int, int, int, int], color: str) -> None:
        """A frame: left, top, width and height."""
        group = {"id": len(self.groups) + 1, "title": title, "bounding": list(bounds), "color": color, "flags": {}}
        self.groups.append(group)

    def box(
        self, subgraph: "Subgraph", place: tuple[int, int], size: tuple[int, int], wires: dict[str, Source] | None = None
    ) -> Node:
        """A subgraph as one node."""
        slots = []
        for entry in subgraph.inputs:
            slot: Json = {"name": entry["name"], "type": entry["type"], "link": None}
            if "label" in entry:
                slot["label"] = entry["label"]
            if entry["name"] in subgraph.promoted:
                slot["widget"] = {"name": entry["name"]}
            slots.append(slot)
        outputs = [(entry["name"], entry["type"]) for entry in subgraph.outputs]
        proxies = [list(place) for name, place in subgraph.promoted.items()]
        return self._put(subgraph.id, place, size, slots, outputs, [], wires, subgraph.name, {"proxyWidgets": proxies}, 0)

    def _put(
        self,
        kind: str,
        place: tuple[int, int],
        size: tuple[int, int],
        slots: list[Json],
        outputs: list[tuple[str, str]],
        values: list[Any],
        wires: dict[str, Source] | None,
        title: str | None,
        properties: Json,
        mode: int,
    ) -> Node:
        saved: Json = {
            "id": next(self.numbers.nodes),
            "type": kind,
            "pos": [place[0] + self.origin[0], place[1] + self.origin[1]],
            "size": list(size),
            "flags": {},
            "order": len(self.nodes),
            "mode": mode,
            "inputs": slots,
            "outputs": [{"name": name, "type": type_, "links": []} for name, type_ in outputs],
            "properties": properties,
            "widgets_values": values,
        }
        if title:
            saved["title"] = title
        self.nodes.append(saved)
        for name, source in (wires or {}).items():
            self.wire(source, saved["id"], name)
        return Node(saved)

    def wire(self, source: Source, node: int, name: str) -> None:
        """A link into an input."""
        target = self._node(node)
        place = [slot["name"] for slot in target["inputs"]].index(name)
        number = next(self.numbers.links)
        target["inputs"][place]["link"] = number
        self.links.append((number, source, node, place, source.type))
        if source.node != INPUT_NODE:
            self._node(source.node)["outputs"][source.slot]["links"].append(number)

    def _node(self, number: int) -> Json:
        return next(node for node in self.nodes if node["id"] == number)


class Subgraph(Graph):
    """A graph that is one node of another."""

    def __init__(self, info: Json, numbers: Numbers, name: str, description: str = "") -> None:
        super().__init__(info, numbers)
        self.name, self.description = name, description
        self.id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"fantasytalking/{name}/{next(numbers.nodes)}"))
        self.inputs: list[Json] = []
        self.outputs: list[Json] = []
        self.promoted: dict[str, tuple[str, str]] = {}

    def input(self, name: str, type_: str, label: str | None = None) -> Source:
        """An input of the box."""
        entry = {"id": str(uuid.uuid5(uuid.UUID(self.id), f"in {name}")), "name": name, "type": type_, "linkIds": []}
        self.inputs.append(entry | ({"label": label} if label else {}))
        return Source(INPUT_NODE, len(self.inputs) - 1, type_)

    def promote(self, node: Node, widget: str, name: str | None = None, label: str | None = None) -> Source:
        """A widget of a node inside that the box shows, too."""
        slot = next(slot for slot in node.saved["inputs"] if slot["name"] == widget)
        name = name or widget
        source = self.input(name, slot["type"], label)
        self.wire(source, node.id, widget)
        self.promoted[name] = (str(node.id), widget)
        return source

    def output(self, name: str, source: Source) -> None:
        """An output of the box."""
        number = next(self.numbers.links)
        entry = {
            "id": str(uuid.uuid5(uuid.UUID(self.id), f"out {name}")),
            "name": name,
            "type": source.type,
            "linkIds": [number],
        }
        self.outputs.append(entry)
        self.links.append((number, source, OUTPUT_NODE, len(self.outputs) - 1, source.type))
        self._node(source.node)["outputs"][source.slot]["links"].append(number)

    def definition(self) -> Json:
        for number, source, *_ in self.links:
            if source.node == INPUT_NODE:
                self.inputs[source.slot]["linkIds"].append(number)
        left = min(node["pos"][0] for node in self.nodes)
        right = max(node["pos"][0] + node["size"][0] for node in self.nodes)
        return {
            "id": self.id,
            "version": 1,
            "state": {"lastGroupId": 0, "lastNodeId": 0, "lastLinkId": 0, "lastRerouteId": 0},
            "revision": 0,
            "config": {},
            "name": self.name,
            "description": self.description,
            "inputNode": {"id": INPUT_NODE, "bounding": [left - 220, 0, 140, 20 * len(self.inputs) + 40]},
            "outputNode": {"id": OUTPUT_NODE, "bounding": [right + 80, 0, 140, 20 * len(self.outputs) + 40]},
            "inputs": self.inputs,
            "outputs": self.outputs,
            "widgets": [],
            "nodes": self.nodes,
            "groups": self.groups,
            "links": [
                {
                    "id": number,
                    "origin_id": source.node,
                    "origin_slot": source.slot,
                    "target_id": target,
                    "target_slot": slot,
                    "type": type_,
                }
                for number, source, target, slot, type_ in self.links
            ],
            "extra": {},
        }


def file(graph: Graph, subgraphs: list[Subgraph], extra: Json) -> Json:
    """A workflow file. `extra` is what the page reads beside the graph: app mode's fields, a blueprint's aliases."""
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"fantasytalking {extra} {[node['type'] for node in graph.nodes]}")),
        "revision": 0,
        "last_node_id": next(graph.numbers.nodes),
        "last_link_id": next(graph.numbers.links),
        "nodes": graph.nodes,
        "links": [[number, source.node, source.slot, node, slot, type_] for number, source, node, slot, type_ in graph.links],
        "groups": graph.groups,
        "definitions": {"subgraphs": [subgraph.definition() for subgraph in subgraphs]},
        "config": {},
        "extra": extra,
        "version": 0.4,
    }


def _inputs(info: Json, given: Json) -> tuple[list[tuple[str, str]], list[tuple[str, str, Any, bool]]]:
    """A node's sockets, (name, type), and its widgets, (name, type, default, whether the page saves a control beside it)."""
    sockets, widgets = [], []
    for name, kind, options in _specs(info["input"], given):
        if isinstance(kind, list):
            kind, options = "COMBO", {"options": kind, **options}
        if kind == "COMFY_AUTOGROW_V3":
            continue  # the page adds a socket for each that is wired
        if kind not in WIDGET_TYPES or options.get("forceInput"):
            sockets.append((name, kind if kind != "COMFY_MATCHTYPE_V3" else options["template"]["allowed_types"]))
            continue
        choices = options.get("options") or [None]
        first = choices[0]["key"] if isinstance(choices[0], dict) else choices[0]
        default = options.get("default", first if kind in ("COMBO", DYNAMIC_COMBO) else "")
        controlled = options.get("control_after_generate", kind == "INT" and name in ("seed", "noise_seed"))
        widgets.append((name, kind, default, bool(controlled)))
    return sockets, widgets


def _specs(inputs: Json, given: Json, prefix: str = "") -> Iterator[tuple[str, Any, Json]]:
    for group in ("required", "optional"):
        for name, (kind, *rest) in (inputs.get(group) or {}).items():
            options = rest[0] if rest else {}
            yield prefix + name, kind, options
            if kind == DYNAMIC_COMBO:
                value = given.get(prefix + name, options["options"][0]["key"])
                choice = next(option for option in options["options"] if option["key"] == value)
                yield from _specs(choice["inputs"], given, f"{prefix}{name}.")
