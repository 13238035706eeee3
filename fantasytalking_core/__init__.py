"""FantasyTalking (arXiv 2504.04842) in plain PyTorch: the method, without ComfyUI.

Only the folder `host` imports ComfyUI; everything else runs, trains and is tested without it.
"""
