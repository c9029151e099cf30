"""What a training sees and costs, before it is run."""
