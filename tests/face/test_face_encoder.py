"""Face recognition models: what is fed to them, what is made of their embeddings, and which files are refused."""

import gc
import logging
import math
import sys
import types
import weakref
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.face.encoder import CPU, embed, providers, read_face_encoder
from support.face_models import FACE, MISSING, WIDTH, graph, identity_of, mean_model, padded, pick_model, plain

# ----------------------------------------------------------------------------------------- preprocessing, embedding


def test_the_model_sees_rgb_from_minus_one_to_one_channel_by_channel(tmp_path):
    """0 → −1, 0.25 → −0.5, 0.5 → 0, 1 → 1, at (channel, row, column); InsightFace: (255·x − 127.5) / 127.5."""
    face = plain((0.5, 0.5, 0.5))
    face[0, 20, 30] = torch.tensor([1.0, 0.25, 0.0])  # row 20, column 30: red, green, blue
    face[0, 111, 5] = torch.tensor([0.5, 1.0, 0.25])
    places = [(0, 20, 30), (1, 20, 30), (2, 20, 30), (0, 111, 5), (1, 111, 5), (2, 111, 5), (0, 30, 20)] + [(0, 0, 0)] * 57
    seen = torch.tensor([1.0, -0.5, -1.0, 0.0, 1.0, -0.5, 0.0] + [0.0] * 57)
    vector = embed(face, read_face_encoder(pick_model(tmp_path / "pick.onnx", places))).vector
    length = math.sqrt(1 + 0.25 + 1 + 1 + 0.25)
    assert torch.allclose(vector, seen / length, atol=1e-6)


def test_an_embedding_has_length_one(tmp_path):
    """Means 1, 0 and −1 times the weights are 3 and 4, whose length is 5."""
    model = mean_model(tmp_path / "model.onnx", [(3, 0), (7, 7), (0, -4)])
    vector = identity_of(model, (1.0, 0.5, 0.0))
    assert torch.allclose(vector, padded(0.6, 0.8), atol=1e-6)
    assert (vector.shape, vector.dtype, vector.device.type) == ((WIDTH,), torch.float32, "cpu")


def test_several_pictures_average_into_one_identity_whatever_the_length_of_each(tmp_path):
    """(1, 0, 0) and (0, 0.5, 0): directions (1, 0) and (0, 1), their mean (½, ½), of length one (√½, √½)."""
    vector = identity_of(mean_model(tmp_path / "model.onnx"), (1.0, 0.5, 0.5), (0.5, 0.75, 0.5))
    assert torch.allclose(vector, padded(math.sqrt(0.5), math.sqrt(0.5)), atol=1e-6)


@pytest.mark.parametrize("shape", [("N", 3, 112, 112), (1, 3, 112, 112), ("N", 3, "H", "W"), ("a", "b", "c", "d")])
def test_graphs_for_one_face_or_many_and_for_any_size_give_the_same(tmp_path, shape):
    model = mean_model(tmp_path / "model.onnx", shape=shape)
    vector = identity_of(model, (1.0, 0.5, 0.5), (0.5, 1.0, 0.5))
    assert torch.allclose(vector, padded(math.sqrt(0.5), math.sqrt(0.5)), atol=1e-6)


def test_a_model_in_16_bit_is_fed_in_16_bit(tmp_path):
    model = mean_model(tmp_path / "model.onnx", [(3, 0), (7, 7), (0, -4)], half=True)
    vector = identity_of(model, (1.0, 0.5, 0.0))
    assert vector.dtype == torch.float32 and torch.allclose(vector, padded(0.6, 0.8), atol=1e-3)


def test_the_encoder_knows_its_width(tmp_path):
    assert read_face_encoder(mean_model(tmp_path / "model.onnx", width=512)).width == 512


@pytest.mark.parametrize(
    ("weights", "colours", "message"),
    [
        ([(0.0,)] * 3, [(1.0, 1.0, 1.0)], "The embedding of picture 1 is zero, expected a direction"),
        ([(math.nan,)] * 3, [(1.0, 1.0, 1.0)], "The embedding of picture 1 is not finite"),
        ([(1.0,)] * 3, [(1.0, 1.0, 1.0), (0.5, 0.5, 0.5)], "The embedding of picture 2 is zero"),
        ([(1.0,)] * 3, [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0)], "The mean of the faces' embeddings is zero"),
    ],
)
def test_an_embedding_without_a_direction_is_refused(tmp_path, weights, colours, message):
    encoder = read_face_encoder(mean_model(tmp_path / "model.onnx", weights))
    with pytest.raises(FantasyTalkingError, match=message):
        embed(plain(*colours), encoder)


def test_progress_counts_faces_and_may_interrupt(tmp_path):
    class Interrupt(BaseException):
        pass

    done = []

    def progress(faces: int, total: int) -> None:
        done.append((faces, total))
        if faces == 2:
            raise Interrupt

    with pytest.raises(Interrupt):
        embed(plain(*[(1.0, 0.5, 0.5)] * 4), read_face_encoder(mean_model(tmp_path / "model.onnx")), "cpu", progress)
    assert done == [(1, 4), (2, 4)]


