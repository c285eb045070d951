"""Server-side tools: what a model may ask us to do. One module each; :mod:`tools.registry` finds them."""
