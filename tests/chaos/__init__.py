"""Faults on purpose: real nodes under load, a nemesis that breaks things, and a checker that looks at what came of it.

`clients` keep a history of all that they sent and received; `nemesis` kills, freezes and cuts; `invariants` compares
the history with the database and with the provider's own log. `scenarios/` put them together, small in the test
suite (`test_scenarios.py`) and at full size by hand: `python -m tests.chaos --help`.
"""
