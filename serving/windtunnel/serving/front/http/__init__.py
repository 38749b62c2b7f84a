"""HTTP: connections and their limits, the table of routes, what answers each of them, and its OpenAPI document."""
