# One contender of benchmarks/r.py: reads all events of a server into a data frame, and prints what that took as JSON.
arguments <- commandArgs(TRUE)
contender <- arguments[1]
url <- arguments[2]
suppressWarnings(reticulate::py_available(initialize = TRUE)) # reticulate 1.28 warns of projects that are none of its
reticulate::py_run_string("
import pyarrow as pa, pyarrow.csv
from fraiseql_events import EventClient

def table(url):
    return EventClient(url).read('*', frames='arrow', progress=False)

def lists(url):
    # reticulate makes a vector of a list without None only: what is missing is lost here
    read = table(url)
    seconds = read.column('timestamp').cast(pa.int64()).cast(pa.float64())
    read = read.set_column(read.schema.get_field_index('timestamp'), 'timestamp', seconds)
    return {name: (column.fill_null('') if pa.types.is_string(column.type) else column).to_pylist()
            for name, column in zip(read.schema.names, read.columns)}

def csv(url, path):
    pa.csv.write_csv(table(url), path)
")

routes <- list(
  fraiseqlevents = function() fraiseqlevents::events_read(fraiseqlevents::events_connect(url), "*"),
  lists = function() {
    columns <- reticulate::py$lists(url)
    columns$timestamp <- .POSIXct(columns$timestamp / 1e6, tz = "UTC")
    as.data.frame(columns)
  },
  `csv, read.csv` = function() {
    path <- tempfile()
    reticulate::py$csv(url, path)
    read.csv(path)
  },
  `csv, fread` = function() {
    path <- tempfile()
    reticulate::py$csv(url, path)
    data.table::fread(path, data.table = FALSE)
  }
)

if (contender == "fraiseqlevents") invisible(fraiseqlevents::events_connect(url)) # loads what the others have loaded
started <- proc.time()
frame <- routes[[contender]]()
taken <- proc.time() - started
peak <- as.numeric(sub("[^0-9]*([0-9]+).*", "\\1", grep("VmHWM", readLines("/proc/self/status"), value = TRUE))) * 1024
cat(jsonlite::toJSON(list(
  events = nrow(frame), seconds = taken[["elapsed"]],
  cpu_seconds = taken[["user.self"]] + taken[["sys.self"]], peak_bytes = peak
), auto_unbox = TRUE, digits = NA), "\n")
