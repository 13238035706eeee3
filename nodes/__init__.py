"""What an artist sees: one file per stage of the graph."""

from comfy_api.latest import ComfyExtension, io

from . import conditioning, dubbing, examples, face, identity, loaders, motion, render, sampling, speakers, speech


class FantasyTalkingExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        modules = [loaders, face, identity, motion, speech, speakers, conditioning, sampling, render, dubbing, examples]
        return [node for module in modules for node in module.NODES]
