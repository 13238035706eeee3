"""Several people in one picture: where each is, and what each says."""

from comfy_api.latest import io

from ..fantasytalking_core.face import speaker_masks
from ..fantasytalking_core.host.face_landmarker import landmarker
from ..fantasytalking_core.pictures import pictures
from ..fantasytalking_core.speech.recording import Recording
from ..fantasytalking_core.speech.turns import SPEAKERS, Dialogue, read_turns
from . import shown, sockets

NUMBERS = range(1, SPEAKERS + 1)
ALIASES = [
    "multiple speakers",
    "several speakers",
    "two people",
    "dialogue",
    "conversation",
    "speaker",
    "multitalk",
    "fantasy talking",
]


class FantasyTalkingSpeakerMasks(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingSpeakerMasks",
            display_name="FantasyTalking Speaker Masks",
            category=f"{sockets.CATEGORY}/speech",
            description="Finds the people in a picture and gives each the part of it that is nearest to their face, for "
            "several speakers in one video: each speech is heard only where its speaker is.",
            has_intermediate_output=True,
            search_aliases=[*ALIASES, "face mask", "motion control"],
            inputs=[
                io.Image.Input("image", tooltip="The picture that the video starts from, in the video's proportions."),
                sockets.FaceLandmarks.Input(
                    "face_landmarks",
                    optional=True,
                    tooltip="From Detect Face Landmarks (MediaPipe) with the same picture, for other settings than by itself.",
                ),
                io.Float.Input(
                    "body",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    tooltip="How much the body and what is around it hear: below 1 they move less, the face as before. Not the "
                    "paper's motion coefficient.",
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="masks", tooltip="One for each person, from left to right."),
                io.Image.Output(display_name="preview", tooltip="The picture with every person's number and part of it."),
                *(
                    io.Mask.Output(
                        display_name=f"speaker {number}",
                        tooltip=f"Person {number} from the left: for mask of Conditioning. Empty if there is none.",
                    )
                    for number in NUMBERS
                ),
            ],
        )

    @classmethod
    def execute(cls, image, face_landmarks=None, body: float = 1.0) -> io.NodeOutput:
        portraits = pictures(image)
        faces, found_by, warnings = speaker_masks.people(portraits, face_landmarks, landmarker)
        picture = portraits[0]
        height, width, _ = picture.shape
        masks = speaker_masks.speaker_masks(faces, height, width, body)
        preview = speaker_masks.preview(picture, faces, masks)[None]
        count = "1 speaker" if len(faces) == 1 else f"{len(faces)} speakers, left to right"
        if len(faces) > SPEAKERS:
            warnings.append(
                f"There are {len(faces)} people: speaker 1 to {SPEAKERS} are the first from the left, masks has all of them."
            )
        said = shown.text(f"{count}, found {found_by}", warnings=warnings)
        numbered = speaker_masks.numbered(masks, SPEAKERS)
        return io.NodeOutput(masks, preview, *numbered, ui=shown.PicturesAndText(preview, said))


class FantasyTalkingSpeakerTurns(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingSpeakerTurns",
            display_name="FantasyTalking Speaker Turns",
            category=f"{sockets.CATEGORY}/speech",
            description="Splits one recording of a conversation by a table of who speaks when. Each output is as long as the "
            "recording, and silent where its speaker has no turn, so everything stays in time.",
            search_aliases=[*ALIASES, "diarization", "split audio"],
            inputs=[
                io.Audio.Input("audio", tooltip="One recording, any sample rate and channels."),
                io.String.Input(
                    "turns",
                    multiline=True,
                    default="0.0-3.2 1",
                    tooltip="A line for each turn: START-END SPEAKER, in seconds or m:ss, speakers 1 to 4; 1,2 for both at "
                    "once. What follows a # is a comment.",
                ),
            ],
            outputs=[
                io.Audio.Output(
                    display_name=f"speaker {number}",
                    tooltip=f"What speaker {number} says, silence elsewhere: for Encode Speech.",
                )
                for number in NUMBERS
            ],
        )

    @classmethod
    def validate_inputs(cls, turns=None) -> bool | str:
        return sockets.checked(read_turns, turns)

    @classmethod
    def execute(cls, audio, turns: str) -> io.NodeOutput:
        table = read_turns(turns)
        dialogue = Dialogue.of(Recording.of(audio), table)
        sounds = ({"waveform": dialogue.sound(number)[None], "sample_rate": dialogue.rate} for number in NUMBERS)
        return io.NodeOutput(*sounds, ui=shown.text(*dialogue.described(), warnings=dialogue.notices()))


NODES = [FantasyTalkingSpeakerMasks, FantasyTalkingSpeakerTurns]
