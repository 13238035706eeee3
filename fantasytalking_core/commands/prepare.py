"""`prepare`: a folder of videos to a cache of training samples (§4.1).

    python -m fantasytalking_core prepare FOLDER CACHE --vae NAME …

A second run does what is missing. What was left out is named in the end, with the reason.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from ..errors import FantasyTalkingError
from ..training.data.cache import MIN_SAMPLES, Index
from ..training.data.prepare import MIN_CONFIDENCE, REST, PrepareSettings, prepare

UNKNOWN = (
    ("face", f"it takes {MIN_SAMPLES} samples with landmarks that differ in it"),
    ("body", f"it takes {MIN_SAMPLES} samples that differ in it, with both shoulders among the joints of the side files"),
)


def report(index: Index, cache: Path) -> str:
    """What the cache holds, what is worth knowing of it and what was left out, for people."""
    rests = Counter(index.left_out.values())[REST]
    reasons = {place: reason for place, reason in index.left_out.items() if reason != REST}
    videos = len({entry.source for entry in index.samples})
    lines = [
        f"{len(index.samples)} samples of {videos} videos in '{cache}'; {len(reasons)} left out" + (":" if reasons else ".")
    ]
    lines += [f"  {place}: {reason}" for place, reason in reasons.items()]
    if rests:
        lines.append(f"{rests} videos end with a rest that is shorter than a clip.")
    return "\n".join([*lines, *_noted(index), *_motion(index)]) + "\n"


def _noted(index: Index) -> list[str]:
    """What was noted of the videos, each note once."""
    by_note: dict[str, list[str]] = {}
    for source, notes in index.notes.items():
        for note in notes:
            by_note.setdefault(note, []).append(source)
    return [
        f"{sources[0]}{f' and {len(sources) - 1} more' if len(sources) > 1 else ''}: {note}"
        for note, sources in by_note.items()
    ]


def _motion(index: Index) -> list[str]:
    """Which coefficients an adapter will not learn from this cache."""
    known = [sum(entry.motion is not None and entry.motion[part] is not None for entry in index.samples) for part in (0, 1)]
    return [
        f"The motion of the {what} is known in {count} of {len(index.samples)} samples and not learned: {why}."
        for (what, why), count, trained in zip(UNKNOWN, known, index.ranges.trained, strict=True)
        if index.samples and not trained
    ]


def main(arguments: list[str] | None = None) -> int:
    """The command; to be called when the host's modules can be imported. Returns its exit status."""
    options = _parser().parse_args(arguments)
    from tqdm import tqdm

    from ..host.load_encoders import load_encoders

    try:
        settings = PrepareSettings(
            options.frames,
            options.fps,
            options.width,
            options.height,
            min_confidence=options.min_confidence,
            sound=options.sound_track,
        )
        encoders = load_encoders(
            options.vae, options.wav2vec, options.text_encoder, options.clip_vision, options.landmarker, options.face_encoder
        )
        with tqdm(unit="video") as bar:

            def progress(done: int, total: int, where: str) -> None:
                bar.total, bar.n = total, done
                bar.set_postfix_str(where)

            index = prepare(options.folder, options.cache, settings, encoders, progress)
    except FantasyTalkingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted: the same command goes on from here.\n")
        return 130
    sys.stdout.write(report(index, options.cache))
    return 0 if index.samples else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fantasytalking_core prepare", description="Make or complete a cache of training samples."
    )
    parser.add_argument(
        "folder", type=Path, help="videos with sound, captions (.txt) and side files (.safetensors) beside them"
    )
    parser.add_argument("cache", type=Path, help="folder for the samples")
    models = parser.add_argument_group("models", "a name in ComfyUI's model folder, or a path; left out: from the side files")
    models.add_argument("--vae", required=True, help="Wan2.1's VAE, in models/vae")
    models.add_argument("--wav2vec", required=True, help="folder of wav2vec2-base-960h, in models/wav2vec2")
    models.add_argument("--text-encoder", help="UMT5-XXL, in models/text_encoders")
    models.add_argument("--clip-vision", help="CLIP ViT-H, in models/clip_vision")
    models.add_argument("--landmarker", help="MediaPipe's face landmarker, in models/detection")
    models.add_argument("--face-encoder", help="ArcFace as ONNX, in models/facerecognition")
    clips = parser.add_argument_group("clips")
    clips.add_argument("--frames", type=int, default=PrepareSettings.frames, help="4n + 1 (%(default)s)")
    clips.add_argument("--fps", type=float, default=PrepareSettings.fps, help="frames per second (%(default)s)")
    clips.add_argument("--width", type=int, default=PrepareSettings.width, help="pixels, a multiple of 16 (%(default)s)")
    clips.add_argument("--height", type=int, default=PrepareSettings.height, help="pixels, a multiple of 16 (%(default)s)")
    clips.add_argument(
        "--min-confidence", type=float, default=MIN_CONFIDENCE, help="clips whose face is less sure are left out (%(default)s)"
    )
    clips.add_argument(
        "--sound-track",
        default=PrepareSettings.sound,
        metavar="NAME",
        help="of videos with several: number from 1, language or title (%(default)s: the one that the video calls so)",
    )
    return parser
