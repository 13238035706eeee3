"""The real host, in this process, with this pack loaded by it as one of its custom nodes; and which tests are fast."""

import asyncio
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fantasytalking_core.search_path import put_host_first
from support import ROOT, TESTS

put_host_first(Path(os.environ["FANTASYTALKING_HOST"]), ROOT, TESTS)

pytest_plugins = ["support.page_fixtures", "support.templates"]

FAST_FILES = {
    "adapter/test_attention.py",
    "adapter/test_checkpoint.py",
    "adapter/test_checkpoint_hostile.py",
    "adapter/test_checkpoint_refused.py",
    "adapter/test_checkpoint_wrapped.py",
    "adapter/test_identity.py",
    "adapter/test_motion.py",
    "dev/test_demo_settings.py",
    "dev/test_dev.py",
    "face/test_face_alignment.py",
    "face/test_face_crop.py",
    "face/test_face_encoder.py",
    "face/test_face_encoder_hostile.py",
    "face/test_landmarks.py",
    "face/test_speaker_masks.py",
    "motion/test_motion_from_video.py",
    "motion/test_mouth_mask.py",
    "sampling/test_guidance.py",
    "sampling/test_long_take.py",
    "sampling/test_presets.py",
    "speech/test_recording.py",
    "speech/test_speech_notices.py",
    "speech/test_speech_plot.py",
    "speech/test_turns.py",
    "speech/test_video_sound.py",
    "speech/test_waveform.py",
    "speech/test_windows.py",
    "test_structure.py",
    "training/data/test_clips.py",
    "training/data/test_lip_mask.py",
    "training/data/test_real_videos.py",
    "training/run/test_training_config.py",
    "training/run/test_training_dataset.py",
    "training/run/test_training_loop.py",
    "training/run/test_training_objective.py",
    "workflows/test_readme.py",
    "workflows/test_subgraph_conversion.py",
    "workflows/test_template_files.py",
    "workflows/test_template_layout.py",
    "workflows/test_workflow_conversion.py",
}
"""Their tests are fast, but for those that use the host or are marked slow."""
SLOW_FOLDERS = ("page", "training", "workflows", "host")
"""Whose files come first, the slowest folder before the others: where two files run at a time, short ones fill what is left."""
WITH_THE_HOST = {"host", "base_directory"}


def order(file: Path) -> int:
    folder = file.relative_to(TESTS).parts[0] if TESTS in file.parents else ""
    return SLOW_FOLDERS.index(folder) if folder in SLOW_FOLDERS else len(SLOW_FOLDERS)


def only_fast_ones(config: pytest.Config) -> bool:
    return config.option.markexpr == "fast"


def has_fast_tests(file: Path) -> bool:
    return TESTS in file.parents and file.relative_to(TESTS).as_posix() in FAST_FILES


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """For `-m fast` no other file is even imported."""
    return True if only_fast_ones(config) and collection_path.is_file() and not has_fast_tests(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: order(item.path))
    for item in items:
        is_slow = item.get_closest_marker("slow") or WITH_THE_HOST & set(item.fixturenames)
        if not is_slow and has_fast_tests(item.path):
            item.add_marker(pytest.mark.fast)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if only_fast_ones(session.config) and "comfy" in sys.modules:
        pytest.exit("A fast test has imported ComfyUI.", returncode=1)


def link(target: Path, source: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source, target_is_directory=source.is_dir())


@pytest.fixture(scope="session")
def base_directory(tmp_path_factory) -> Path:
    """What `--base-directory` points to: the pack, the tests' own nodes, the reference's small models."""
    from support import reference

    base = tmp_path_factory.mktemp("base")
    link(base / "custom_nodes" / "FantasyTalking", ROOT)
    link(base / "custom_nodes" / "FantasyTalkingTest", ROOT / "tests" / "support" / "test_nodes")
    models = base / "models"
    reference.write_dit(models / "diffusion_models" / "reference_wan_i2v.safetensors")
    data = reference.FOLDER
    link(models / "fantasytalking" / "reference.safetensors", data / "fantasytalking" / "fantasytalking_tiny.safetensors")
    link(models / "wav2vec2" / "reference", data / "wav2vec2")
    for folder in ("input", "output", "user", "temp"):
        (base / folder).mkdir()
    reference.write_wave(base / "input" / "speech.wav")
    return base


@pytest.fixture(scope="session")
def host(base_directory) -> SimpleNamespace:
    """The host's modules after it has loaded its nodes and this pack's.

    `nodes`: all node classes by id; `core`: the pack's `fantasytalking_core` package as the host imported it.
    """
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    comfy.cli_args.args.base_directory = str(base_directory)
    import folder_paths
    import server
    import utils.extra_config  # noqa: F401  first, as in the host's main.py: later another `utils` would be found

    import nodes

    loop = asyncio.new_event_loop()
    server.PromptServer(loop)
    loop.run_until_complete(nodes.init_extra_nodes(init_custom_nodes=True, init_api_nodes=False))
    package = nodes.NODE_CLASS_MAPPINGS["FantasyTalkingSampler"].__module__.rsplit(".nodes.", 1)[0]

    def core(name: str):
        import importlib

        return importlib.import_module(f"{package}.fantasytalking_core.{name}")

    return SimpleNamespace(nodes=nodes.NODE_CLASS_MAPPINGS, core=core, folder_paths=folder_paths)


@pytest.fixture
def run(host):
    """Run a node by its id, as the host runs it: under inference mode; returns its outputs."""

    def run_node(node_id: str, **inputs):
        node = host.nodes[node_id]
        with torch.inference_mode():
            if hasattr(node, "GET_NODE_INFO_V1"):
                return node.execute(**inputs).args
            return getattr(node(), node.FUNCTION)(**inputs)

    return run_node


@pytest.fixture
def model(host, run):
    """The reference's DiT, as the host's own loader gives it."""
    return run("UNETLoader", unet_name="reference_wan_i2v.safetensors", weight_dtype="default")[0]


@pytest.fixture
def adapter(run):
    return run("FantasyTalkingAdapterLoader", adapter_name="reference.safetensors")[0]


@pytest.fixture
def watch(host, monkeypatch):
    """Reports what the speech attention receives; `watch.on(model)` reports the model's calls too."""
    from support.runs import Watch

    watch = Watch()
    watch.attention(host, monkeypatch)
    return watch


@pytest.fixture
def models(host, base_directory, monkeypatch):
    """The host's models folder; what a test puts into it is gone after the test."""
    models = base_directory / "models"
    before = set(models.rglob("*"))
    monkeypatch.setattr(host.folder_paths, "filename_list_cache", {})
    yield models
    for path in sorted(set(models.rglob("*")) - before, reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
