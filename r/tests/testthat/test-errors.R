test_that("an error is a condition that tells its kind, without a call", {
  error <- tryCatch(events_ticket(""), error = identity)
  expect_s3_class(error, c("InvalidArgument", "fraiseql_events_error", "error", "condition"), exact = TRUE)
  expect_null(conditionCall(error))
})

test_that("a near miss is suggested, and a far one is not", {
  expect_identical(near("colums", c("columns", "limit")), "; did you mean columns?")
  expect_identical(near("xyz", c("columns", "limit")), "")
})

test_that("a value is shown as a person writes it", {
  expect_identical(shown(-1), "-1")
  expect_identical(shown(100000), "100000")
  expect_identical(shown(5L), "5")
  expect_identical(shown(1:3), "1:3")
  expect_identical(shown(c(1L, NA, 3L)), "c(1, NA, 3)")
  expect_identical(shown(2^53), "9007199254740992")
  expect_identical(shown(Inf), "Inf")
  expect_identical(shown(bit64::as.integer64("9007199254740993")), "9007199254740993")
  expect_identical(shown("a \"b\""), "\"a \\\"b\\\"\"")
  expect_identical(shown(as.Date("2026-01-31")), "2026-01-31")
  expect_identical(shown(as.Date(c("2026-01-31", NA))), "c(2026-01-31, NA)")
  expect_identical(shown(as.POSIXct("2026-01-31 12:00:00", tz = "UTC")), "2026-01-31T12:00:00Z")
  expect_identical(shown(factor("Order")), "factor(\"Order\")")
  expect_identical(shown(data.frame(x = 1)), "of class data.frame")
  expect_identical(shown(mean), "of class function")
  expect_identical(shown(globalenv()), "of class environment")
  expect_identical(shown(NULL), "NULL")
  expect_identical(nchar(shown(strrep("x", 100))), 60L)
})

test_that("what Python warns of is a warning of R", {
  con <- a_server()
  odd <- one_event("Odd", "1")
  odd$data <- "{\"a\\\"b\": 1, \"c\": 2}"
  events_publish(con, odd)
  wait_until(function() "Odd" %in% events_entities(con)$entity_type)
  expect_warning(found <- events_read(con, "Odd", payload = TRUE), "^left out, for no path can name them")
  expect_identical(found$c, 2)
})
