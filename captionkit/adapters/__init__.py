"""captionkit inside other people's trainers and data loaders; each module is imported by itself."""
