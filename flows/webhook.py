"""Tell a trainer elsewhere, by one signed POST, that a dataset was approved.

The headers and what is signed are those of `pipeline.signed_delivery`. A receiver calls
`check_delivery` there, claims the delivery with `Deliveries.act` right before it starts training,
and answers 2xx. Everything else is tried again with the same delivery, a new nonce and doubled
waits where that may help (5xx, 408, 429, a lost connection), and given up at once where it cannot.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.environment import proxy_for, secret
from pipeline.errors import InputError, StageError
from pipeline.signed_delivery import HANDOFF, sign_delivery
from pipeline.training_config import WebhookTrigger

log = logging.getLogger("primer")
_LONGEST_WAIT_S = 300.0


def send_webhook(
    trigger: WebhookTrigger, delivery: str, message: Mapping[str, Any],
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:  # fmt: skip
    """POST until it is accepted; returns the status and the number of tries.

    Raises StageError where it was refused, or not accepted by the last try.
    """
    import httpx

    key = secret(trigger.key_variable)
    if key is None:
        raise InputError(
            "handoff", f"training.trigger.key_variable names {trigger.key_variable}, which holds "
            "no key", f"export {trigger.key_variable} where the handoff's flow runs",
        )  # fmt: skip
    body = json.dumps(message, sort_keys=True, ensure_ascii=False).encode()
    wait_s, said = trigger.first_wait_s, ""
    with httpx.Client(
        timeout=trigger.timeout_s, proxy=proxy_for(trigger.url), trust_env=False
    ) as client:
        for tried in range(1, trigger.tries + 1):
            asked_s = 0.0
            try:
                headers = sign_delivery(HANDOFF, delivery, body, key)
                answer = client.post(trigger.url, content=body, headers=headers)
            except httpx.TransportError as error:
                said = f"{type(error).__name__} ({error})"
            else:
                if answer.is_success:
                    return {"status": answer.status_code, "tries": tried}
                said = f"status {answer.status_code}"
                if answer.status_code < 500 and answer.status_code not in {408, 429}:
                    raise StageError(
                        "handoff", f"{trigger.url} refused the delivery: {said}",
                        "see its log; the same command tries again",
                    )  # fmt: skip
                asked_s = _retry_after_s(answer.headers)
            if tried < trigger.tries:
                pause_s = min(max(wait_s, asked_s), _LONGEST_WAIT_S)
                log.info("webhook: %s, try %d in %.0f s", said, tried + 1, pause_s)
                sleep(pause_s)
                wait_s *= 2
    raise StageError(
        "handoff", f"{trigger.url} did not accept the delivery in {trigger.tries} tries: {said}",
        "the approval is kept: the same command tries again",
    )  # fmt: skip


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """What the receiver asks for, in seconds; 0 where it names none, or a date."""
    given = headers.get("Retry-After", "")
    return float(given) if given.isdecimal() else 0.0
