"""The page of `captionkit report`: figures, findings, plots, tags and pictures in one file."""
