"""Identity embeddings: ArcFace models as people have them, ONNX files run with onnxruntime (§3.3).

onnxruntime is optional: its builds for the CPU and for each kind of GPU exclude each other, and other packs may have
chosen one already. It keeps GPU memory of its own, of which the host's memory manager knows nothing. So a session is
opened when faces are embedded and dropped right after, which costs a fraction of a second, and the value that travels
between nodes holds a file's name and sizes only.
"""

import importlib.util
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange

from ..adapter.identity import FaceEmbedding
from ..errors import FantasyTalkingError, first_line, logger, short
from ..files import described
from ..reading import check_regular
from .alignment import SIZE

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

PUBLISHED = "https://github.com/deepinsight/insightface/tree/master/model_zoo"
EXPECTED = f"a face recognition model such as w600k_r50.onnx, 1×3×{SIZE}×{SIZE} → 1×512"
OTHERWISE = "or use FantasyTalking Encode Face (CLIP), which does without it."
NOT_INSTALLED = (
    "Face recognition needs onnxruntime, which is not installed: install onnxruntime (or onnxruntime-gpu for an NVIDIA card) "
    f"into ComfyUI's Python and restart ComfyUI, {OTHERWISE}"
)
MIN_WIDTH = 64
"""Numbers; models for faces of this size that give fewer (expressions, quality) do not tell who it is."""
TYPES: Mapping[str, type[np.floating]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
ACCELERATORS = {
    "cuda": ("CUDAExecutionProvider", "ROCMExecutionProvider"),  # PyTorch calls AMD's cards cuda, too
    "mps": ("CoreMLExecutionProvider",),
    "privateuseone": ("DmlExecutionProvider",),
}
"""By the type of a PyTorch device, the providers that run on it. Without MIGraphX, AMD's other one: it compiles the
model anew for each session, for minutes (ROCm/AMDMIGraphX issue 4164), and the CPU takes a fraction of a second."""
CPU = "CPUExecutionProvider"
NO_FALLBACK = 0
ERRORS_ONLY = 3
LARGEST_FILE = 2**31
"""Bytes; an ONNX file can't be larger."""
CHECK_SECONDS, SECONDS = 8.0, 60.0
"""After which a file is none for faces, and after which a face is given up: a graph may hold a loop without an end."""
MEMORY = 2**30
"""Bytes that a graph may take on the CPU beside its weights; for a face the largest take a tenth."""

Provider = tuple[str, dict[str, str]]


@dataclass(frozen=True)
class FaceEncoder:
    """A face recognition model that was found fit; the value of an FT_FACE_ENCODER wire.

    Attributes:
        input: name of the graph's input.
        output: name of its (first) output.
        dtype: what the input takes, float32 or float16.
        width: numbers in an embedding (ArcFace: 512).
    """

    path: Path
    input: str
    output: str
    dtype: type[np.floating]
    width: int


def runtime() -> ModuleType:
    """onnxruntime, imported when it is needed.

    Its CUDA provider finds CUDA's and cuDNN's libraries because PyTorch, imported before, has loaded its own.

    Raises:
        FantasyTalkingError: not installed, or broken.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise FantasyTalkingError(NOT_INSTALLED) from error
    except (ImportError, OSError) as error:
        raise _broken(first_line(error)) from error
    if not hasattr(onnxruntime, "InferenceSession"):  # what stays when one of two builds is uninstalled
        raise _broken("its files are incomplete")
    return onnxruntime


def is_installed() -> bool:
    """Whether there is an onnxruntime, without importing it."""
    try:
        return importlib.util.find_spec("onnxruntime") is not None
    except ValueError:  # imported, and without a description of itself
        return True


def _broken(why: str) -> FantasyTalkingError:
    return FantasyTalkingError(
        f"onnxruntime is installed but can't be used ({why}): uninstall onnxruntime and onnxruntime-gpu from ComfyUI's "
        f"Python, install one of them again and restart ComfyUI, {OTHERWISE}"
    )


def read_face_encoder(path: Path) -> FaceEncoder:
    """The model in an ONNX file, checked by running it once on a grey picture: what files say of their outputs is
    often wrong.

    Raises:
        FantasyTalkingError: onnxruntime is missing, the file is broken, or no face recognition model.
    """
    runtime()
    try:
        if check_regular(path) > LARGEST_FILE:
            raise ValueError("larger than such a file can be")
        session = _session(path, [(CPU, {})], optimise=False)
    except Exception as error:  # onnxruntime has a type for each way a file can be broken
        why = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise FantasyTalkingError(
            f"'{short(path.name)}' can't be read as an ONNX model ({why}): download it again, it is published at {PUBLISHED}, "
            "or update onnxruntime."
        ) from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    takes = short(" and ".join(_shape(entry.shape) for entry in inputs) or "nothing")
    if len(inputs) != 1 or inputs[0].type not in TYPES or not _takes_a_face(inputs[0].shape):
        raise _unfit(path, f"takes {takes} ({short(', '.join(entry.type for entry in inputs))})")
    if not outputs:
        raise _unfit(path, f"takes {takes} and gives nothing")
    encoder = FaceEncoder(path, inputs[0].name, outputs[0].name, TYPES[inputs[0].type], 0)
    try:
        embedding = _run(session, encoder, np.zeros((1, 3, SIZE, SIZE), encoder.dtype), CHECK_SECONDS)
    except Exception as error:
        raise _unfit(path, f"takes {takes} and fails on a face ({first_line(error)})") from error
    if np.ndim(embedding) != 2 or len(embedding) != 1 or embedding.shape[1] < MIN_WIDTH:
        raise _unfit(path, f"takes {takes} and gives {short(_shape(np.shape(embedding)))}")
    return replace(encoder, width=embedding.shape[1])


def _run(session: "InferenceSession", encoder: FaceEncoder, face: np.ndarray, seconds: float) -> np.ndarray:
    """`[1, 3, 112, 112]` to `[1, D]`. Raises TimeoutError, and what onnxruntime raises."""
    options = runtime().RunOptions()
    out_of_time = threading.Event()

    def stop() -> None:
        out_of_time.set()
        options.terminate = True  # seen by onnxruntime before each node of the graph

    timer = threading.Timer(seconds, stop)
    timer.start()
    try:
        return session.run([encoder.output], {encoder.input: face}, options)[0]
    except Exception as error:
        if out_of_time.is_set():
            raise TimeoutError(f"no end after {seconds:g} s") from error
        raise
    finally:
        timer.cancel()


def _takes_a_face(shape: Sequence[int | str | None]) -> bool:
    return len(shape) == 4 and all(
        found == wanted or not isinstance(found, int) for found, wanted in zip(shape, (1, 3, SIZE, SIZE), strict=True)
    )


def _shape(shape: Sequence[int | str | None]) -> str:
    return "×".join(str(side) if isinstance(side, int) else "?" for side in shape) or "one number"


def _unfit(path: Path, found: str) -> FantasyTalkingError:
    return FantasyTalkingError(f"'{short(path.name)}' {found}, expected {EXPECTED}: choose another file.")


def providers(device: torch.device | str, available: Sequence[str]) -> list[Provider]:
    """What runs a model on the host's device, of the providers that this build of onnxruntime has; the CPU at last."""
    device = torch.device(device)
    chosen = [name for name in ACCELERATORS.get(device.type, ()) if name in available][:1]
    return [*((name, _options(name, device.index or 0)) for name in chosen), (CPU, {})]


def accelerated(device: torch.device | str) -> bool:
    """Whether faces are embedded on that device, and not on the CPU."""
    return len(providers(device, runtime().get_available_providers())) > 1


def _options(name: str, index: int) -> dict[str, str]:
    if name == "CoreMLExecutionProvider":
        return {}
    options = {"device_id": str(index)}
    if name == "CUDAExecutionProvider":  # its default tries every algorithm first, too long for a few faces
        options["cudnn_conv_algo_search"] = "HEURISTIC"
    return options


def _session(path: Path, chosen: list[Provider], optimise: bool = True) -> "InferenceSession":
    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if chosen[0][0] == "DmlExecutionProvider":
        options.enable_mem_pattern = False  # which DirectML does not have
    if chosen == [(CPU, {})] and _memory_is_bounded():
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=chosen, enable_fallback=NO_FALLBACK)


