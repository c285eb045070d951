"""Routes as they are declared, and the order in which a turn tries their targets."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from adapters.registry import load_providers
from config import ConfigurationError, ai_providers, ai_routes, load_settings
from domain.api_keys import KeyGrant, Scope
from domain.errors import InvalidInput, NotFound, PermissionDenied, Unavailable
from domain.principal import Principal, Role
from domain.routes import Route, RouteError, Target, read_routes
from services.model_choice import ModelChooser, Passed

PROVIDERS = ("one", "two")
ANYBODY = Principal("usr_1", "ada", Role.USER, "tok_1")


def faults(declared: object) -> tuple[str, ...]:
    with pytest.raises(RouteError) as caught:
        read_routes(declared, PROVIDERS)
    return caught.value.faults


def test_a_list_of_names_is_tried_as_it_stands() -> None:
    routes = read_routes({"smart": ["one/gpt", "two/org/model"]}, PROVIDERS)

    assert routes["smart"] == Route("smart", (Target("one", "gpt", 1, 0), Target("two", "org/model", 1, 1)))


def test_targets_of_one_order_share() -> None:
    declared = {
        "smart": [
            {"provider": "one", "model": "a", "order": 1, "weight": 3},
            {"provider": "two", "model": "b", "order": 1},
            {"provider": "two", "model": "c", "order": 0},
        ]
    }
    route = read_routes(declared, PROVIDERS)["smart"]
    draw = random.Random(1).random
    orders = Counter(tuple(target.model for target in route.for_a_turn(draw)) for _ in range(4000))

    assert set(orders) == {("c", "a", "b"), ("c", "b", "a")}
    assert orders["c", "a", "b"] / 4000 == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(
    ("declared", "fault"),
    [
        ([], "routes: must be a table"),
        ({"smart": "one/a"}, "routes.smart: must be a list"),
        ({"smart": []}, "routes.smart: must be a list of at least one target"),
        ({"smart": [7]}, 'routes.smart.1: must be "provider/model"'),
        ({"smart": ["one"]}, "routes.smart.1.model: must be a name"),
        ({"smart": ["three/a"]}, "routes.smart: there is no provider 'three'"),
        ({"smart": ["one/a", "one/a"]}, "routes.smart: one/a is listed 2 times"),
        ({"smart": [{"provider": "one", "model": "a", "weight": 0}]}, "routes.smart.1.weight: must be an integer"),
        ({"smart": [{"provider": "one", "model": "a", "weight": True}]}, "routes.smart.1.weight: must be an integer"),
        ({"smart": [{"provider": "one", "model": "a", "weight": 1.5}]}, "routes.smart.1.weight: must be an integer"),
        ({"smart": [{"provider": "one", "model": "a", "order": -1}]}, "routes.smart.1.order: must be an integer"),
        ({"smart": [{"provider": "one", "model": "a", "wait": 3}]}, "routes.smart.1: unknown key 'wait'"),
        ({"smart": ["one/a", {"provider": "one", "model": "b", "order": 1}]}, "routes.smart: give all of its targets"),
        ({"": ["one/a"]}, "routes: a public model has a name"),
    ],
)
def test_a_fault_is_named(declared: object, fault: str) -> None:
    found = faults(declared)

    assert len(found) == 1
    assert found[0].startswith(fault)


def test_all_faults_are_named_at_once() -> None:
    declared = {"a": ["three/x"], "b": [{"provider": "one", "weight": "much"}], "c": ["one/x"] * 2, "ok": ["one/x"]}

    assert len(faults(declared)) == 4


# From the file


def settings_of(path: Path, text: str) -> Any:
    path.write_text(text)
    return load_settings(AI_PROVIDERS_FILE=str(path))


def test_the_file_has_providers_and_routes(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path / "ai.yaml",
        """
        providers:
          local: {adapter_class: adapters.echo_adapter.EchoAdapter}
        routes:
          smart: [openai/gpt-4o, {provider: local, model: small}]
        """.replace("{provider: local, model: small}", "local/small"),
    )

    assert next(iter(ai_providers(settings))) == "local"
    assert ai_routes(settings, ai_providers(settings))["smart"].targets[1] == Target("local", "small", 1, 1)


@pytest.mark.parametrize("text", ["routes: {smart: [echo/echo]}", "routes: {smart: [echo/echo]}\nproviders:"])
def test_the_file_may_have_routes_alone(tmp_path: Path, text: str) -> None:
    settings = settings_of(tmp_path / "ai.yaml", text)

    assert "routes" not in ai_providers(settings)
    assert set(ai_routes(settings, ai_providers(settings))) == {"smart"}


def test_the_file_may_have_no_sections_and_then_no_routes(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "ai.json", '{"mine": {"adapter_class": "adapters.echo_adapter.EchoAdapter"}}')

    assert "mine" in ai_providers(settings)
    assert ai_routes(settings, ai_providers(settings)) == {}


def test_routes_may_stand_beside_providers_without_a_section(tmp_path: Path) -> None:
    text = '{"mine": {"adapter_class": "adapters.echo_adapter.EchoAdapter"}, "routes": {"smart": ["mine/m"]}}'
    settings = settings_of(tmp_path / "ai.json", text)

    assert next(iter(ai_providers(settings))) == "mine"
    assert "routes" not in ai_providers(settings)
    assert set(ai_routes(settings, ai_providers(settings))) == {"smart"}


def test_toml_has_tables_of_targets(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path / "ai.toml", '[[routes.smart]]\nprovider = "echo"\nmodel = "echo"\nweight = 2\norder = 0\n'
    )

    assert ai_routes(settings, ["echo"])["smart"].targets == (Target("echo", "echo", 2, 0),)


def test_a_wrong_route_stops_the_start_with_every_fault(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "ai.yaml", "routes: {a: [nobody/x], b: []}")

    with pytest.raises(ConfigurationError, match=r"(?s)routes\.b: must be a list.*routes\.a: there is no provider"):
        ai_routes(settings, ai_providers(settings))


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="expected a table"):
        ai_routes(settings_of(tmp_path / "ai.yaml", "- a\n- b"), [])


# What a name stands for


@pytest.fixture
def chooser() -> ModelChooser:
    echo = "adapters.echo_adapter.EchoAdapter"
    providers = load_providers(
        {
            "one": {"adapter_class": echo, "config": {"models": ["m1", "smart"]}},
            "two": {"adapter_class": echo, "config": {"models": ["m2"]}},
            "off": {"adapter_class": echo, "config": {"enabled": False}},
        }
    )
    declared = {"smart": ["off/x", "two/m2", "one/m1"], "nowhere": ["off/x"]}
    return ModelChooser(providers, read_routes(declared, providers), draw=lambda: 0.5)


def test_a_public_model_is_a_route(chooser: ModelChooser) -> None:
    found = chooser.resolve(ANYBODY, None, "smart")

    assert (found.provider, found.model) == (None, "smart")
    assert [choice.target for choice in found.choices] == ["two/m2", "one/m1"]
    assert found.passed == (Passed("off/x", "not_configured"),)


@pytest.mark.parametrize(
    ("provider", "model", "target"),
    [
        ("one", "smart", "one/smart"),
        ("two", None, "two/m2"),
        (None, "m2", "two/m2"),
        (None, "unheard-of", "one/unheard-of"),
        (None, None, "one/m1"),
    ],
)
def test_a_plain_model_is_a_route_with_one_target(
    chooser: ModelChooser, provider: str | None, model: str | None, target: str
) -> None:
    found = chooser.resolve(ANYBODY, provider, model)

    assert [choice.target for choice in found.choices] == [target]
    assert f"{found.provider}/{found.model}" == target


def test_a_route_called_default_answers_those_who_name_nothing() -> None:
    providers = load_providers({"one": {"adapter_class": "adapters.echo_adapter.EchoAdapter"}})
    chooser = ModelChooser(providers, read_routes({"default": ["one/best"]}, providers))

    assert chooser.resolve(ANYBODY, None, None).choices[0].target == "one/best"
    assert chooser.resolve(ANYBODY, "one", None).choices[0].target == "one/echo"


def test_a_route_to_nowhere_is_unavailable(chooser: ModelChooser) -> None:
    with pytest.raises(Unavailable, match="nowhere"):
        chooser.resolve(ANYBODY, None, "nowhere")
    with pytest.raises(InvalidInput):
        chooser.resolve(ANYBODY, "off", "x")


# Public names


def with_key(*models: str) -> Principal:
    return Principal(
        "usr_1", "ada", Role.USER, "key_1", KeyGrant("key_1", frozenset({Scope.GATEWAY}), frozenset(models))
    )


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("smart", ["two/m2", "one/m1"]),
        ("m2", ["two/m2"]),
        ("one/smart", ["one/smart"]),
        ("two/undeclared", ["two/undeclared"]),
        ("two/org/undeclared", ["two/org/undeclared"]),
    ],
)
def test_a_public_name_is_a_route_a_declared_model_or_says_its_provider(
    chooser: ModelChooser, name: str, targets: list[str]
) -> None:
    assert [choice.target for choice in chooser.find(ANYBODY, name).choices] == targets


@pytest.mark.parametrize("name", ["unheard-of", "off/x", "nobody/m1", "one/", "/m1", ""])
def test_a_public_name_that_nobody_has(chooser: ModelChooser, name: str) -> None:
    with pytest.raises(NotFound) as caught:
        chooser.find(ANYBODY, name)

    assert caught.value.error_code == "model_not_found"


def test_public_models_are_listed_once_each(chooser: ModelChooser) -> None:
    listed = chooser.public_models(ANYBODY)

    assert [(one.name, one.owned_by) for one in listed] == [
        ("smart", "unichat"),
        ("m1", "one"),
        ("one/smart", "one"),
        ("m2", "two"),
    ]
    assert {chooser.find(ANYBODY, one.name).choices[0].target for one in listed} == {"two/m2", "one/m1", "one/smart"}


def test_a_key_allows_the_models_that_it_names(chooser: ModelChooser) -> None:
    for name, caller in (("m1", with_key("m1")), ("m1", with_key("one/m1")), ("smart", with_key("smart"))):
        assert chooser.find(caller, name).model == name
        assert chooser.resolve(caller, None, name).model == name
    assert [one.name for one in chooser.public_models(with_key("m2", "m1"))] == ["m1", "m2"]


@pytest.mark.parametrize("name", ["smart", "m1", "one/m1", "two/undeclared"])
def test_a_key_allows_no_other_model(chooser: ModelChooser, name: str) -> None:
    with pytest.raises(PermissionDenied) as caught:
        chooser.find(with_key("m2"), name)

    assert caught.value.error_code == "model_not_allowed"


def test_a_key_does_not_allow_what_is_found_for_want_of_a_name(chooser: ModelChooser) -> None:
    for provider, model in ((None, None), ("one", None), (None, "unheard-of"), ("one", "m1")):
        with pytest.raises(PermissionDenied):
            chooser.resolve(with_key("m2"), provider, model)
