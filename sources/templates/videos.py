"""What is done with videos: read, measured, dubbed, and made from what the sampler gives."""

import files
from graph import Graph, Node, Source, Subgraph


def clip_box(graph: Graph) -> Subgraph:
    """How much face and body move in a video."""
    box = Subgraph(graph.info, graph.numbers, "Motion in a clip", "Measures how much face and body move in a video.")
    video, adapter = box.input("video", "VIDEO"), box.input("adapter", "FT_ADAPTER")
    frames, landmarks = landmarks_of(box, video)
    measured = box.add(
        "FantasyTalkingMotionFromVideo",
        (680, 0),
        (280, 130),
        {"images": frames["images"], "face_landmarks": landmarks, "adapter": adapter},
    )
    box.add("PreviewImage", (1020, 0), (320, 300), {"images": measured["plot"]}, title="Motion in the clip")
    box.output("motion", measured["motion"])
    return box


def landmarks_of(graph: Graph, video: Source) -> tuple[Node, Source]:
    """A video's frames, and the landmarks of the face in them."""
    frames = graph.add("GetVideoComponents", (0, 0), (220, 80), {"video": video})
    model = graph.add(
        "LoadMediaPipeFaceLandmarker",
        (0, 140),
        (300, 70),
        title="Landmark model",
        models=[files.FACES.offer()],
        model_name=files.FACES.name,
    )
    found = graph.add(
        "MediaPipeFaceLandmarker",
        (350, 140),
        (280, 170),
        {"face_detection_model": model[0], "image": frames["images"]},
        title="Face landmarks",
        detector_variant="short",
        num_faces=1,
    )
    return frames, found["face_landmarks"]


def mouth(graph: Graph, vae: Source, video: Source) -> tuple[Node, Node, Node, Source]:
    """A video's frames, the mask of the mouth, the latent that the sampler starts from, and the first frame."""
    frames, landmarks = landmarks_of(graph, video)
    wires = {"images": frames["images"], "face_landmarks": landmarks}
    mask = graph.add("FantasyTalkingMouthMask", (680, 0), (260, 110), wires)
    wires = {"vae": vae, "images": frames["images"], "mask": mask["mask"]}
    latent = graph.add("FantasyTalkingDubLatent", (1000, 0), (230, 110), wires)
    first = graph.add("ImageFromBatch", (350, 0), (230, 90), {"image": frames["images"]}, title="First frame", length=1)
    return frames, mask, latent, first["IMAGE"]


def mouth_box(graph: Graph) -> Subgraph:
    """A video's mouth, to be made anew."""
    box = Subgraph(graph.info, graph.numbers, "Mouth", "Finds the mouth in every frame, and encodes the video for a dub.")
    frames, mask, latent, first = mouth(box, box.input("vae", "VAE"), box.input("video", "VIDEO"))
    box.promote(mask, "region")
    box.promote(mask, "grow")
    for name, source in (("images", frames["images"]), ("mask", mask["mask"]), ("latent", latent["latent"])):
        box.output(name, source)
    box.output("length", latent["length"])
    box.output("fps", frames["fps"])
    box.output("first frame", first)
    return box


def to_video(graph: Graph, samples: Source, vae: Source, audio: Source, fps: Source, enlarged: float | None = None) -> Source:
    """Frames with their sound; `enlarged`: so many times as large."""
    frames = graph.add("VAEDecode", (0, 0), (200, 60), {"samples": samples, "vae": vae})["IMAGE"]
    if enlarged:
        frames = graph.add(
            "ImageScaleBy",
            (0, 120),
            (240, 90),
            {"image": frames},
            title="Enlarge",
            upscale_method="lanczos",
            scale_by=enlarged,
        )["IMAGE"]
    video = graph.add("CreateVideo", (300, 0), (230, 110), {"images": frames, "audio": audio, "fps": fps})
    return video["VIDEO"]


