"""Which rows train, validate and test, so that no test row was learned."""
