"""The same item twice: as the hub's dataset has it, and as the local files have it."""

import json

STEM = "What do plants need?"
TEXTS = ["stones", "light", "noise", "salt"]
LETTERS = list("ABCD")
HUMANEVAL = {
    "task_id": "HumanEval/0", "prompt": "def f(x):\n    '''Twice x.'''\n", "entry_point": "f",
    "canonical_solution": "    return 2 * x\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}  # fmt: skip
TRUTHFUL = {
    "Question": "Is it so?", "Best Answer": "No", "Correct Answers": "No; Not at all",
    "Incorrect Answers": "Yes; Certainly; Of course", "Category": "Logic",
}  # fmt: skip
PREMISE = "The man turned on the faucet"


def lettered(question, texts):
    listed = "\n".join(f"{letter}. {text}" for letter, text in zip("ABCDE", texts, strict=False))
    return f"Question: {question}\nChoices:\n{listed}\nAnswer:"


# by task: the hub's row, the local file's row
PAIRS = {
    "arc_easy": (
        {"question": STEM, "choices": {"text": TEXTS, "label": LETTERS}, "answerKey": "B"},
        {"query": f"Question: {STEM}", "choices": TEXTS, "gold": 1},
    ),
    "openbookqa": (
        {"question_stem": STEM, "choices": {"text": TEXTS, "label": LETTERS}, "answerKey": "B"},
        {"query": STEM, "choices": TEXTS, "gold": 1},
    ),
    "hellaswag": (
        {"ctx_a": "He takes a pan.", "ctx_b": "then he", "activity_label": "Baking [header]",
         "endings": ["bakes  it.", "sings [title] loudly.", "x.", "y."], "label": "0"},
        {"query": "Baking : He takes a pan. Then he",
         "choices": ["bakes it.", "sings. loudly.", "x.", "y."], "gold": 0},
    ),
    "piqa": (
        {"goal": "Make a bed.", "sol1": "With sheets.", "sol2": "With rain.", "label": 0},
        {"query": "Question: Make a bed.\n", "choices": ["With sheets.", "With rain."], "gold": 0},
    ),
    "boolq": (
        {"passage": "All is\nwell.", "question": "is all well", "label": 1},
        {"query": "Passage: All is\nwell.\nQuestion: is all well?", "choices": ["no", "yes"],
         "gold": 1},
    ),
    "winogrande": (
        {"sentence": "Sara met Mary, so _ was glad.", "option1": "Sara", "option2": "Mary",
         "answer": "2"},
        {"context_options": ["Sara met Mary, so Sara", "Sara met Mary, so Mary"],
         "continuation": "was glad.", "gold": 1},
    ),
    "commonsense_qa": (
        {"question": STEM, "choices": {"text": [*TEXTS, "gold"], "label": list("ABCDE")},
         "answerKey": "B"},
        {"query": lettered(STEM, [*TEXTS, "gold"]), "choices": list("ABCDE"), "gold": 1},
    ),
    "siqa": (
        {"context": "Kim ran.", "question": "Why?", "answerA": "hunger", "answerB": "fear",
         "answerC": "love", "label": "2"},
        {"query": "Context: Kim ran.\n" + lettered("Why?", ["hunger", "fear", "love"]),
         "choices": list("ABC"), "gold": 1},
    ),
    "copa": (
        {"premise": f"{PREMISE}.", "question": "effect", "choice1": "The bath filled.",
         "choice2": "Water flowed.", "label": 1},
        {"query": f"{PREMISE}, therefore", "choices": ["the bath filled.", "water flowed."],
         "gold": 1},
    ),
    "mmlu": (
        {"question": f" {STEM} ", "choices": TEXTS, "answer": 1, "subject": "high_school_biology"},
        {"question": f" {STEM} ", "choices": str(TEXTS), "answer": "1", "error_type": "ok",
         "subject": "high_school_biology"},
    ),
    "truthfulqa_mc1": (
        {"question": "Is it so?",
         "mc1_targets": {"choices": ["No", "Yes", "Certainly", "Of course"],
                         "labels": [1, 0, 0, 0]}},
        TRUTHFUL,
    ),
    "truthfulqa_mc2": (
        {"question": "Is it so?",
         "mc1_targets": {"choices": ["No"], "labels": [1]},
         "mc2_targets": {"choices": ["No", "Not at all", "Yes", "Certainly", "Of course"],
                         "labels": [1, 1, 0, 0, 0]}},
        TRUTHFUL,
    ),
    "sciq": (
        {"support": " Light is needed.", "question": STEM, "distractor1": "stones",
         "distractor2": "noise", "distractor3": "salt", "correct_answer": "light"},
        None,
    ),
    "gsm8k": ({"question": "What is 2 + 3?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"}, None),
}  # fmt: skip


def put_rows(path, rows):
    """Rows as JSON lines; returns the path as text."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def arc_rows(count, subjects=None):
    """Different items in the local form of ARC, or of MMLU where there are subjects."""
    if subjects:
        return [
            {"question": f"Number {i}?", "choices": [f"{i}", "none", "all", "some"], "answer": 0,
             "subject": subjects[i % len(subjects)]}
            for i in range(count)
        ]  # fmt: skip
    return [
        {"query": f"Question: Which is {i}?", "choices": [f"{i}", f"{i + 1}"], "gold": i % 2}
        for i in range(count)
    ]