def video_box(graph: Graph, enlarged: float | None = None) -> Subgraph:
    box = Subgraph(graph.info, graph.numbers, "To video", "Decodes the frames and adds the sound.")
    kinds = {"samples": "LATENT", "vae": "VAE", "audio": "AUDIO", "fps": "FLOAT"}
    sources = {name: box.input(name, kind) for name, kind in kinds.items()}
    box.output("video", to_video(box, **sources, enlarged=enlarged))
    return box


def paste(graph: Graph, samples: Source, vae: Source, images: Source, mask: Source, audio: Source, fps: Source) -> Source:
    """The new mouth in the old video."""
    frames = graph.add("VAEDecode", (0, 0), (200, 60), {"samples": samples, "vae": vae})
    wires = {"destination": images, "source": frames["IMAGE"], "mask": mask}
    pasted = graph.add("ImageCompositeMasked", (260, 0), (260, 150), wires, title="Paste back")
    wires = {"images": pasted["IMAGE"], "audio": audio, "fps": fps}
    return graph.add("CreateVideo", (580, 0), (230, 110), wires)["VIDEO"]


def paste_box(graph: Graph) -> Subgraph:
    box = Subgraph(graph.info, graph.numbers, "Paste back", "Puts the new mouth into the video, whose other pixels stay.")
    kinds = {"samples": "LATENT", "vae": "VAE", "images": "IMAGE", "mask": "MASK", "audio": "AUDIO", "fps": "FLOAT"}
    box.output("video", paste(box, **{name: box.input(name, kind) for name, kind in kinds.items()}))
    return box


def larger_box(graph: Graph) -> Subgraph:
    """Twice the size, a frame between any two."""
    box = Subgraph(graph.info, graph.numbers, "Larger and smoother", "Decodes, enlarges, interpolates and adds the sound.")
    kinds = {"samples": "LATENT", "vae": "VAE", "audio": "AUDIO", "fps": "FLOAT"}
    sources = {name: box.input(name, kind) for name, kind in kinds.items()}
    frames = box.add("VAEDecode", (0, 0), (200, 60), {"samples": sources["samples"], "vae": sources["vae"]})
    model = box.add(
        "UpscaleModelLoader",
        (0, 120),
        (300, 60),
        models=[files.UPSCALER.offer()],
        model_name=files.UPSCALER.name,
    )
    box.promote(model, "model_name", "upscale_model", "upscale model")
    larger = box.add("ImageUpscaleWithModel", (360, 0), (240, 60), {"upscale_model": model[0], "image": frames["IMAGE"]})
    interpolator = box.add(
        "FrameInterpolationModelLoader",
        (0, 240),
        (300, 60),
        title="Interpolation model",
        models=[files.INTERPOLATOR.offer()],
        model_name=files.INTERPOLATOR.name,
    )
    box.promote(interpolator, "model_name", "interpolation_model", "interpolation model")
    times = box.add("PrimitiveInt", (360, 120), (240, 90), title="Times as many frames", value=2, control="fixed")
    box.promote(times, "value", "times", "times as many frames")
    smoother = box.add(
        "FrameInterpolate",
        (660, 0),
        (260, 90),
        {"interp_model": interpolator[0], "images": larger["IMAGE"], "multiplier": times[0]},
    )
    rate = box.add("ComfyMathExpression", (660, 150), (260, 130), title="Frames per second", expression="a * b")
    for slot, (name, source) in enumerate((("a", sources["fps"]), ("b", times[0]))):
        rate.saved["inputs"].insert(slot, {"label": name, "name": f"values.{name}", "type": "FLOAT,INT,BOOLEAN", "link": None})
        box.wire(source, rate.id, f"values.{name}")
    wires = {"images": smoother["IMAGE"], "audio": sources["audio"], "fps": rate[0]}
    video = box.add("CreateVideo", (980, 0), (230, 110), wires)
    box.output("video", video["VIDEO"])
    return box
