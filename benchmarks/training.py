"""Training speed: tokens a second, and the share of a GPU's arithmetic that they use.

    python -m benchmarks.training [--quick] [--json FILE]

On a GPU: 125M and 350M parameters, 32,768 entries of vocabulary, sequences of 2,048 random tokens,
16 bits, AdamW, gradients clipped. Attention stays within documents, whose lengths are log-normal
(median 600 tokens, sigma 1, so 990 on average), packed and cut at the ends of sequences. Beside it,
in turn, transformers' Llama of the same sizes, with and without its blocks compiled, which sees
across documents; its steps are smaller, as its logits have to fit whole. Without a GPU: the "1M"
preset on two threads in 32 bits, both in the same loop.

Model FLOP utilization (MFU) counts 6N and attention against an H100's or H200's 989 TFLOP/s, dense
bf16. As in PaLM, attention is counted whole: every token against its whole sequence. Two more rows
count it as the causal mask needs it (half), and as these documents do.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.measured import Row, arguments, report
from downstream.attention import documents_of
from downstream.model import Llama
from downstream.parameter_groups import adamw_groups, matrices_and_others
from downstream.shape import Shape, attention_flops, count_parameters, flops_per_token, shape_of

PEAK_FLOPS = 989e12
GPU_VOCABULARY, GPU_TOKENS = 32_768, 2_048
GPU_SEQUENCES = {"125M": 64, "350M": 32}  # of a step of ours: activations fit 80 GB
LARGE_CARD_BYTES = 100e9  # with more memory, twice as many
PEER_SEQUENCES = {"125M": 16, "350M": 8}  # transformers' logits do not fit with more
LIMIT_TOKENS_PER_S, LIMIT_MFU = 500_000, 56.0
CPU_VOCABULARY, CPU_TOKENS, CPU_SEQUENCES = 2_048, 256, 8
DOCUMENT_MEDIAN, DOCUMENT_SIGMA = 600, 1.0
END = 0

Step = Callable[[], Tensor]


def main() -> None:
    """Measure in turn, then report."""
    options = arguments(__doc__)
    if torch.cuda.is_available():
        report(list(_on_gpu(options.quick)), options.json)
    report(list(_on_cpu(options.quick)), options.json)


def packed(sequences: int, tokens: int, vocabulary: int, seed: int, device: str) -> Tensor:
    """Random ids, one more a sequence than are trained on, with ends of log-normal documents."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, vocabulary, (sequences * (tokens + 1),), generator=generator)
    drawn = torch.empty(len(ids) // 8).log_normal_(0, DOCUMENT_SIGMA, generator=generator)
    ends = (drawn * DOCUMENT_MEDIAN).long().clamp(min=1).cumsum(0)
    ids[ends[ends < len(ids)]] = END
    return ids.view(sequences, tokens + 1).to(device)


def seen_tokens(ids_BT: Tensor) -> float:
    """How many tokens a token sees on average, itself among them, within its document."""
    documents_BT = documents_of(ids_BT[:, :-1], END)
    starts_BT = torch.zeros_like(documents_BT)
    position_T = torch.arange(documents_BT.shape[1], device=ids_BT.device, dtype=torch.int32)
    new_BT = documents_BT[:, 1:] != documents_BT[:, :-1]
    starts_BT[:, 1:] = (new_BT * position_T[1:]).cummax(dim=1).values
    return float((position_T - starts_BT + 1).float().mean())


def ours(shape: Shape, ids_BT: Tensor, end_of_text: int | None = END) -> Step:
    """A step of our model."""
    device = ids_BT.device.type
    model = Llama(shape).to(device).initialize(1)
    if device == "cuda":
        model.compile_blocks()
    return _step(model, ids_BT, lambda: model.loss_nats(ids_BT, end_of_text))


def theirs(shape: Shape, ids_BT: Tensor, compiled: bool) -> Step:
    """A step of transformers' Llama of the same sizes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        intermediate_size=shape.feed_forward, num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads, max_position_embeddings=shape.context_tokens,
        tie_word_embeddings=True, use_cache=False, attn_implementation="sdpa",
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(ids_BT.device)
    if compiled:
        for layer in model.model.layers:
            layer.compile(dynamic=False)
    inputs, labels = ids_BT[:, :-1].contiguous(), ids_BT[:, 1:].contiguous()
    return _step(
        model, ids_BT, lambda: model(input_ids=inputs, labels=labels, shift_labels=labels).loss
    )


def _step(model: nn.Module, ids_BT: Tensor, loss_of: Callable[[], Tensor]) -> Step:
    """The loop that both train in."""
    device = ids_BT.device.type
    groups = [g for named in matrices_and_others(model) for g in adamw_groups(named, 3e-4, 0.1)]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)

    def step() -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = loss_of()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def timed(step: Step, steps: int) -> float:
    """Seconds of one step, over several."""
    _wait()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    _wait()
    return (time.perf_counter() - began) / steps


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def in_turn(contenders: dict[str, tuple[Step, int]], rounds: int, steps: int) -> dict[str, float]:
    """Median tokens a second of each, by its tokens a step, after its warm-up."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (step, tokens) in contenders.items():
            rates[name].append(tokens / timed(step, steps))
    return {name: statistics.median(values) for name, values in rates.items()}


def _on_gpu(quick: bool) -> Iterator[Row]:
    card = torch.cuda.get_device_name()
    rounds, steps = (3, 4) if quick else (5, 10)
    large = torch.cuda.get_device_properties(0).total_memory > LARGE_CARD_BYTES
    for preset, sequences in GPU_SEQUENCES.items():
        shape = shape_of(preset, GPU_VOCABULARY, GPU_TOKENS)
        ids = packed(sequences * (1 + large), GPU_TOKENS, GPU_VOCABULARY, 1, "cuda")
        few = ids[: PEER_SEQUENCES[preset]]
        made: dict[str, tuple[Step, int]] = {}
        first_step_s = {}
        for name, make, given in (
            ("ours", ours, ids),
            ("transformers", partial(theirs, compiled=False), few),
            ("transformers, blocks compiled", partial(theirs, compiled=True), few),
        ):
            step = make(shape, given)
            first_step_s[name] = timed(step, 1)
            timed(step, 2)
            made[name] = (step, given[:, 1:].numel())
        rates = in_turn(made, rounds, steps)
        yield from _rows(preset, shape, rates, seen_tokens(ids), card)
        mine = first_step_s.pop("ours")
        yield Row(f"first step at {preset}, compilation with it", mine, "s", peers=first_step_s)
        del made, step
        gc.collect()
        torch.cuda.empty_cache()


def _rows(
    preset: str, shape: Shape, rates: dict[str, float], seen: float, card: str
) -> Iterator[Row]:
    peers = dict(rates)
    rate = peers.pop("ours")
    limit = LIMIT_TOKENS_PER_S if preset == "125M" else None
    parameters = f"{count_parameters(shape) / 1e6:.0f}M parameters"
    yield Row(f"{preset} ({parameters}) on {card}", rate, "tokens/s", limit, "min", peers)
    matrices = flops_per_token(shape, 0)
    share = 100 * rate / PEAK_FLOPS
    whole = flops_per_token(shape, GPU_TOKENS)
    yield Row(
        f"MFU at {preset}, attention whole", share * whole, "%",
        LIMIT_MFU if preset == "350M" else None, "min",
        {name: 100 * r * whole / PEAK_FLOPS for name, r in peers.items()},
    )  # fmt: skip
    causal = matrices + attention_flops(shape, GPU_TOKENS / 2)
    yield Row(f"MFU at {preset}, attention causal", share * causal, "%")
    allowed = matrices + attention_flops(shape, seen)
    yield Row(f"MFU at {preset}, attention within documents", share * allowed, "%")


def _on_cpu(quick: bool) -> Iterator[Row]:
    torch.set_num_threads(2)
    shape = shape_of("1M", CPU_VOCABULARY, CPU_TOKENS)
    ids = packed(CPU_SEQUENCES, CPU_TOKENS, CPU_VOCABULARY, 1, "cpu")
    made = {
        "ours": (ours(shape, ids), ids[:, 1:].numel()),
        "across documents": (ours(shape, ids, None), ids[:, 1:].numel()),
        "transformers": (theirs(shape, ids, compiled=False), ids[:, 1:].numel()),
    }
    for step, _ in made.values():
        timed(step, 2)
    rates = in_turn(made, *((5, 5) if quick else (9, 20)))
    mine = rates.pop("ours")
    name = f"1M ({count_parameters(shape) / 1e6:.2f}M parameters) on two threads"
    yield Row(name, mine, "tokens/s", peers=rates)


if __name__ == "__main__":
    main()
