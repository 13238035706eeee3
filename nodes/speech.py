"""Speech to tokens, and what they look like."""

from comfy_api.latest import io, ui

from ..fantasytalking_core.host.loading import Wav2VecEncoder
from ..fantasytalking_core.speech import plot as speech_plot
from ..fantasytalking_core.speech import waveform
from ..fantasytalking_core.speech.notices import notices
from ..fantasytalking_core.speech.recording import Recording
from ..fantasytalking_core.speech.speech import Sound, Speech
from ..fantasytalking_core.speech.video_sound import video_sound
from . import shown, sockets

LAYOUTS = {1: "mono", 2: "stereo"}


class FantasyTalkingEncodeSpeech(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingEncodeSpeech",
            display_name="FantasyTalking Encode Speech",
            category=f"{sockets.CATEGORY}/speech",
            description="Encodes a stretch of speech for a clip of a given length. Speech that is shorter than the clip "
            "is padded with silence, never stretched, so the lips stay in time.",
            search_aliases=["audio to video", "speech", "voice", "wav2vec", "lip sync", "fantasy talking", "audio encode"],
            inputs=[
                sockets.Wav2Vec.Input("wav2vec", tooltip="From the Wav2Vec2 Loader."),
                io.Audio.Input("audio", tooltip="One recording, any sample rate; channels are averaged."),
                io.Float.Input(
                    "fps",
                    default=waveform.TRAINED_FPS,
                    min=waveform.MIN_FPS,
                    max=waveform.MAX_FPS,
                    step=0.001,
                    tooltip="Frames per second of the video. FantasyTalking was trained at 23.",
                ),
                io.Int.Input(
                    "length",
                    default=0,
                    min=0,
                    max=waveform.MAX_FRAMES,
                    step=1,
                    tooltip="Frames of the clip: 4n + 1, at least 5. 0 takes as many as the speech needs; 81 is what the "
                    "model was trained on, for more use the host's Wan Context Windows.",
                ),
                io.Float.Input(
                    "start_time",
                    default=0.0,
                    min=0.0,
                    max=86400.0,
                    step=0.01,
                    tooltip="Seconds into the recording at which the clip begins.",
                ),
            ],
            outputs=[
                sockets.Speech.Output(display_name="speech", tooltip="For FantasyTalking Conditioning."),
                io.Audio.Output(display_name="audio", tooltip="The clip's sound, exactly as long as the video."),
                io.Int.Output(display_name="length", tooltip="Frames of the clip: for WanImageToVideo."),
                io.Float.Output(display_name="fps", tooltip="For CreateVideo."),
            ],
        )

    @classmethod
    def validate_inputs(cls, length=None) -> bool | str:
        return sockets.checked(waveform.check_length, length or None)

    @classmethod
    def execute(cls, wav2vec, audio, fps: float, length: int, start_time: float) -> io.NodeOutput:
        sockets.expected(wav2vec, Wav2VecEncoder, "wav2vec", "Wav2Vec2 Loader")
        recording = Recording.of(audio)
        length = waveform.clip_frames(recording, fps, length, start_time)
        stretch = waveform.Stretch.of(recording, length, fps, start_time)
        mono, sound = stretch.speech(), video_sound(stretch)
        outline = Sound.of(mono, length, waveform.seconds_left(recording, start_time))
        speech = Speech(wav2vec.encode(mono), length, fps, outline)
        lines = [f"{length} frames · {speech.seconds:.2f} s at {fps:g} fps"]
        if speech.silence:
            lines.append(f"{speech.silence:.2f} s of silence added at the end")
        if (described := _described(sound)) != _described(recording):
            lines.append(f"sound: {described}, as a video can't hold {_described(recording)}")
        return io.NodeOutput(
            speech,
            {"waveform": sound.samples[None], "sample_rate": sound.rate},
            length,
            fps,
            ui=shown.text(*lines, warnings=notices(stretch)),
        )


def _described(sound: Recording) -> str:
    count = len(sound.samples)
    return f"{sound.rate} Hz {LAYOUTS.get(count, f'with {count} channels')}"


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
        sockets.expected(speech, Speech, "speech", "Encode Speech")
        plot = speech_plot.plot(speech)
        return io.NodeOutput(plot, ui=ui.PreviewImage(plot, cls=cls))


NODES = [FantasyTalkingEncodeSpeech, FantasyTalkingPreviewSpeech]
