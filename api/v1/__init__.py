"""The native API. A module here that has a ``bp`` is an endpoint file and is found by itself."""
