"""Several observers are told all that one is told."""

import inspect

from domain.observer import Observer, Observers


class Listener(Observer):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattribute__(self, name: str) -> object:
        if name in vars(Observer) and not name.startswith("_"):
            self.told.append(name)
        return super().__getattribute__(name)


def test_all_of_them_hear_everything() -> None:
    listeners = [Listener(), Listener()]
    everybody = Observers(*listeners)
    names = [name for name in vars(Observer) if not name.startswith("_")]

    for name in names:
        method = getattr(everybody, name)
        method(**dict.fromkeys(inspect.signature(method).parameters))

    assert names
    for listener in listeners:
        assert listener.told == names
