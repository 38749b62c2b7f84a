"""What every part of the server uses: options, typed values, metrics, the prediction log."""
