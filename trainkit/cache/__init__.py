"""What is computed once and kept on disk: latents of pictures, and what the text encoder says of captions.

Rows of float16 lie in shards: safetensors files of some hundred rows of one shape, each row under a key, the
hash of everything that decides its content. An index over all shards is mapped into memory and shared by
processes. Whatever changes (a picture, a crop, the VAE, a word of a caption) has another key; the old row is
never mistaken for it.
"""
