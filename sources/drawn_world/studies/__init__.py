"""Claims about the small models beside those of the paper, each a study of its own: what is filmed, and what is measured.

page        all of them, and the page that tells them
study       what a study is; its archive and its table
people      held-out people and pairs of people, with as much speech as is wanted
silence     the mouth in pauses
speakers    two people, each with a speech of their own
hearing     how much the body hears
dubbing     new speech for a video
economy     guidance in every few steps
voices      real voices
"""
