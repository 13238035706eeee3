"""The tests' own nodes: what the reference recorded in place of text encoder, image encoder and VAE."""

from comfy_api.latest import ComfyExtension, io


class ReferenceCase(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FTTestReferenceCase",
            inputs=[io.Combo.Input("case", options=["case_a", "case_b"])],
            outputs=[io.Conditioning.Output(), io.Conditioning.Output(), io.Latent.Output()],
        )

    @classmethod
    def execute(cls, case: str) -> io.NodeOutput:
        import sys
        from pathlib import Path

        tests = str(Path(__file__).resolve().parents[2])
        if tests not in sys.path:
            sys.path.append(tests)
        from support.reference import Case

        reference = Case(case)
        return io.NodeOutput(*reference.conditioning(), reference.latent())


class TestExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [ReferenceCase]


async def comfy_entrypoint() -> TestExtension:
    return TestExtension()
