test_that("a stream gives every event once, and NULL at its end", {
  con <- a_server()
  stream <- events_stream(con, "*", limit = 500, batch_size = 2, columns = "offset")
  offsets <- numeric()
  while (!is.null(batch <- events_next(stream))) {
    expect_lte(nrow(batch), 2)
    offsets <- c(offsets, batch$offset)
  }
  expect_identical(offsets, as.numeric(seq_along(offsets)) - 1)
  expect_error(events_next(stream), "read already, or closed", class = "InvalidArgument")
})

test_that("a stream that was left goes on where its offset says", {
  con <- a_server()
  first <- events_stream(con, "*", batch_size = 2, columns = "offset")
  seen <- events_next(first)$offset
  events_close(first)
  rest <- events_read(con, "*", columns = "offset", after_offset = first$offset, history = first$history)
  expect_identical(c(seen, rest$offset), as.numeric(0:(length(seen) + nrow(rest) - 1)))
})

test_that("a follow gives what arrives, and an empty frame when nothing does", {
  con <- a_server()
  stream <- events_stream(con, "Live", follow = TRUE)
  on.exit(events_close(stream))
  empty <- events_next(stream, wait = 0.2)
  expect_identical(nrow(empty), 0L)
  events_publish(con, one_event("Live", "first"))
  expect_identical(events_next(stream, wait = 10)$entity_id, "first")
  events_publish(con, one_event("Live", "second"))
  expect_identical(events_next(stream, wait = 10)$entity_id, "second")
})

test_that("events_each calls with each batch, and ends when it is told to", {
  con <- a_server()
  rows <- 0
  total <- events_each(events_stream(con, "Order"), function(batch) rows <<- rows + nrow(batch))
  expect_identical(c(rows, total), c(5, 5))
  calls <- 0
  events_each(events_stream(con, "Order", batch_size = 1), function(batch) {
    calls <<- calls + 1
    FALSE
  })
  expect_identical(calls, 1)
})

test_that("a follow that finds its types waits for the first event, and takes them from it", {
  con <- a_server()
  stream <- events_stream(con, "Typed", follow = TRUE, payload = TRUE)
  on.exit(events_close(stream))
  expect_warning(empty <- events_next(stream, wait = 3), "no events of 'Typed'")
  expect_identical(names(empty), setdiff(COLUMNS, "offset"))
  expect_null(stream$offset)
  first <- one_event("Typed", "first")
  first$data <- "{\"total\": 1.5}"
  events_publish(con, first)
  expect_identical(events_next(stream, wait = 10)$total, 1.5)
  first$event_id <- "second"
  events_publish(con, first)
  expect_identical(events_next(stream, wait = 10)$total, 1.5)
  expect_identical(stream$rows, 2)
})

test_that("what does not fit is told of wherever a stream ends", {
  con <- a_server()
  ask <- function() events_stream(con, "Order", batch_size = 2, payload = c(paid = "double"), columns = "offset")
  expect_warning(events_each(ask(), function(batch) FALSE), "of paid 2 values do not fit")
  expect_error(expect_warning(events_each(ask(), function(batch) stop("enough")), "of paid 2 values"), "enough")
  stream <- ask()
  events_next(stream)
  expect_warning(events_close(stream), "of paid 2 values do not fit")
  expect_silent(events_close(stream))
  stream <- ask()
  events_next(stream)
  stream$reading$take(stream$step, 1L, 1, FALSE) # a step that R knows nothing of, as when it was interrupted
  expect_warning(events_each(stream, function(batch) NULL), "of paid 2 values do not fit")
})

test_that("a stream that nobody holds any more is ended, and what did not fit is told of", {
  con <- a_server()
  script <- tempfile(fileext = ".R")
  output <- tempfile()
  writeLines(c(
    "library(fraiseqlevents)",
    sprintf("con <- events_connect('%s')", con$url),
    "stream <- events_stream(con, 'Order', follow = TRUE, payload = c(paid = 'double'))",
    "invisible(events_next(stream, wait = 10))",
    "before <- events_status(con)$streams",
    "rm(stream)",
    "invisible(gc())",
    "for (each in 1:100) if ((after <- events_status(con)$streams) == before) Sys.sleep(0.1) else break",
    "cat('ended', before - after, '\\n')"
  ), script)
  background(script, output)
  wait_until(function() any(grepl("^ended", readLines(output, warn = FALSE))), 40)
  expect_match(readLines(output), "^ended 1", all = FALSE)
  expect_match(readLines(output), "of paid 2 values do not fit", all = FALSE)
  expect_no_match(readLines(output), "Python|Traceback|ResourceWarning")
})

