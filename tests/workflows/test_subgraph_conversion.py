"""Subgraphs of a saved workflow, unpacked into the form that the server runs; and other settings in them."""

import pytest
from workflow import WorkflowError, every_node, to_api, with_settings

OBJECT_INFO = {
    "Load": {"input": {"required": {"name": ["STRING", {"default": "a.png"}]}}},
    "Blur": {"input": {"required": {"image": ["IMAGE"], "radius": ["FLOAT", {"default": 1.0}]}}},
    "Mix": {"input": {"required": {"one": ["IMAGE"], "two": ["IMAGE"]}}},
    "Number": {"input": {"required": {"value": ["FLOAT", {"default": 0.0}]}}},
    "Save": {"input": {"required": {"image": ["IMAGE"]}}},
}
IN, OUT = -10, -20
"""What links inside call the subgraph's own inputs and outputs."""
MUTED, BYPASSED = 2, 4


def node(number: int, kind: str, inputs: dict | None = None, outputs: str = "IMAGE", *values, mode: int = 0) -> dict:
    """A saved node; `inputs` are the numbers of the links into them, those called radius, value or name have a widget."""
    slots = []
    for name, link in (inputs or {}).items():
        is_widget = name in ("radius", "value", "name")
        slot = {"name": name, "type": "FLOAT" if is_widget else "IMAGE", "link": link}
        slots.append(slot | ({"widget": {"name": name}} if is_widget else {}))
    sockets = [{"name": type_, "type": type_, "links": []} for type_ in outputs.split()]
    return {"id": number, "type": kind, "mode": mode, "inputs": slots, "outputs": sockets, "widgets_values": list(values)}


def link(number: int, origin: int, target: int, slot: int = 0, *, of: int = 0, type_: str = "IMAGE") -> dict:
    """From output `of` of a node to input `slot` of another, as the page saves it in a subgraph."""
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    return dict(zip(names, (number, origin, of, target, slot, type_), strict=True))


def outside(*links: dict) -> list[list]:
    """As the page saves them at the top."""
    return [list(link.values()) for link in links]


def subgraph(name: str, inputs: list[str], nodes: list[dict], links: list[dict]) -> dict:
    entries = [
        {"name": entry, "linkIds": [link["id"] for link in links if (link["origin_id"], link["origin_slot"]) == (IN, place)]}
        for place, entry in enumerate(inputs)
    ]
    return {"id": name, "name": name, "inputs": entries, "nodes": nodes, "links": links}


def workflow(nodes: list[dict], links: list[list], *subgraphs: dict) -> dict:
    return {"nodes": nodes, "links": links, "definitions": {"subgraphs": list(subgraphs)}}


def inputs(saved: dict) -> dict[str, dict]:
    return {key: node["inputs"] for key, node in to_api(saved, OBJECT_INFO).items()}


def blurred(radius: int | None = None, mode: int = 0) -> dict:
    """Load → a box that blurs, its radius promoted and fed by link `radius` → Save."""
    inside = subgraph(
        "Soft",
        ["picture", "strength"],
        [node(4, "Blur", {"image": 20, "radius": 21}, "IMAGE", 2.5)],
        [link(20, IN, 4), link(21, IN, 4, 1, of=1, type_="FLOAT"), link(22, 4, OUT)],
    )
    box = node(2, "Soft", {"picture": 10, "strength": radius}, mode=mode)
    nodes = [node(1, "Load", {}, "IMAGE", "b.png"), box, node(3, "Save", {"image": 11}, "")]
    links = outside(link(10, 1, 2), link(11, 2, 3))
    if radius is not None:
        nodes.append(node(5, "Number", {"value": None}, "FLOAT", 7.0))
        links += outside(link(radius, 5, 2, 1, type_="FLOAT"))
    return workflow(nodes, links, inside)


def test_a_box_is_replaced_by_what_is_in_it():
    assert inputs(blurred()) == {
        "1": {"name": "b.png"},
        "2:4": {"image": ["1", 0], "radius": 2.5},
        "3": {"image": ["2:4", 0]},
    }


def test_a_promoted_widget_that_is_wired_takes_what_feeds_the_box():
    assert inputs(blurred(radius=12))["2:4"] == {"image": ["1", 0], "radius": ["5", 0]}


def test_two_boxes_of_one_subgraph_are_two_of_its_nodes():
    saved = blurred()
    saved["nodes"] += [node(6, "Soft", {"picture": 14, "strength": None}), node(7, "Save", {"image": 13}, "")]
    saved["links"] += outside(link(14, 2, 6), link(13, 6, 7))
    found = inputs(saved)
    assert found["6:4"] == {"image": ["2:4", 0], "radius": 2.5}
    assert found["7"] == {"image": ["6:4", 0]} and found["3"] == {"image": ["2:4", 0]}


def nested() -> dict:
    """Load → an outer box with a Blur and an inner box with another → Save."""
    inner = subgraph(
        "Inner",
        ["picture", "strength"],
        [node(8, "Blur", {"image": 30, "radius": 31}, "IMAGE", 1.5)],
        [link(30, IN, 8), link(31, IN, 8, 1, of=1, type_="FLOAT"), link(32, 8, OUT)],
    )
    outer = subgraph(
        "Outer",
        ["picture"],
        [
            node(4, "Blur", {"image": 20, "radius": None}, "IMAGE", 0.5),
            node(5, "Inner", {"picture": 21, "strength": 24}),
            node(6, "Number", {"value": None}, "FLOAT", 9.0),
        ],
        [link(20, IN, 4), link(21, 4, 5), link(22, 5, OUT), link(24, 6, 5, 1, type_="FLOAT")],
    )
    nodes = [node(1, "Load", {}, "IMAGE", "b.png"), node(2, "Outer", {"picture": 10}), node(3, "Save", {"image": 11}, "")]
    return workflow(nodes, outside(link(10, 1, 2), link(11, 2, 3)), outer, inner)


