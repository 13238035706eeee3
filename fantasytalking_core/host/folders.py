"""Where files are found: the host's folders, under its keys, as its other model folders.

The lists here are made while nodes are registered, where an error takes the whole pack away: they never raise, whatever lies
in the folders. The host's own lists do, and do not end where links make loops.
"""

import os
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PureWindowsPath

import folder_paths

from ..adapter.layouts import some
from ..adapter.stored import PUBLISHED as ADAPTERS_AT
from ..adapter.stored import looks_like_an_adapter
from ..errors import FantasyTalkingError, short
from ..face.encoder import PUBLISHED as FACE_ENCODERS_AT
from ..speech.wav2vec_folder import CONFIG, is_wav2vec2_folder
from ..speech.wav2vec_folder import PUBLISHED as SPEECH_ENCODERS_AT


@dataclass(frozen=True)
class Place:
    """The host's folders of one key.

    Attributes:
        what: lies there.
        cure: what to do where it does not.
    """

    key: str
    what: str
    cure: str

    @property
    def empty(self) -> str:
        """What is said where there is none at all."""
        return f"There is no {self.what}: {self.cure}"

    def missing(self, name: object) -> str:
        """What is said where there is none of this name."""
        return self.empty if name == self.empty else f"There is no {self.what} '{short(name)}': {self.cure}"

    def offered(self, names: list[str]) -> list[str]:
        """The choices of a node. Where there are none, the page shows how to get one in their place, and with its error."""
        return names or [self.empty]


ADAPTERS, WAV2VEC2, FACES, DITS = "fantasytalking", "wav2vec2", "facerecognition", "diffusion_models"
ADAPTER = Place(ADAPTERS, "adapter file", f"put it into ComfyUI/models/{ADAPTERS}; it is published at {ADAPTERS_AT}.")
SPEECH_ENCODER = Place(
    WAV2VEC2,
    "Wav2Vec2 model",
    f"put model.safetensors of {SPEECH_ENCODERS_AT} into ComfyUI/models/{WAV2VEC2}, named wav2vec2-base-960h.safetensors.",
)
FACE_ENCODER = Place(
    FACES,
    "face encoder file",
    f"put w600k_r50.onnx or glintr100.onnx into ComfyUI/models/{FACES}, or their folder into "
    f"ComfyUI/models/insightface/models; they are published at {FACE_ENCODERS_AT}.",
)
DIT = Place(
    DITS,
    "diffusion model",
    f"put Wan2.1 I2V 14B (480p or 720p) into ComfyUI/models/{DITS}; it is published at "
    "https://huggingface.co/Comfy-Org/Wan_2.1_ComfyUI_repackaged.",
)
SHARED = ("model_patches", DITS)
"""Keys of folders in which people have adapters beside other models."""
ADAPTER_NAMES = ("fantasy", "adapter")
"""Parts of the names of adapters."""
FACE_ENCODERS = ("w600k", "glint", "arcface", "auraface", "r50", "r100")
"""Parts of the names of face recognition models."""
OTHER_FACE_MODELS = ("det_", "scrfd", "2d106", "1k3d68", "genderage")
"""And of those that lie beside them: for detection, landmarks, gender and age."""


def register() -> None:
    """Add the pack's keys to `folder_paths`; paths of extra_model_paths.yaml come after the models folder's own."""
    models = folder_paths.models_dir
    _add(ADAPTERS, [os.path.join(models, ADAPTERS)], _shared_folders(), folder_paths.supported_pt_extensions)
    encoders = ("transformers", "audio_encoders")
    _add(WAV2VEC2, [os.path.join(models, WAV2VEC2)], [os.path.join(models, name) for name in encoders], {".json", WEIGHTS})
    _add(FACES, [os.path.join(models, FACES)], [os.path.join(models, "insightface", "models")], {".onnx"})


def _add(key: str, first: list[str], last: list[str], extensions: set[str]) -> None:
    configured, _ = folder_paths.folder_names_and_paths.get(key, ([], None))
    paths = list(dict.fromkeys([*first, *configured, *last]))
    folder_paths.folder_names_and_paths[key] = (paths, set(extensions))


WEIGHTS, BASE_960H = ".safetensors", ("base", "960h")
"""Of a speech encoder in one file: its ending, and parts of its name. Others of that size were trained on other things."""
MOST_FOLDERS = 10_000
"""That are looked into for one list."""


def files(key: str) -> list[str]:
    """The names of a key's regular files, below whichever of its folders."""
    folders, extensions = folder_paths.folder_names_and_paths.get(key, ([], set()))
    return sorted({name for folder in folders for name in _below(folder, extensions)})


