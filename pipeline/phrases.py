"""What no piece of a textbook begins with or holds: phrases of assistants, and marks of a chat.

Openers are lower-case beginnings, with plain quotes and one blank between words; those of
`FlawsConfig.banned_openers` come on top. They are the ones that reviewers of synthetic text name
first: Cosmopedia's authors had to ban them by prompt (Ben Allal et al., "Cosmopedia", Hugging Face
blog, 2024). The other patterns are in the manner of the refusal filters of instruction sets
(ShareGPT's and WizardLM's cleaning scripts).
"""

from __future__ import annotations

OPENERS = (
    "in this lesson we will", "in this lesson, we will", "in this lesson we'll",
    "in this lesson, we'll", "in this lesson, you will", "in this lesson, you'll",
    "in this section we will", "in this section, we will", "in this section, we'll",
    "in this section, you will", "in this chapter we will", "in this chapter, we will",
    "in this chapter, you will", "in this tutorial", "in this article", "in this piece",
    "in this unit", "in this module, we", "in this textbook", "in today's", "in the world of",
    "in the realm of", "in the vast", "in the ever", "welcome to", "imagine you",
    "have you ever wondered", "once upon a time", "let's dive", "let us dive", "let's delve",
    "let us delve", "let's embark", "dive into", "are you ready", "buckle up", "hello there",
    "hello everyone", "hi there", "hey there", "dear student", "dear reader", "dear learner",
    "certainly", "sure", "of course", "absolutely", "great question", "good question", "here is a",
    "here is an", "here is the", "here's a", "here's an", "here's the", "below is a",
    "below is the", "i'd be happy", "i would be happy", "i'll be happy", "i am happy to",
    "i'm happy to", "as requested", "as you requested", "as per your", "title:", "lesson:",
    "introduction:", "textbook:", "output:", "response:", "answer:",
)  # fmt: skip

# of the whole text, in any case
REFUSALS = (
    r"\bas an? (?:ai|artificial intelligence)(?: language)?(?: model| assistant)?\b[,.]?",
    r"\bas a (?:large )?language model\b",
    r"\bI(?:'m| am) (?:an AI|a (?:large )?language model|just an AI)\b",
    r"\bI(?:'m| am) (?:sorry|afraid),? but I (?:can(?:no|')t|am (?:not able|unable))\b",
    r"\bI (?:cannot|can't|can not|am unable to|am not able to|won't) "
    r"(?:help|assist|fulfil|fulfill|comply|provide|create|generate|write|answer)\b",
    r"\bmy (?:training data|knowledge cutoff|programming (?:forbids|prohibits))\b",
)

CHAT_MARKS = (
    r"<\|[a-z_]{2,30}\|>", r"\[/?INST\]", r"<</?SYS>>", r"</?s>\s*\[", r"<(?:start|end)_of_turn>",
    r"^#{2,3} (?:Instruction|Response|Human|Assistant|System)\b:?\s*$",
    r"^(?:Human|Assistant|ASSISTANT|USER|SYSTEM)\s?:\s",
    r"</?(?:think|thinking|answer|scratchpad)>",
)  # fmt: skip

PROMPT_MARKS = (r"</?document [0-9a-f]{16}>", r"^(?:audience|format|style|words|topic): \S+.*\n"
                r"(?:audience|format|style|words|topic): ")  # fmt: skip

# Of English alone, or nearly: none is frequent in the other languages of western Europe.
ENGLISH = (
    r"\b(?:the|and|that|which|with|this|from|are|were|been|being|have|has|had|they|their|them|there|"
    r"these|those|you|your|what|when|where|who|how|why|would|could|should|will|can|be|by|not|but|"
    r"if|then|than|or|it|its|as|does|did|our|us|she|his|into|about|because|while|each|other|only|"
    r"any|all|more|most|some|such|same|both|here|very|just|also|one|two|of|to|is|don't|we|first|"
    r"use|used|using|between|after|before|through|without|whether|every|many|much|like|make|must|"
    r"may|might|new|way|well|up|out|so|an)\b"
)
