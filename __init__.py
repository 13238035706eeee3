"""FantasyTalking for ComfyUI: one portrait and a speech recording to a talking video, on the host's own Wan model."""

WEB_DIRECTORY = "./web"
"""What the host serves to its page: the nodes' help."""


async def comfy_entrypoint():
    """Called by the host when it loads the pack; nothing is imported before."""
    import gc

    gc.disable()  # a pass over all of the host's objects would take longer than the imports
    try:
        from .fantasytalking_core.host import folders
        from .nodes import FantasyTalkingExtension

        folders.register()
        return FantasyTalkingExtension()
    finally:
        gc.enable()
