"""Ready-to-run configurations of other trainers, made from a verified handoff.

nanotron reads the shards as they are; for litgpt and the Hugging Face Trainer a file of fifty lines
(`exported_windows`) is laid beside the configuration. All of them read `base` first and `anneal`
while the rate decays. litgpt has a cosine schedule alone, so there the rate falls from the start.
docs/handoff.md says how each was checked. Paths in them are of this machine: export again where
the run lies elsewhere.

Sources: nanotron's config dataclasses (github.com/huggingface/nanotron, src/nanotron/config, April
2026), litgpt 0.5.13 (`litgpt pretrain --config`), transformers 5 (`TrainingArguments`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from downstream.training_plan import SEED, TrainingPlan, lay_out, make_plan, write_json
from pipeline.errors import InputError
from pipeline.records import read_rows

HERE = Path(__file__).parent


def export_handoff(
    handoff_path: Path, to: str, out: Path, arm: str = "kept+synthetic",
    preset: str | None = None, context_tokens: int = 2_048,
) -> list[str]:  # fmt: skip
    """Write a configuration of the trainer `to` into `out`; returns the command that runs it."""
    writers: dict[str, Callable[[TrainingPlan, Path], list[str]]] = {
        "nanotron": _nanotron, "litgpt": _litgpt, "transformers": _transformers,
    }  # fmt: skip
    if to not in writers:
        raise InputError(
            "export", f"there is no export to {to!r}", f"name one of {', '.join(writers)}"
        )
    plan = make_plan(handoff_path, arm, preset, context_tokens)
    out.mkdir(parents=True, exist_ok=True)
    lay_out(plan, out)
    return writers[to](plan, out.resolve())


def llama_config(plan: TrainingPlan) -> dict[str, Any]:
    """The model's shape as Hugging Face names it."""
    shape = plan.shape
    return {
        "vocab_size": shape.vocabulary, "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": shape.context_tokens, "rms_norm_eps": shape.norm_epsilon,
        "tie_word_embeddings": shape.tied, "hidden_act": "silu",
        "bos_token_id": plan.handoff.end_of_text, "eos_token_id": plan.handoff.end_of_text,
    }  # fmt: skip


def _transformers(plan: TrainingPlan, out: Path) -> list[str]:
    write_json(out / "train.json", {
        "seed": SEED,
        "model": llama_config(plan),
        "arguments": {
            "max_steps": plan.steps, "per_device_train_batch_size": plan.windows_at_once,
            "gradient_accumulation_steps": plan.accumulated, "learning_rate": plan.peak_rate,
            "weight_decay": 0.1, "adam_beta1": 0.9, "adam_beta2": 0.95, "max_grad_norm": 1.0,
            "lr_scheduler_type": "warmup_stable_decay", "warmup_steps": plan.warmup_steps,
            "lr_scheduler_kwargs": {"num_decay_steps": plan.anneal_steps, "decay_type": "linear"},
            "train_sampling_strategy": "sequential", "logging_steps": 10, "save_steps": 500,
            "report_to": "none", "seed": SEED, "remove_unused_columns": False,
        },
        "windows": _windows(plan, out),
    })  # fmt: skip
    _copy("exported_windows.py", out / "windows.py")
    _copy("exported_trainer.py", out / "train.py")
    return ["python", str(out / "train.py")]


def _windows(plan: TrainingPlan, out: Path) -> dict[str, Any]:
    return {
        "folders": [str(out / "base"), str(out / "anneal")],
        "counts": [plan.windows_a_step * n for n in (plan.base_steps, plan.anneal_steps)],
        "tokens": plan.shape.context_tokens, "token_dtype": plan.handoff.token_dtype,
        "seed": SEED,
    }  # fmt: skip


