"""Pure values and errors: no Flask, no SQL, no HTTP, no Redis."""
