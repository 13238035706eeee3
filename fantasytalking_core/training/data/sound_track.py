"""Which of a video's sound tracks is heard: dubbed videos have several."""

from typing import Any

from av.stream import Disposition

from ...errors import FantasyTalkingError, short

DEFAULT = "default"
"""In the place of a name: the track that the video itself calls so, else its first."""


def sound_track(file: Any, wanted: str, notes: list[str]) -> Any:
    """The stream of a track; `notes` is told which one where there are several.

    Args:
        wanted: DEFAULT, a number from 1, a language (as the file writes it) or a title.

    Raises:
        FantasyTalkingError: no sound, or no such track.
    """
    tracks = list(file.streams.audio)
    if not tracks:
        raise FantasyTalkingError("has no sound: expected a video with speech.")
    if wanted == DEFAULT:
        chosen = next((track for track in tracks if Disposition.default in track.disposition), tracks[0])
    else:
        named = [track for number, track in enumerate(tracks, 1) if wanted.casefold() in _names(number, track)]
        if not named:
            known = ", ".join(_label(number, track) for number, track in enumerate(tracks, 1))
            raise FantasyTalkingError(f"has no sound track '{short(wanted)}': it has {known}.")
        chosen = named[0]
    if chosen.codec_context is None:
        raise FantasyTalkingError("has sound in a format that FFmpeg can't read: convert it first.")
    if len(tracks) > 1:
        notes.append(f"of its {len(tracks)} sound tracks, {_label(tracks.index(chosen) + 1, chosen)} is heard.")
    return chosen


def _names(number: int, track: Any) -> set[str]:
    return {str(number), *(track.metadata.get(key, str(number)).casefold() for key in ("language", "title"))}


def _label(number: int, track: Any) -> str:
    about = [short(track.metadata[key]) for key in ("language", "title") if track.metadata.get(key)]
    about += ["default"] if Disposition.default in track.disposition else []
    return f"{number} ({', '.join(about)})" if about else str(number)
