"""Data sets of the Hugging Face hub: `hf://owner/name` as a source."""
