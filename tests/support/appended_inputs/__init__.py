"""This pack as a later version might be: every node has got two more inputs, at the end and optional."""

import importlib.util
import sys
from pathlib import Path

from comfy_api.latest import ComfyExtension, io

ROOT = Path(__file__).resolve().parents[3]
NAME, VALUE = "appended", 0.25


def real_pack():
    """The pack itself, under a name of its own."""
    spec = importlib.util.spec_from_file_location(
        "fantasytalking_before", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def with_more_inputs(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    class Later(node):
        @classmethod
        def define_schema(cls) -> io.Schema:
            schema = super().define_schema()
            more = [io.Float.Input(NAME, default=VALUE, optional=True), io.Image.Input(f"{NAME}_image", optional=True)]
            schema.inputs = [*schema.inputs, *more]
            return schema

        @classmethod
        def execute(cls, **inputs) -> io.NodeOutput:
            if inputs.pop(NAME, VALUE) != VALUE or inputs.pop(f"{NAME}_image", None) is not None:
                raise ValueError("a saved value went into an input that did not exist when it was saved")
            return super().execute(**inputs)

    Later.__name__ = node.__name__
    return Later


async def comfy_entrypoint() -> ComfyExtension:
    before = await real_pack().comfy_entrypoint()

    class Extension(ComfyExtension):
        async def get_node_list(self) -> list[type[io.ComfyNode]]:
            return [with_more_inputs(node) for node in await before.get_node_list()]

    return Extension()
