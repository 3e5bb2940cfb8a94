"""Captions by vision-language models: back ends, prompts, and what is done with their answers."""
