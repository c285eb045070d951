"""The OpenAI protocol over our core: what its clients send, and what they get back. One file per area."""
