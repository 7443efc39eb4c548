test_that("every value is what Python reads", {
  con <- a_server()
  expected <- read_by_python(con$url, "*", reticulate::dict(columns = COLUMNS))
  found <- events_read(con, "*", columns = COLUMNS)
  expect_s3_class(found, "data.frame")
  expect_identical(names(found), names(expected))
  for (name in setdiff(names(found), c("offset", "timestamp"))) {
    expect_identical(found[[name]], as.character(expected[[name]]), label = name)
    expect_true(all(validUTF8(found[[name]])), label = name)
  }
  expect_identical(micros(found$timestamp), expected$timestamp)
  expect_identical(attr(found$timestamp, "tzone"), "UTC")
  expect_identical(sprintf("%.0f", found$offset), expected$offset)
})

test_that("the fields of data become columns of R's own types", {
  con <- a_server()
  expect_warning(found <- events_read(con, "Order", payload = TRUE), "number has whole numbers beyond 2\\^53")
  expect_identical(found$total, c(12.5, 0.1, NA, NA, NA))
  expect_identical(found$paid, c(TRUE, FALSE, NA, NA, NA))
  expect_identical(found[["items[].sku"]][[1]], c("a", "b"))
})

test_that("whole numbers that R's do not hold come as text, with a warning", {
  con <- a_server()
  expect_warning(found <- events_read(con, "Order", payload = c(number = "integer64")), "beyond 2\\^53")
  expect_identical(found$number, c("9007199254740993", "-9223372036854775807", "1", NA, NA))
})

test_that("whole numbers of 64 bits are exact as integer64, too", {
  a_server()
  con <- events_connect(served$server$url, bigint = "integer64")
  found <- events_read(con, "Order", payload = c(number = "integer64"), columns = "offset")
  expect_s3_class(found$number, "integer64")
  expect_identical(as.character(found$number), c("9007199254740993", "-9223372036854775807", "1", NA, NA))
  expect_identical(as.character(found$offset), as.character(0:4))
})

test_that("a field that does not fit its type is NA, and counted", {
  con <- a_server()
  read <- function() events_read(con, "Order", payload = c(paid = "double"), columns = "event_id")
  expect_warning(found <- read(), "of paid 2 values")
  expect_identical(found$paid, rep(NA_real_, 5))
})

test_that("an answer without rows has all columns with their types", {
  con <- a_server()
  found <- events_read(con, "Order", "2001-01-01", "2001-01-02")
  expect_identical(nrow(found), 0L)
  expect_s3_class(found$timestamp, "POSIXct")
  expect_type(found$data, "character")
  expect_identical(names(found), setdiff(COLUMNS, "offset"))
})

test_that("a text that holds NUL is told of, and nothing else is lost", {
  con <- a_server()
  path <- tempfile()
  writeLines(paste0("{\"id\":\"n\",\"entity_id\":\"a\\u0000b\",\"entity_type\":\"Nul\",\"event_type\":\"x\",",
                    "\"timestamp\":\"2026-01-01T00:00:00Z\",\"data\":null}"), path)
  publish_file(path, con$url)
  wait_until(function() "Nul" %in% events_entities(con)$entity_type)
  expect_warning(found <- events_read(con, "Nul"), "U\\+0000")
  expect_identical(found$entity_id, "a\ufffdb")
})
