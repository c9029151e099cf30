"""What Gradus claims of its speed, measured: `python -m benchmarks`."""
