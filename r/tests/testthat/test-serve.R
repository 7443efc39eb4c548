test_that("a shop opens, and its orders come", {
  skip_without_server()
  server <- events_serve(demo = TRUE, rate = 200)
  on.exit(events_close(server))
  expect_output(print(server), "process [0-9]+")
  con <- events_connect(server$url)
  expect_gt(nrow(events_read(con, "Order", payload = TRUE)), 0) # at once
  stream <- events_stream(con, "Order", follow = TRUE, payload = c(total = "double"))
  batch <- events_next(stream, wait = 20)
  events_close(stream)
  expect_gt(nrow(batch), 0)
  expect_type(batch$total, "double")
})

test_that("a server ends when it is closed, and again does nothing", {
  skip_without_server()
  server <- events_serve()
  pid <- server$process$pid
  expect_true(tools::pskill(pid, 0))
  events_close(events_close(server))
  expect_output(print(server), "stopped")
  expect_false(tools::pskill(pid, 0))
})

test_that("a server ends with an R that is killed", {
  skip_without_server()
  script <- tempfile(fileext = ".R")
  output <- tempfile()
  writeLines(c("library(fraiseqlevents)", "server <- events_serve()", "cat('pid', server$process$pid, '\\n')",
               "flush(stdout())", "Sys.sleep(60)"), script)
  pid <- background(script, output)
  wait_until(function() any(grepl("^pid", readLines(output, warn = FALSE))), 30)
  child <- as.integer(strsplit(grep("^pid", readLines(output), value = TRUE), " ")[[1]][2])
  expect_true(tools::pskill(child, 0))
  tools::pskill(pid, tools::SIGKILL)
  wait_until(function() !tools::pskill(child, 0), 20)
  succeed()
})

test_that("a temporary store goes with an R that is killed, and a named one stays", {
  skip_without_server()
  script <- tempfile(fileext = ".R")
  output <- tempfile()
  named <- tempfile()
  writeLines(c(
    "library(fraiseqlevents)", "server <- events_serve()", sprintf("other <- events_serve(store = '%s')", named),
    "cat('store', events_status(events_connect(server$url))$store, tempdir(), '\\n')", "Sys.sleep(60)"
  ), script)
  pid <- background(script, output)
  wait_until(function() any(grepl("^store", readLines(output, warn = FALSE))), 40)
  folders <- strsplit(grep("^store", readLines(output), value = TRUE), " ")[[1]]
  store <- folders[2]
  on.exit(unlink(folders[3], recursive = TRUE)) # what a killed R leaves of its own
  expect_true(dir.exists(store))
  tools::pskill(pid, tools::SIGKILL)
  wait_until(function() !dir.exists(store), 20)
  expect_true(dir.exists(file.path(named, "nats")))
})

test_that("a temporary store goes with its server", {
  skip_without_server()
  server <- events_serve()
  store <- events_status(events_connect(server$url))$store
  expect_true(dir.exists(store))
  events_close(server)
  expect_false(dir.exists(store))
})

test_that("a start that fails is one sentence", {
  skip_without_server()
  file <- tempfile()
  file.create(file)
  expect_error(events_serve(store = file), class = "ServiceError")
  port <- sub("grpc://", "", a_server()$url)
  expect_error(events_serve(listen = port), "name another port with listen =", class = "ServiceError")
  expect_snapshot(error = TRUE, events_serve(demo = TRUE, nats = "nats://localhost:4222"))
  expect_snapshot(error = TRUE, events_serve(demo = "yes"))
  expect_snapshot(error = TRUE, events_serve(demo = TRUE, rate = -1))
  expect_error(events_serve(demo = TRUE, rate = Inf), "^rate is Inf: events a second", class = "InvalidArgument")
  expect_error(events_serve(nats = "nats://127.0.0.1:1"), "events_serve\\(\\) brings its own", class = "ServiceError")
})

test_that("an empty token is none", {
  skip_without_server()
  expect_error(events_serve(token = ""), "token is empty", class = "InvalidArgument")
  expect_error(events_serve(store = ""), "store is empty", class = "InvalidArgument")
})

test_that("without an address the newest server that still runs is found", {
  first <- a_server()
  server <- events_serve()
  expect_identical(events_connect()$url, server$url)
  store <- events_status(events_connect())$store
  tools::pskill(server$process$pid, tools::SIGKILL)
  wait_until(function() !server$process$running())
  expect_identical(events_connect()$url, first$url)
  events_close(server)
  expect_false(dir.exists(store)) # which the server could not remove
})
