"""Anthropic's Messages: for clients that speak it, in front of every provider."""
