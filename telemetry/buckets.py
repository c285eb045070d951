"""The bounds of the histograms."""

# From a health check to the longest answer that is waited for (PROVIDER_TIMEOUT_MS).
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
# What should take no time, and is a fault when it takes some.
WAITS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 3, 10)
