"""Speech to tokens, and tokens into the conditioning."""

from comfy_api.latest import io

from ..fantasytalking_core import waveform
from ..fantasytalking_core.host import conditioning
from ..fantasytalking_core.identity import Identity
from ..fantasytalking_core.motion import Motion
from ..fantasytalking_core.speech import Sound, Speech
from . import shown, sockets


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
                    "fps", default=23.0, min=waveform.MIN_FPS, max=waveform.MAX_FPS, step=0.001,
                    tooltip="Frames per second of the video. FantasyTalking was trained at 23.",
                ),
                io.Int.Input(
                    "length", default=0, min=0, max=1_000_001, step=1,
                    tooltip="Frames of the clip: 4n + 1, at least 5. 0 takes as many as the speech needs; 81 is what the "
                    "model was trained on, for more use the host's Wan Context Windows.",
                ),
                io.Float.Input(
                    "start_time", default=0.0, min=0.0, max=86400.0, step=0.01,
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
        recording = waveform.recording(audio)
        length = waveform.clip_frames(recording, fps, length, start_time)
        mono = waveform.mono_16k(recording, length, fps, start_time)
        recorded = recording.seconds - waveform.sample_at(start_time, recording.rate) / recording.rate
        speech = Speech(wav2vec.encode(mono), length, fps, Sound.of(mono, length, recorded))
        sound = waveform.clip_sound(recording, length, fps, start_time)
        about = [f"{length} frames · {speech.seconds:.2f} s at {fps:g} fps"]
        if speech.silence:
            about.append(f"{speech.silence:.2f} s of silence added at the end")
        return io.NodeOutput(
            speech, {"waveform": sound.samples[None], "sample_rate": sound.rate}, length, fps, ui=shown.text(*about)
        )


class FantasyTalkingConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingConditioning",
            display_name="FantasyTalking Conditioning",
            category=f"{sockets.CATEGORY}/speech",
            description="Adds the speech, and the face and the motion where they are wired, to the prompts. Put it between "
            "WanImageToVideo and the sampler.",
            search_aliases=["speech conditioning", "audio conditioning", "audio driven", "talking head", "talking portrait", "fantasy talking"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The positive output of WanImageToVideo."),
                io.Conditioning.Input("negative", tooltip="The negative output of WanImageToVideo."),
                sockets.Speech.Input("speech", tooltip="From Encode Speech."),
                sockets.Identity.Input(
                    "identity", optional=True,
                    tooltip="From Encode Face (needs an adapter that was trained with identity) or Encode Face (CLIP). Its "
                    "weight is the adapter's identity_strength.",
                ),
                sockets.Motion.Input(
                    "motion", optional=True,
                    tooltip="From Motion Intensity or Motion From Video. Needs an adapter that was trained with motion.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="With all that is wired."),
                io.Conditioning.Output(
                    display_name="negative", tooltip="With face and motion, and without speech: the guider needs it so."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, positive, negative, speech: Speech, identity: Identity | None = None, motion: Motion | None = None
    ) -> io.NodeOutput:
        both = {
            **({} if identity is None else conditioning.entries_of_face(identity)),
            **({} if motion is None else conditioning.entries_of_motion(motion)),
        }
        return io.NodeOutput(
            conditioning.with_entries(positive, {**conditioning.entries_of(speech), **both}),
            conditioning.with_entries(negative, both),
        )


NODES = [FantasyTalkingEncodeSpeech, FantasyTalkingConditioning]
