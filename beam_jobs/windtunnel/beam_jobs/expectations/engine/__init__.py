"""Great Expectations' metrics over chunks of any amount of data."""
