"""One word for one thing: the words that the glossary replaces appear only where they are somebody else's."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from flask_openapi import OpenAPI

from tests.code import LAYERS, identifiers, source_files
from tests.routes import all_routes

# word -> what we say; where it may stand, with the reason
FORBIDDEN = {
    "channel": "provider",
    "chunk": "event or delta",
    "conversation": "session",
    "deployment": "route",
    "job": "generation",
    "run": "generation",
    "task": "generation",
    "thread": "session",
    "vendor": "provider",
}
ALLOWED = {
    ("chunk", "adapters/http_body.py"): "HTTP's chunked bodies",
    ("chunk", "adapters/network_failures.py"): "HTTP's chunked bodies",
    ("chunk", "adapters/openai_wire.py"): "the protocol's own name",
    ("chunk", "api/named_events.py"): "an event of the older API",
    ("conversation", "adapters/dify_*.py"): "Dify's own field names",
    ("conversation", "api/v1/context.py"): "the older API",
    ("run", "services/generation_keeper.py"): "the body of its thread",
    ("task", "api/anthropic/*.py"): "the protocol's own name",
    ("task", "adapters/dify_*.py"): "Dify's own field names",
    ("task", "services/title_service.py"): "what the model is told to do",
}
VERB = re.compile(r"_*run_(?!id)")  # to run something is no generation
# Threads that the machine runs.
OF_EXECUTION = {"Thread", "ThreadPool", "_THREADS", "_thread", "current_thread", "start_new_thread"}


def words_of(identifier: str) -> set[str]:
    """The words of a snake_case or CamelCase name, in the singular."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)
    return {word.lower().removesuffix("s") for word in words}


def places() -> set[tuple[str, str, str]]:
    """(word, file, identifier) of every forbidden word that is used."""
    return {
        (word, str(path), identifier)
        for path in source_files(*LAYERS)
        for identifier in set(identifiers(path)) - OF_EXECUTION
        for word in words_of(VERB.sub("", identifier)) & set(FORBIDDEN)
    }


def is_allowed(word: str, path: str) -> bool:
    return any(word == allowed and fnmatch(path, pattern) for allowed, pattern in ALLOWED)


def test_words_are_taken_out_of_names() -> None:
    assert words_of("_ConversationsOut") == {"conversation", "out"}
    assert words_of("RunningHTTPTask_ids") == {"running", "http", "task", "id"}


def test_forbidden_words_stand_only_where_they_are_somebody_elses() -> None:
    faults = [f"{path}: {name} (say {FORBIDDEN[word]})" for word, path, name in places() if not is_allowed(word, path)]

    assert sorted(faults) == []


@pytest.mark.parametrize(("word", "pattern"), ALLOWED)
def test_every_exception_is_still_needed(word: str, pattern: str) -> None:
    assert any(used == word and fnmatch(path, pattern) for used, path, _ in places())


def test_who_is_calling_is_the_principal() -> None:
    assert [str(path) for path in source_files(*LAYERS) if "current_user" in identifiers(path)] == []


def test_addresses_use_the_same_words(app: OpenAPI) -> None:
    for route in all_routes(app):
        found = {word for part in re.findall(r"\w+", route.path) for word in words_of(part)} & set(FORBIDDEN)
        assert not found or Path(route.path).is_relative_to("/api/v1/context"), str(route)