def _below(root: str, extensions: Collection[str]) -> Iterator[str]:
    """Paths of the regular files below a folder, relative to it, those of the least depth first.

    Links are followed, but for those to a folder that they lie in; what can't be looked at is left out.
    """
    waiting: deque[tuple[str, frozenset[tuple[int, int]]]] = deque([("", frozenset())])
    for _ in range(MOST_FOLDERS):
        if not waiting:
            return
        folder, above = waiting.popleft()
        try:
            found = os.stat(os.path.join(root, folder))
            entries = list(os.scandir(os.path.join(root, folder)))
        except (OSError, ValueError):
            continue
        if (identity := (found.st_dev, found.st_ino)) in above:
            continue
        for entry in entries:
            path = os.path.join(folder, entry.name)
            if os.path.isdir(entry.path):
                if entry.name != ".git":
                    waiting.append((path, above | {identity}))
            elif _ends_in(entry.name, extensions) and os.path.isfile(entry.path):
                yield path


def _ends_in(name: str, extensions: Collection[str]) -> bool:
    return not extensions or os.path.splitext(name)[1].lower() in extensions


def _shared_folders() -> list[str]:
    known = folder_paths.folder_names_and_paths
    return [path for key in SHARED if key in known for path in folder_paths.get_folder_paths(key)]


def adapter_names() -> list[str]:
    """The files of the pack's own folders, then those of shared ones that look like adapters; those called so first."""
    folders, extensions = folder_paths.folder_names_and_paths[ADAPTERS]
    shared = set(_shared_folders())
    places: dict[str, str] = {}
    for folder in folders:
        for name in _below(folder, extensions):
            places.setdefault(name, folder)  # of two files of one name the first folder's counts
    names = [name for name, folder in places.items() if folder not in shared or _may_be_an_adapter(folder, name)]
    return sorted(names, key=lambda name: (places[name] in shared, "fantasy" not in name.lower(), name))


def _may_be_an_adapter(folder: str, name: str) -> bool:
    if any(part in name.lower() for part in ADAPTER_NAMES):
        return True
    path = os.path.join(folder, name)
    try:
        found = os.stat(path)
    except OSError:
        return False
    return name.lower().endswith((".safetensors", ".sft")) and _looks_like_an_adapter(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=4096)
def _looks_like_an_adapter(path: str, size: int, changed: int) -> bool:
    """Read once as long as the file stays the same."""
    return looks_like_an_adapter(Path(path))


def _find(key: str, name: object) -> str | None:
    """The file of that name in the first folder that has it; a name that leads out of the folders is no name."""
    if not isinstance(name, str):
        return None
    path = PureWindowsPath(name)  # knows the separators and roots of every system
    return None if path.anchor or ".." in path.parts else folder_paths.get_full_path(key, name)


def path_or_name(value: str, named: Callable[[str], Path], is_it: Callable[[Path], bool] = os.path.isfile) -> Path:
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
            raise FantasyTalkingError(
                f"There is no {what} '{short(name)}' in ComfyUI/models/{key} (there are: {some(files(key)) or 'none'}): put it "
                "there, or give its path."
            )
        return Path(path)

    return path_or_name(value, named)


def _path(place: Place, name: object, file: object) -> Path:
    path = _find(place.key, file)
    if path is None:
        raise FantasyTalkingError(place.missing(name))
    return Path(path)


def adapter_path(name: str) -> Path:
    """Raises FantasyTalkingError."""
    return _path(ADAPTER, name, name)


def dit_path(name: str) -> Path:
    """Raises FantasyTalkingError."""
    return _path(DIT, name, name)


def wav2vec_names() -> list[str]:
    """Folders of Wav2Vec2 models, by their path below the folder that holds them, then single files."""
    found = files(WAV2VEC2)
    configs = {file: _find(WAV2VEC2, file) for file in found if os.path.basename(file) == CONFIG}
    folders = [os.path.dirname(file) or "." for file, path in configs.items() if path and is_wav2vec2_folder(Path(path).parent)]
    inside = {os.path.dirname(file) for file in configs}
    return folders + [file for file in found if _is_encoder_file(file) and os.path.dirname(file) not in inside - {""}]


def _is_encoder_file(name: str) -> bool:
    return name.lower().endswith(WEIGHTS) and all(part in os.path.basename(name).lower() for part in BASE_960H)


def wav2vec_path(name: str) -> Path:
    """Raises FantasyTalkingError."""
    config = os.path.join(name, CONFIG) if isinstance(name, str) else None
    if config and name.lower().endswith(WEIGHTS) and not _find(WAV2VEC2, config):  # a folder may be called so, too
        return _path(SPEECH_ENCODER, name, name)
    return _path(SPEECH_ENCODER, name, config).parent


def face_encoder_names() -> list[str]:
    """All files that may be face encoders, those called so first, and last those that are known as something else."""

    def rank(name: str) -> int:
        file = os.path.basename(name).lower()
        if any(part in file for part in OTHER_FACE_MODELS):
            return 2
        return 0 if any(part in file for part in FACE_ENCODERS) else 1

    return sorted(files(FACES), key=rank)


def face_encoder_path(name: str) -> Path:
    """Raises FantasyTalkingError."""
    return _path(FACE_ENCODER, name, name)
