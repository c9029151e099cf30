"""The page of `gradus ui`: a module a tab, each with what it does, and how that is laid out with Gradio."""
