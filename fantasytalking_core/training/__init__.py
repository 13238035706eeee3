"""Dual-stage training (§3.2, §4.1): from a folder of talking clips to an adapter file that the nodes load.

    prepare   videos → cache of samples     `prepare`, `clips`, `side_file`, `lip_mask`, `cache`
    run       cache → checkpoints           `config`, `dataset`, `objective`, `step`, `trainer`, `checkpoints`
    export    checkpoint → adapter file     `export`
"""
