"""What fine-tuning a preset gives: its runs, its peers, and the page that shows them (`benchmarks.results`)."""
