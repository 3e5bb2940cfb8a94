"""trainkit: v-prediction, zero-terminal-SNR fine-tuning of Stable Diffusion 1.5 with captionkit's caption
policies.

Importing this package is cheap; torch and diffusers are loaded by the modules that need them.
"""

__version__ = "0.1.0"
