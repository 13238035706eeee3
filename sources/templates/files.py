"""The model files that the templates ask for: where they are published and where they go."""

from dataclasses import dataclass

HUB = "https://huggingface.co"
WAN = f"{HUB}/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files"


@dataclass(frozen=True)
class File:
    """A published model file."""

    name: str
    folder: str
    url: str
    size: str
    instead: str = ""
    """What may stand in its place, for the note."""

    def offer(self) -> dict[str, str]:
        """What the page's list of missing models reads on the node that loads it."""
        return {"name": self.name, "url": self.url, "directory": self.folder}

    def line(self) -> str:
        page = self.url.replace("/resolve/", "/blob/")
        return f"- `{self.folder}`: [{self.name}]({page}), {self.size}{self.instead}"


DIT = File(
    "wan2.1_i2v_480p_14B_fp8_scaled.safetensors",
    "diffusion_models",
    f"{WAN}/diffusion_models/wan2.1_i2v_480p_14B_fp8_scaled.safetensors",
    "16.4 GB",
    f"; with 40 GB of VRAM [fp16]({WAN.replace('resolve', 'blob')}/diffusion_models/"
    "wan2.1_i2v_480p_14B_fp16.safetensors), 32.8 GB",
)
ADAPTER = File(
    "fantasytalking_fp16.safetensors",
    "fantasytalking",
    f"{HUB}/Kijai/WanVideo_comfy/resolve/main/fantasytalking_fp16.safetensors",
    "1.7 GB",
    f", or the authors' own [fantasytalking_model.ckpt]({HUB}/acvlab/FantasyTalking/blob/main/fantasytalking_model.ckpt)",
)
TRAINED = "fantasytalking_trained.safetensors"
"""Stands for an adapter of somebody's own training."""
WAV2VEC = File(
    "wav2vec2-base-960h.safetensors",
    "wav2vec2",
    f"{HUB}/facebook/wav2vec2-base-960h/resolve/main/model.safetensors",
    "0.4 GB",
    ": published as `model.safetensors`, give it this name",
)
TEXT = File(
    "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    "text_encoders",
    f"{WAN}/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    "6.7 GB",
)
VISION = File("clip_vision_h.safetensors", "clip_vision", f"{WAN}/clip_vision/clip_vision_h.safetensors", "1.3 GB")
VAE = File("wan_2.1_vae.safetensors", "vae", f"{WAN}/vae/wan_2.1_vae.safetensors", "0.3 GB")
LORA = File(
    "Wan21_I2V_14B_lightx2v_cfg_step_distill_lora_rank64.safetensors",
    "loras",
    f"{HUB}/lightx2v/Wan2.1-I2V-14B-480P-StepDistill-CfgDistill-Lightx2v/resolve/main/loras/"
    "Wan21_I2V_14B_lightx2v_cfg_step_distill_lora_rank64.safetensors",
    "0.7 GB",
)
UPSCALER = File("RealESRGAN_x2.pth", "upscale_models", f"{HUB}/ai-forever/Real-ESRGAN/resolve/main/RealESRGAN_x2.pth", "67 MB")
INTERPOLATOR = File(
    "rife_v4.26.safetensors",
    "frame_interpolation",
    f"{HUB}/Comfy-Org/frame_interpolation/resolve/main/frame_interpolation/rife_v4.26.safetensors",
    "23 MB",
)
FACES = File(
    "mediapipe_face_fp32.safetensors",
    "detection",
    f"{HUB}/Comfy-Org/mediapipe/resolve/main/detection/mediapipe_face_fp32.safetensors",
    "3 MB",
)
BASIC = (DIT, ADAPTER, WAV2VEC, TEXT, VISION, VAE)
