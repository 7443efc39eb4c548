in_another_r <- function(expression, ...) {
  folder <- dirname(getNamespaceInfo("fraiseqlevents", "path"))
  script <- tempfile(fileext = ".R")
  writeLines(c("library(fraiseqlevents)", sprintf("cat(tryCatch(%s, error = conditionMessage))", expression)), script)
  environment <- c(paste0("R_LIBS=", paste(c(folder, .libPaths()), collapse = ":")), ...)
  paste(system2(file.path(R.home("bin"), "Rscript"), c("--vanilla", script), stdout = TRUE, stderr = FALSE,
                env = environment), collapse = "\n")
}

test_that("a Python that is not there is one sentence", {
  skip_without_server()
  expect_match(in_another_r("events_connect()", "RETICULATE_PYTHON=/no/python"), "^RETICULATE_PYTHON names /no/python")
})

test_that("a Python without fraiseql-events is one sentence with the command that installs it", {
  skip_without_server()
  folder <- tempfile()
  system2(reticulate::py_config()$python, c("-m", "venv", "--without-pip", folder))
  python <- paste0("RETICULATE_PYTHON=", file.path(folder, "bin", "python"))
  said <- in_another_r("events_connect()", python, "PYTHONPATH=")
  expect_match(said, "^the Python package [a-z-]+ is missing from .*: install it with reticulate::py_install")
})

test_that("tickets need no Python", {
  expect_identical(in_another_r("events_ticket('Order')", "RETICULATE_PYTHON=/no/python"), "events:Order")
})

test_that("a fork, and what was saved, is told in a sentence", {
  con <- a_server()
  skip_on_os("windows")
  count <- function(each) tryCatch(nrow(events_read(con, "Order")), error = conditionMessage)
  said <- parallel::mclapply(1:2, count, mc.cores = 2)[[1]]
  expect_match(said, "^this R is a fork")
  expect_gt(nrow(events_read(con, "Order")), 0)
  path <- tempfile()
  saveRDS(con, path)
  expect_error(events_read(readRDS(path), "Order"), "of an R that has ended", class = "InvalidArgument")
})

test_that("a fork that ends takes neither a stream nor a server with it", {
  skip_without_server()
  skip_on_os("windows")
  # in another R, for a fork that ends with q() takes tempdir() with it
  said <- in_another_r("{
    server <- events_serve()
    con <- events_connect()
    event <- function(id) data.frame(event_id = id, event_type = 'x', entity_type = 'Order', entity_id = id,
                                     timestamp = Sys.time(), data = '{}')
    stream <- events_stream(con, 'Order', follow = TRUE)
    events_publish(con, event('first'))
    seen <- events_next(stream, wait = 20)$entity_id
    fork <- parallel::mcparallel({ rm(stream); gc(); q('no') })
    suppressWarnings(parallel::mccollect(fork))
    events_publish(con, event('second'))
    seen <- c(seen, events_next(stream, wait = 20)$entity_id, events_status(con)$state, server$process$running())
    c(seen, dir.exists(events_status(con)$store), dir.exists(tempdir()))
  }")
  expect_identical(said, "first second live TRUE TRUE FALSE")
})
