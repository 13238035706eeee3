"""The method on ComfyUI's own Wan model: the only place that imports the host."""
