SELECT count(*) FROM statements WHERE NOT proven
