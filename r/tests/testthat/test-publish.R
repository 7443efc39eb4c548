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

test_that("R's values become the JSON that they look like", {
  time <- as.POSIXct("2026-01-01 12:00:00.25", tz = "Europe/Paris")
  expect_identical(json_text(list(p = time, l = as.POSIXlt(time))),
                   "{\"p\":\"2026-01-01T11:00:00.250000Z\",\"l\":\"2026-01-01T11:00:00.250000Z\"}")
  frame <- data.frame(x = 1)
  frame$l <- list(1:3)
  frame$n <- data.frame(p = 0.1)
  frame$e <- list(NULL)
  expect_identical(json_of_each(frame), "{\"x\":1,\"l\":[1,2,3],\"n\":{\"p\":0.1},\"e\":null}")
  expect_identical(json_text(c(a = 1, b = NA)), "{\"a\":1,\"b\":null}")
  expect_identical(json_text(list(d = data.frame(x = c(0.1, 2), y = c("a", NA)))),
                   "{\"d\":[{\"x\":0.1,\"y\":\"a\"},{\"x\":2,\"y\":null}]}")
  expect_identical(json_text(list(0.1 + 0.2, 1e22, 1 / 3, -Inf, TRUE, "\u00e9\"\n")),
                   "[0.30000000000000004,1e+22,0.33333333333333331,null,true,\"\u00e9\\\"\\n\"]")
  expect_silent(json_text(list(NaN, NA_real_)))
  expect_identical(json_text(bit64::as.integer64("9007199254740993")), "9007199254740993")
  expect_identical(json_text(list()), "{}")
  expect_error(json_text(list(a = 1, a = 2)), "twice", class = "InvalidArgument")
  expect_error(json_text(list(f = mean)), "class function", class = "InvalidArgument")
  expect_error(json_text(as.difftime(1, units = "days")), "class difftime", class = "InvalidArgument")
})

test_that("a column that is no field, or no vector, is refused", {
  con <- a_server()
  other <- cbind(one_event("Bad", "1"), userid = "u")
  expect_error(events_publish(con, other), "did you mean user_id", class = "InvalidArgument")
  expect_error(events_publish(con, one_event("Bad", "1")[-1]), "no column event_id", class = "InvalidArgument")
  bad <- one_event("Bad", "1")
  bad$timestamp <- as.POSIXct(Inf, origin = "1970-01-01", tz = "UTC")
  expect_error(events_publish(con, bad), "infinite", class = "InvalidArgument")
  large <- transform(one_event("Bad", "1"), entity_id = 2^53 + 2)
  expect_error(events_publish(con, large), "beyond 2\\^53", class = "InvalidArgument")
  bad <- one_event("Bad", "\xe9\xff")
  expect_error(events_publish(con, bad), "not valid in its encoding", class = "InvalidArgument")
})
