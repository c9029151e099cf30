"""Models that others have trained: where their files lie, GGUF files, tokenizers."""
