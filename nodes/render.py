"""A long take: from the conditioning to a video file, window by window."""

from pathlib import Path
from types import NoneType

import folder_paths
from comfy.clip_vision import Output
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from comfy_api.latest import InputImpl, io

from ..fantasytalking_core.errors import FantasyTalkingError, short
from ..fantasytalking_core.host.checks import check_conditioning
from ..fantasytalking_core.host.job import Job
from ..fantasytalking_core.host.notices import missing_clip_vision, untrained_motion
from ..fantasytalking_core.host.render import Rendering, Take, finish, speech_of
from ..fantasytalking_core.latent_grid import TEMPORAL
from ..fantasytalking_core.pictures import pictures
from ..fantasytalking_core.sampling import guidance, long_take
from ..fantasytalking_core.speech.recording import Recording
from ..fantasytalking_core.speech.video_sound import video_sound
from ..fantasytalking_core.speech.waveform import Stretch
from . import shown, sockets
from .sampling import check_interval, economy_inputs, guidance_inputs, sampler_inputs, shift_input, sigmas_of, steps_input


def output_place(filename_prefix: str, width: int = 0, height: int = 0) -> tuple[Path, str, int, str]:
    """Folder, name, next number and subfolder of a file in the host's output folder.

    Raises:
        FantasyTalkingError: the prefix leads out of it.
    """
    try:
        folder, name, number, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), width, height
        )
    except Exception as error:  # the host raises a bare one
        raise FantasyTalkingError(
            f"filename_prefix is {short(filename_prefix)}, expected a name in ComfyUI's output folder, such as "
            "video/fantasytalking."
        ) from error
    return Path(folder), name, number, subfolder


def clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


