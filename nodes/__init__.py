"""What an artist sees: one file per stage of the graph."""

from comfy_api.latest import ComfyExtension, io

from . import loaders, sampling, speech


class FantasyTalkingExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [*loaders.NODES, *speech.NODES, *sampling.NODES]
