"""Examples as hosted fine-tuning services take them: JSON Lines of chats, or of prompts and completions."""