# ------------------------------------------------------------------------------------------------------ wrong files


def refusal(path: Path) -> str:
    with pytest.raises(FantasyTalkingError) as error:
        read_face_encoder(path)
    assert f"'{path.name}'" in str(error.value)
    return str(error.value)


EXPECTED = "expected a face recognition model such as w600k_r50.onnx, 1×3×112×112 → 1×512: choose another file."


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        (("N", 3, 192, 192), "takes ?×3×192×192 (tensor(float))"),
        ((1, 3, 96, 96), "takes 1×3×96×96 (tensor(float))"),
        ((4, 3, 112, 112), "takes 4×3×112×112 (tensor(float))"),
        ((1, 1, 112, 112), "takes 1×1×112×112 (tensor(float))"),
        ((1, 112, 112, 3), "takes 1×112×112×3 (tensor(float))"),
    ],
)
def test_a_model_for_something_else_than_faces_of_this_size_is_refused(tmp_path, shape, found):
    weights = np.zeros((shape[1] if isinstance(shape[1], int) else 3, WIDTH), np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["faces"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["embedding"]),
    ]
    assert refusal(graph(tmp_path / "other.onnx", nodes, shape, {"weights": weights})) == f"'other.onnx' {found}, {EXPECTED}"


def test_a_model_with_two_inputs_is_refused(tmp_path):
    more = [helper.make_tensor_value_info("source", TensorProto.FLOAT, (1, 512))]
    found = "takes ?×3×112×112 and 1×512 (tensor(float), tensor(float))"
    assert refusal(mean_model(tmp_path / "swap.onnx", more=more)) == f"'swap.onnx' {found}, {EXPECTED}"


def test_a_model_for_whole_numbers_is_refused(tmp_path):
    nodes = [helper.make_node("Flatten", ["faces"], ["embedding"])]
    path = graph(tmp_path / "whole.onnx", nodes, FACE, {}, TensorProto.UINT8, ("N", 37632))
    assert refusal(path) == f"'whole.onnx' takes ?×3×112×112 (tensor(uint8)), {EXPECTED}"


@pytest.mark.parametrize(("size", "given"), [((-1, 96), "392×96"), ((1, -1, 96), "1×392×96"), ((), None)])
def test_a_model_that_gives_no_embedding_is_refused_whatever_it_says(tmp_path, size, given):
    """As detectors, whose files declare the outputs of another size."""
    nodes = [helper.make_node("Reshape", ["faces", "size"], ["embedding"])]
    if given is None:
        nodes, given = [helper.make_node("ReduceSum", ["faces"], ["embedding"], keepdims=0)], "one number"
    path = graph(tmp_path / "det.onnx", nodes, ("N", 3, "H", "W"), {"size": np.array(size, np.int64)})
    assert refusal(path) == f"'det.onnx' takes ?×3×?×? and gives {given}, {EXPECTED}"


def test_a_model_that_tells_expressions_and_not_persons_is_refused(tmp_path):
    path = mean_model(tmp_path / "expression.onnx", width=7)
    assert refusal(path) == f"'expression.onnx' takes ?×3×112×112 and gives 1×7, {EXPECTED}"


def test_a_model_that_fails_on_a_face_is_refused(tmp_path):
    nodes = [helper.make_node("Reshape", ["faces", "size"], ["embedding"])]
    path = graph(tmp_path / "fails.onnx", nodes, FACE, {"size": np.array((5, 5), np.int64)}, declared=(5, 5))
    assert "takes ?×3×112×112 and fails on a face (" in refusal(path) and EXPECTED in refusal(path)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", None])
def test_a_broken_file_is_refused(tmp_path, content):
    path = mean_model(tmp_path / "broken.onnx")
    path.write_bytes(path.read_bytes()[:-400] if content is None else content)
    message = refusal(path)
    assert message.startswith("'broken.onnx' can't be read as an ONNX model (")
    assert "download it again, it is published at https://github.com/deepinsight/insightface/tree/master/model_zoo" in message


def test_a_file_that_went_away_after_it_was_loaded_is_told(tmp_path):
    encoder = read_face_encoder(mean_model(tmp_path / "model.onnx"))
    encoder.path.unlink()
    with pytest.raises(FantasyTalkingError, match="'model.onnx' failed in onnxruntime .* load it again"):
        embed(plain((1.0, 1.0, 1.0)), encoder)


# ------------------------------------------------------------------------------------------------------ onnxruntime


