# What arrow's flight_connect(), list_flights() and flight_get() do, through the same reticulate and pyarrow.
test_that("an unmodified Flight client of R's lists the events and gets them", {
  con <- a_server()
  flight <- reticulate::import("pyarrow.flight")
  client <- flight$FlightClient(con$url)
  paths <- unlist(reticulate::iterate(client$list_flights(), function(info) as.character(info$descriptor$path[[1]])))
  expect_true("events:Order" %in% paths)
  rows <- function(path) {
    info <- client$get_flight_info(flight$FlightDescriptor$for_path(path))
    client$do_get(info$endpoints[[1]]$ticket)$read_all()$num_rows
  }
  expect_identical(as.numeric(rows("events:Order:2026-01-01:2026-01-31")), 1)
  expect_identical(as.numeric(rows(events_ticket("Order", limit = 2))), 2)
})
