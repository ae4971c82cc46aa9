"""Knowledge distillation: a small model learns from a larger one's whole distributions.

The loss of a token is (1 - share) of its cross-entropy and share of T^2 KL(teacher || student),
both distributions at temperature T; T^2 keeps the two gradients of one size whatever T is (Hinton
et al., arXiv 1503.02531). The teacher reads along at every step: its logits would fill a disk
(2 bytes x vocabulary for each token), and its forward pass costs a third of training it.

Logits of both are made for a chunk of tokens at a time, and the student's gradients with them, as
in `cross_entropy`: nothing of tokens x vocabulary is ever whole.

Shape suffixes: B sequences, T tokens, N tokens of all sequences, D model width, V vocabulary.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from downstream.cross_entropy import fitting_chunk
from downstream.derived import describe_model, hash_tokenizer
from downstream.load_model import load_model
from pipeline.errors import InputError

STAGE = "distill"


class Teacher:
    """A frozen model of a Llama-style directory, of the same vocabulary as the student."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self.folder = folder
        self.described = describe_model(STAGE, folder)
        self.model = load_model(folder).to(device).eval().requires_grad_(False)

    def check_tokenizer(self, tokenizer: Path) -> None:
        """Raise InputError unless the student's `tokenizer.json` makes the same tokens."""
        if hash_tokenizer(tokenizer) != hash_tokenizer(self.folder / "tokenizer.json"):
            raise InputError(
                STAGE, f"the teacher {self.folder} has another tokenizer than {tokenizer}",
                "give a teacher that was trained with the student's tokenizer",
            )  # fmt: skip

    def loss_nats(
        self, model: nn.Module, ids_BT: Tensor, end_of_text: int | None, share: float,
        temperature: float,
    ) -> Tensor:  # fmt: skip
        """Mean over every token but the first of each sequence; share 0 is the plain loss."""
        seen: list[tuple[Tensor, Tensor]] = []
        with torch.no_grad():
            self.model(ids_BT[:, :-1], end_of_text, head=partial(_keep, seen))
        ((stream_BTD, output_VD),) = seen
        head = partial(
            self._head, teacher_BTD=stream_BTD, teacher_VD=output_VD, targets_BT=ids_BT[:, 1:],
            share=share, temperature=temperature,
        )  # fmt: skip
        loss: Tensor = model(ids_BT[:, :-1], end_of_text, head=head)
        return loss

    def _head(
        self, x_BTD: Tensor, output_VD: Tensor, teacher_BTD: Tensor, teacher_VD: Tensor,
        targets_BT: Tensor, share: float, temperature: float,
    ) -> Tensor:  # fmt: skip
        if len(output_VD) != len(teacher_VD):
            raise InputError(
                STAGE, f"the teacher {self.folder} has {len(teacher_VD)} tokens, the student "
                f"{len(output_VD)}", "give a teacher of the same vocabulary",
            )  # fmt: skip
        loss: Tensor = _Distillation.apply(  # type: ignore[no-untyped-call]
            x_BTD.flatten(0, 1), output_VD, teacher_BTD.flatten(0, 1),
            teacher_VD.to(teacher_BTD.dtype), targets_BT.flatten(), share, temperature,
        )  # fmt: skip
        return loss


class _Distillation(torch.autograd.Function):
    """Mean loss of all tokens; computes its gradients on the way forward, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, output_VD: Tensor, teacher_ND: Tensor, teacher_VD: Tensor,
        targets_N: Tensor, share: float, temperature: float,
    ) -> Tensor:  # fmt: skip
        count = len(targets_N)
        chunk = fitting_chunk(2 * count, output_VD)  # twice: the teacher's logits are there too
        cast_VD = output_VD.to(x_ND.dtype)
        total = x_ND.new_zeros((), dtype=torch.float32)
        x_grad_ND = torch.empty_like(x_ND)
        output_grad_VD = torch.zeros_like(output_VD, dtype=torch.float32)
        for start in range(0, count, chunk):
            part = slice(start, start + chunk)
            nats, grad_NV = _step(
                x_ND[part] @ cast_VD.T, teacher_ND[part] @ teacher_VD.T, targets_N[part],
                share, temperature,
            )  # fmt: skip
            grad_NV = (grad_NV / count).to(x_ND.dtype)
            total += nats / count
            torch.mm(grad_NV, cast_VD, out=x_grad_ND[part])
            output_grad_VD += grad_NV.T @ x_ND[part]
        ctx.save_for_backward(x_grad_ND, output_grad_VD.to(output_VD.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x_grad_ND, output_grad_VD = ctx.saved_tensors
        return x_grad_ND * grad, output_grad_VD * grad, None, None, None, None, None


def _step(
    logits_NV: Tensor, teacher_NV: Tensor, targets_N: Tensor, share: float, temperature: float
) -> tuple[Tensor, Tensor]:
    """Nats of a chunk's tokens, summed, and their gradient by the student's logits."""
    logits_NV, teacher_NV = logits_NV.float(), teacher_NV.float()
    log_q_NV = logits_NV.log_softmax(-1)
    told_N = log_q_NV.gather(1, targets_N[:, None])[:, 0]
    soft_q_NV = (logits_NV / temperature).log_softmax(-1)
    soft_p_NV = (teacher_NV / temperature).log_softmax(-1)
    p_NV = soft_p_NV.exp()
    divergence = (p_NV * (soft_p_NV - soft_q_NV)).sum()
    grad_NV = log_q_NV.exp()
    grad_NV.scatter_add_(1, targets_N[:, None], -torch.ones_like(told_N)[:, None])
    grad_NV *= 1 - share
    grad_NV += share * temperature * (soft_q_NV.exp() - p_NV)
    return (share - 1) * told_N.sum() + share * temperature**2 * divergence, grad_NV


def _keep(seen: list[tuple[Tensor, Tensor]], x_BTD: Tensor, output_VD: Tensor) -> Tensor:
    """A head that makes no logits yet."""
    seen.append((x_BTD, output_VD))
    return x_BTD
