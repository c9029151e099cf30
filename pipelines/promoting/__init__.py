"""Who becomes champion, on what evidence, and how one goes back."""
