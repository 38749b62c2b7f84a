"""What good data is: suites of expectations, class balance, checks beyond rows."""
