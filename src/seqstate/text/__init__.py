"""Text in: files, the default corpus, tokenisers, token stores, batches."""
