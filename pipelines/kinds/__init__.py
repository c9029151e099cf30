"""What can be fine-tuned for: a folder a kind, each of which fulfils the contract in `pipelines.kind`."""
