vectors <- jsonlite::fromJSON(test_path("ticket_vectors.json"), simplifyVector = FALSE, bigint_as_char = TRUE)

# A moment of the vectors, microseconds since 1970, as one would write it; a whole day as a Date.
moment <- function(micros) {
  if (is.null(micros)) return(NULL)
  text <- format(micros, scientific = FALSE, digits = 20)
  digits <- sub("^-", "", text)
  digits <- paste0(strrep("0", max(0, 7 - nchar(digits))), digits)
  seconds <- as.numeric(substr(digits, 1, nchar(digits) - 6))
  fraction <- as.numeric(substring(digits, nchar(digits) - 5))
  if (startsWith(text, "-")) {
    seconds <- -seconds - (fraction > 0)
    fraction <- (1e6 - fraction) %% 1e6
  }
  day <- seconds %/% 86400
  rest <- seconds %% 86400
  list(day = day, rest = rest, fraction = fraction)
}

written <- function(micros, end) {
  found <- moment(micros)
  if (is.null(found)) return(NULL)
  if (found$rest == 0 && found$fraction == 0) return(as.Date(found$day - end, origin = "1970-01-01"))
  sprintf("%sT%02d:%02d:%02d.%06dZ", format(as.Date(found$day, origin = "1970-01-01")), found$rest %/% 3600,
          found$rest %/% 60 %% 60, found$rest %% 60, found$fraction)
}

test_that("every ticket of the shared vectors is encoded as Python encodes it", {
  expect_gt(length(vectors$right), 10)
  for (vector in vectors$right) {
    ticket <- vector$ticket
    entity <- if (is.null(ticket$entity)) "*" else if (ticket$entity == "*") I("*") else ticket$entity
    encoded <- events_ticket(
      entity, written(ticket$start, FALSE), written(ticket$end, TRUE), limit = ticket$limit,
      columns = unlist(ticket$columns), event_types = unlist(ticket$event_types), after_offset = ticket$after_offset,
      history = ticket$history, batch_size = ticket$batch_size, compression = ticket$compression,
      follow = identical(ticket$mode, "streaming")
    )
    expect_identical(encoded, vector$encoded)
  }
})

test_that("a limit may be of any kind of whole number", {
  expected <- "{\"type\":\"ObserverEvents\",\"entity_type\":\"Order\",\"limit\":100000}"
  expect_identical(events_ticket("Order", limit = 1e5), expected)
  expect_identical(events_ticket("Order", limit = 100000L), expected)
  expect_identical(events_ticket("Order", limit = "100000"), expected)
  expect_match(events_ticket("Order", after_offset = bit64::as.integer64("9007199254740993")), "9007199254740993")
})

test_that("start and end may be dates and times of any kind", {
  expected <- "events:Order:2026-01-01:2026-01-31"
  expect_identical(events_ticket("Order", as.Date("2026-01-01"), as.Date("2026-01-31")), expected)
  midnight <- as.POSIXct("2026-01-01", tz = "UTC")
  expect_identical(events_ticket("Order", midnight, midnight + 31 * 86400), expected)
  expect_identical(events_ticket("Order", as.POSIXlt(midnight), "2026-01-31"), expected)
  paris <- as.POSIXct("2026-01-01 01:00:00", tz = "Europe/Paris")
  expect_identical(events_ticket("Order", paris, "2026-01-31"), expected)
  expect_identical(events_ticket("Order", "2026-01-01 12:30"), "events:Order:2026-01-01T12:30:00Z")
})

test_that("a wrong ticket is one sentence", {
  local_edition(3)
  expect_snapshot(error = TRUE, events_ticket(NULL))
  expect_snapshot(error = TRUE, events_ticket(""))
  expect_snapshot(error = TRUE, events_ticket(strrep("x", 81)))
  expect_snapshot(error = TRUE, events_ticket("Order", "soon"))
  expect_snapshot(error = TRUE, events_ticket("Order", "2026-02-30"))
  expect_snapshot(error = TRUE, events_ticket("Order", "2026-01-01T25:00:00Z"))
  expect_snapshot(error = TRUE, events_ticket("Order", "2026-02-01", "2026-01-01"))
  expect_snapshot(error = TRUE, events_ticket("Order", NA))
  expect_snapshot(error = TRUE, events_ticket("Order", as.Date(NA)))
  expect_snapshot(error = TRUE, events_ticket("Order", 20260101))
  expect_snapshot(error = TRUE, events_ticket("Order", c("2026-01-01", "2026-01-02")))
  expect_snapshot(error = TRUE, events_ticket("Order", as.Date(c("2026-01-01", "2026-01-02"))))
  expect_snapshot(error = TRUE, events_ticket("Order", character()))
  expect_snapshot(error = TRUE, events_ticket("Order", NA_character_))
  expect_snapshot(error = TRUE, events_ticket("Order", factor("2026-01-01")))
  expect_snapshot(error = TRUE, events_ticket("Order", list("2026-01-01")))
  expect_snapshot(error = TRUE, events_ticket("Order", end = data.frame(x = 1)))
  expect_snapshot(error = TRUE, events_ticket("Order", limit = factor("5")))
  expect_snapshot(error = TRUE, events_ticket("Order", limit = -1))
  expect_snapshot(error = TRUE, events_ticket("Order", limit = 1.5))
  expect_snapshot(error = TRUE, events_ticket("Order", limit = TRUE))
  expect_snapshot(error = TRUE, events_ticket("Order", after_offset = 2^53 + 2))
  expect_snapshot(error = TRUE, events_ticket("Order", after_offset = "9223372036854775808"))
  expect_snapshot(error = TRUE, events_ticket("Order", columns = "timestmp"))
  expect_snapshot(error = TRUE, events_ticket("Order", columns = c("data", "data")))
  expect_snapshot(error = TRUE, events_ticket("Order", columns = character()))
  expect_snapshot(error = TRUE, events_ticket("Order", event_types = 1))
  expect_snapshot(error = TRUE, events_ticket("Order", compression = "gzip"))
  expect_snapshot(error = TRUE, events_ticket("Order", follow = NA))
  expect_error(events_ticket("Order", compression = NA_character_), "^compression is NA: it must be")
  expect_error(events_ticket("Order", batch_size = 1e300),
               "^batch_size is 1e\\+300: it must be a whole number from 1 to 1000000$")
  expect_snapshot(error = TRUE, events_ticket(I("*"), limit = 1))
})