class FantasyTalkingRender(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingRender",
            display_name="FantasyTalking Render",
            category=f"{sockets.CATEGORY}/sampling",
            description="Renders speech of any length to a video file: one window after another, each anchored on the "
            "portrait, so that the person stays the same. Memory stays that of one window, finished parts can be watched, and "
            "a render that was interrupted goes on where it was when the same graph runs again.",
            search_aliases=[
                "long video", "long take", "infinite", "lip sync", "talking head", "audio to video", "fantasy talking",
            ],
            is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[
                io.Model.Input("model", tooltip="The model with the adapter applied."),
                io.Conditioning.Input(
                    "positive",
                    tooltip="From FantasyTalking Conditioning, which is wired to the prompts here and not to WanImageToVideo.",
                ),
                io.Conditioning.Input("negative", tooltip="From FantasyTalking Conditioning."),
                io.Vae.Input("vae", tooltip="Wan2.1's VAE."),
                io.Image.Input("start_image", tooltip="The portrait; its size is the video's, multiples of 16 pixels."),
                io.Int.Input(
                    "seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Seed of the noise; as long as it is the same, an interrupted render goes on.",
                ),
                steps_input(),
                *guidance_inputs(),
                *sampler_inputs(),
                shift_input(),
                io.Int.Input(
                    "window", default=long_take.WINDOW, min=5, max=1001, step=TEMPORAL, advanced=True,
                    tooltip="Frames that are sampled at once: 81, as in the training; fewer need less memory.",
                ),
                io.Int.Input(
                    "overlap", default=long_take.OVERLAP, min=0, max=400, step=TEMPORAL, advanced=True,
                    tooltip="Finished frames that a window begins with, so that the motion goes on.",
                ),
                io.String.Input(
                    "filename_prefix", default="video/fantasytalking", tooltip="Name of the video in ComfyUI's output folder."
                ),
                io.ClipVisionOutput.Input("clip_vision_output", optional=True, tooltip="The portrait by CLIP Vision Encode."),
                io.Audio.Input("audio", optional=True, tooltip="The sound of the video: the audio of Encode Speech."),
                io.Boolean.Input(
                    "keep_parts", default=False, optional=True, advanced=True,
                    tooltip="Keep the folder with the parts and their latents beside the finished video.",
                ),
                *economy_inputs(),
            ],
            outputs=[io.Video.Output(display_name="video", tooltip="The finished video, a file.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, audio_start_percent=None, audio_end_percent=None) -> bool | str:
        return sockets.checked(check_interval, audio_start_percent, audio_end_percent)

    @classmethod
    def execute(
        cls, model, positive, negative, vae, start_image, seed: int, steps: int, text_cfg: float, audio_cfg: float,
        audio_start_percent: float, audio_end_percent: float, sampler_name: str, scheduler: str, shift: float, window: int,
        overlap: int, filename_prefix: str, clip_vision_output=None, audio=None, keep_parts: bool = False,
        guidance_every: int = 1, ease_in_silence: bool = False,
    ) -> io.NodeOutput:  # fmt: skip
        sockets.expected(model, ModelPatcher, "model", "Apply Adapter")
        sockets.expected(vae, VAE, "vae", "Load VAE")
        sockets.expected(clip_vision_output, (Output, NoneType), "clip_vision_output", "CLIP Vision Encode")
        for conditioning, name in ((positive, "positive"), (negative, "negative")):
            check_conditioning(conditioning, name, "FantasyTalking Conditioning")
        portrait, speech = pictures(start_image, "start_image")[:1], speech_of(positive)
        take = Take(
            model, vae, positive, negative, portrait, clip_vision_output,
            guidance.Guidance(
                text_cfg, audio_cfg, audio_start_percent, audio_end_percent, guidance_every, ease_in_silence
            ),
            sampler_name, sigmas_of(model, scheduler, steps, shift), seed, window, overlap,
            None if audio is None else video_sound(Stretch.of(Recording.of(audio), speech.frames, speech.fps)),
        )  # fmt: skip
        take.check()
        _, height, width, _ = portrait.shape
        folder, name, *_ = output_place(filename_prefix, width, height)
        warnings = missing_clip_vision(clip_vision_output) + untrained_motion(model, positive)
        job = Job.of(folder, name, take.made_of())
        with job.alone():
            rendering = Rendering(take, job)
            total, length = len(rendering.windows), clock(speech.seconds)

            def worth_telling() -> list[str]:
                return [*warnings, *filter(None, [rendering.decoding.notice])]

            def tell(done: int, frames: int, seconds: float) -> None:
                progress = f"part {done + 1} of {total} · {clock(frames / speech.fps)} of {length}"
                if done > rendering.resumed_from:
                    left = seconds / (done - rendering.resumed_from) * (total - done)
                    progress += f" · about {max(1, round(left / 60))} min left"
                lines = [f"went on after part {rendering.resumed_from}"] if rendering.resumed_from else []
                shown.text(*lines, warnings=worth_telling(), progress=progress, log=done == rendering.resumed_from)

            rendering.run(tell, lambda part: shown.video(part, folder_paths.get_output_directory()))
            folder, name, number, subfolder = output_place(filename_prefix, width, height)
            target = finish(rendering, folder / f"{name}_{number:05}_.mp4", cls.metadata(), keep_parts)
        parts = "1 part" if total == 1 else f"{total} parts"
        text = shown.text(progress=f"{parts} · {length} · {target.name}", warnings=worth_telling(), log=False)
        ui = {**text.as_dict(), **shown.video_ui(target, folder_paths.get_output_directory())}
        return io.NodeOutput(InputImpl.VideoFromFile(str(target)), ui=ui)

    @classmethod
    def metadata(cls) -> dict:
        """The workflow, as the host writes it into its own files."""
        from comfy.cli_args import args

        if args.disable_metadata or cls.hidden is None:
            return {}
        prompt = {} if cls.hidden.prompt is None else {"prompt": cls.hidden.prompt}
        return {**(cls.hidden.extra_pnginfo or {}), **prompt}


NODES = [FantasyTalkingRender]
