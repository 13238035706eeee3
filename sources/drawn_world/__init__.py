"""A small model that really talks: a family of small models of the real architectures, trained on a drawn world.

python dev.py train small       makes every file in sources/drawn_world/models again, from a seed
python dev.py evaluate small    measures them; docs/evidence.md
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""
SIZE = 96
"""Pixels, both sides of every picture of one person; that of two is twice as wide."""
FPS = 23.0
FRAMES = 33
"""Frames of a training clip: 9 latent frames."""
LONG_FRAMES = 81
"""Frames of the longest video that the DiT was trained on: 21 latent frames."""
TEXT_ROWS, TEXT_DIM = 32, 64
"""What the stand-in for UMT5-XXL gives: rows, with zero rows after the text, and their width."""
IMAGE_TOKENS, IMAGE_DIM = 17, 1280
"""What the stand-in for CLIP ViT-H gives: a class token and 4 × 4 patches. The width is the real one's: Wan fixes it."""
SEED = 0
