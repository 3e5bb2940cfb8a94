"""The commands of `captionkit`, one to a file; captionkit.cli puts them together."""
