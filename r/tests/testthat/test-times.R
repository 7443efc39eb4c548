test_that("moments keep their microseconds in all years", {
  for (text in c("0001-01-01T00:00:00.000001Z", "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z")) {
    expect_identical(format_start(text), text)
  }
})

test_that("digits past microseconds are cut, and offsets counted in", {
  expect_identical(format_start("1970-01-01T01:00:00.0000019+01:00"), "1970-01-01T00:00:00.000001Z")
  expect_identical(format_start("2026-01-01T00:30:00+01:00"), "2025-12-31T23:30:00Z")
})

test_that("a POSIXct comes back from its own text", {
  set.seed(1)
  seconds <- round(runif(200, -2e9, 4e9) * 1e6) / 1e6
  for (second in seconds) {
    text <- format_start(.POSIXct(second, tz = "UTC"))
    found <- moment_of("start", text)
    expect_identical(found$day * 86400 * 1e6 + found$micros, round(second * 1e6))
  }
})

test_that("a leap second is the first moment of the next minute", {
  expect_identical(format_start("2016-12-31T23:59:60Z"), "2017-01-01")
  expect_error(format_start("2016-12-31T12:00:60Z"), "not a time that exists")
})

test_that("an end that is a date includes that day, and one that is a time does not", {
  expect_identical(format_end("2026-01-31"), "2026-01-31")
  expect_identical(format_end("2026-01-31T00:00:00Z"), "2026-01-30")
  expect_identical(format_end(as.Date("2026-01-31")), "2026-01-31")
})

test_that("years outside 0001 to 9999 are refused", {
  expect_error(format_start(as.Date(-719163, origin = "1970-01-01")), "outside the years")
  expect_error(format_start("0001-01-01T00:00:00+01:00"), "outside the years")
  expect_error(format_start(as.Date(Inf, origin = "1970-01-01")), "outside the years")
})
