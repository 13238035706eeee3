"""Small ONNX graphs in the place of face recognition models.

`mean_model` gives the mean of each channel of its input times weights, `pick_model` gives numbers of its input as they
are, so that embeddings can be worked out by hand.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from fantasytalking_core.face.encoder import embed, read_face_encoder

WIDTH = 128
FACE = ("N", 3, 112, 112)


def graph(path: Path, nodes: list, shape, constants: dict, type_=TensorProto.FLOAT, declared=("N", WIDTH), more=()) -> Path:
    """An ONNX file with the input `faces` and the output `embedding`."""
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info("faces", type_, shape), *more],
            [helper.make_tensor_value_info("embedding", type_, declared)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def mean_model(path: Path, weights=((1, 0, 0), (0, 1, 0), (0, 0, 1)), shape=FACE, width=WIDTH, half=False, **options) -> Path:
    """Red, green and blue means times `weights` (a row each), and zeros up to the width."""
    padded = np.zeros((3, width), np.float16 if half else np.float32)
    padded[:, : len(weights[0])] = weights
    nodes = [
        helper.make_node("ReduceMean", ["faces"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["embedding"]),
    ]
    type_ = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    return graph(path, nodes, shape, {"weights": padded}, type_, ("N", width), **options)


def pick_model(path: Path, places: list[tuple[int, int, int]]) -> Path:
    """The input's numbers at (channel, row, column)."""
    indices = [channel * 112 * 112 + row * 112 + column for channel, row, column in places]
    nodes = [
        helper.make_node("Flatten", ["faces"], ["flat"]),
        helper.make_node("Gather", ["flat", "at"], ["embedding"], axis=1),
    ]
    return graph(path, nodes, FACE, {"at": np.array(indices, np.int64)}, declared=("N", len(indices)))


def plain(*colours: tuple[float, float, float]) -> torch.Tensor:
    """Faces of one colour each, `[B, 112, 112, 3]`."""
    return torch.tensor(colours)[:, None, None].expand(-1, 112, 112, -1).clone()


def identity_of(path: Path, *colours: tuple[float, float, float]) -> torch.Tensor:
    return embed(plain(*colours), read_face_encoder(path)).vector


def padded(*numbers: float) -> torch.Tensor:
    return torch.cat([torch.tensor(numbers), torch.zeros(WIDTH - len(numbers))])


MISSING = (
    "Face recognition needs onnxruntime, which is not installed: install onnxruntime (or onnxruntime-gpu for an NVIDIA "
    "card) into ComfyUI's Python and restart ComfyUI, or use FantasyTalking Encode Face (CLIP), which does without it."
)
