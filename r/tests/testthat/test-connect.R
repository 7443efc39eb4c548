test_that("a connection is shown with what its server has", {
  con <- a_server()
  expect_output(print(con), "connection to grpc://.*Order")
  expect_match(format(con), con$url, fixed = TRUE)
})

test_that("without an address the newest server of this session is found, then the variable", {
  a_server()
  expect_identical(events_connect()$url, served$server$url)
  servers <- state$servers
  on.exit(state$servers <- servers)
  state$servers <- NULL
  Sys.setenv(FRAISEQL_EVENTS_URL = "grpc://127.0.0.1:1")
  on.exit(Sys.unsetenv("FRAISEQL_EVENTS_URL"), add = TRUE)
  expect_identical(events_connect()$url, "grpc://127.0.0.1:1")
})

test_that("a server that is not there is one sentence", {
  skip_without_server()
  con <- events_connect("grpc://127.0.0.1:1")
  expect_snapshot(error = TRUE, events_status(con))
  expect_error(events_read(con, "Order"), class = "ServerUnavailable")
  expect_output(print(con), "no server answers")
})

test_that("a token opens a server that wants one", {
  skip_without_server()
  server <- events_serve(token = "secret")
  on.exit(events_close(server))
  expect_identical(nrow(events_entities(events_connect(server$url))), 0L)
  wrong <- events_connect(server$url, token = "other")
  expect_error(events_entities(wrong), "wants a token", class = "Unauthenticated")
})

test_that("what is asked wrongly is one sentence", {
  skip_without_server()
  expect_snapshot(error = TRUE, events_connect("localhost"))
  expect_snapshot(error = TRUE, events_connect(42))
  expect_snapshot(error = TRUE, events_connect(bigint = "integer"))
  expect_snapshot(error = TRUE, events_connect("grpc+tls://localhost:1", tls_roots = "no file"))
  expect_snapshot(error = TRUE, events_connect(token = 1))
  expect_snapshot(error = TRUE, events_close(1))
  expect_snapshot(error = TRUE, events_connect("grpc://localhost:99999"))
  expect_snapshot(error = TRUE, events_connect(as.Date("2026-01-01")))
  expect_error(events_connect(bigint = NA_character_), "^bigint is NA: it must be", class = "InvalidArgument")
})

test_that("a connection may be closed twice, and used again", {
  a_server()
  con <- events_connect(served$server$url)
  events_status(con)
  events_close(events_close(con))
  expect_s3_class(events_status(con), "fraiseql_events_status")
})

test_that("where the first argument is missing a sentence says how to have one", {
  for (call in list(events_read, events_stream, events_status, events_entities, events_publish)) {
    expect_error(call(), "^con is missing: connect first, with con <- events_connect\\(\\)$", class = "InvalidArgument")
  }
  expect_error(events_next(), "^stream is missing: ask for one", class = "InvalidArgument")
  expect_error(events_each(), "^stream is missing: ask for one", class = "InvalidArgument")
  expect_error(events_close(), "^x is missing: a connection", class = "InvalidArgument")
  con <- a_server()
  expect_error(events_publish(con), "^data is missing: a data frame", class = "InvalidArgument")
  expect_error(events_read(con), "^no entity type is named", class = "InvalidArgument")
  expect_error(events_each(events_stream(con, "Order")), "^f is missing: a function", class = "InvalidArgument")
})
