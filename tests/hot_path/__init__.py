"""What one request and one event cost, counted instead of timed; see docs/development.md."""
