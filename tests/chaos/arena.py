"""Where it happens: nodes on one MariaDB (and one Redis), a scripted provider, and a crowd of clients."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from tests.chaos.clients import Crowd
from tests.chaos.evidence import Evidence, gather, wait_settled
from tests.chaos.history import History
from tests.chaos.invariants import violations
from tests.node import Node
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import Redis, Servers

_SETTINGS = {
    "OPENAI_API_KEY": "x",
    "AUTO_TITLE": "false",
    "MAX_STREAMS_PER_USER": 10_000,
    "RATE_LIMIT": "10000000 per minute",
    "RATE_LIMIT_CHAT": "10000000 per minute",
    "ACCESS_TOKEN_TTL_S": 86_400,
    "SSE_HEARTBEAT_INTERVAL_MS": 2000,
}


class Arena:
    """Everything of one scenario. ``settings`` are those of all nodes.

    ``routes`` are public models, with the models at the scripted provider that stand for them; each of these has a
    larger window than the ones before it.
    """

    def __init__(
        self,
        folder: Path,
        servers: Servers,
        *,
        nodes: int = 2,
        redis: bool = False,
        routes: Mapping[str, Sequence[str]] | None = None,
        **settings: Any,
    ) -> None:
        self.folder = folder
        with ExitStack() as cleanup:
            self.database = servers.database("mariadb")
            self.database_url = self.database.migrated_database()
            cleanup.callback(self.database.drop, self.database_url)
            self.provider = cleanup.enter_context(ScriptedProvider.start())
            self.redis = cleanup.enter_context(closing(Redis())) if redis else None
            self.settings = _SETTINGS | {
                "DATABASE_URL": self.database_url,
                "OPENAI_BASE_URL": self.provider.openai_url,
            }
            if routes:
                self.settings["AI_PROVIDERS_FILE"] = self._write_routes(routes)
            if self.redis:
                self.settings["REDIS_URL"] = self.redis.url
            self.settings |= settings
            self.nodes: list[Node] = []
            self.retired: list[Node] = []  # that have been replaced
            cleanup.callback(self._kill_nodes)
            self.nodes = [self.start_node() for _ in range(nodes)]
            for node in self.nodes:
                node.wait_ready()
            self.token = self.nodes[0].set_up()
            self.crowd = cleanup.enter_context(Crowd([node.port for node in self.nodes], self.token))
            self._cleanup = cleanup.pop_all()

    def _write_routes(self, routes: Mapping[str, Sequence[str]]) -> Path:
        models = [
            {"name": model, "context_window": 32_000 * (place + 1), "max_output": 4000}
            for targets in routes.values()
            for place, model in enumerate(targets)
        ]
        config = {"api_key": "x", "base_url": self.provider.openai_url, "models": models}
        provider = {"adapter_class": "adapters.openai_adapter.OpenAIAdapter", "config": config}
        declared = {name: [f"openai/{model}" for model in targets] for name, targets in routes.items()}
        file = self.folder / "ai.json"
        file.write_text(json.dumps({"openai": provider, "routes": declared}))
        return file

    def start_node(self, **settings: Any) -> Node:
        """One more node, which is not waited for."""
        return Node(self.folder, **(self.settings | settings))

    def _kill_nodes(self) -> None:
        for node in (*self.nodes, *self.retired):
            node.kill()

    def close(self) -> None:
        """End everything."""
        self._cleanup.close()

    @property
    def history(self) -> History:
        """What the clients have seen so far."""
        return self.crowd.history

    def settle(self, seconds: float = 40) -> float:
        """Wait until no generation is running; how long that took, ``seconds`` at most."""
        return wait_settled(self.database_url, seconds)

    def evidence(self) -> Evidence:
        """Everything that there is to look at now."""
        return gather(self.crowd.history, self.database_url, self.provider.log())

    def violations(self) -> list[str]:
        """The rules that do not hold now, and what the nodes' logs have that must not be there."""
        nodes = (*self.nodes, *self.retired)
        crashes = [f"node {node.port} has logged {event}" for node in nodes for event in _crashes(node)]
        return violations(self.evidence()) + crashes


def _crashes(node: Node) -> list[str]:
    """The events that came with a traceback, but for those of the pool: it tells of each connection that it loses."""
    records = [json.loads(line) for line in node.log().splitlines() if line.startswith("{") and '"exception"' in line]
    return [record["event"] for record in records if not record["logger"].startswith("sqlalchemy.pool")]


@contextmanager
def arena(folder: Path, servers: Servers, **options: Any) -> Iterator[Arena]:
    """An arena, closed in the end."""
    place = Arena(folder, servers, **options)
    try:
        yield place
    finally:
        place.close()
