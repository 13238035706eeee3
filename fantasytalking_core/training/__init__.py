"""Dual-stage training (§3.2, §4.1): from a folder of talking clips to an adapter file that the nodes load.

    data      videos → cache
    run       cache → checkpoints
    export    checkpoint → adapter file

It knows nothing of the host: what it needs of it (encoders, the frozen DiT, what samples) is handed to it.
"""
