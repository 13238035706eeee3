"""The talking world: drawn portraits that speak, with everything about them known.

look         who: shapes and colours of a person and a place
figure       a person in one moment: where everything is, with landmarks and joints
portrait     people in one moment as a picture
voices       what is said, by espeak-ng
performance  speech to the moments of a clip
videos       clips as files that the trainer's `prepare` reads
"""
