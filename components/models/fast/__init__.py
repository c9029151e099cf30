"""Other ways to run the same blocks: each gives what the plain network gives, sooner or in less memory."""
