"""The processes of a run, as accelerate's launcher started them; of its other settings, the run decides on its own."""

import importlib.util
import os
from datetime import timedelta
from typing import Any

from ...errors import FantasyTalkingError
from .config import Config

NEEDED = "Training needs {}, which is not installed: python -m pip install accelerate tensorboard"
LONGEST_WAIT = timedelta(hours=2)
"""For which processes wait for each other, while one samples or writes."""


def check_packages() -> None:
    """Raises FantasyTalkingError where something that training needs is not installed."""
    for package, name in (("accelerate", "accelerate"), ("tensorboard", "TensorBoard")):
        if importlib.util.find_spec(package) is None:
            raise FantasyTalkingError(NEEDED.format(name))


def accelerator(config: Config, cpu: bool) -> Any:
    """accelerate's, with the run's precision and accumulation, whatever the machine's settings say of them.

    Raises:
        FantasyTalkingError: accelerate is missing.
    """
    try:
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin, InitProcessGroupKwargs
    except ImportError as error:
        raise FantasyTalkingError(NEEDED.format("accelerate")) from error
    made = Accelerator(
        cpu=cpu,
        mixed_precision="no",  # the step casts what is to be cast
        dynamo_backend="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=config.accumulation),
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=LONGEST_WAIT),
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),  # or every gradient is there twice
        ],
    )
    if (plugin := getattr(made.state, "deepspeed_plugin", None)) is not None:
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = config.batch_size  # no loader of its own tells it
        plugin.deepspeed_config["gradient_accumulation_steps"] = config.accumulation
    return made


def is_launched_sharded() -> bool:
    """Whether accelerate's launcher has set up what `is_sharded` says later."""
    return any(os.environ.get(f"ACCELERATE_USE_{name}", "").lower() in ("true", "1") for name in ("FSDP", "DEEPSPEED"))


def is_sharded(accelerator: Any) -> bool:
    """Whether weights and moments are spread over the processes."""
    return str(accelerator.distributed_type).rsplit(".", 1)[-1] in ("FSDP", "DEEPSPEED")
