"""A model over HTTP: OpenAI's protocol for language models, `/predict` for classifiers, health and figures."""
