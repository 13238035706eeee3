"""A saved workflow file in the form that the server runs."""

import pytest
from workflow import WorkflowError, to_api

# What a server says of its nodes, in the forms of both of its APIs for nodes.
OBJECT_INFO = {
    "Load": {"input": {"required": {"name": [["a.png", "b.png"], {"image_upload": True}]}}, "display_name": "Load it"},
    "Sample": {
        "input": {
            "required": {
                "image": ["IMAGE"],
                "seed": ["INT", {"control_after_generate": True}],
                "steps": ["INT", {"default": 20}],
                "kind": ["COMBO", {"options": ["euler", "heun"]}],
            },
            "optional": {"mask": ["MASK"], "note": ["STRING", {}]},
        },
        "input_order": {"required": ["image", "seed", "steps", "kind"], "optional": ["mask", "note"]},
    },
    "Noise": {"input": {"required": {"noise_seed": ["INT", {}], "amount": ["FLOAT", {}]}}},
    "Blur": {"input": {"required": {"mask": ["MASK"], "image": ["IMAGE"], "radius": ["FLOAT", {}]}}},
    "Forced": {"input": {"required": {"fps": ["FLOAT", {"forceInput": True}], "name": ["STRING", {}]}}},
    "Save": {
        "input": {
            "required": {
                "image": ["IMAGE"],
                "codec": [
                    "COMFY_DYNAMICCOMBO_V3",
                    {
                        "options": [
                            {"key": "auto", "inputs": {}},
                            {
                                "key": "h264",
                                "inputs": {
                                    "required": {
                                        "encoding": [
                                            "COMFY_DYNAMICCOMBO_V3",
                                            {"options": [{"key": "re-encode", "inputs": {"required": {"crf": ["FLOAT", {}]}}}]},
                                        ]
                                    }
                                },
                            },
                        ]
                    },
                ],
                "prefix": ["STRING", {}],
            }
        }
    },
}


def node(number: int, kind: str, values=(), inputs=(), outputs=("IMAGE",), mode: int = 0) -> dict:
    """A saved node; `inputs` are (name, type, link)."""
    return {
        "id": number,
        "type": kind,
        "mode": mode,
        "widgets_values": list(values) or None,
        "inputs": [{"name": name, "type": type, "link": link} for name, type, link in inputs],
        "outputs": [{"name": type, "type": type} for type in outputs],
    }


def convert(*nodes: dict, links=()) -> dict:
    return to_api({"nodes": list(nodes), "links": list(links)}, OBJECT_INFO)


LOAD = node(1, "Load", ["b.png", "image"])


def image_link(number: int, source: int, target: int, slot: int = 0) -> list:
    return [number, source, slot, target, 0, "IMAGE"]


def test_values_get_their_names_from_the_servers_order():
    prompt = convert(node(2, "Blur", [1.5]))
    assert prompt["2"]["inputs"] == {"radius": 1.5}


def test_the_upload_buttons_value_is_left_out():
    assert convert(LOAD)["1"]["inputs"] == {"name": "b.png"}


def test_the_value_that_controls_a_seed_is_left_out():
    prompt = convert(node(2, "Sample", [42, "randomize", 30, "heun", "hello"]))
    assert prompt["2"]["inputs"] == {"seed": 42, "steps": 30, "kind": "heun", "note": "hello"}


def test_a_noise_seed_has_a_control_value_without_saying_so():
    assert convert(node(2, "Noise", [42, "fixed", 0.5]))["2"]["inputs"] == {"noise_seed": 42, "amount": 0.5}


def test_an_input_without_a_widget_takes_no_value():
    assert convert(node(2, "Forced", ["x"]))["2"]["inputs"] == {"name": "x"}


def test_a_dynamic_combo_brings_the_values_of_its_choice():
    prompt = convert(node(2, "Save", ["h264", "re-encode", 19.0, "film"]))
    assert prompt["2"]["inputs"] == {
        "codec": "h264",
        "codec.encoding": "re-encode",
        "codec.encoding.crf": 19.0,
        "prefix": "film",
    }


