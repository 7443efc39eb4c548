# One real server for all tests, with events that are hard to hand over; started when it is first asked for.

served <- new.env()

skip_without_server <- function() {
  # where packages are checked by others there is no server to be started; `make test` runs all of it
  testthat::skip_on_cran()
}

a_server <- function() {
  skip_without_server()
  if (is.null(served$server)) {
    served$server <- events_serve()
    withr_defer_all()
    served$con <- events_connect(served$server$url)
    publish_from_python(served$con$url, hard_events())
    wait_until(function() sum(events_entities(served$con)$events) == nrow(hard_events()))
  }
  served$con
}

withr_defer_all <- function() {
  reg.finalizer(served, function(served) try(events_close(served$server), silent = TRUE), onexit = TRUE)
}

wait_until <- function(holds, seconds = 20) {
  end <- proc.time()[[3]] + seconds
  while (!holds()) {
    if (proc.time()[[3]] > end) stop("it did not come to that within ", seconds, " seconds")
    Sys.sleep(0.05)
  }
}

# What a person would not think of: accents, emoji, quotes, no user, times to the microsecond and long ago.
hard_events <- function() {
  data.frame(
    entity_id = c("1", "gr\u00f6\u00dfe \U0001F353", "tab\t\"quoted\"\\", "4", "5", "6"),
    entity_type = c("Order", "Order", "Order", "Order", "Order", "User"),
    event_type = c("Order.Created", "Order.Created", "Order.Changed", "Order.Changed", "Order.Deleted", "User.Created"),
    timestamp = c("2026-01-31T12:00:00.123456Z", "1970-01-01T00:00:00.000001Z", "1969-12-31T23:59:59.999999Z",
                  "9999-12-31T23:59:59Z", "2026-02-28T23:59:59.999999Z", "2026-03-01T00:00:00Z"),
    data = c(paste0("{\"total\": 12.5, \"paid\": true, \"number\": 9007199254740993, ",
                    "\"items\": [{\"sku\": \"a\"}, {\"sku\": \"b\"}]}"),
             "{\"total\": 0.1, \"paid\": false, \"number\": -9223372036854775807, \"items\": []}",
             "{\"total\": null, \"paid\": null, \"number\": 1}", "{}", "[1, 2.50, \"\u00e9\"]",
             "{\"name\": \"Zo\u00eb\"}"),
    user_id = c(NA, "u", NA, "", "null", "NA"), stringsAsFactors = FALSE
  )
}

publish_from_python <- function(url, events) {
  path <- tempfile(fileext = ".ndjson")
  lines <- vapply(seq_len(nrow(events)), function(row) {
    event <- as.list(events[row, ])
    user <- if (is.na(event$user_id)) "null" else jsonlite::toJSON(event$user_id, auto_unbox = TRUE)
    text <- lapply(event[c("entity_id", "entity_type", "event_type", "timestamp")], jsonlite::toJSON, auto_unbox = TRUE)
    sprintf(
      paste0("{\"id\":\"e%d\",\"entity_id\":%s,\"entity_type\":%s,\"event_type\":%s,\"timestamp\":%s,",
             "\"data\":%s,\"user_id\":%s,\"org_id\":null}"),
      row, text$entity_id, text$entity_type, text$event_type, text$timestamp, event$data, user
    )
  }, "")
  writeLines(enc2utf8(lines), path, useBytes = TRUE)
  publish_file(path, url)
}

publish_file <- function(path, url) {
  commands <- reticulate::import("fraiseql_events.cli")
  reticulate::py_capture_output(code <- commands$run(list("publish", path, "--url", url)))
  stopifnot(code == 0)
}

# What Python reads, every value as text, so that nothing is lost on the way to a comparison.
read_by_python <- function(url, ...) {
  reticulate::py_run_string("
def texts(url, entity, options):
    import pyarrow as pa, pyarrow.compute as pc
    from fraiseql_events import EventClient
    if 'columns' in options: options['columns'] = list(options['columns'])
    table = EventClient(url).read(entity, frames='arrow', progress=False, **options)
    def text(column):
        kind = column.type
        if pa.types.is_timestamp(kind): column = column.cast(pa.int64())
        if pa.types.is_floating(kind): return [None if v is None else v.hex() for v in column.to_pylist()]
        return [None if v is None else str(v) for v in column.to_pylist()]
    return {name: [v if v is not None else '\\x01' for v in text(table.column(name))] for name in table.schema.names}
")
  lapply(reticulate::py$texts(url, ...), function(values) ifelse(values == "\001", NA, values))
}

micros <- function(times) sprintf("%.0f", round(as.numeric(times) * 1e6))

one_event <- function(entity_type, entity_id) {
  data.frame(
    event_id = paste0(entity_type, "-", entity_id), event_type = paste0(entity_type, ".Created"),
    entity_type = entity_type, entity_id = entity_id,
    timestamp = as.POSIXct("2026-01-01 12:00:00", tz = "UTC") + seq_along(entity_id) / 1000, data = "{}"
  )
}

# Another R, with the package as it is tested here, that is told the lines of a script as a person types them; its
# process id. Where nobody sits before it, R ends at an interrupt that comes while reticulate asks whether there is one.
background <- function(script, output) {
  folder <- dirname(getNamespaceInfo("fraiseqlevents", "path"))
  pid_file <- tempfile()
  libraries <- paste(c(folder, .libPaths()), collapse = ":")
  command <- sprintf(
    "R_LIBS=%s %s --vanilla --no-echo --no-readline --interactive < %s > %s 2>&1 & echo $! > %s", shQuote(libraries),
    shQuote(file.path(R.home("bin"), "R")), shQuote(script), shQuote(output), shQuote(pid_file)
  )
  file.create(output)
  system(command)
  as.integer(readLines(pid_file))
}