test_that("an interrupt takes nothing of a stream", {
  con <- a_server()
  script <- tempfile(fileext = ".R")
  writeLines(c(
    "library(fraiseqlevents)",
    sprintf("con <- events_connect('%s')", con$url),
    "stream <- events_stream(con, 'Stopped', follow = TRUE, columns = 'offset')",
    "seen <- numeric(); hits <- 0",
    "cat('read', 'y\\n', sep = '')",
    "suspendInterrupts(while (length(seen) < 300) tryCatch({", # but for where they are caught
    "  batch <- allowInterrupts(events_next(stream, wait = 20))",
    "  seen <- c(seen, batch$offset)",
    "}, interrupt = function(condition) hits <<- hits + 1))",
    "cat('seen', hits >= 5, length(seen), anyDuplicated(seen), is.unsorted(seen), '\\n')"
  ), script)
  output <- tempfile()
  pid <- background(script, output)
  on.exit(tools::pskill(pid))
  wait_until(function() any(grepl("ready", readLines(output, warn = FALSE))))
  for (round in 1:30) {
    events_publish(con, one_event("Stopped", as.character(1:10 + 10 * round)))
    if (round < 30) tools::pskill(pid, tools::SIGINT) # at the end the loop that expects it is left
    Sys.sleep(0.1)
  }
  wait_until(function() any(grepl("^seen", readLines(output, warn = FALSE))), 60)
  expect_match(readLines(output), "^seen TRUE 300 0 FALSE", all = FALSE)
})

test_that("an interrupt goes to no thread of a stream's", {
  con <- a_server()
  skip_on_os(c("windows", "mac"))
  before <- list.files("/proc/self/task")
  stream <- events_stream(con, "Order", follow = TRUE)
  on.exit(events_close(stream))
  events_next(stream, wait = 10)
  blocked <- vapply(setdiff(list.files("/proc/self/task"), before), function(thread) {
    masks <- tryCatch(readLines(file.path("/proc/self/task", thread, "status")), error = function(gone) "SigBlk: 2")
    strtoi(substring(grep("^SigBlk", masks, value = TRUE), nchar(masks[startsWith(masks, "SigBlk")])), 16L)
  }, 0L)
  expect_gt(length(blocked), 0)
  expect_identical(unname(bitwAnd(blocked, 2L)), rep(2L, length(blocked))) # SIGINT is the second
})

test_that("a stream outlives its server", {
  skip_without_server()
  store <- tempfile()
  server <- events_serve(store = store)
  con <- events_connect(server$url)
  events_publish(con, one_event("Order", as.character(1:3)))
  stream <- events_stream(con, "Order", follow = TRUE)
  on.exit(events_close(stream))
  wait_until(function() events_status(con)$offset == 3)
  seen <- events_next(stream)$entity_id
  while (length(seen) < 3) seen <- c(seen, events_next(stream)$entity_id)
  events_close(server)
  expect_message(events_next(stream, wait = 1), "the stream is cut")
  server <- events_serve(store = store, listen = sub("grpc://", "", server$url))
  on.exit(events_close(server), add = TRUE)
  events_publish(con, one_event("Order", "4"))
  expect_message(seen <- c(seen, events_next(stream, wait = 30)$entity_id), "goes on")
  expect_identical(seen, as.character(1:4))
})

test_that("what is asked wrongly is one sentence", {
  con <- a_server()
  expect_snapshot(error = TRUE, events_stream(con))
  expect_snapshot(error = TRUE, events_stream(con, "Order", colums = "data"))
  expect_snapshot(error = TRUE, events_stream(con, "Order", NULL, NULL, 100))
  expect_snapshot(error = TRUE, events_stream("con", "Order"))
  expect_snapshot(error = TRUE, events_stream(con, "Order", payload = "total"))
  expect_snapshot(error = TRUE, events_stream(con, "Order", payload = c(total = "float")))
  expect_snapshot(error = TRUE, events_stream(con, "Order", payload = list(total = "double", total = "integer")))
  expect_snapshot(error = TRUE, events_stream(con, I("*")))
  expect_snapshot(error = TRUE, events_next("stream"))
  expect_snapshot(error = TRUE, events_next(events_stream(con, "Order"), wait = -1))
})

test_that("memory stays the same however long a stream is", {
  con <- a_server()
  one <- one_event("Long", as.character(1:20000))
  one$data <- strrep("{\"text\": \"x\"}", 1)
  for (round in 1:10) events_publish(con, one)
  wait_until(function() isTRUE(events_entities(con)$events[events_entities(con)$entity_type == "Long"] == 200000), 60)
  at_most <- function(limit) {
    stream <- events_stream(con, "Long", limit = limit)
    invisible(gc(reset = TRUE))
    events_each(stream, function(batch) NULL)
    sum(gc()[, 6])
  }
  at_most(20000)
  expect_lt(at_most(200000), at_most(20000) * 1.5)
})
