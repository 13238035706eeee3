"""FantasyTalking (arXiv 2504.04842) in plain PyTorch, one folder per idea of the paper.

A folder imports only what stands below it:

    commands              python -m fantasytalking_core
    host                  the method on ComfyUI's own Wan model: the only folder that imports ComfyUI
    training              videos → cache → checkpoints → adapter file
    motion                how much face and body move in a clip
    face                  a portrait to the face in it and to who it is
    adapter               what is added to the frozen DiT
    speech, sampling      a recording to what each latent frame hears; guidance and schedule
    errors, files, …      the files beside this one
"""
