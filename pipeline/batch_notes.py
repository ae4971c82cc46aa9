"""Which batches are out: noted on the disk before one can exist, forgotten when it is settled."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pipeline.errors import InputError
from pipeline.sender import Sender

_NOTE = "batch "  # begins the name of a note; the hash of the batch's file follows


@dataclass
class Sent:
    """A batch as its note has it."""

    teacher: str  # the model and the endpoint
    digest: str  # salted, because the same requests sent again are another batch
    requests: list[tuple[str, int, int, int]]  # name, most tokens of prompt and answer, likely ones
    most_cost: float
    file_id: str | None = None
    batch_id: str | None = None
    noted_at: float = 0.0  # time.time()
    told: int = 0  # requests that the bar has counted

    def note(self, sender: Sender) -> None:
        """Have it on the disk as it is now."""
        sender.answers.note(_NOTE + self.digest, asdict(self))

    def forget(self, sender: Sender) -> None:
        """There is no such batch any more."""
        sender.answers.forget(_NOTE + self.digest)


def check_none_is_out(sender: Sender) -> None:
    """Raises InputError where a batch is out: asking at once would pay its requests twice."""
    for sent in batches_out(sender):
        if sent.file_id is not None:
            raise InputError(
                sender.transport.stage,
                f"the batch {sent.batch_id or sent.digest} is under way at "
                f"{sender.transport.base_url}, and teacher.batch is null",
                "set teacher.batch until it is done, or cancel it at the provider and run once "
                "with teacher.batch, which keeps what it had",
            )


def name_teacher(sender: Sender) -> str:
    """What a batch is noted under: another model's, or another endpoint's, is not ours."""
    return f"{sender.config.model} at {sender.transport.base_url}"


def batches_out(sender: Sender) -> list[Sent]:
    """The batches of this teacher that an earlier run left."""
    sent = (Sent(**note) for note in sender.answers.noted_under(_NOTE).values())
    return [batch for batch in sent if batch.teacher == name_teacher(sender)]
