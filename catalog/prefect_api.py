"""What the catalog asks of Prefect, over its HTTP API: start a deployment, wake a flow that waits.

So the catalog needs no Prefect installed. Source: https://docs.prefect.io/v3/api-ref/rest-api
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
from starlette.exceptions import HTTPException

from catalog.settings import Settings
from pipeline.environment import proxy_for

TIMEOUT_S = 15.0
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
MOST_STARTS = 50  # at one state of one handoff; each of them ended and left no word in the journal
NO_SERVER = (
    "No Prefect server is known to this catalog: PREFECT_API_URL was not set where it was started. "
    "The command primer handoff does the same without this page."
)


class PrefectApi:
    """A Prefect server, for as long as the `async with` lasts."""

    def __init__(self, settings: Settings) -> None:
        if settings.prefect_api_url is None:
            raise HTTPException(503, NO_SERVER)
        self.url = settings.prefect_api_url.rstrip("/")  # may hold a password: shown to nobody
        headers = {}
        if settings.prefect_api_key:
            headers["authorization"] = f"Bearer {settings.prefect_api_key}"
        elif settings.prefect_api_auth:
            pair = base64.b64encode(settings.prefect_api_auth.encode()).decode()
            headers["authorization"] = f"Basic {pair}"
        self._client = httpx.AsyncClient(
            headers=headers, timeout=TIMEOUT_S, trust_env=False, proxy=proxy_for(self.url)
        )

    async def __aenter__(self) -> PrefectApi:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def check(self) -> None:
        """Raise 503 where the server does not answer."""
        await self._ask("GET", "/health")

    async def find(self, deployment: str) -> str:
        """The id of the deployment `flow/name`; 503 where the server knows none."""
        path = "/".join(quote(part, safe="") for part in deployment.split("/", 1))
        answer = await self._send("GET", f"/deployments/name/{path}", None)
        if answer.status_code == 404:
            raise HTTPException(
                503, f"Prefect knows no deployment {deployment!r}: primer serve registers it."
            )
        return str(_read(answer)["id"])

    async def start(self, deployment_id: str, parameters: Mapping[str, Any], key: str) -> str:
        """Start a deployment and return the flow run's id.

        Pressed twice it starts once: with the same key Prefect answers with the run that is there.
        One that has ended is followed by another.
        """
        for nth in range(MOST_STARTS):
            body = {
                "parameters": dict(parameters),
                "idempotency_key": key if nth == 0 else f"{key}-{nth}",
                "state": {"type": "SCHEDULED"},
            }
            run = await self._ask("POST", f"/deployments/{deployment_id}/create_flow_run", body)
            if run.get("state_type") not in ENDED:
                return str(run["id"])
        raise HTTPException(503, f"The flow ended {MOST_STARTS} times and did not get further.")

    async def is_under_way(self, flow_run_id: str) -> bool:
        """Whether a flow run is at work, is to begin, or waits for input."""
        answer = await self._send("GET", f"/flow_runs/{quote(flow_run_id, safe='')}", None)
        return answer.status_code != 404 and _read(answer).get("state_type") not in ENDED

    async def wake(self, flow_run_id: str, given: Mapping[str, Any]) -> bool:
        """Give a suspended flow run what it waits for; False where it cannot be woken."""
        path = f"/flow_runs/{quote(flow_run_id, safe='')}/resume"
        answer = await self._send("POST", path, {"run_input": dict(given)})
        return not answer.is_error and _read(answer).get("status") == "ACCEPT"

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return _read(await self._send(method, path, body))

    async def _send(self, method: str, path: str, body: Any) -> httpx.Response:
        try:
            return await self._client.request(method, self.url + path, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            told = f"The Prefect server does not answer ({type(error).__name__})."
            raise HTTPException(503, told) from error


def _read(answer: httpx.Response) -> dict[str, Any]:
    """The answer's JSON object; 502 with the server's own words where it is an error."""
    if answer.is_error:
        asked = f"{answer.request.method} {answer.request.url.path}"
        told = f"Prefect answered {answer.status_code} to {asked}: {answer.text[:300]}"
        raise HTTPException(502, told)
    try:
        found = answer.json()
    except ValueError as error:
        told = "What answers at PREFECT_API_URL is not Prefect's API: its address ends in /api."
        raise HTTPException(502, told) from error
    return found if isinstance(found, dict) else {}
