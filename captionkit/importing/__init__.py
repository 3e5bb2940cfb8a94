"""Recipes from the settings of other trainers; each module is imported by itself."""
