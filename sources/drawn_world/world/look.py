"""Who is drawn: the shapes and colours that make one identity."""

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]

MOUTH_INSIDE: Colour = (100, 0, 45)
"""The inside of an open mouth. Nothing else is of this colour, so that a picture says how far a mouth is open."""
SKINS = ((255, 224, 196), (240, 200, 165), (222, 172, 130), (190, 135, 95), (145, 98, 66), (105, 72, 52))
HAIRS = {
    "black": (38, 34, 40),
    "brown": (98, 62, 34),
    "blond": (232, 200, 110),
    "red": (196, 84, 30),
    "grey": (160, 160, 165),
    "white": (236, 236, 232),
    "blue": (60, 90, 190),
    "green": (50, 140, 80),
}
CLOTHES = {
    "red": (200, 50, 50),
    "blue": (50, 90, 180),
    "green": (60, 140, 70),
    "yellow": (225, 190, 60),
    "white": (235, 235, 235),
    "grey": (110, 115, 125),
    "purple": (130, 70, 160),
    "orange": (230, 130, 40),
}
WALLS = {
    "blue": (150, 195, 235),
    "green": (165, 215, 165),
    "pink": (240, 190, 205),
    "grey": (190, 192, 198),
    "yellow": (240, 225, 160),
    "violet": (195, 180, 230),
    "brown": (180, 150, 120),
    "white": (238, 238, 240),
}
EYES = ((70, 50, 35), (60, 100, 160), (60, 120, 70), (110, 110, 115), (150, 100, 40))
STYLES = ("short", "long", "bob", "parted", "bald")
RIMS = ((40, 40, 50), (90, 50, 30), (150, 40, 50), (40, 60, 130))


@dataclass(frozen=True)
class Look:
    """One identity in one place. Lengths are in parts of the picture's side, those in the face of the head's half sizes.

    Attributes:
        width, height: half sizes of the head.
        jaw: how much narrower the head is at the chin.
        style: of the hair, one of STYLES.
        eye_gap, eye_size, brow, nose, mouth: places and sizes in the face.
        rims: colour of the glasses, None without any.
        light: the side that it comes from, -1 or 1.
        shapes: of the background, each x, y, radius and how much darker it is than the wall.
        caption: the prompt.
    """

    width: float
    height: float
    jaw: float
    skin: Colour
    hair: Colour
    style: str
    fringe: float
    eyes: Colour
    eye_gap: float
    eye_size: float
    brow: float
    nose: float
    mouth: float
    lips: Colour
    clothes: Colour
    shoulders: float
    rims: Colour | None
    light: int
    wall: Colour
    shapes: tuple[tuple[float, float, float, float], ...]
    caption: str

    @classmethod
    def random(cls, seed: int) -> "Look":
        """The identity of a number; every number has one of its own."""
        random = np.random.default_rng((97, seed))

        def between(low: float, high: float) -> float:
            return float(random.uniform(low, high))

        def varied(colour: Colour, by: float = 12) -> Colour:
            return tuple(int(np.clip(part + random.normal(0, by), 0, 255)) for part in colour)

        def one_of(named: dict[str, Colour]) -> tuple[str, Colour]:
            name = str(random.choice(list(named)))
            return name, varied(named[name])

        first, second = SKINS[(at := int(random.integers(len(SKINS) - 1)))], SKINS[at + 1]
        share = between(0, 1)
        skin = varied(tuple(round(a * share + b * (1 - share)) for a, b in zip(first, second, strict=True)), 5)
        (hair_name, hair), (clothes_name, clothes), (wall_name, wall) = one_of(HAIRS), one_of(CLOTHES), one_of(WALLS)
        lips = tuple(int(np.clip(a * s + o, 0, 255)) for a, s, o in zip(skin, (0.85, 0.55, 0.6), (15, 0, 5), strict=True))
        style = str(random.choice(STYLES, p=(0.28, 0.26, 0.2, 0.2, 0.06)))
        shapes = tuple(
            (between(-0.1, 1.1), between(0.0, 0.8), between(0.08, 0.2), between(0.06, 0.22))
            for _ in range(random.integers(2, 5))
        )
        about = "bald" if style == "bald" else f"with {style} {hair_name} hair"
        return cls(
            width=between(0.24, 0.3),
            height=between(0.305, 0.355),
            jaw=between(0.05, 0.4),
            skin=skin,
            hair=hair,
            style=style,
            fringe=between(0.25, 0.5),
            eyes=varied(EYES[random.integers(len(EYES))], 8),
            eye_gap=between(0.38, 0.48),
            eye_size=between(0.18, 0.24),
            brow=between(0.06, 0.11),
            nose=between(0.1, 0.2),
            mouth=between(0.42, 0.54),
            lips=lips,
            clothes=clothes,
            shoulders=between(0.36, 0.46),
            rims=RIMS[random.integers(len(RIMS))] if random.random() < 0.3 else None,
            light=int(random.choice((-1, 1))),
            wall=wall,
            shapes=shapes,
            caption=f"A person {about} in {clothes_name} clothes speaks in front of a {wall_name} wall.",
        )