@cache
def _memory_is_bounded() -> bool:
    """Whether sessions on the CPU that ask for it share `MEMORY`; those of other packs, which do not, are not touched."""
    onnxruntime = runtime()
    kind, default = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    try:
        arena = onnxruntime.OrtArenaCfg({"max_mem": MEMORY})
        onnxruntime.create_and_register_allocator(onnxruntime.OrtMemoryInfo("Cpu", kind, 0, default), arena)
    except Exception as error:  # a build without it, or another pack has registered one
        logger.debug("onnxruntime's memory is not bounded: %s", first_line(error))
        return False
    return True


class _Runner:
    """A model on the host's device; on the CPU from the moment that this fails."""

    def __init__(self, encoder: FaceEncoder, device: torch.device | str) -> None:
        self.encoder = encoder
        self.chosen = providers(device, runtime().get_available_providers())
        self.session: InferenceSession | None = None

    def embedding(self, face: np.ndarray) -> np.ndarray:
        """`[1, 3, 112, 112]` to `[1, D]`."""
        accelerator = self.chosen[0][0]
        try:
            if self.session is None:
                self.session = _session(self.encoder.path, self.chosen)
                if accelerator not in self.session.get_providers():  # it goes on without those that don't start
                    logger.warning("onnxruntime could not start %s: faces are encoded on the CPU.", accelerator)
                    self.chosen = self.chosen[-1:]
            return _run(self.session, self.encoder, face, SECONDS)
        except Exception as error:
            if len(self.chosen) == 1:
                raise FantasyTalkingError(
                    f"'{short(self.encoder.path.name)}' failed in onnxruntime ({first_line(error)}): load it again with "
                    "FantasyTalking Face Encoder Loader."
                ) from error
            logger.warning("%s failed (%s): faces are encoded on the CPU.", accelerator, first_line(error))
            self.chosen, self.session = self.chosen[-1:], None
        return self.embedding(face)


