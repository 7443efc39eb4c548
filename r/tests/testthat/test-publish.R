test_that("what R publishes comes back as it was", {
  con <- a_server()
  events <- data.frame(
    event_id = c("p1", "p2", "p3"), event_type = "Cart.Created", entity_type = "Cart", entity_id = c(1L, NA, 3L),
    timestamp = as.POSIXct("2026-01-01 00:00:00.000001", tz = "UTC") + c(0, 0.25, 1e6),
    user_id = c(NA, "Zo\u00eb", NA)
  )
  events$entity_id[2] <- 2L
  events$data <- list(list(total = 0.1 + 0.2, items = list("a", 1L)), list(), list(note = NA, at = "\U0001F353"))
  expect_identical(events_publish(con, events), 3L)
  wait_until(function() "Cart" %in% events_entities(con)$entity_type)
  wait_until(function() nrow(events_read(con, "Cart")) == 3)
  found <- events_read(con, "Cart")
  expect_identical(found$entity_id, c("1", "2", "3"))
  expect_identical(micros(found$timestamp), micros(events$timestamp))
  expect_identical(found$user_id, events$user_id)
  expect_identical(jsonlite::fromJSON(found$data[1])$total, 0.1 + 0.2)
  expect_identical(found$data[2], "{}")
})

test_that("a frame that is wrong publishes nothing, and says why", {
  con <- a_server()
  before <- events_status(con)$stream_last_seq
  expect_snapshot(error = TRUE, events_publish(con, 1:3))
  expect_snapshot(error = TRUE, events_publish(con, transform(one_event("Bad", "1"), timestamp = "soon")))
  expect_snapshot(error = TRUE, events_publish(con, transform(one_event("Bad", "1"), entity_id = 1.5)))
  expect_snapshot(error = TRUE, events_publish(con, transform(one_event("Bad", "1"), data = "{")))
  expect_identical(events_status(con)$stream_last_seq, before)
})