def test_a_missing_onnxruntime_is_told(tmp_path, monkeypatch):
    path = mean_model(tmp_path / "model.onnx")
    encoder = read_face_encoder(path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for use in (lambda: read_face_encoder(path), lambda: embed(plain((1.0, 1.0, 1.0)), encoder)):
        with pytest.raises(FantasyTalkingError) as error:
            use()
        assert str(error.value) == MISSING


def test_an_onnxruntime_whose_libraries_do_not_load_is_told(tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('DLL load failed while importing state')\n")
    monkeypatch.delitem(sys.modules, "onnxruntime")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FantasyTalkingError) as error:
        read_face_encoder(tmp_path / "model.onnx")
    assert "onnxruntime is installed but can't be used (DLL load failed while importing state): uninstall" in str(error.value)


def test_what_is_left_of_an_onnxruntime_is_told(tmp_path, monkeypatch):
    """Uninstalling one of two builds takes the other's files along."""
    monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
    with pytest.raises(FantasyTalkingError, match="can't be used \\(its files are incomplete\\): uninstall onnxruntime and"):
        read_face_encoder(tmp_path / "model.onnx")


CUDA = ("CUDAExecutionProvider", {"device_id": "1", "cudnn_conv_algo_search": "HEURISTIC"})


@pytest.mark.parametrize(
    ("device", "available", "expected"),
    [
        ("cpu", ["CUDAExecutionProvider", CPU], []),
        ("cuda:1", ["TensorrtExecutionProvider", "CUDAExecutionProvider", CPU], [CUDA]),
        ("cuda:1", ["AzureExecutionProvider", CPU], []),
        ("cuda", ["MIGraphXExecutionProvider", "ROCMExecutionProvider", CPU], [("ROCMExecutionProvider", {"device_id": "0"})]),
        ("cuda", ["MIGraphXExecutionProvider", CPU], []),
        ("mps", ["CoreMLExecutionProvider", CPU], [("CoreMLExecutionProvider", {})]),
        ("privateuseone:0", ["DmlExecutionProvider", CPU], [("DmlExecutionProvider", {"device_id": "0"})]),
        ("xpu", [CPU], []),
    ],
)
def test_the_model_runs_on_the_hosts_device_where_this_build_can(device, available, expected):
    assert providers(torch.device(device), available) == [*expected, (CPU, {})]


@pytest.fixture
def with_cuda(monkeypatch):
    """An onnxruntime that says it can use CUDA."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU])


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_an_accelerator_that_does_not_start_is_replaced_by_the_cpu(tmp_path, caplog, with_cuda):
    """onnxruntime goes on without it, and tells nobody but its own log."""
    encoder = read_face_encoder(mean_model(tmp_path / "model.onnx"))
    with caplog.at_level(logging.WARNING):
        vector = embed(plain((1.0, 0.5, 0.5)), encoder, "cuda").vector
    assert torch.allclose(vector, padded(1.0))
    assert caplog.messages == ["onnxruntime could not start CUDAExecutionProvider: faces are encoded on the CPU."]


class OutOfMemory:
    """A session on an accelerator that fails with its second face."""

    def __init__(self, session):
        self.session, self.runs = session, 0

    def get_providers(self):
        return ["CUDAExecutionProvider", CPU]

    def run(self, *arguments):
        self.runs += 1
        if self.runs == 2:
            raise RuntimeError("CUDA failure 2: out of memory")
        return self.session.run(*arguments)


@pytest.mark.parametrize("fails", ["at its start", "while it runs"])
def test_an_accelerator_that_fails_is_replaced_by_the_cpu(tmp_path, caplog, monkeypatch, with_cuda, fails):
    encoder = read_face_encoder(mean_model(tmp_path / "model.onnx"))
    session = onnxruntime.InferenceSession
    started = []

    def start(path, options, providers, **others):
        started.append([name for name, _ in providers])
        if len(providers) == 1:
            return session(path, options, providers=providers, **others)
        if fails == "at its start":
            raise RuntimeError("CUDA failure 2: out of memory")
        return OutOfMemory(session(path, options, providers=providers[-1:], **others))

    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    with caplog.at_level(logging.WARNING):
        vector = embed(plain((1.0, 0.5, 0.5), (0.5, 1.0, 0.5)), encoder, "cuda").vector
    assert torch.allclose(vector, padded(math.sqrt(0.5), math.sqrt(0.5)), atol=1e-6)
    assert started == [["CUDAExecutionProvider", CPU], [CPU]]
    assert caplog.messages == ["CUDAExecutionProvider failed (CUDA failure 2: out of memory): faces are encoded on the CPU."]


def test_no_session_stays_open(tmp_path, monkeypatch):
    """Its memory is not the host's to take back."""
    sessions, session = [], onnxruntime.InferenceSession

    def start(*arguments, **options):
        opened = session(*arguments, **options)
        sessions.append(weakref.ref(opened))
        return opened

    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    encoder = read_face_encoder(mean_model(tmp_path / "model.onnx"))
    embed(plain((1.0, 0.5, 0.5)), encoder)
    gc.collect()
    assert len(sessions) == 2 and not any(reference() for reference in sessions)
