"""Interlaced video: each of its pictures is two moments in every other line, which no model should learn to make."""

from collections.abc import Iterable, Iterator
from typing import Any

import av
from av.filter import Graph

from ...errors import FantasyTalkingError

FILTER, OPTIONS = "bwdif", "mode=send_frame:parity=auto:deint=interlaced"
"""FFmpeg's: one picture for one, of the lines that the stream says come first; frames that are not interlaced stay."""


def progressive(frames: Iterable[Any], stream: Any, notes: list[str]) -> Iterator[Any]:
    """As many frames of whole pictures, in order; `notes` is told where some were interlaced.

    Raises:
        FantasyTalkingError: this FFmpeg has no such filter.
    """
    graph = None
    for frame in frames:
        if graph is None and frame.interlaced_frame:
            graph = _graph(stream)
            notes.append(f"it is interlaced: deinterlaced by {FILTER}.")
        if graph is None:
            yield frame
        else:
            graph.push(frame)
            yield from _ready(graph)
    if graph is not None:
        graph.push(None)
        yield from _ready(graph)


def _graph(stream: Any) -> Graph:
    graph = Graph()
    try:
        deinterlace = graph.add(FILTER, OPTIONS)
    except ValueError as error:
        raise FantasyTalkingError(f"is interlaced, and PyAV's FFmpeg has no {FILTER}: deinterlace it first.") from error
    graph.link_nodes(graph.add_buffer(template=stream), deinterlace, graph.add("buffersink")).configure()
    return graph


def _ready(graph: Graph) -> Iterator[Any]:
    while True:
        try:
            yield graph.pull()
        except (av.BlockingIOError, av.EOFError):  # the filter looks one frame ahead
            return
