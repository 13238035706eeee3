"""ONNX files of strangers: every graph is run once, for a short time and in bounded memory."""

import os
import time

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.face import encoder
from fantasytalking_core.face.encoder import embed, read_face_encoder
from support.face_models import FACE, WIDTH, graph, mean_model, plain

HEAD = [
    helper.make_node("ReduceMean", ["faces"], ["means"], axes=[2, 3], keepdims=0),
    helper.make_node("MatMul", ["means", "weights"], ["e"]),
]
WEIGHTS = np.eye(3, WIDTH, dtype=np.float32)


def refusal(path) -> str:
    with pytest.raises(FantasyTalkingError) as error:
        read_face_encoder(path)
    assert len(str(error.value)) < 1000
    return str(error.value)


def value(name: str, kind: int, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def loop(path, turns):
    """Doubles the embedding `turns` times; `turns` names a number in the graph."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["x", "x"], ["twice"])],
        "body",
        [value("turn", TensorProto.INT64, ()), value("go", TensorProto.BOOL, ()), value("x", TensorProto.FLOAT)],
        [value("on", TensorProto.BOOL, ()), value("twice", TensorProto.FLOAT)],
    )
    nodes = [*HEAD, *turns, helper.make_node("Loop", ["turns", "yes", "e"], ["embedding"], body=body)]
    return graph(path, nodes, FACE, {"weights": WEIGHTS, "yes": np.array(True), "most": np.array(2**40)})


def test_a_graph_without_an_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(encoder, "CHECK_SECONDS", 0.5)
    path = loop(tmp_path / "endless.onnx", [helper.make_node("Identity", ["most"], ["turns"])])
    started = time.monotonic()
    assert "'endless.onnx' takes ?×3×112×112 and fails on a face (no end after 0.5 s), expected a face" in refusal(path)
    assert time.monotonic() - started < 20


def test_a_graph_that_has_no_end_for_some_faces_is_given_up_with_them(tmp_path, monkeypatch):
    """As many turns as the face is bright, from 0 for a grey one."""
    monkeypatch.setattr(encoder, "SECONDS", 0.5)
    turns = [
        helper.make_node("ReduceMean", ["faces"], ["mean"], keepdims=0),
        helper.make_node("Cast", ["mean"], ["bright"], to=TensorProto.INT64),
        helper.make_node("Mul", ["bright", "most"], ["turns"]),
    ]
    found = read_face_encoder(loop(tmp_path / "bright.onnx", turns))
    with pytest.raises(FantasyTalkingError, match=r"'bright.onnx' failed in onnxruntime \(no end after 0.5 s\)"):
        embed(plain((1.0, 1.0, 1.0)), found)


@pytest.mark.parametrize("numbers", [10**9, 10**11, 2**62])
def test_a_graph_that_takes_memory_without_measure_is_refused(tmp_path, numbers):
    nodes = [
        *HEAD,
        helper.make_node("ConstantOfShape", ["size"], ["c"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])),
        helper.make_node("ReduceSum", ["c"], ["t"], keepdims=0),
        helper.make_node("Add", ["e", "t"], ["embedding"]),
    ]
    path = graph(tmp_path / "bomb.onnx", nodes, FACE, {"weights": WEIGHTS, "size": np.array([numbers])})
    before = psutil.Process().memory_info().rss
    assert "and fails on a face (" in refusal(path)
    assert psutil.Process().memory_info().rss - before < 1e9


def test_a_graph_without_an_output_is_refused(tmp_path):
    path = mean_model(tmp_path / "none.onnx")
    model = onnx.load(path)
    del model.graph.output[:]
    path.write_bytes(model.SerializeToString())
    assert "'none.onnx' " in refusal(path)


def test_inputs_without_measure_do_not_flood_the_message(tmp_path):
    more = [value(f"more {n}", TensorProto.FLOAT, (1,) * 50) for n in range(500)]
    assert ", expected a face recognition model" in refusal(mean_model(tmp_path / "many.onnx", more=more))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
@pytest.mark.parametrize("make", [os.mkfifo if hasattr(os, "mkfifo") else None, lambda path: path.symlink_to("/dev/zero")])
def test_a_pipe_or_device_is_not_opened(tmp_path, make):
    make(tmp_path / "model.onnx")
    assert "can't be read as an ONNX model (a folder, pipe or device, not a file): download it" in refusal(
        tmp_path / "model.onnx"
    )


def test_a_file_larger_than_a_model_can_be_is_not_read(tmp_path):
    path = tmp_path / "big.onnx"
    path.touch()
    os.truncate(path, 3 * 2**30)  # takes no room on the disk
    before = psutil.Process().memory_info().rss
    assert "can't be read as an ONNX model (larger than such a file can be)" in refusal(path)
    assert psutil.Process().memory_info().rss - before < 100e6


@pytest.mark.parametrize("where", ["../weights.bin", "/etc/hostname"])
def test_weights_outside_of_the_files_folder_are_not_read(tmp_path, where):
    folder = tmp_path / "folder"
    path = mean_model(folder / "model.onnx")
    (tmp_path / "weights.bin").write_bytes(WEIGHTS.tobytes())
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", where
    path.write_bytes(model.SerializeToString())
    assert "'model.onnx' can't be read as an ONNX model (" in refusal(path)


def test_a_model_of_many_weights_is_not_taken_for_one_that_takes_memory(tmp_path, monkeypatch):
    """64 MB of weights, and a bound of 16 MB for the rest."""
    nodes = [
        helper.make_node("Flatten", ["faces"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["embedding"]),
    ]
    weights = np.zeros((3 * 112 * 112, 512), np.float32)
    weights[0] = 1
    path = graph(tmp_path / "large.onnx", nodes, FACE, {"weights": weights}, declared=("N", 512))
    encoder._memory_is_bounded.cache_clear()
    monkeypatch.setattr(encoder, "MEMORY", 2**24)
    try:
        found = read_face_encoder(path)
        assert found.width == 512 and embed(plain((1.0, 1.0, 1.0)), found).vector.shape == (512,)
    finally:
        encoder._memory_is_bounded.cache_clear()
