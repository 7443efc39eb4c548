test_that("a stream gives record batches, behind what R has of it, until its end", {
  con <- a_server()
  stream <- events_stream(con, "Order", batch_size = 1)
  events_next(stream)
  ask <- fraiseqlevents:::record_batches(stream)
  rows <- 0
  while (!is.null(batch <- ask())) rows <- rows + as.integer(batch$num_rows)
  expect_identical(rows, 4)
  expect_match(format(stream), "read, 5 events")
  expect_null(ask())
})

test_that("record batches of a follow that finds its types have its columns", {
  con <- a_server()
  stream <- events_stream(con, "Order", follow = TRUE, payload = TRUE)
  on.exit(events_close(stream))
  fraiseqlevents:::wait_for_types(stream)
  expect_true("total" %in% stream$reading$schema$names)
  expect_identical(as.integer(fraiseqlevents:::record_batches(stream)()$num_rows), 5L)
})

test_that("record batches tell errors and warnings in R's words", {
  con <- events_connect("grpc://127.0.0.1:1")
  expect_error(fraiseqlevents:::record_batches(events_stream(con, "Order"))(), "events_serve()", fixed = TRUE,
               class = "ServerUnavailable")
  ask <- fraiseqlevents:::record_batches(events_stream(a_server(), "Ordr"))
  expect_warning(expect_null(ask()), "no events of 'Ordr'")
})

# The package arrow cannot be had everywhere.
if (requireNamespace("arrow", quietly = TRUE)) {
  test_that("a stream becomes arrow's reader and table", {
    con <- a_server()
    table <- arrow::as_arrow_table(events_stream(con, "Order", batch_size = 1))
    expect_identical(as.data.frame(table), as.data.frame(events_read(con, "Order")), ignore_attr = TRUE)
    stream <- events_stream(con, "Order")
    expect_identical(arrow::as_record_batch_reader(stream)$read_table()$num_rows, 5L)
    expect_error(arrow::as_record_batch_reader(stream), "read already", class = "InvalidArgument")
  })

  test_that("arrow's own threads may ask for the batches", {
    reader <- arrow::as_record_batch_reader(events_stream(a_server(), "Order", batch_size = 1))
    counted <- dplyr::collect(dplyr::count(reader, event_type))
    expect_identical(sum(counted$n), 5L)
  })

  test_that("a reader that nobody has any more ends its stream", {
    con <- a_server()
    open <- function() {
      reader <- arrow::as_record_batch_reader(events_stream(con, "Order", follow = TRUE))
      reader$read_next_batch()
      unclass(events_status(con))$streams
    }
    before <- unclass(events_status(con))$streams
    expect_gt(open(), before)
    wait_until(function() {
      gc()
      unclass(events_status(con))$streams <= before
    })
  })
}
