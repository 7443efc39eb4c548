test_that("the status is a list, and is shown in lines", {
  con <- a_server()
  status <- events_status(con)
  expect_s3_class(status, "fraiseql_events_status")
  expect_gte(status$offset, 6)
  expect_output(print(status), "state +(live|quiet)")
})

test_that("the entity types come with their counts and ranges", {
  con <- a_server()
  found <- events_entities(con)
  expect_identical(names(found), c("entity_type", "events", "first", "last"))
  expect_identical(found$events[found$entity_type == "User"], 1)
  expect_s3_class(found$first, "POSIXct")
})
