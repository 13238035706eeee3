"""Pictures of what is on a wire."""

from comfy_api.latest import io, ui

from ..fantasytalking_core import speech_plot
from ..fantasytalking_core.speech import Speech
from . import sockets


class FantasyTalkingPreviewSpeech(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingPreviewSpeech",
            display_name="FantasyTalking Preview Speech",
            category=f"{sockets.CATEGORY}/speech",
            description="Draws the speech of a clip: its waveform, the frames, which stretch each latent frame hears, the "
            "silence that was added at the end, and how loud each frame is.",
            search_aliases=["waveform", "audio preview", "audio plot", "loudness", "lip sync", "fantasy talking"],
            is_output_node=True,
            inputs=[sockets.Speech.Input("speech", tooltip="From Encode Speech.")],
            outputs=[io.Image.Output(display_name="plot", tooltip="The picture that the node shows, to be saved.")],
        )

    @classmethod
    def execute(cls, speech: Speech) -> io.NodeOutput:
        plot = speech_plot.plot(speech)
        return io.NodeOutput(plot, ui=ui.PreviewImage(plot, cls=cls))


NODES = [FantasyTalkingPreviewSpeech]
