"""What training takes of a GPU's memory: the counting of benchmarks/training_memory.py, and the table made of it."""

import re
import sys
from dataclasses import replace

import pytest
import torch

from support import ROOT

SMALL = {"dim": 128, "blocks": 2, "ffn": 256, "frames": 9, "size": 64}


@pytest.fixture(scope="module")
def counting(host):
    before = list(sys.path)
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import training_memory
    finally:
        sys.path[:] = before
    return training_memory


def choice(counting, **settings):
    return counting.Choice("small", settings, **SMALL)


def allocated(counting, of) -> int:
    """Bytes that PyTorch's allocator has given out at most during a step, as its profiler records them."""
    dit = counting.dit_of(of)
    step, batch = counting.step_of(of, dit), counting.batch_of(of)
    for weight in step.parameters():
        weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        with dit.gradients():
            step(batch, "frame").loss.backward()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


@pytest.mark.parametrize("settings", [{}, {"weight_dtype": "fp8_e4m3fn", "parts": ("identity", "motion")}], ids=["16 bit", "8"])
def test_a_step_without_numbers_counts_what_the_allocator_gives_out_for_one_with_them(counting, settings):
    of = choice(counting, **settings)
    held, step = counting.whole(of)
    assert (held, step) == counting.peak_of(of)
    assert step == pytest.approx(allocated(counting, of), rel=0.03)


def test_what_stays_is_a_sum_over_the_weights(rows):
    """Wan2.1 I2V 14B and the defaults: 16.39 and 1.765 billion."""
    numbers = {"audio": 0.840e9, "identity": 0.921e9, "motion": 0.004e9}
    by_name = {each.name: held for each, held, _ in rows}
    for name, dit, per_trained in (
        ("the defaults", 2 * 16.39e9, 4 + 4 + 8),
        ("`optimizer: adamw8bit`", 2 * 16.39e9, 4 + 4 + 2 + 8 / 256),
        ("`weight_dtype: fp8_e4m3fn`", 16.39e9, 4 + 4 + 8),
    ):
        assert by_name[name].dit == pytest.approx(dit, rel=1e-3)
        assert by_name[name].together - by_name[name].dit == pytest.approx(sum(numbers.values()) * per_trained, rel=2e-3)
    frozen = by_name["all three"]
    assert frozen.frozen == pytest.approx(2 * numbers["audio"], rel=3e-3)
    assert frozen.trained == frozen.gradients == pytest.approx(4 * (numbers["identity"] + numbers["motion"]), rel=2e-3)


def test_each_further_block_takes_as_much(counting):
    of = replace(choice(counting), blocks=5)
    assert counting.counted(of) == counting.whole(of)


@pytest.fixture(scope="module")
def rows(counting):
    """Each choice of the table with what it takes."""
    return [(each, *counting.counted(each)) for each in counting.CHOICES]


def test_the_table_says_what_is_counted(counting, rows):
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    table = "\n".join(counting.row(*each) for each in rows)
    assert table in text, table


def test_of_fp8_no_more_than_one_blocks_weights_are_held_in_16_bits_at_once(rows):
    """And those outside of the blocks that the gradient of motion goes through."""
    steps = {each.name: step for each, _, step in rows}
    with_, without = steps["`weight_dtype: fp8_e4m3fn`"], steps["the defaults"]
    block = 2 * (6 * 5120**2 + 2 * 5120 * 13824)
    time_projection = 2 * 5120 * 6 * 5120
    assert 0 < with_ - without < block + time_projection + 0.1e9


def test_a_card_is_full_before_its_last_byte(counting):
    of = counting.CHOICES[0]
    held = replace(counting.whole(choice(counting))[0], dit=int(45.8e9), frozen=0, trained=0, gradients=0, moments=0)
    assert counting.row(of, held, 0).endswith("| 80 GB, 48 GB |")
    assert counting.row(of, held, int(0.2e9)).endswith("| 80 GB |")
    assert counting.row(of, held, int(1e12)).endswith("| – |")
    assert re.match(r"\| the defaults \| 81 × 512² \| 45\.8 \| 0\.0 \|", counting.row(of, held, 0))
