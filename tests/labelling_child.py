"""A process of its own that asks a teacher, to be stopped or killed.

Its arguments are the store, and the config and the texts to ask about as JSON.
"""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from pipeline.answers import Answers
from pipeline.question import Question
from pipeline.rubrics import SCHEMA, SCHEMA_NAME
from pipeline.teacher import Teacher
from pipeline.teacher_config import TeacherConfig


def question(text, key=None, **fields):
    """The question about a document."""
    messages = ({"role": "system", "content": "Judge."}, {"role": "user", "content": text})
    given = {"messages": messages, "max_tokens": 100, **fields}
    return Question(key=key or text, schema_name=SCHEMA_NAME, schema=SCHEMA, **given)


def started_child(store, config, texts):
    """The process, which asks about these texts."""
    script = [sys.executable, __file__, str(store), config.model_dump_json(), json.dumps(texts)]
    return subprocess.Popen(script, cwd=Path(__file__).parents[1], stderr=subprocess.PIPE)


def _main(store, config, texts):
    config = TeacherConfig.model_validate_json(config)
    with closing(Answers(Path(store))) as answers:
        teacher = Teacher("label", config, config.base_url, answers)
        teacher.fetch([question(text) for text in json.loads(texts)], lambda *_, **__: None)


if __name__ == "__main__":
    _main(*sys.argv[1:])
