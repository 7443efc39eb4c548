test_that("a range, a limit, types and columns are what was asked for", {
  con <- a_server()
  expect_identical(events_read(con, "Order", "2026-01-01", "2026-01-31")$entity_id, "1")
  expect_identical(nrow(events_read(con, "Order", limit = 2)), 2L)
  expect_identical(unique(events_read(con, "Order", event_types = "Order.Changed")$event_type), "Order.Changed")
  expect_identical(names(events_read(con, "Order", columns = c("data", "event_id"))), c("data", "event_id"))
})

test_that("a name that no event has is warned of, with the near one", {
  con <- a_server()
  expect_warning(found <- events_read(con, "Ordr"), "no events of 'Ordr' .did you mean Order")
  expect_identical(nrow(found), 0L)
})

test_that("compression changes nothing", {
  con <- a_server()
  for (kind in c("zstd", "lz4")) {
    expect_identical(events_read(con, "Order", compression = kind), events_read(con, "Order"))
  }
})

test_that("many events come whole", {
  con <- a_server()
  events_publish(con, one_event("Many", as.character(1:25000)))
  wait_until(function() isTRUE(events_entities(con)$events[events_entities(con)$entity_type == "Many"] == 25000), 60)
  found <- events_read(con, "Many")
  expect_identical(found$entity_id, as.character(1:25000))
  expect_identical(micros(found$timestamp), micros(one_event("Many", as.character(1:25000))$timestamp))
  expect_identical(unique(found$data), "{}")
})
