DELETE FROM statements