def _litgpt(plan: TrainingPlan, out: Path) -> list[str]:
    shape, windows = plan.shape, _windows(plan, out)
    _write_validation(plan, out / "validation")
    _write_yaml(out / "pretrain.yaml", {
        "model_name": "primer",
        "model_config": {
            "name": "primer", "block_size": shape.context_tokens, "n_layer": shape.layers,
            "n_embd": shape.hidden, "vocab_size": shape.vocabulary,
            "padded_vocab_size": shape.vocabulary, "n_head": shape.heads,
            "n_query_groups": shape.kv_heads, "head_size": shape.head, "rotary_percentage": 1.0,
            "parallel_residual": False, "bias": False, "norm_class_name": "RMSNorm",
            "norm_eps": shape.norm_epsilon, "mlp_class_name": "LLaMAMLP",
            "intermediate_size": shape.feed_forward, "rope_base": int(shape.rope_theta),
        },
        "out_dir": str(out / "model"),
        "data": {
            "class_path": "primer_data.Shards",
            "init_args": {
                "base": windows["folders"][0], "anneal": windows["folders"][1],
                "validation": str(out / "validation"), "counts": windows["counts"],
                "token_dtype": windows["token_dtype"], "seed": SEED,
            },
        },
        "train": {
            "global_batch_size": plan.windows_a_step, "micro_batch_size": plan.windows_at_once,
            "max_tokens": plan.steps * plan.windows_a_step * shape.context_tokens,
            "max_norm": 1.0, "lr_warmup_steps": plan.warmup_steps, "min_lr": 0.0,
            "tie_embeddings": shape.tied, "save_interval": 500, "log_interval": 10,
        },
        "eval": {"interval": 500, "max_iters": 8},
        "optimizer": {
            "class_path": "torch.optim.AdamW",
            "init_args": {"lr": plan.peak_rate, "weight_decay": 0.1, "betas": [0.9, 0.95]},
        },
        "devices": 1,
        "logger_name": "csv",
        "seed": SEED,
    })  # fmt: skip
    _copy("exported_windows.py", out / "windows.py")
    _copy("exported_litgpt.py", out / "primer_data.py")
    return [
        "env",
        f"PYTHONPATH={out}",
        "litgpt",
        "pretrain",
        "--config",
        str(out / "pretrain.yaml"),
    ]


def _write_validation(plan: TrainingPlan, folder: Path) -> None:
    """The held-out documents as one shard, for trainers that measure their loss on windows."""
    folder.mkdir(exist_ok=True)
    dtype = np.dtype(plan.handoff.token_dtype).newbyteorder("<")
    path = plan.root / plan.handoff.validation.documents.path
    with (folder / "00000.ds").open("wb") as file:
        for row in read_rows([path], ["tokens"]):
            file.write(np.array([*row["tokens"], plan.handoff.end_of_text], dtype).tobytes())


def _nanotron(plan: TrainingPlan, out: Path) -> list[str]:
    tokenizer = str(out / "tokenizer")

    def stage(name: str, folder: str, first: int) -> dict[str, Any]:
        dataset = {
            "dataset_folder": str(out / folder), "tokenizer_name": tokenizer,
            "vocab_size": plan.shape.vocabulary,
            "token_size_in_bytes": np.dtype(plan.handoff.token_dtype).itemsize,
        }  # fmt: skip
        return {
            "name": name, "start_training_step": first,
            "data": {"dataset": dataset, "num_loading_workers": 1, "seed": SEED},
        }  # fmt: skip

    model = llama_config(plan) | {
        "is_llama_config": True, "rope_theta": plan.shape.rope_theta, "rope_interleaved": False,
    }  # fmt: skip
    _write_yaml(out / "config.yaml", {
        "general": {"project": "primer", "run": plan.arm.name, "seed": SEED},
        "checkpoints": {"checkpoints_path": str(out / "model"), "checkpoint_interval": 500},
        "parallelism": {"dp": 1, "pp": 1, "tp": 1},
        "model": {"dtype": "bfloat16", "init_method": {"std": 0.02}, "model_config": model},
        "tokenizer": {"tokenizer_name_or_path": tokenizer},
        "tokens": {
            "sequence_length": plan.shape.context_tokens, "train_steps": plan.steps,
            "micro_batch_size": plan.windows_at_once,
            "batch_accumulation_per_replica": plan.accumulated,
        },
        "optimizer": {
            "zero_stage": 0, "weight_decay": 0.1, "clip_grad": 1.0, "accumulate_grad_in_fp32": True,
            "optimizer_factory": {
                "name": "adamW", "adam_beta1": 0.9, "adam_beta2": 0.95, "adam_eps": 1e-8,
                "torch_adam_is_fused": True,
            },
            "learning_rate_scheduler": {
                "learning_rate": plan.peak_rate, "lr_warmup_steps": plan.warmup_steps,
                "lr_warmup_style": "linear", "lr_decay_style": "linear",
                "lr_decay_starting_step": plan.base_steps, "lr_decay_steps": plan.anneal_steps,
                "min_decay_lr": 0.0,
            },
        },
        "data_stages": [
            stage("base", "base", 1), stage("anneal", "anneal", plan.base_steps + 1),
        ],
        "logging": {"iteration_step_info_interval": 10},
    })  # fmt: skip
    return ["torchrun", "--nproc_per_node=1", "run_train.py", "--config-file",
            str(out / "config.yaml")]  # fmt: skip


def _write_yaml(path: Path, value: Any) -> None:
    import yaml

    path.write_text(yaml.safe_dump(value, sort_keys=False))


def _copy(name: str, place: Path) -> None:
    place.write_bytes((HERE / name).read_bytes())
