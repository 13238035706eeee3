"""Where files are found: the host's folders, under its keys, as its other model folders."""

import os
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

import folder_paths

from ..adapter import file as adapter_file
from ..errors import FantasyTalkingError
from ..face import encoder as face_encoder
from ..speech import wav2vec

ADAPTERS, WAV2VEC2, FACES = "fantasytalking", "wav2vec2", "facerecognition"
FACE_ENCODERS = ("w600k", "glint", "arcface", "auraface", "r50", "r100")
"""Parts of the names of face recognition models."""
OTHER_FACE_MODELS = ("det_", "scrfd", "2d106", "1k3d68", "genderage")
"""And of those that lie beside them: for detection, landmarks, gender and age."""


def register() -> None:
    """Add the pack's keys to `folder_paths`; paths of extra_model_paths.yaml come after the models folder's own."""
    models = folder_paths.models_dir
    elsewhere = [
        path
        for key in ("model_patches", "diffusion_models")
        for path in (folder_paths.get_folder_paths(key) if key in folder_paths.folder_names_and_paths else [])
    ]
    _add(ADAPTERS, [os.path.join(models, ADAPTERS)], elsewhere, folder_paths.supported_pt_extensions)
    _add(WAV2VEC2, [os.path.join(models, WAV2VEC2)], [os.path.join(models, "transformers")], {".json"})
    _add(FACES, [os.path.join(models, FACES)], [os.path.join(models, "insightface", "models")], {".onnx"})


def _add(key: str, first: list[str], last: list[str], extensions: set[str]) -> None:
    configured, _ = folder_paths.folder_names_and_paths.get(key, ([], None))
    paths = list(dict.fromkeys([*first, *configured, *last]))
    folder_paths.folder_names_and_paths[key] = (paths, set(extensions))


def adapter_names() -> list[str]:
    """All files that may be adapters, those called so first: DiTs lie in the same folders."""
    return sorted(folder_paths.get_filename_list(ADAPTERS), key=lambda name: "fantasy" not in name.lower())


def _find(key: str, name: str) -> str | None:
    """The file of that name in the first folder that has it; a name that leads out of the folders is no name."""
    path = PureWindowsPath(name)  # knows the separators and roots of every system
    return None if path.anchor or ".." in path.parts else folder_paths.get_full_path(key, name)


def path_or_name(value: str, named: Callable[[str], Path], is_it: Callable[[Path], bool] = Path.is_file) -> Path:
    """For a person at a terminal: what lies at the path, else what has this name in the host's folders."""
    return Path(value) if is_it(Path(value)) else named(value)


def model_path(key: str, value: str, what: str = "file") -> Path:
    """A file by its path, or by its name in the host's folders of this key.

    Raises:
        FantasyTalkingError: there is none; names those that there are.
    """
    is_known = key in folder_paths.folder_names_and_paths  # older hosts have no folder for detection

    def named(name: str) -> Path:
        path = _find(key, name) if is_known else None
        if path is None:
            known = folder_paths.get_filename_list(key) if is_known else []
            raise FantasyTalkingError(
                f"There is no {what} '{name}' in ComfyUI/models/{key} (there are: {', '.join(known) or 'none'}): put it "
                "there, or give its path."
            )
        return Path(path)

    return path_or_name(value, named)


def adapter_path(name: str) -> Path:
    path = _find(ADAPTERS, name)
    if path is None:
        raise FantasyTalkingError(
            f"There is no adapter file '{name}': put it into ComfyUI/models/{ADAPTERS}; it is published at "
            f"{adapter_file.PUBLISHED}."
        )
    return Path(path)


def wav2vec_names() -> list[str]:
    """Folders of Wav2Vec2 models, by their path below the folder that holds them."""
    folders = (os.path.dirname(file) or "." for file in folder_paths.get_filename_list(WAV2VEC2) if _is_config(file))
    return [name for name in folders if wav2vec.is_wav2vec2_folder(wav2vec_path(name))]


def _is_config(file: str) -> bool:
    return os.path.basename(file) == "config.json"


def wav2vec_path(name: str) -> Path:
    config = _find(WAV2VEC2, os.path.join(name, "config.json"))
    if config is None:
        raise FantasyTalkingError(
            f"There is no Wav2Vec2 folder '{name}': put all files of {wav2vec.PUBLISHED} into "
            f"ComfyUI/models/{WAV2VEC2}/wav2vec2-base-960h."
        )
    return Path(config).parent


def face_encoder_names() -> list[str]:
    """All files that may be face encoders, those called so first, and last those that are known as something else."""

    def rank(name: str) -> int:
        file = os.path.basename(name).lower()
        if any(part in file for part in OTHER_FACE_MODELS):
            return 2
        return 0 if any(part in file for part in FACE_ENCODERS) else 1

    return sorted(folder_paths.get_filename_list(FACES), key=rank)


def face_encoder_path(name: str) -> Path:
    path = _find(FACES, name)
    if path is None:
        raise FantasyTalkingError(
            f"There is no face encoder file '{name}': put w600k_r50.onnx or glintr100.onnx into ComfyUI/models/{FACES}, "
            f"or their folder into ComfyUI/models/insightface/models; they are published at {face_encoder.PUBLISHED}."
        )
    return Path(path)
