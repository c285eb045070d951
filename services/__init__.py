"""Use cases. They own the transactions; they know neither Flask nor SQL nor HTTP."""