@torch.no_grad()
def embed(
    faces: torch.Tensor,
    encoder: FaceEncoder,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FaceEmbedding:
    """One identity of one or several pictures of a person: the mean of their embeddings, each of length 1.

    They are encoded one by one, since many files are for one at a time.

    Args:
        faces: `[B, 112, 112, 3]` aligned faces, RGB in [0, 1].
        device: the host's; used where onnxruntime's build can, else the CPU.
        progress: called after every face with the faces done and the faces in all; may raise to interrupt.

    Raises:
        FantasyTalkingError: onnxruntime fails, or an embedding has no direction.
    """
    inputs = rearrange(faces.cpu() * 2 - 1, "b h w c -> b 1 c h w").contiguous().numpy().astype(encoder.dtype)
    runner, embeddings = _Runner(encoder, device), []
    for index, face in enumerate(inputs):
        embedding = torch.from_numpy(runner.embedding(face)[0].astype(np.float32))
        embeddings.append(_direction(embedding, f"The embedding of picture {index + 1}"))
        progress(index + 1, len(inputs))
    mean = _direction(torch.stack(embeddings).mean(0), "The mean of the faces' embeddings")
    return FaceEmbedding(mean, described(encoder.path))


def _direction(embedding: torch.Tensor, what: str) -> torch.Tensor:
    length = embedding.norm()
    if not torch.isfinite(length) or length < 1e-6:
        raise FantasyTalkingError(
            f"{what} is {'zero' if length < 1e-6 else 'not finite'}, expected a direction: check that the pictures show "
            "one person's face, and try another face encoder file."
        )
    return embedding / length
