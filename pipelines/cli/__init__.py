"""The command `gradus`: it parses, calls and prints, and does nothing else."""
