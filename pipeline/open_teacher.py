"""The teacher that a recipe names: an endpoint, a GGUF file, or the stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from pipeline.answers import Answers
from pipeline.dialect import Dialect
from pipeline.local_teacher import started_llama
from pipeline.manifest import hash_file
from pipeline.stage import Workplace
from pipeline.standin_server import started_standin
from pipeline.teacher import Teacher
from pipeline.teacher_config import TeacherConfig

_LOCAL_SECONDS = 1_800.0  # for one answer of a large model on a small machine


@contextmanager
def open_teacher(place: Workplace, config: TeacherConfig) -> Iterator[Teacher]:
    """The configured endpoint; a GGUF's server or the stand-in runs for as long as the block."""
    with ExitStack() as stack:
        answers = stack.enter_context(closing(Answers(place.run / "answers.sqlite")))
        if config.base_url is not None:
            yield Teacher(place.stage, config, config.base_url, answers)
        elif config.gguf is not None:
            log = place.scratch / f"{config.gguf.stem}.log"  # there may be two of them
            started = started_llama(place.stage, config.gguf, config.context_tokens, None, log)
            url = stack.enter_context(started)
            # the file's content is in every request's hash: another model is asked anew
            named = f"{config.gguf.stem}@{hash_file(config.gguf)[:12]}"
            # one request at a time is worked on, and what waits in its line would time out
            changed = {"model": named, "max_concurrency": 1, "timeout_seconds": _LOCAL_SECONDS}
            config = config.model_copy(update=changed)
            yield Teacher(place.stage, config, url, answers, Dialect("json_object_schema"))
        else:
            url = stack.enter_context(started_standin(place.stage))
            yield Teacher(place.stage, config, url, answers, Dialect())
