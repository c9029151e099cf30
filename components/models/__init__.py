"""The network, its tokenizer and its weights."""
