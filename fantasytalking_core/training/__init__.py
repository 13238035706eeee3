"""Dual-stage training (§3.2, §4.1): from a folder of talking clips to an adapter file that the nodes load.

    prepare   videos → cache        `prepare` `work` `samples` `clips` `placement` `faces` `side_file` `lip_mask` `encoders`
              both sides of it      `cache`
    run       cache → checkpoints   `command` `config` `dataset` `objective` `step` `new_adapter` `trainer` `checkpoints`
    export    checkpoint → adapter  `export`
"""
