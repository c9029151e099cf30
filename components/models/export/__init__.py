"""Models for other programs: `transformers`, `peft`, llama.cpp, Ollama; each is compared with the original."""
