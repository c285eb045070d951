"""The gateway: HTTP in, HTTP out. Authentication, limits, logging, errors and streaming are each done here, once."""
