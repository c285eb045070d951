"""Scenarios: each sets clients to work in an arena, lets a fault happen, and returns figures."""