def test_a_dynamic_combo_brings_nothing_of_what_was_not_chosen():
    assert convert(node(2, "Save", ["auto", "film"]))["2"]["inputs"] == {"codec": "auto", "prefix": "film"}


def test_a_link_names_the_node_and_the_output_that_feed_it():
    prompt = convert(LOAD, node(2, "Blur", [1.0], [("image", "IMAGE", 9)]), links=[image_link(9, 1, 2, slot=3)])
    assert prompt["2"]["inputs"]["image"] == ["1", 3]


def test_a_link_takes_the_place_of_a_widgets_value():
    prompt = convert(LOAD, node(2, "Blur", [1.0], [("radius", "FLOAT", 9)]), links=[[9, 1, 0, 2, 0, "FLOAT"]])
    assert prompt["2"]["inputs"]["radius"] == ["1", 0]


def test_links_may_be_saved_as_objects():
    link = {"id": 9, "origin_id": 1, "origin_slot": 0, "target_id": 2, "target_slot": 0, "type": "IMAGE"}
    prompt = convert(LOAD, node(2, "Blur", [1.0], [("image", "IMAGE", 9)]), links=[link])
    assert prompt["2"]["inputs"]["image"] == ["1", 0]


def test_values_may_be_saved_with_their_names():
    saved = node(2, "Blur") | {"widgets_values": {"radius": 2.0}}
    assert convert(saved)["2"]["inputs"] == {"radius": 2.0}


def test_notes_are_left_out():
    assert convert(LOAD, node(2, "Note", ["read me"]), node(3, "MarkdownNote", ["# me too"])).keys() == {"1"}


def test_reroutes_are_left_out_and_looked_through():
    prompt = convert(
        LOAD,
        node(2, "Reroute", (), [("", "*", 7)]),
        node(3, "Reroute", (), [("", "*", 8)]),
        node(4, "Blur", [1.0], [("image", "IMAGE", 9)]),
        links=[image_link(7, 1, 2), image_link(8, 2, 3), image_link(9, 3, 4)],
    )
    assert prompt.keys() == {"1", "4"}
    assert prompt["4"]["inputs"]["image"] == ["1", 0]


def test_a_muted_node_is_left_out_and_so_are_the_links_from_it():
    muted = LOAD | {"mode": 2}
    prompt = convert(muted, node(2, "Blur", [1.0], [("image", "IMAGE", 9)]), links=[image_link(9, 1, 2)])
    assert prompt.keys() == {"2"}
    assert "image" not in prompt["2"]["inputs"]


def test_a_bypassed_node_passes_on_its_input_of_the_same_type():
    bypassed = node(2, "Blur", [1.0], [("mask", "MASK", None), ("image", "IMAGE", 8)], mode=4)
    prompt = convert(
        LOAD, bypassed, node(3, "Blur", [2.0], [("image", "IMAGE", 9)]), links=[image_link(8, 1, 2), image_link(9, 2, 3)]
    )
    assert prompt.keys() == {"1", "3"}
    assert prompt["3"]["inputs"]["image"] == ["1", 0]


def test_a_bypassed_node_prefers_the_input_in_the_outputs_place():
    bypassed = node(3, "Blur", [1.0], [("first", "IMAGE", 6), ("second", "IMAGE", 7)], ("IMAGE", "IMAGE"), mode=4)
    prompt = convert(
        LOAD,
        node(2, "Load", ["a.png"]),
        bypassed,
        node(4, "Blur", [2.0], [("image", "IMAGE", 9)]),
        links=[image_link(6, 1, 3), image_link(7, 2, 3), image_link(9, 3, 4, slot=1)],
    )
    assert prompt["4"]["inputs"]["image"] == ["2", 0]


def test_a_node_that_the_server_does_not_know_is_named():
    with pytest.raises(WorkflowError, match="Node 5 is of type Strange"):
        convert(node(5, "Strange"))


def test_values_that_an_older_file_lacks_are_the_defaults():
    assert convert(node(2, "Sample", [42, "fixed"]))["2"]["inputs"] == {"seed": 42, "steps": 20, "kind": "euler"}


def test_a_title_that_the_user_gave_is_kept():
    assert convert(LOAD | {"title": "My face"})["1"]["_meta"]["title"] == "My face"