def test_a_box_within_a_box():
    assert inputs(nested()) == {
        "1": {"name": "b.png"},
        "2:4": {"image": ["1", 0], "radius": 0.5},
        "2:5:8": {"image": ["2:4", 0], "radius": ["2:6", 0]},
        "2:6": {"value": 9.0},
        "3": {"image": ["2:5:8", 0]},
    }


def test_nothing_is_left_of_a_muted_box_or_of_the_links_from_it():
    assert inputs(blurred(mode=MUTED)) == {"1": {"name": "b.png"}, "3": {}}


def test_a_box_in_a_muted_box_is_muted():
    saved = nested()
    saved["nodes"][1]["mode"] = MUTED
    assert inputs(saved) == {"1": {"name": "b.png"}, "3": {}}


def test_a_bypassed_box_passes_on_its_input_of_the_same_type():
    assert inputs(blurred(mode=BYPASSED)) == {"1": {"name": "b.png"}, "3": {"image": ["1", 0]}}


def test_a_bypassed_node_in_a_box_passes_on_what_feeds_the_box():
    saved = blurred()
    saved["definitions"]["subgraphs"][0]["nodes"][0]["mode"] = BYPASSED
    assert inputs(saved) == {"1": {"name": "b.png"}, "3": {"image": ["1", 0]}}


def test_an_output_of_a_box_may_be_its_input():
    inside = subgraph("Pass", ["picture"], [node(4, "Blur", {"image": 21}, "IMAGE", 3.0)], [link(20, IN, OUT), link(21, IN, 4)])
    nodes = [node(1, "Load", {}, "IMAGE", "b.png"), node(2, "Pass", {"picture": 10}), node(3, "Save", {"image": 11}, "")]
    found = inputs(workflow(nodes, outside(link(10, 1, 2), link(11, 2, 3)), inside))
    assert found["3"] == {"image": ["1", 0]}
    assert found["2:4"] == {"image": ["1", 0], "radius": 3.0}


def test_an_input_of_a_box_may_feed_several_inputs_and_its_outputs_keep_their_order():
    inside = subgraph(
        "Both",
        ["first", "second"],
        [node(4, "Mix", {"one": 20, "two": 21}), node(5, "Mix", {"one": 22, "two": 23})],
        [link(20, IN, 4, 0), link(21, IN, 4, 1), link(22, IN, 5, 0), link(23, IN, 5, 1, of=1)]
        + [link(24, 5, OUT, 0), link(25, 4, OUT, 1)],
    )
    nodes = [
        node(1, "Load", {}, "IMAGE", "b.png"),
        node(6, "Load", {}, "IMAGE", "c.png"),
        node(2, "Both", {"first": 10, "second": 11}, "IMAGE IMAGE"),
        node(3, "Save", {"image": 12}, ""),
        node(7, "Save", {"image": 13}, ""),
    ]
    links = outside(link(10, 1, 2, 0), link(11, 6, 2, 1), link(12, 2, 3, of=0), link(13, 2, 7, of=1))
    found = inputs(workflow(nodes, links, inside))
    assert found["2:4"] == {"one": ["1", 0], "two": ["1", 0]}
    assert found["2:5"] == {"one": ["1", 0], "two": ["6", 0]}
    assert found["3"] == {"image": ["2:5", 0]} and found["7"] == {"image": ["2:4", 0]}


def test_a_node_that_the_server_does_not_know_is_named_with_its_box():
    saved = blurred()
    saved["definitions"]["subgraphs"][0]["nodes"][0]["type"] = "Strange"
    with pytest.raises(WorkflowError, match="Node 2:4 is of type Strange"):
        to_api(saved, OBJECT_INFO)


def test_every_node_is_that_of_all_subgraphs_once():
    assert sorted(node["id"] for node in every_node(nested())) == [1, 2, 3, 4, 5, 6, 8]


# ------------------------------------------------------------------------------------------------------ other settings


def test_a_setting_reaches_into_boxes_and_takes_the_place_of_what_was_wired():
    saved = with_settings(nested(), {"Blur": {"radius": 4.0}})
    found = inputs(saved)
    assert found["2:4"]["radius"] == found["2:5:8"]["radius"] == 4.0
    inner = saved["definitions"]["subgraphs"][1]
    assert 31 not in [link["id"] for link in inner["links"]]
    assert [entry["linkIds"] for entry in inner["inputs"]] == [[30], []]


def test_a_wire_at_the_top_is_gone_from_both_of_its_ends():
    radius = node(2, "Blur", {"image": None, "radius": 10}, "IMAGE", 1.0)
    number = node(1, "Number", {"value": None}, "FLOAT", 7.0)
    number["outputs"][0]["links"] = [10, 11]
    other = node(3, "Number", {"value": 11}, "FLOAT", 0.0)
    saved = {"nodes": [number, radius, other], "links": outside(link(10, 1, 2, 1), link(11, 1, 3))}
    changed = with_settings(saved, {"Blur": {"radius": 4.0}})
    assert changed["nodes"][0]["outputs"][0]["links"] == [11]
    assert [link[0] for link in changed["links"]] == [11]
    assert changed["nodes"][1]["inputs"][1]["link"] is None
    assert saved["nodes"][0]["outputs"][0]["links"] == [10, 11]
