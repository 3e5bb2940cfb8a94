#!/usr/bin/env bash
# From pictures of which nothing is known to a trained model, by the commands of docs/from-pictures.md.
# Usage: examples/from_pictures/chain.sh FOLDER [NUMBER OF PICTURES]
# Pictures of coloured figures are drawn, and what a person would do on the review page is done by label.py, which
# knows what was drawn. The classifier is small and trained from nothing; the caption model is a tiny one that knows
# nothing but such figures.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
count="${2:-400}"
mkdir -p "$1" && cd "$1"
cp "$here"/*.toml .
python "$here/draw.py" pictures "$count"
set -x

# What is there: measured, and nothing is known of it.
trainkit prepare pictures -o manifest --untagged --min-side 64

# A person labels half of them on a page, by keyboard, and saves the file that the page gives.
trainkit tagger review manifest -o review --count "$((count / 2))" \
    --group "ground=gray background,brown background,beige background,black background,white background" \
    --group "figures=1 shape,2 shapes,3 shapes"
python "$here/label.py" review

# A classifier learns from the labels, is judged on those it did not see, and tags the rest.
trainkit tagger train tagger.toml
trainkit tagger evaluate tagger manifest --corrections review/corrections.jsonl
trainkit tagger apply tagger manifest --precision 0.9 --min-support 5 --corrections review/corrections.jsonl

# A vision-language model describes a third of them.
python "$here/train_tiny_captioner.py" captioner
trainkit caption caption.toml --preview 8
trainkit caption caption.toml

# What the captions of the training will be, and the training.
captionkit stats hyperfusion manifest
trainkit check run.toml
trainkit train run.toml
trainkit sample run "1 shape, black background" --out samples --steps 8
