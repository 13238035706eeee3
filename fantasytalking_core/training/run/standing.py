"""Where a run stands: at its last checkpoint, or at the beginning."""

from dataclasses import dataclass, replace
from pathlib import Path

from ...adapter.file import AdapterFile, read_adapter
from ...errors import FantasyTalkingError
from . import checkpoints
from .config import Config
from .dataset import Dataset
from .state import STATE, State, damaged


@dataclass(frozen=True, eq=False)
class Standing:
    """What a run goes on with.

    Attributes:
        dataset: the cache; its `config` is the run's, with the number of held-out samples.
        step: steps done.
        folder: the checkpoint, None at the beginning.
        file: its adapter; at the beginning that of `init`, None without one.
    """

    dataset: Dataset
    step: int
    folder: Path | None
    file: AdapterFile | None

    @classmethod
    def of(cls, config: Config, processes: int) -> "Standing":
        """Look at output, cache and `init`, which is of no interest once there is a checkpoint.

        Raises:
            FantasyTalkingError: the checkpoint belongs to another run, or something is missing or damaged.
        """
        found = checkpoints.all_of(config.output)
        if not found:
            file = None if config.init is None else read_init(config)
            return cls(Dataset(config), 0, None, file)
        folder = found[-1]
        state = State.read(folder)
        if folder.name != checkpoints.name_of(state.step):
            raise damaged(folder / STATE, f"it says step {state.step}")
        if config.validation_samples is None:
            config = replace(config, validation_samples=state.config["validation_samples"])
        dataset = Dataset(config)
        state.check_same_run(State.of(dataset.config, state.step, processes, dataset.digest()), folder)
        return cls(dataset, state.step, folder, checkpoints.load_adapter(folder))


def read_init(config: Config) -> AdapterFile:
    """The adapter that a run starts from.

    Raises:
        FantasyTalkingError: no adapter, or a part that is not among `parts`; audio, which every adapter has, may be left out.
    """
    assert config.init is not None
    file = read_adapter(config.init)
    if left_out := [part for part in file.parts if part not in ("audio", *config.parts)]:
        raise FantasyTalkingError(f"'{config.init}' holds {', '.join(left_out)}, which parts leaves out: add it to parts.")
    return file
