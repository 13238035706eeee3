"""A small face recognition model for drawn faces, written as the kind of ONNX file that the pack takes.

Trained as the published ones are: to tell the training's identities apart by angles, with a margin (CosFace,
arXiv:1801.09414); of it the embedding stays.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from einops import rearrange
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from fantasytalking_core.face import alignment as face_alignment
from fantasytalking_core.face.encoder import embed, read_face_encoder
from fantasytalking_core.face.landmarks import POINTS, Face
from fantasytalking_core.files import complete

from . import SEED
from .loop import Plan, fit

WIDTH = 128
"""Numbers in an embedding."""
PICTURES = 6
"""Frames of each identity that are learned from."""
BATCH = 64
SCALE, MARGIN = 16.0, 0.2
"""Of the cosines: what they are multiplied by, and by how much that of the right identity must lead."""
SHIFT, ZOOM, TURN, LIGHT = 0.06, 0.08, 0.08, 0.1
"""How far pictures are changed in training: of half a side, of the scale, radians, of the brightness."""
COVERED = 0.5
"""The share of pictures of which what lies around the head is covered by some colour: a wall tells nothing of a person."""
HEAD, RADII = (0.0, 0.15), (0.8, 1.0)
"""Middle and radii of an ellipse around the head in aligned faces, in half sides."""
PLAN = Plan(steps=350, rate=1e-3, average=0.99, weight_decay=0.05, checkpoint_every=100)
OPSET, IR_VERSION = 13, 8
"""Versions of ONNX that every onnxruntime of the last years reads."""


def network() -> nn.Sequential:
    """Faces `[B, 3, 112, 112]`, RGB in [−1, 1], to embeddings `[B, 128]`. 370,000 weights."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 24), (24, 48), (48, 96), (96, 128)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.PReLU(outputs)]
    return nn.Sequential(*layers, nn.Conv2d(128, 32, 1), nn.PReLU(32), nn.Flatten(), nn.Linear(32 * 7 * 7, WIDTH))


def aligned_faces(frames: np.ndarray, landmarks: np.ndarray, pictures: int = PICTURES) -> torch.Tensor:
    """Some frames of each video, evenly spread, as the pack aligns faces.

    Args:
        frames: `[N, F, H, W, 3]` uint8.
        landmarks: `[N, F, 478, 2]` float32, in pixels.

    Returns:
        `[N, pictures, 3, 112, 112]` uint8.
    """
    chosen = np.linspace(0, frames.shape[1] - 1, pictures).round().astype(int)
    found = []
    for video, points in zip(frames, landmarks, strict=True):
        fives = [Face(torch.from_numpy(points[frame]), torch.zeros(POINTS)).five_points() for frame in chosen]
        found.append(face_alignment.faces(torch.from_numpy(video[chosen]) / 255, fives))
    return rearrange((torch.stack(found) * 255).round().to(torch.uint8), "n f h w c -> n f c h w").contiguous()


