"""One file for each noun: `holdfast NOUN VERB`. Each has a click group of the noun's name."""
