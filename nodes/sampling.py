"""Guider, schedule and the one-box sampler."""

import comfy.samplers
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..fantasytalking_core.host.checks import check_latent
from ..fantasytalking_core.host.guider import FantasyTalkingGuider as Guider
from ..fantasytalking_core.host.notices import notices
from ..fantasytalking_core.sampling import guidance, schedule
from . import shown, sockets

OURS = "fantasytalking"


def guidance_inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            "text_cfg",
            default=guidance.TEXT_CFG,
            min=0.0,
            max=guidance.MAX_CFG,
            step=0.1,
            round=0.01,
            tooltip="How closely the prompt is followed (3 to 7; 5 in the release). 1 for distilled models: no negative "
            "pass is run, the speech is still guided.",
        ),
        io.Float.Input(
            "audio_cfg",
            default=guidance.AUDIO_CFG,
            min=0.0,
            max=guidance.MAX_CFG,
            step=0.1,
            round=0.01,
            tooltip="How strongly the lips follow the speech (3 to 7; 5 in the release, 4.5 in the paper). Equal to "
            "text_cfg it saves one of three passes (not beside nodes that change the guidance itself).",
        ),
        io.Float.Input(
            "audio_start_percent",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            advanced=True,
            tooltip="From which part of the steps on the speech is guided: of the steps that this sampler is given, also "
            "after SplitSigmas.",
        ),
        io.Float.Input(
            "audio_end_percent",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            advanced=True,
            tooltip="Up to which part of the steps the speech is guided; keep it on for at least 70 %. Outside, two "
            "passes are run, and both hear the speech.",
        ),
    ]


def economy_inputs() -> list[io.Input]:
    return [
        io.Int.Input(
            "guidance_every",
            default=1,
            min=1,
            max=guidance.MAX_EVERY,
            optional=True,
            advanced=True,
            tooltip="Full guidance in every so many steps; in those between, the last one's is used again, and a step is one "
            "pass. 1 as published; 2 saves a quarter to a third of the passes, and the picture changes little.",
        ),
        io.Boolean.Input(
            "ease_in_silence",
            default=False,
            optional=True,
            tooltip="Where nobody speaks, audio_cfg falls to 1, so that the mouth stays a mouth in pauses. Off as published.",
        ),
    ]


def check_interval(start: float, end: float) -> None:
    guidance.Guidance(audio_start=start, audio_end=end)


def shift_input(advanced: bool = True) -> io.Float.Input:
    return io.Float.Input(
        "shift",
        default=schedule.SHIFT,
        min=schedule.MIN_SHIFT,
        max=100.0,
        step=0.01,
        advanced=advanced,
        tooltip="Shift of the sigma schedule towards noise; 5 in the release.",
    )


def schedule_inputs(advanced: bool = True) -> list[io.Input]:
    return [
        shift_input(advanced),
        io.Float.Input(
            "denoise",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            advanced=advanced,
            tooltip="Below 1, only the last part of the schedule is run, on the latent that is wired in.",
        ),
    ]


def sampler_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "sampler_name",
            options=comfy.samplers.SAMPLER_NAMES,
            default="euler",
            advanced=True,
            tooltip="The host's sampler; the release uses euler.",
        ),
        io.Combo.Input(
            "scheduler",
            options=[OURS, *comfy.samplers.SCHEDULER_NAMES],
            default=OURS,
            advanced=True,
            tooltip="fantasytalking is the release's exact schedule; the others are the host's, with this shift.",
        ),
    ]


def sigmas_of(model, scheduler: str, steps: int, shift: float, denoise: float = 1.0):
    """The release's schedule, or one of the host's for a model of this shift."""
    from comfy_extras import nodes_custom_sampler, nodes_model_advanced

    sigmas = schedule.sigmas(steps, shift, denoise)
    if scheduler == OURS:
        return sigmas
    (shifted,) = nodes_model_advanced.ModelSamplingSD3().patch(model, shift)
    return nodes_custom_sampler.BasicScheduler.execute(shifted, scheduler, steps, denoise)[0]


def steps_input() -> io.Int.Input:
    return io.Int.Input("steps", default=schedule.STEPS, min=1, max=10000, tooltip="Sampling steps; 30 in the release.")


def conditioning_inputs() -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip="The model with the adapter applied."),
        io.Conditioning.Input("positive", tooltip="From FantasyTalking Conditioning."),
        io.Conditioning.Input("negative", tooltip="From FantasyTalking Conditioning."),
    ]


class FantasyTalkingGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingGuider",
            display_name="FantasyTalking Guider",
            category=f"{sockets.CATEGORY}/sampling",
            description="Guidance by text and by speech, for SamplerCustomAdvanced: the release's formula, passes that "
            "cannot change the result left out.",
            search_aliases=["cfg", "audio cfg", "guider", "audio guidance", "fantasy talking"],
            inputs=[*conditioning_inputs(), *guidance_inputs(), *economy_inputs()],
            outputs=[io.Guider.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def validate_inputs(cls, audio_start_percent=None, audio_end_percent=None) -> bool | str:
        return sockets.checked(check_interval, audio_start_percent, audio_end_percent)

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        text_cfg: float,
        audio_cfg: float,
        audio_start_percent: float,
        audio_end_percent: float,
        guidance_every: int = 1,
        ease_in_silence: bool = False,
    ) -> io.NodeOutput:
        sockets.expected(model, ModelPatcher, "model", "Apply Adapter")
        settings = guidance.Guidance(
            text_cfg, audio_cfg, audio_start_percent, audio_end_percent, guidance_every, ease_in_silence
        )
        guider = Guider(model, positive, negative, settings)
        return io.NodeOutput(guider, ui=shown.text(warnings=notices(model, positive)))


class FantasyTalkingScheduler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingScheduler",
            display_name="FantasyTalking Scheduler",
            category=f"{sockets.CATEGORY}/sampling",
            description="The release's exact sigma schedule for any number of steps, for SamplerCustomAdvanced.",
            search_aliases=["sigmas", "schedule", "shift", "fantasy talking"],
            inputs=[steps_input(), *schedule_inputs(advanced=False)],
            outputs=[io.Sigmas.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, steps: int, shift: float, denoise: float) -> io.NodeOutput:
        return io.NodeOutput(schedule.sigmas(steps, shift, denoise))


class FantasyTalkingSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingSampler",
            display_name="FantasyTalking Sampler",
            category=f"{sockets.CATEGORY}/sampling",
            description="Samples a talking video: noise, guider, schedule and sampler in one box. The same latents as "
            "SamplerCustomAdvanced with the Guider and the Scheduler.",
            search_aliases=[
                "ksampler",
                "talking head",
                "talking portrait",
                "audio to video",
                "audio driven",
                "audio cfg",
                "lip sync",
                "fantasy talking",
            ],
            inputs=[
                *conditioning_inputs(),
                io.Latent.Input("latent_image", tooltip="The latent of WanImageToVideo, as long as the speech."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Seed of the noise.",
                ),
                steps_input(),
                *guidance_inputs(),
                *sampler_inputs(),
                *schedule_inputs(),
                *economy_inputs(),
            ],
            outputs=[io.Latent.Output(tooltip="For VAEDecode.")],
        )

    @classmethod
    def validate_inputs(cls, audio_start_percent=None, audio_end_percent=None) -> bool | str:
        return sockets.checked(check_interval, audio_start_percent, audio_end_percent)

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        latent_image,
        seed: int,
        steps: int,
        text_cfg: float,
        audio_cfg: float,
        audio_start_percent: float,
        audio_end_percent: float,
        sampler_name: str,
        scheduler: str,
        shift: float,
        denoise: float,
        guidance_every: int = 1,
        ease_in_silence: bool = False,
    ) -> io.NodeOutput:
        from comfy_extras import nodes_custom_sampler as host

        sockets.expected(model, ModelPatcher, "model", "Apply Adapter")
        check_latent(latent_image)
        settings = guidance.Guidance(
            text_cfg, audio_cfg, audio_start_percent, audio_end_percent, guidance_every, ease_in_silence
        )
        sigmas = sigmas_of(model, scheduler, steps, shift, denoise)
        guider = Guider(model, positive, negative, settings)
        ui = shown.text(warnings=notices(model, positive, is_held="noise_mask" in latent_image))
        output = host.SamplerCustomAdvanced.execute(
            host.Noise_RandomNoise(seed),
            guider,
            comfy.samplers.sampler_object(sampler_name),
            sigmas,
            latent_image,
        )
        return io.NodeOutput(output[0], ui=ui)


NODES = [FantasyTalkingGuider, FantasyTalkingScheduler, FantasyTalkingSampler]
