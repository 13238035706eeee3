"""The talking world: drawn portraits that speak, with everything about them known.

look         who: shapes and colours of a person and a place
portrait     a person in one moment as a picture, with landmarks, joints and outline
voices       what is said, by espeak-ng
performance  speech to the moments of a clip
videos       clips as files that the trainer's `prepare` reads
"""
