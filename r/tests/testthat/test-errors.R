test_that("an error is a condition that tells its kind, without a call", {
  error <- tryCatch(events_ticket(""), error = identity)
  expect_s3_class(error, c("InvalidArgument", "fraiseql_events_error", "error", "condition"), exact = TRUE)
  expect_null(conditionCall(error))
})

test_that("a near miss is suggested, and a far one is not", {
  expect_identical(near("colums", c("columns", "limit")), "; did you mean columns?")
  expect_identical(near("xyz", c("columns", "limit")), "")
})
