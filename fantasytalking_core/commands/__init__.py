"""The commands of `python -m fantasytalking_core`: they alone join training and host."""
