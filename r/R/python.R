# Python, found as reticulate finds it; what is missing is told in one sentence with the command that mends it.

state <- new.env(parent = emptyenv())

INSTALL <- "reticulate::py_install(\"fraiseql-events\", pip = TRUE)"

.onLoad <- function(libname, pkgname) {
  declare <- get0("py_require", asNamespace("reticulate"), mode = "function")
  if (!is.null(declare)) declare("fraiseql-events", python_version = ">=3.11")
}

# The Python side of this package, loaded when it is first needed.
bridge <- function() {
  if (is.null(state$bridge)) {
    start_python()
    state$bridge <- load_bridge()
    state$pid <- Sys.getpid()
  }
  check_process()
  state$bridge
}

# Python's threads do not outlive a fork: what waits for them would wait for ever.
check_process <- function() {
  if (!identical(state$pid, Sys.getpid())) {
    fail(paste0("this R is a fork of one that uses Python, which ends there: use parallel::makeCluster() in place of ",
                "mclapply(), and connect in each"), "ForkedProcess")
  }
}

# Python's objects do not outlive their R, be they saved or not.
check_alive <- function(object, kind) {
  if (reticulate::py_is_null_xptr(object)) wrong("this ", kind, " is of an R that has ended: make another")
  check_process()
}

start_python <- function() {
  named <- Sys.getenv("RETICULATE_PYTHON", NA)
  if (!is.na(named) && nzchar(named) && named != "managed" && !file.exists(named)) {
    fail(paste0("RETICULATE_PYTHON names ", named, ", which is not there: name another Python, or none"),
         "PythonMissing")
  }
  # reticulate 1.28 warns of projects that have nothing to do with it
  found <- tryCatch(suppressWarnings(reticulate::py_available(initialize = TRUE)), error = function(error) FALSE)
  if (!found) {
    fail(paste0("no Python was found: install Python 3.11 or newer, then ", INSTALL,
                ", or set RETICULATE_PYTHON to one that has fraiseql-events"), "PythonMissing")
  }
  config <- suppressWarnings(reticulate::py_config())
  if (utils::compareVersion(as.character(config$version), "3.11") < 0) {
    fail(paste0(config$python, " is Python ", config$version, ", and 3.11 is needed: ",
                "set RETICULATE_PYTHON to a newer one"), "PythonMissing")
  }
}

load_bridge <- function() {
  python <- suppressWarnings(reticulate::py_config())$python
  tryCatch(
    reticulate::import_from_path(
      "fraiseqlevents_bridge", path = system.file("python", package = "fraiseqlevents"), delay_load = FALSE
    ),
    error = function(error) {
      missing <- regmatches(conditionMessage(error), regexec("No module named '([^']+)'", conditionMessage(error)))[[1]]
      if (length(missing) == 0) {
        fail(paste0("the Python package fraiseql-events cannot be loaded from ", python, ": ",
                    strsplit(conditionMessage(error), "\n")[[1]][1]), "PythonMissing")
      }
      fail(paste0("the Python package ", sub("_", "-", sub("\\..*", "", missing[2])), " is missing from ", python,
                  ": install it with ", INSTALL), "PythonMissing")
    }
  )
}
