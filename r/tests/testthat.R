library(testthat)
library(fraiseqlevents)

test_check("fraiseqlevents")
