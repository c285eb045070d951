"""The only place with queries and Redis commands."""