def train(frames: np.ndarray, landmarks: np.ndarray, path: Path, checkpoint: Path) -> None:
    """Train the encoder and write its ONNX file.

    Args:
        frames: `[N, F, 96, 96, 3]` uint8, N videos of as many identities.
        landmarks: `[N, F, 478, 2]` float32, in pixels.
        checkpoint: from which an interrupted training goes on.
    """
    faces = aligned_faces(frames, landmarks)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(SEED)
        module = nn.ModuleDict({"network": network(), "identities": nn.Linear(WIDTH, len(faces), bias=False)})

    def draw(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = torch.Generator().manual_seed(SEED + step)
        who = torch.randint(len(faces), (BATCH,), generator=rng)
        seen = faces[who, torch.randint(faces.shape[1], (BATCH,), generator=rng)]
        return varied(seen / 127.5 - 1, rng), who

    def loss(seen: torch.Tensor, who: torch.Tensor) -> torch.Tensor:
        embeddings = module["network"](seen)
        cosines = F.normalize(embeddings) @ F.normalize(module["identities"].weight).T
        return F.cross_entropy(SCALE * (cosines - MARGIN * F.one_hot(who, len(faces))), who)

    module.load_state_dict(fit(module, draw, loss, PLAN, checkpoint))
    write_onnx(module["network"], path)


def varied(faces: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Faces `[B, 3, H, W]` in [−1, 1], each a little shifted, scaled, turned, of other brightness, some covered around."""
    faces = torch.where(_around(faces, rng), 2 * torch.rand(len(faces), 3, 1, 1, generator=rng) - 1, faces)
    x, y, zoom, turn, light = 2 * torch.rand(5, len(faces), generator=rng) - 1
    scale, angle = 1 + ZOOM * zoom, TURN * turn
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = [torch.stack([cos, -sin, SHIFT * x], dim=-1), torch.stack([sin, cos, SHIFT * y], dim=-1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(faces.shape), align_corners=False)
    moved = F.grid_sample(faces, grid, padding_mode="border", align_corners=False)
    return ((moved + 1) * (1 + LIGHT * light[:, None, None, None]) - 1).clamp(-1, 1)


def _around(faces: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Where faces are covered, bool `[B, 1, H, W]`."""
    y, x = (torch.linspace(-1, 1, side) for side in faces.shape[2:])
    reach = 1 + 0.15 * (2 * torch.rand(len(faces), 1, 1, 1, generator=rng) - 1)
    outside = ((x - HEAD[0]) / RADII[0]) ** 2 + ((y[:, None] - HEAD[1]) / RADII[1]) ** 2 > reach**2
    return outside & (torch.rand(len(faces), 1, 1, 1, generator=rng) < COVERED)


@torch.no_grad()
def write_onnx(layers: nn.Sequential, path: Path) -> None:
    """A chain of convolutions, PReLUs, flattening and linear layers as an ONNX file of float32 weights."""
    nodes, weights, last = [], [], "faces"
    for index, layer in enumerate(layers):
        name = "embedding" if index == len(layers) - 1 else f"layer{index}"
        values = dict(layer.named_parameters())
        match layer:
            case nn.Conv2d():
                sides = {"strides": layer.stride, "pads": layer.padding * 2, "kernel_shape": layer.kernel_size}
                kind, options = "Conv", {key: list(value) for key, value in sides.items()}
            case nn.PReLU():
                kind, options, values = "PRelu", {}, {"weight": layer.weight[:, None, None]}
            case nn.Flatten():
                kind, options = "Flatten", {}
            case nn.Linear():
                kind, options = "Gemm", {"transB": 1}
            case _:
                raise TypeError(f"{type(layer).__name__} can't be written as ONNX here.")
        weights += [numpy_helper.from_array(value.numpy(), f"{index}.{key}") for key, value in values.items()]
        nodes.append(helper.make_node(kind, [last, *(f"{index}.{key}" for key in values)], [name], **options))
        last = name
    side = face_alignment.SIZE
    inputs = helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["N", 3, side, side])
    outputs = helper.make_tensor_value_info(last, TensorProto.FLOAT, ["N", layers[-1].out_features])
    graph = helper.make_graph(nodes, "small_face_encoder", [inputs], [outputs], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with complete(path) as partial:
        onnx.save(model, str(partial), format="protobuf")


@dataclass(frozen=True)
class Verification:
    """How well pictures of one identity are told from those of two.

    Attributes:
        same, different: mean cosine of two pictures' embeddings.
        auc: how often two pictures of one identity are closer to each other than two of different ones.
    """

    same: float
    different: float
    auc: float


def verify(path: Path, frames: np.ndarray, landmarks: np.ndarray, pictures: int = 3) -> Verification:
    """The encoder in a file, by the pack's own functions, on all pairs of pictures of these identities.

    Args:
        frames, landmarks: as of `train`, of identities that were not trained on.
    """
    encoder = read_face_encoder(path)
    faces = rearrange(aligned_faces(frames, landmarks, pictures), "n f c h w -> (n f) 1 h w c") / 255
    embeddings = torch.stack([embed(face, encoder).vector for face in faces])
    cosines, who = embeddings @ embeddings.T, torch.arange(len(faces)) // pictures
    pairs = torch.ones_like(cosines).triu(1).bool()
    same, different = cosines[pairs & (who[:, None] == who)], cosines[pairs & (who[:, None] != who)]
    closer = (same[:, None] > different).double().mean()
    logging.info("%s: cosine %.3f same, %.3f different, AUC %.4f", path.name, same.mean(), different.mean(), closer)
    return Verification(float(same.mean()), float(different.mean()), float(closer))
