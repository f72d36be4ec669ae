"""For plugin authors: contracts as test classes, fakes, and in-memory drivers of every role."""
