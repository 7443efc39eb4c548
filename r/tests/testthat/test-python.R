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
  said <- in_another_r("events_connect()", paste0("RETICULATE_PYTHON=", file.path(folder, "bin", "python")), "PYTHONPATH=")
  expect_match(said, "^the Python package [a-z-]+ is missing from .*: install it with reticulate::py_install")
})

test_that("tickets need no Python", {
  expect_identical(in_another_r("events_ticket('Order')", "RETICULATE_PYTHON=/no/python"), "events:Order")
})

test_that("a fork, and what was saved, is told in a sentence", {
  con <- a_server()
  skip_on_os("windows")
  said <- parallel::mclapply(1:2, function(each) tryCatch(nrow(events_read(con, "Order")), error = conditionMessage), mc.cores = 2)[[1]]
  expect_match(said, "^this R is a fork")
  expect_gt(nrow(events_read(con, "Order")), 0)
  path <- tempfile()
  saveRDS(con, path)
  expect_error(events_read(readRDS(path), "Order"), "of an R that has ended", class = "InvalidArgument")
})
